"""`spatz simulate`: a flock of virtual nodes behind virtual gateways, against any LoRaWAN network server."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr
from rich.console import Console

from spatz.sim import lifetime, micropython, nodes
from spatz.sim.ending import interrupted_by_signals, stopped_by_signals
from spatz.sim.progress import Progress
from spatz.sim.simulation import Plan, Simulation

ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for. `seconds` 0: until Ctrl-C."""

    plan: Plan
    server: tuple[str, int]
    seconds: float = 0.0
    keys: Path | None = None
    town: Path | None = None
    keep: Path | None = None
    as_json: bool = False
    energy: bool = False


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


def run(request: Request) -> int:
    """Run the simulation to its end; the exit status: 0, or 1 when a node did not join within the time given.

    Raises UserError: MicroPython missing, server without address, files that cannot be written.
    """
    micropython.command()  # before anything is written
    flock = request.plan.flock()
    if request.keys:
        write_keys(request.keys, flock)
    if request.town:
        register(request.town, flock)
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        folder = request.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="funkspatz-")))
        return asyncio.run(_run(request, folder))


async def _run(request: Request, folder: Path) -> int:
    console = Console(stderr=True)
    progress = Progress(console, [node.name for node in request.plan.flock()], quiet=request.as_json)
    simulation = Simulation(request.plan, request.server, folder, on_event=progress.note)
    async with stopped_by_signals() as stop:
        try:
            with progress.shown(simulation.reports):
                await simulation.start()
                if not await simulation.gateways[0].wait_connected(ANSWER_S):
                    host, port = request.server
                    progress.say(tr("{host}:{port} does not answer; the gateway goes on trying.", host=host, port=port))
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
