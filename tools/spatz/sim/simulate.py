"""`spatz simulate`: a flock of virtual nodes behind virtual gateways, against any LoRaWAN network server.

The gateways speak Semtech UDP or LoRa Basics Station.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr
from rich.console import Console

from spatz.sim import lifetime, micropython, nodes
from spatz.sim.air import Station
from spatz.sim.ending import interrupted_by_signals, stopped_by_signals
from spatz.sim.progress import Progress
from spatz.sim.simulation import Plan, Simulation
from spatz.sim.station import StationServer, VirtualStation

ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for. `seconds` 0: until Ctrl-C.

    `server`: host and port for Semtech UDP, or ws(s)://host:port for LoRa Basics Station; then `tokens` is one for all
    gateways or one for each (none: fresh ones, given to the town), and `ca_file` who vouches for the server.
    """

    plan: Plan
    server: tuple[str, int] | str
    seconds: float = 0.0
    keys: Path | None = None
    town: Path | None = None
    keep: Path | None = None
    as_json: bool = False
    energy: bool = False
    tokens: Sequence[str] = field(default=(), repr=False)
    ca_file: Path | None = None


def parse_server(text: str) -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT or HOST alone (port 1700, the convention). Raises UserError."""
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port = text, "1700"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536 or not _plausible(host):
        raise UserError(
            tr('"{text}" is not an address of a server.', text=text),
            tr("Write it as HOST:PORT, for example 127.0.0.1:1700."),
        )
    return host, int(port)


def _plausible(host: str) -> bool:
    if ":" in host:
        with contextlib.suppress(ValueError):
            ipaddress.IPv6Address(host)
            return True
        return False
    return not any(character.isspace() or character == "/" for character in host)


def write_keys(path: Path, flock: list[nodes.VirtualNode]) -> None:
    """What a network server needs to know of the nodes, as JSON; readable by nobody else. Raises UserError."""
    content = [
        {
            "name": node.name,
            "dev_eui": node.dev_eui.hex(),
            "join_eui": node.join_eui.hex(),
            "app_key": node.app_key.hex(),
            "latitude": node.position.latitude,
            "longitude": node.position.longitude,
        }
        for node in flock
    ]
    try:
        nodes.write(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            tr("The keys cannot be written to {path}: {error}.", path=path, error=error.strerror),
            tr("Choose a file in a folder that you may write to."),
        ) from error


def register(town: Path, flock: list[nodes.VirtualNode]) -> None:
    """Put the nodes into the registry of our own nest; those already there stay as they are. Raises UserError."""
    from nest.archive.database import open_database  # here: the database library takes a while to load
    from nest.registry import Registry
    from nest.town import load

    engine = open_database(load(town).database)
    try:
        registry = Registry(engine)
        known = {node.slug: node.dev_eui for node in registry.list()}
        for node in flock:
            if known.get(node.name) == node.dev_eui.hex():
                continue
            registry.add(
                node.name,
                node.dev_eui,
                node.join_eui,
                node.app_key,
                name=node.name.capitalize(),
                latitude=node.position.latitude,
                longitude=node.position.longitude,
            )
    finally:
        engine.dispose()


def register_gateways(
    town: Path, stations: Sequence[tuple[bytes, Station]], tokens: Sequence[str] | None = None
) -> None:
    """Let the virtual gateways (EUI, place) speak to our own nest; `tokens` for Basics Station, one for each gateway,
    None: they speak Semtech UDP. Raises UserError."""
    from nest.archive.database import open_database
    from nest.gateways import GatewayRegistry
    from nest.tokens import fingerprint
    from nest.town import load

    engine = open_database(load(town).database)
    try:
        registry = GatewayRegistry(engine)
        for number, (eui, station) in enumerate(stations):
            kept = None if tokens is None else fingerprint(tokens[number])
            known = registry.get(eui)
            if known is None:
                registry.add(
                    eui,
                    station.name,
                    latitude=station.position.latitude,
                    longitude=station.position.longitude,
                    antenna_gain_dbi=station.gain_dbi,
                    token=kept,
                )
            elif known.token != kept:
                registry.set_token(eui, kept)
    finally:
        engine.dispose()


def run(request: Request) -> int:
    """Run the simulation to its end; the exit status: 0, or 1 when a node did not join within the time given.

    Raises UserError: MicroPython missing, server without address, files that cannot be written.
    """
    micropython.command()  # before anything is written
    flock = request.plan.flock()
    if request.keys:
        write_keys(request.keys, flock)
    stations = request.plan.gateway_stations()
    tokens = _tokens(request, len(stations)) if isinstance(request.server, str) else None
    if request.town:
        register(request.town, flock)
        register_gateways(request.town, stations, tokens)
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        folder = request.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="funkspatz-")))
        return asyncio.run(_run(request, folder, tokens))


def _tokens(request: Request, count: int) -> list[str]:
    """One for each gateway. Raises UserError: too few."""
    from nest.tokens import new_token

    tokens = list(request.tokens)
    if not tokens and request.town:
        return [new_token() for _ in range(count)]
    if len(tokens) == 1:
        return tokens * count
    if len(tokens) < count:
        raise UserError(
            tr("A gateway needs a token for LoRa Basics Station."),
            tr("Name a file with --token-file, one token per line; or --town, and the gateways are registered there."),
        )
    return tokens[:count]


async def _run(request: Request, folder: Path, tokens: Sequence[str] | None = None) -> int:
    console = Console(stderr=True)
    progress = Progress(console, [node.name for node in request.plan.flock()], quiet=request.as_json)
    server = request.server
    if isinstance(server, str):
        servers = [StationServer(server, token, request.ca_file) for token in tokens or ()]
        simulation = Simulation(request.plan, servers, folder, on_event=progress.note)
    else:
        simulation = Simulation(request.plan, server, folder, on_event=progress.note)
    async with stopped_by_signals() as stop:
        try:
            with progress.shown(simulation.reports):
                await simulation.start()
                if not await simulation.gateways[0].wait_connected(ANSWER_S):
                    progress.say(_silence(server, simulation))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), request.seconds or None)
        finally:
            await simulation.stop()
    summary = simulation.summary()
    if request.energy:
        uplinks = simulation.uplink_costs()
        for node in summary["nodes"]:
            one = uplinks[node["name"]]
            node["energy"] = one.as_json() if one else None
    if request.as_json:
        json.dump(summary, sys.stdout, indent=2)
        print()
    else:
        progress.table(simulation.reports)
        if request.energy:
            lifetime.show(Console(), simulation.uplink_costs(), tr("node"))
    return int(bool(request.seconds) and any(node["joined_s"] is None for node in summary["nodes"]))


def _silence(server: tuple[str, int] | str, simulation: Simulation) -> str:
    """Why the first gateway has no connection."""
    gateway = simulation.gateways[0]
    if isinstance(gateway, VirtualStation) and gateway.trouble:
        return tr("{reason} The gateway goes on trying.", reason=gateway.trouble)
    host, port = server if isinstance(server, tuple) else server.rsplit(":", 1)
    return tr("{host}:{port} does not answer; the gateway goes on trying.", host=host, port=port)
