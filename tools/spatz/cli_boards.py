"""`spatz boards`: what the catalogue knows, and whether a file of one's own is in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from nest.i18n import language_of_locale, tr
from rich.console import Console
from rich.table import Table as RichTable

from spatz.chips import CHIPS
from spatz.usb import BRIDGES

if TYPE_CHECKING:
    from spatz.catalogue import Board, Sensor

boards_app = typer.Typer(help=tr("The boards and sensors that Funkspatz knows."))
JsonFlag = Annotated[bool, typer.Option("--json", help=tr("Machine-readable output."))]


def _examples(*commands: str) -> str:
    return "\n\n".join([tr("Examples:"), *(f"[bold]{command}[/bold]" for command in commands)])


@boards_app.callback(invoke_without_command=True)
def boards(context: typer.Context) -> None:
    """The list, when nothing else is asked."""
    if context.invoked_subcommand is None:
        list_command()


@boards_app.command(
    "list", help=tr("List boards and sensors."), epilog=_examples("spatz boards list", "spatz boards list --json")
)
def list_command(as_json: JsonFlag = False) -> None:
    """List boards and sensors."""
    from spatz.boards import list_boards, list_sensors, load_sensor

    entries = list_boards() + [load_sensor(name) for name in list_sensors()]
    if as_json:
        rows = [{"kind": _kind(entry), "name": entry.name, "title": entry.title} for entry in entries]
        _print_json({"entries": rows})
        return
    table = RichTable(tr("Name"), tr("What it is"), tr("Kind"), box=None)
    for entry in entries:
        table.add_row(entry.name, entry.title, tr(_kind(entry)))
    Console().print(table)


@boards_app.command(
    "show",
    help=tr("Show everything known about a board or a sensor, with the sources."),
    epilog=_examples("spatz boards show heltec-v3", "spatz boards show bme280 --json"),
)
def show_command(name: str, as_json: JsonFlag = False) -> None:
    """Show everything known about a board or a sensor, with the sources."""
    from spatz.boards import list_sensors, load_board, load_sensor, strapping_notes
    from spatz.catalogue import Board

    entry: Board | Sensor = load_sensor(name) if name in list_sensors() else load_board(name)
    if as_json:
        _print_json({"kind": _kind(entry), **entry.model_dump(exclude_none=True)})
        return
    console = Console(highlight=False)
    console.print(f"[bold]{entry.name}[/bold]  {entry.title}")
    if isinstance(entry, Board):
        for line in in_short(entry):
            console.print(f"  {line}", soft_wrap=True, markup=False)
    for section, values in entry.model_dump(exclude_none=True).items():
        if section in ("format", "name", "title", "notes", "sources"):
            continue
        console.print(f"  [cyan]{section}[/cyan]: {_flat(values)}", soft_wrap=True)
    for note in [*entry.notes, *(strapping_notes(entry) if isinstance(entry, Board) else [])]:
        console.print(f"  * {note}", soft_wrap=True, markup=False)
    for key, source in entry.sources.items():
        console.print(f"  [{key}] {source}", soft_wrap=True, markup=False)


def in_short(board: Board) -> list[str]:
    """What a person in front of the board asks first, in the user's language."""
    from spatz.catalogue import RADIO_KEYS
    from spatz.wires import ports_of, wiring
    from spatz.wiring import AUTO

    python, loader = board.micropython, board.bootloader
    if board.radio.chip == "probe":
        radio = tr("{chips} (the node asks which)", chips=" / ".join(name.upper() for name in RADIO_KEYS))
    else:
        radio = board.radio.chip.upper()
    lines = [
        tr(
            "{chip}, {flash} MB flash, radio {radio}",
            chip=CHIPS[board.module.chip].title,
            flash=board.module.flash_mb,
            radio=radio,
        ),
        tr("MicroPython: {build} {version}", build=python.build, version=python.version),
        tr("At USB: {ids}", ids=", ".join(usb_names(board))),
    ]
    if board.pmu:
        chips = " / ".join(name.upper() for name in board.pmu.chips)
        lines.append(tr("Power chip: {chips}; the node switches its radio on by it", chips=chips))
    how = loader.how_de if language_of_locale() == "de" else loader.how_en
    if loader.auto:
        lines.append(tr("Into the boot loader: by itself; if it does not: {how}", how=how))
    else:
        lines.append(tr("Into the boot loader: {how}", how=how))
    asleep = board.sleep.current_ua
    if isinstance(asleep, str):
        lines.append(tr("Asleep: not measured"))
    else:
        lines.append(tr("Asleep: {current} uA, as others measured", current=f"{asleep:g}"))
    if board.i2c:
        lines += wiring(board, [AUTO])
    if ports := ports_of(board):
        lines.append(tr("Pins for other sensors, the first free one is taken: {ports}", ports=ports))
    return lines


def usb_names(board: Board) -> list[str]:
    """As what it shows itself at USB, with the name of the bridge where it is known."""
    names = []
    for usb_id in board.usb.ids:
        vid, pid = (int(part, 16) for part in usb_id.split(":"))
        bridge = BRIDGES.get((vid, pid))
        names.append(f"{usb_id} ({bridge.name})" if bridge else usb_id)
    return names


def _flat(value: object) -> str:
    """A part of a board file in one line, as a person would write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(part)}" for key, part in value.items() if key != "sources")
    if isinstance(value, list):
        return "; ".join(_flat(part) for part in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@boards_app.command(
    "check",
    help=tr("Check a board or sensor file of your own."),
    epilog=_examples("spatz boards check boards/my-board.toml"),
)
def check_command(file: Path, as_json: JsonFlag = False) -> None:
    """Check a board or sensor file of your own."""
    from spatz.boards import check, strapping_notes
    from spatz.catalogue import Board

    entry = check(file)
    notes = strapping_notes(entry) if isinstance(entry, Board) else []
    if as_json:
        _print_json({"ok": True, "kind": _kind(entry), "name": entry.name, "notes": notes})
        return
    typer.echo(tr("{file} is in order.", file=file))
    for note in notes:
        typer.echo(f"* {note}")


def _kind(entry: Board | Sensor) -> str:
    from spatz.catalogue import Board

    return "board" if isinstance(entry, Board) else "sensor"


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
