"""`spatz demo`: a whole town on one computer: nest, broker and page, a virtual gateway, nodes that run the firmware.

The nest is the real program (`nest run`) in a process of its own, as an operator would start it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import os
import signal
import socket
import sys
import tempfile
import urllib.request
import webbrowser
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomlkit
from nest.errors import UserError
from nest.i18n import language_of_locale, tr
from nest.quantities import by_name
from rich.console import Console

from spatz.sim import micropython, nodes
from spatz.sim.ending import die_with_parent, interrupted_by_signals, stopped_by_signals
from spatz.sim.progress import Progress, number
from spatz.sim.simulate import register, register_gateways
from spatz.sim.simulation import Plan, Simulation

PAGE_PORT = 8080
READY_WAIT_S = 60
NEST_END_S = 10.0
DELIVERED_WAIT_S = 60.0
"""With --json and without --seconds the demo ends when every node has delivered, at the latest after this time."""

POLL_S = 0.25

NEAR_JOIN_DR = 2
"""SF10: the node heard best joins so, as if it had been made for a place far away; the nest then shows what ADR is for.
At one reading every 40 s, which is what SF10 allows, that takes a few minutes."""

BAD_PLACE_LOSS = 0.3
"""One node loses so many of its frames, and its readings are in the archive all the same: healed by parity."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for. `port` None: 8080 or any free one, 0: any free one; `seconds` None: until told
    to stop."""

    plan: Plan
    seconds: float | None = None
    port: int | None = None
    browser: bool = True
    keep: Path | None = None
    as_json: bool = False


class NestEndedError(UserError):
    """The nest ended before it was ready; its own words."""


@dataclass(slots=True)
class Delivered:
    """What stands in the archive, seen through the API; times in seconds since the servers' start."""

    first_s: dict[str, float] = field(default_factory=dict)
    latest: dict[str, str] = field(default_factory=dict)
    readings: dict[str, int] = field(default_factory=dict)
    came: dict[str, dict[str, int]] = field(default_factory=dict)


def run(request: Request) -> int:
    """Run the demo to its end; the exit status: 0, or 1 when a node delivered nothing.

    Raises UserError: MicroPython missing, port occupied, folder not writable, or the nest did not start.
    """
    micropython.command()  # before anything is started
    request = replace(request, plan=replace(request.plan, near_join_dr=NEAR_JOIN_DR, bad_place_loss=BAD_PLACE_LOSS))
    port = page_port(request.port)
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        folder = request.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="funkspatz-demo-")))
        town = make_town(folder, port, request.plan)
        try:
            return asyncio.run(_run(request, town, folder / "nodes"))
        except NestEndedError:
            if request.port is not None or page_port(None):
                raise
            _take_any_port(town)  # another demo took 8080 since we looked
            return asyncio.run(_run(request, town, folder / "nodes"))


def _take_any_port(town: Path) -> None:
    settings = tomlkit.parse((town / "town.toml").read_text(encoding="utf-8"))
    settings["web"]["port"] = 0  # type: ignore[index]
    nodes.write(town / "town.toml", tomlkit.dumps(settings))


def page_port(asked: int | None) -> int:
    """The port for the page, 0 for any free one: the one asked for, else 8080 when it is free, else 0.

    Raises UserError: the one asked for is taken.
    """
    port = PAGE_PORT if asked is None else asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if asked is None:
                return 0
            raise UserError(
                tr("Port {port} is in use already.", port=asked),
                tr("Choose another with --port, or leave --port out: the demo then finds a free one."),
            ) from error
    return port


def make_town(folder: Path, port: int, plan: Plan) -> Path:
    """The demo's town with its nodes and gateways registered; all ports but the page's are any free ones.

    Raises UserError.
    """
    from nest.town import create  # here: the database library takes a while to load

    town = folder / "town"
    create(
        town,
        tr("Sparrow Town (demo)"),
        slug="spatzenstadt",
        latitude=nodes.TOWN.latitude,
        longitude=nodes.TOWN.longitude,
        language=language_of_locale(),
        udp_host="127.0.0.1",
        udp_port=0,
        web_host="127.0.0.1",
        web_port=port,
        mqtt_port=0,
        station_host="127.0.0.1",
    )
    nodes.write(town / "outlines.geojson", json.dumps(outlines()), 0o644)
    register(town, plan.flock())
    register_gateways(town, plan.gateway_stations())
    return town


def outlines() -> dict[str, Any]:
    """A made-up ground for the map: the edge of the town and a brook through it."""

    def ring(radius_m: float) -> list[list[float]]:
        steps = 72
        points = []
        for step in range(steps + 1):
            angle = 2 * math.pi * (step % steps) / steps
            wobble = 1 + 0.06 * math.sin(3 * angle) + 0.04 * math.cos(7 * angle)
            points.append(_offset(radius_m * wobble * math.cos(angle), radius_m * wobble * math.sin(angle)))
        return points

    brook = [_offset(-1200 + 60 * step, 260 * math.sin(step / 6) - 150) for step in range(41)]
    features = [
        {"type": "Polygon", "coordinates": [ring(1150)]},
        {"type": "Polygon", "coordinates": [ring(420)]},
        {"type": "LineString", "coordinates": brook},
    ]
    names = (tr("town boundary"), tr("old town"), tr("brook"))
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"name": name}, "geometry": geometry}
            for name, geometry in zip(names, features, strict=True)
        ],
    }


def _offset(east_m: float, north_m: float) -> list[float]:
    """GeoJSON coordinates of a point that many metres from the middle of the town."""
    metres_per_degree = 111_195.0
    longitude = nodes.TOWN.longitude + east_m / metres_per_degree / math.cos(math.radians(nodes.TOWN.latitude))
    return [round(longitude, 6), round(nodes.TOWN.latitude + north_m / metres_per_degree, 6)]


async def _run(request: Request, town: Path, node_folder: Path) -> int:
    console = Console(stderr=True)
    progress = Progress(console, [node.name for node in request.plan.flock()], quiet=request.as_json)
    loop = asyncio.get_running_loop()
    delivered = Delivered()
    async with stopped_by_signals() as stop:
        started = loop.time()
        progress.say(tr("Starting the nest …"))
        async with _nest(town) as (nest, ports):
            page = f"http://127.0.0.1:{ports['web']}/"
            await asyncio.to_thread(_get, page)
            page_ready_s = round(loop.time() - started, 2)
            gateways_to = ("127.0.0.1", ports["semtech_udp"])
            simulation = Simulation(request.plan, gateways_to, node_folder, on_event=progress.note)
            watching: asyncio.Task[None] | None = None
            try:
                with progress.shown(simulation.reports, delivered.latest, delivered.came):
                    await simulation.start()
                    watching = asyncio.create_task(_watch(request, page, delivered, progress, started, stop))
                    await _until_done(request, nest, watching, stop, started)
            finally:
                if watching:
                    watching.cancel()
                await simulation.stop()
            with contextlib.suppress(OSError, ValueError, KeyError):
                await asyncio.to_thread(_count_readings, page, delivered)
    summary = _summary(request, simulation, delivered, page, page_ready_s)
    if request.as_json:
        json.dump(summary, sys.stdout, indent=2)
        print()
    else:
        progress.table(simulation.reports, delivered.latest, delivered.came)
        if request.keep:
            progress.say(tr("The town is kept: {command}", command=f"nest run {town}"))
    return 0 if summary["ok"] else 1


@contextlib.asynccontextmanager
async def _nest(town: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, int]]]:
    """`nest run --json` on the town, ready, with the port of each part; ended in order, by force when it does not end.

    What it complains about goes to nest.log. Raises UserError: it ended, or was not ready in time.
    """
    with (town / "nest.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from nest.cli import main; main()",
            "run",
            str(town),
            "--json",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
            process_group=0,  # Ctrl-C reaches the demo, which ends the nest after the nodes
            env={**os.environ, "NO_COLOR": "1"},
        )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    draining: asyncio.Task[bytes] | None = None
    try:
        ports = await _ready(process.stdout, town)
        draining = asyncio.create_task(process.stdout.read())
        yield process, ports
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), NEST_END_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if draining:
            await draining


async def _ready(stdout: asyncio.StreamReader, town: Path) -> dict[str, int]:
    """Read the nest's events until it is ready: the port of each part."""
    ports: dict[str, int] = {}
    try:
        async with asyncio.timeout(READY_WAIT_S):
            while line := await stdout.readline():
                event = json.loads(line)
                if event["event"] == "listening":
                    ports[event["part"]] = event["port"]
                elif event["event"] == "ready":
                    return ports
    except TimeoutError as error:
        raise UserError(
            tr("The nest was not ready within {seconds} seconds.", seconds=READY_WAIT_S), _where_the_log_is()
        ) from error
    raise _nest_ended(town)


def _where_the_log_is() -> str:
    return tr("Start the demo with --keep DIR and look into town/nest.log.")


def _nest_ended(town: Path) -> NestEndedError:
    """What the nest said before it ended: its own error is the best there is."""
    lines = (town / "nest.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-2:]
    if not lines:
        return NestEndedError(tr("The nest ended unexpectedly."), _where_the_log_is())
    return NestEndedError(
        tr("The nest ended: {reason}", reason=lines[0]), lines[1].removeprefix("→ ") if len(lines) > 1 else ""
    )


async def _watch(
    request: Request, page: str, delivered: Delivered, progress: Progress, started: float, stop: asyncio.Event
) -> None:
    """Ask the API what has arrived, until the demo ends; tell of the first reading, and in JSON runs of the last."""
    loop = asyncio.get_running_loop()
    while True:
        found: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, ValueError):
            found = _node_list(await asyncio.to_thread(_get_json, page + "api/v1/nodes"))
        for node in found:
            delivered.came[node["slug"]] = node["last_day"]
            if not node.get("values"):
                continue
            delivered.latest[node["slug"]] = _spoken(node["values"])
            if node["slug"] not in delivered.first_s:
                first = not delivered.first_s
                delivered.first_s[node["slug"]] = round(loop.time() - started, 2)
                if first:
                    _show_page(request, page, progress)
        if request.as_json and request.seconds is None and len(delivered.first_s) >= request.plan.nodes:
            stop.set()
        await asyncio.sleep(POLL_S)


async def _until_done(
    request: Request,
    nest: asyncio.subprocess.Process,
    watching: asyncio.Task[None],
    stop: asyncio.Event,
    started: float,
) -> None:
    """Wait for Ctrl-C, the time given, or the nest's end (UserError)."""
    seconds = DELIVERED_WAIT_S if request.seconds is None and request.as_json else request.seconds
    left = None if not seconds else max(started + seconds - asyncio.get_running_loop().time(), 0)
    stopping, ending = asyncio.create_task(stop.wait()), asyncio.create_task(nest.wait())
    try:
        done, _ = await asyncio.wait((stopping, ending, watching), timeout=left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        ending.cancel()
    if watching in done:
        watching.result()  # it never ends by itself: raise what ended it
    if ending in done:
        raise UserError(tr("The nest ended unexpectedly."), _where_the_log_is())


def _show_page(request: Request, page: str, progress: Progress) -> None:
    progress.say(tr("The first reading is there. Look at your town: {page}", page=page))
    if request.plan.bad_place:
        progress.say(
            tr(
                "{node} stands in a bad place: {share} % of its frames get lost. Watch its readings heal.",
                node=request.plan.bad_place,
                share=round(100 * request.plan.bad_place_loss),
            )
        )
    if request.seconds is None:
        progress.say(tr("Ctrl-C ends the demo."))
    if request.browser and not request.as_json and _has_display():
        asyncio.get_running_loop().run_in_executor(None, webbrowser.open, page)


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _spoken(values: dict[str, Any]) -> str:
    """The values with as many digits as they have; "–" where a sensor has none to give."""
    decimals = {name: quantity.decimals for name, quantity in by_name().items()}
    return ", ".join(
        "–" if value["value"] is None else f"{number(value['value'], f'.{decimals[name]}f')} {value['unit']}"
        for name, value in values.items()
    )


def _count_readings(page: str, delivered: Delivered) -> None:
    for slug in delivered.first_s:
        node = _get_json(f"{page}api/v1/nodes/{slug}")
        quantity = next(iter(node["values"]))
        series = _get_json(f"{page}api/v1/nodes/{slug}/readings?quantity={quantity}")
        delivered.readings[slug] = len(series["readings"])


def _node_list(answer: Any) -> list[dict[str, Any]]:
    """The nodes, whether the API answers with a list or with an object around it."""
    return answer if isinstance(answer, list) else answer["nodes"]


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own page
        return answer.read()


def _get_json(url: str) -> Any:
    return json.loads(_get(url))


def _summary(
    request: Request, simulation: Simulation, delivered: Delivered, page: str, page_ready_s: float
) -> dict[str, Any]:
    whole = simulation.summary()
    for node in whole["nodes"]:
        name = node["name"]
        node["joined"] = node["joined_s"] is not None
        node["readings"] = delivered.readings.get(name, 0)
        node["first_reading_s"] = delivered.first_s.get(name)
        node["last_day"] = delivered.came.get(name)
    everyone = len(delivered.first_s) == request.plan.nodes
    return {
        "ok": everyone,
        "page": page,
        "page_ready_s": page_ready_s,
        "all_delivered_s": max(delivered.first_s.values()) if everyone else None,
        **whole,
    }
