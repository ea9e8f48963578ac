"""`spatz flash`: from a board at the USB socket to a node that belongs to a town."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from nest.errors import UserError
from nest.i18n import tr

if TYPE_CHECKING:
    from spatz.flash.fleet import Fleet
    from spatz.flash.one import Event, Request
    from spatz.flash.show import Show
    from spatz.usb import Port

_EPILOG = "\n\n".join(
    [
        tr("Examples:"),
        "[bold]spatz flash --town mytown[/bold]",
        "[bold]spatz flash --town mytown --board heltec-v3 --sensor bme280 --name schule-1[/bold]",
        "[bold]spatz flash --town mytown --all[/bold]",
        "[bold]spatz flash --town mytown --board heltec-v3 --watch[/bold]",
        "[bold]spatz flash COM5 --town mytown --firmware ESP32_GENERIC_S3.bin --json[/bold]",
    ]
)


def add_flash(app: typer.Typer) -> None:
    """Give `app` the command `flash`."""
    app.command(
        "flash",
        help=tr(
            "Make boards at USB into nodes of a town: MicroPython, the node's program and its keys, in one go. A board "
            "that was interrupted is mended by the same command; its keys stay."
        ),
        epilog=_EPILOG,
    )(flash)


def flash(
    ports: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PORT]...", help=tr("Which boards: ports or serial numbers; without, the only one.")),
    ] = None,
    town: Annotated[
        Path | None,
        typer.Option("--town", metavar="DIR", help=tr("The town's folder; without it SPATZ_TOWN, or this folder.")),
    ] = None,
    board: Annotated[
        str | None, typer.Option("--board", help=tr('Which board it is, as "spatz boards list" names it.'))
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help=tr("The node's name; without it that of a songbird."))
    ] = None,
    sensors: Annotated[
        list[str] | None,
        typer.Option(
            "--sensor",
            help=tr('A sensor that it carries, may be given again; "none": no sensor. Without, it looks itself.'),
        ),
    ] = None,
    interval: Annotated[int | None, typer.Option("--interval", help=tr("Seconds between two readings."))] = None,
    parity: Annotated[
        int | None, typer.Option("--parity", help=tr("Frames with parity against losses, 0 to 4."))
    ] = None,
    fair_use: Annotated[
        int | None, typer.Option("--fair-use", help=tr("At most so many seconds on the air in a day; 0: no limit."))
    ] = None,
    antenna_gain: Annotated[
        float | None,
        typer.Option("--antenna-gain", help=tr("Gain in dBi of an antenna that did not come with it.")),
    ] = None,
    firmware: Annotated[
        Path | None, typer.Option("--firmware", metavar="FILE", help=tr("This MicroPython instead of the fetched one."))
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help=tr("Every board that is plugged in, all at once."))] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help=tr("Every board as soon as it is plugged in, until Ctrl-C."))
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help=tr("Also a board of another town: it gets new keys."))
    ] = False,
    erase: Annotated[
        bool, typer.Option("--erase", help=tr("Erase everything on it before, its keys as well: it gets new ones."))
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help=tr("Do not ask before erasing."))] = False,
    as_json: Annotated[bool, typer.Option("--json", help=tr("One JSON object per line, for other programs."))] = False,
) -> None:
    """Make boards at USB into nodes of a town."""
    from spatz.attached.select import choose_ports
    from spatz.flash.fleet import Fleet
    from spatz.flash.one import Request
    from spatz.flash.show import make_show
    from spatz.flash.town import FlashTown, town_folder

    changes: dict[str, Any] = {
        "interval_s": interval, "parity": parity, "fair_use_s": fair_use, "antenna_gain_dbi": antenna_gain,
        "sensors": tuple(sensors) if sensors else None,
    }  # fmt: skip
    request = Request(
        board, name, firmware, {key: value for key, value in changes.items() if value is not None}, take_over, erase
    )
    folder = town_folder(town)
    _check(request)
    chosen = [] if watch else choose_ports(ports or [], all_=all_, ask=False if as_json else None)
    strict = watch or (not ports and (all_ or len(chosen) > 1))
    request = dataclasses.replace(request, strict=strict)
    if name and (watch or len(chosen) > 1):
        raise UserError(tr("--name is for one board."), tr("Leave it away; each board gets a name of its own."))
    if watch and ports:
        raise UserError(tr("--watch takes every board that is plugged in."), tr("Leave the ports away."))
    if erase and not yes:
        _confirm(chosen, watch, as_json)
    registry = FlashTown(folder)
    show = make_show(as_json)
    try:
        with Fleet(registry, request) as fleet:
            status = _run(fleet, show, chosen, as_json)
    finally:
        show.close()
        registry.close()
    raise typer.Exit(status)


def _run(fleet: Fleet, show: Show, ports: list[Port], as_json: bool) -> int:
    """Until all is done, or Ctrl-C. Returns the exit status."""
    from spatz.flash.show import print_summary

    interrupted = False
    watching = not ports
    if watching and not as_json:
        typer.echo(tr("Plug in one board after the other. Ctrl-C ends it."), err=True)
    for port in ports:
        fleet.start(port)
    try:
        for event in fleet.watch() if watching else fleet.events():
            show.event(event)
            if event.answer:
                event.answer(_ask_board(event, as_json))
    except KeyboardInterrupt:
        interrupted = True
    show.close()
    if not as_json:
        print_summary(fleet.done, fleet.failed)
    if interrupted and fleet.busy:
        stopped = tr("Stopped. Nothing is lost: start again, and the unfinished boards are mended.")
        if fleet.half_keyed:
            stopped = tr("Stopped. The unfinished boards have no whole key: flash them again before you use them.")
        typer.echo(stopped, err=True)
    return 130 if interrupted and (fleet.busy or not watching) else int(bool(fleet.failed))


def _check(request: Request) -> None:
    """What cannot be is refused before any board is touched. Raises UserError."""
    from nest.town import SLUG

    from spatz.boards import load_board
    from spatz.wishes import Wishes

    if request.name and not SLUG.fullmatch(request.name):
        raise UserError(
            tr("{slug} cannot be a node's name.", slug=repr(request.name)),
            tr("Use lower-case letters a-z, digits and hyphens, for example amsel or schule-2."),
        )
    if request.board:
        load_board(request.board)
        Wishes(request.name or "amsel", request.board, **request.changes).config()
    if request.firmware:
        from spatz.images.micropython_image import read_image

        read_image(request.firmware)


def _confirm(ports: list[Port], watch: bool, as_json: bool) -> None:
    """Ask before everything is erased. Raises UserError: nobody can be asked; typer.Exit: no."""
    if as_json or not sys.stdin.isatty():
        raise UserError(
            tr("--erase also wipes the keys and readings that were not sent yet."),
            tr("If that is meant, say it with --yes. An update needs no --erase."),
        )
    which = tr("each board that you plug in") if watch else ", ".join(port.device for port in ports)
    typer.echo(
        tr(
            "This wipes everything on {which}: the program, the readings that were not sent yet, and the keys. It gets "
            "new keys and joins anew. An update needs no --erase.",
            which=which,
        ),
        err=True,
    )
    typer.echo(tr("Erase it? Type yes:"), nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("yes", "ja", "y", "j"):
        typer.echo(tr("Nothing was changed."), err=True)
        raise typer.Exit(1)


def _ask_board(event: Event, as_json: bool) -> str | UserError:
    """Which board it is: a numbered list at a terminal."""
    boards = event.fields["boards"]
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return UserError(
            tr("{port} can be one of several boards.", port=event.port.device),
            tr("Say which: --board {names}", names=" | ".join(board["name"] for board in boards)),
        )
    typer.echo(tr("Which board is at {port}?", port=event.port.device), err=True)
    for number, board in enumerate(boards, 1):
        typer.echo(f"  {number:2}  {board['title']} ({board['name']})", err=True)
    while True:
        typer.echo(tr("Number:") + " ", nl=False, err=True)
        answer = sys.stdin.readline()
        if not answer:
            raise KeyboardInterrupt
        if answer.strip().isdecimal() and 1 <= int(answer) <= len(boards):
            return boards[int(answer) - 1]["name"]
        for board in boards:
            if answer.strip().lower() == board["name"]:
                return board["name"]
