"""The command `spatz virtual`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from nest.errors import UserError
from nest.i18n import tr

MAX_BOARDS = 60
BOARD = "heltec-v3"

HELP = tr("Plug virtual boards into this computer, for trying everything that is done with boards.")
EPILOG = (
    f"{tr('Examples:')}\n\n"
    "[bold]spatz virtual --boards 3[/bold]\n\n"
    "[bold]spatz virtual --board heltec-v3 --board t3-s3 --lines[/bold]\n\n"
    "[bold]spatz virtual --boards 10 --town ./mytown[/bold]\n\n"
    "[bold]spatz virtual --fault no_auto_reset --fault max_baud=200000[/bold]"
)


def virtual(
    boards: Annotated[
        int | None, typer.Option("--boards", min=1, max=MAX_BOARDS, help=tr("How many virtual boards."))
    ] = None,
    board: Annotated[
        list[str] | None,
        typer.Option("--board", metavar="NAME", help=tr("Kind of board; given again, they are taken in turn.")),
    ] = None,
    town: Annotated[
        Path | None,
        typer.Option("--town", metavar="DIR", help=tr("A virtual gateway brings what they send to this town's nest.")),
    ] = None,
    air: Annotated[
        bool, typer.Option("--air", help=tr("A virtual gateway also without a town; it sends to --server."))
    ] = False,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="HOST:PORT", help=tr("Where the gateway sends to, by Semtech UDP.")),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="NAME[=N]", help=tr("What is wrong with all of them; may be given again.")),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help=tr("Keep everything in this folder instead of a temporary one.")),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help=tr("The same seed gives the same names, places, keys and weather."))
    ] = 1,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help=tr("End after this time; without it, Ctrl-C ends it."))
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help=tr("Show what the boards print."))] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help=tr("Everything that happens, one JSON object per line."))
    ] = False,
) -> None:
    """Plug virtual boards into this computer."""
    if server and not (air or town):
        raise UserError(tr("--server is for the gateway."), tr("Give --air or --town DIR as well."))
    from spatz.sim.board import virtual as library
    from spatz.sim.simulate import parse_server

    library.check()
    kinds = list(board or [BOARD])
    count = boards or len(kinds)
    to = parse_server(server or "127.0.0.1:1700") if server or air else library.town_server(town) if town else None
    request = library.Request(
        [kinds[index % len(kinds)] for index in range(count)],
        town,
        to,
        keep,
        seed,
        library.parse_faults(fault or []),
        lines,
        as_json,
        seconds,
    )
    raise typer.Exit(library.run(request))
