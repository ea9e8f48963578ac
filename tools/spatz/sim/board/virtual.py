"""`spatz virtual`: virtual boards at this computer's sockets; with an air and a gateway they join a nest."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr
from rich.console import Console
from rich.table import Table

from spatz import usb
from spatz.boards import load_board
from spatz.sim import micropython
from spatz.sim.air import Air
from spatz.sim.airserver import AirServer
from spatz.sim.board.bench import Fleet, VirtualBoard
from spatz.sim.board.made_image import made_image
from spatz.sim.board.settings import FAULTS
from spatz.sim.ending import interrupted_by_signals, stopped_by_signals
from spatz.sim.gateway import VirtualGateway
from spatz.sim.simulate import register_gateways
from spatz.sim.simulation import Plan

MOCK = "esp32-mock-bootloader==0.3.0"
_QUIET = {"line", "reset", "refused", "registered"}


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for. `server`: where the gateway sends to, None: no air. `keep`: the folder that the
    boards stay in. `faults`: NAME or NAME=NUMBER. `seconds`: when it ends by itself."""

    boards: Sequence[str]
    town: Path | None = None
    server: tuple[str, int] | None = None
    keep: Path | None = None
    seed: int = 1
    faults: dict[str, Any] = field(default_factory=dict)
    lines: bool = False
    as_json: bool = False
    seconds: float | None = None


def parse_faults(texts: Sequence[str]) -> dict[str, Any]:
    """`no_auto_reset`, `max_baud=200000` … as board.json has them. Raises UserError."""
    faults: dict[str, Any] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in FAULTS or (number and not number.isascii()) or (number and not number.isdigit()):
            raise UserError(
                tr('"{text}" is no fault that a virtual board can have.', text=text),
                tr("Possible are: {names}", names=", ".join(sorted(FAULTS))),
            )
        faults[name] = int(number) if number else True
    return faults


def town_server(town: Path) -> tuple[str, int]:
    """Where the nest of that town listens for gateways. Raises UserError."""
    from nest.town import load

    settings = load(town).settings.semtech_udp
    if not settings.port:
        raise UserError(
            tr("The town {town} does not say at which port its nest listens.", town=town),
            tr("Start the nest, read the port of Semtech UDP, and name it: --server 127.0.0.1:PORT"),
        )
    host = settings.host or "127.0.0.1"
    return ("127.0.0.1" if host in ("0.0.0.0", "::") else host), settings.port  # noqa: S104  it is where to send to


def check() -> None:
    """Whether virtual boards can be had here. Raises UserError."""
    if sys.platform == "win32":
        raise UserError(
            tr("Virtual boards need Linux or macOS."), tr("Under Windows, start this in WSL, the Linux in Windows.")
        )
    if importlib.util.find_spec("esp32_mock_bootloader") is None:
        raise UserError(tr("The boot loader of the virtual boards is missing."), f'pip install "{MOCK}"')
    micropython.command()


def run(request: Request) -> int:
    """Run the boards until they are stopped; the exit status. Raises UserError."""
    check()
    for name in request.boards:
        load_board(name)
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        folder = request.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="funkspatz-boards-")))
        registry = Path(os.environ.get(usb.VIRTUAL_BOARDS) or folder / "registry").absolute()
        asyncio.run(_run(request, folder.absolute(), registry))
    return 0


async def _run(request: Request, folder: Path, registry: Path) -> None:
    names = [f"board-{number + 1:02d}" for number in range(len(request.boards))]
    console = Console()
    async with stopped_by_signals() as stop, _air(request, names) as air:
        fleet = Fleet(
            folder, len(names), registry=registry, boards=request.boards, seed=request.seed, air=air,
            weather_seed=request.seed, faults=request.faults, on_event=_teller(request, console),
        )  # fmt: skip
        await asyncio.to_thread(fleet.__enter__)
        try:
            if not request.as_json:
                _show(console, fleet, registry, _images(folder, request.boards))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), request.seconds)
        finally:
            await asyncio.to_thread(fleet.__exit__)


@contextlib.asynccontextmanager
async def _air(request: Request, names: Sequence[str]) -> AsyncIterator[tuple[str, int] | None]:
    """The air, and a gateway that gives what it hears to `request.server`; None when there is to be neither."""
    if request.server is None:
        yield None
        return
    plan = Plan(nodes=len(names), seed=request.seed)
    [(eui, station)] = plan.gateway_stations()
    if request.town:
        await asyncio.to_thread(register_gateways, request.town, [(eui, station)])
    air = AirServer(Air(plan.propagation))
    gateway = VirtualGateway(eui, station, request.server, air.transmit)
    air.attach(gateway)
    for name, node in zip(names, plan.flock(), strict=True):
        air.add_node(replace(node.station, name=name))
    port = await air.start()
    try:
        await gateway.start()
        yield "127.0.0.1", port
    finally:
        await gateway.stop()
        await air.stop()


def _teller(request: Request, console: Console) -> Any:
    """Says what happens to the boards; called from their threads."""

    def tell(board: VirtualBoard, event: dict[str, Any]) -> None:
        kind = event["event"]
        if request.as_json:
            console.file.write(json.dumps({"board": board.name, **event}) + "\n")
            console.file.flush()
        elif kind == "line" and request.lines:
            console.print(f"[dim]{board.name}[/dim]", event["text"], markup=True, highlight=False)
        elif kind not in _QUIET and kind != "ended":
            console.print(board.name, _words(event), highlight=False, markup=False)

    return tell


def _words(event: dict[str, Any]) -> str:
    match event["event"]:
        case "rom":
            return tr("is in its boot loader")
        case "boot":
            return tr("starts MicroPython")
        case "sleep":
            return tr("sleeps")
        case "cut":
            return tr("has no power")
        case kind:
            return f"{kind}: {event.get('rule', '')}"


def _images(folder: Path, boards: Sequence[str]) -> list[Path]:
    """A made-up MicroPython for each chip, for those who have fetched none: a virtual board boots with any."""
    images = []
    for chip in sorted({load_board(name).module.chip for name in boards}):
        images.append(folder / f"made-up-{chip}.bin")
        images[-1].write_bytes(made_image(chip))
    return images


def _show(console: Console, fleet: Fleet, registry: Path, images: Sequence[Path]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in (tr("board"), tr("kind"), tr("port"), "USB"):
        table.add_column(title)
    for board in fleet:
        try:
            port = board.port
        except LookupError:
            table.add_row(board.name, board.settings.board, "–", "–")
            continue
        table.add_row(board.name, board.settings.board, port.device or "–", port.usb_id)
    console.print(table)
    if not os.environ.get(usb.VIRTUAL_BOARDS):
        console.print(tr("Type this in the window in which you want to use them:"))
        console.print(f"export {usb.VIRTUAL_BOARDS}={registry}", markup=False, soft_wrap=True)
    console.print(tr("No MicroPython fetched? These boards boot with a made-up one, too:"))
    for image in images:
        console.print(f"spatz flash --firmware {image} …", markup=False, soft_wrap=True)
    console.print(tr("Ctrl-C pulls them all out."))
