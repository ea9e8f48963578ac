"""What the commands of `nest` share: their arguments, the town's database, and how they print."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import Engine

from nest import town
from nest.archive import open_database
from nest.archive.database import database_errors
from nest.i18n import language_of_locale, tr
from nest.moments import age

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help=tr("the town's folder"))]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help=tr("the node's name, for example amsel"))]
AsJson = Annotated[bool, typer.Option("--json", help=tr("for programs: JSON"))]
Latitude = Annotated[float | None, typer.Option(min=-90, max=90, help=tr("degrees north"))]
Longitude = Annotated[float | None, typer.Option(min=-180, max=180, help=tr("degrees east"))]


def new_app(text: str | None = None) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\n" + tr("Examples:") + "\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def database(folder: Path) -> Iterator[Engine]:
    """The town's database for one command; its errors become sentences."""
    path = town.load(folder).database
    engine = open_database(path)
    try:
        with database_errors(path):
            yield engine
    finally:
        engine.dispose()


def console() -> Console:
    """Prints names as they are: `[/b]` and `:snake:` in them mean nothing."""
    return Console(markup=False, emoji=False, highlight=False)


def eui_table(first: str, *others: str) -> Table:
    """A table whose first column holds EUIs: in a narrow window they stay whole, for they are there to be copied."""
    return Table(Column(first, no_wrap=True, min_width=16), *others)


def ago(moment: float | None) -> str:
    """How long ago, in the terminal's language."""
    if moment is None:
        return tr("never")
    return age(time.time() - moment, language_of_locale())


def position(latitude: float | None, longitude: float | None) -> str:
    """A place as people write it; "" where there is none."""
    return "" if latitude is None else f"{latitude}, {longitude}"
