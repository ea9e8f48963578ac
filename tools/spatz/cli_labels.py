"""`spatz labels`: a sheet of labels for a town's nodes, and the card that says what the light says."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from nest.errors import UserError
from nest.i18n import asked_language, language_of_locale, tr

from spatz.labels.content import Label, chosen, label
from spatz.labels.sheet import SHEETS

EPILOG = (
    f"{tr('Examples:')}\n\n"
    "[bold]spatz labels --town ./mytown --output labels.pdf[/bold]\n\n"
    "[bold]spatz labels amsel zeisig --town ./mytown --output two.pdf --skip 5[/bold]\n\n"
    "[bold]spatz labels --lights --output lights.pdf --lang de[/bold]"
)


class Layout(StrEnum):
    """Sheets of labels that are sold."""

    A3X8 = "3x8"
    A2X7 = "2x7"


def labels(
    nodes: Annotated[
        list[str] | None, typer.Argument(metavar="[NODE]...", help=tr("Only these nodes; without it all of the town."))
    ] = None,
    town: Annotated[
        Path,
        typer.Option(
            "--town",
            metavar="DIR",
            envvar="SPATZ_TOWN",
            help=tr("The town's folder; without it SPATZ_TOWN, or this folder."),
        ),
    ] = Path(),
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help=tr("The PDF to write."))] = Path(
        "labels.pdf"
    ),
    layout: Annotated[
        Layout, typer.Option("--layout", help=tr("Labels on a sheet: 3x8 of 70 x 36 mm, or 2x7 of 99 x 38 mm."))
    ] = Layout.A3X8,
    skip: Annotated[int, typer.Option("--skip", min=0, help=tr("How many labels of the first sheet are used up."))] = 0,
    contact: Annotated[
        str, typer.Option("--contact", help=tr("Whom to ask: a telephone number or an address, at most 60 signs."))
    ] = "",
    lights: Annotated[
        bool, typer.Option("--lights", help=tr("Instead: a card that says what the light says."))
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help=tr("for programs: JSON"))] = False,
) -> None:
    """A PDF of labels with name, short code and QR code; nothing secret is on them."""
    if lights:
        from spatz.labels.lights import draw as draw_card

        made: list[Label] = []
        content = draw_card(language_of_locale())
    else:
        from spatz.labels.pdf import draw

        sheet = SHEETS[layout.value]
        if skip >= sheet.count:
            raise UserError(
                tr("A sheet has {count} labels.", count=sheet.count), tr("Give a smaller number to --skip.")
            )
        made = _of_town(town, nodes or [], contact[:60])
        content = draw(sheet, made, skip)
    try:
        output.write_bytes(content)
    except OSError as error:
        raise UserError(
            tr("{path} cannot be written: {reason}.", path=output, reason=error.strerror or error),
            tr("Give another place: --output FILE"),
        ) from error
    if as_json:
        said = [{"name": one.name, "code": one.code, "qr": one.payload} for one in made]
        typer.echo(json.dumps({"file": str(output), "labels": said}))
    else:
        typer.echo(tr("{file} is ready. Print it at 100 %, without fitting it to the page.", file=output))


def _of_town(folder: Path, wanted: list[str], contact: str) -> list[Label]:
    """Of the town's register; without any key."""
    from nest import town
    from nest.archive import open_database
    from nest.archive.database import database_errors
    from nest.registry import Registry

    settings = town.load(folder)
    language = asked_language() or settings.language
    engine = open_database(settings.database)
    try:
        with database_errors(settings.database):
            known = {node.slug: node for node in Registry(engine).list()}
    finally:
        engine.dispose()
    return [
        label(
            known[slug].name,
            bytes.fromhex(known[slug].dev_eui),
            bytes.fromhex(known[slug].join_eui),
            town=settings.name,
            contact=contact,
            language=language,
        )
        for slug in chosen(wanted, known)
    ]
