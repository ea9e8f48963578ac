"""`spatz firmware`: the files with MicroPython for the boards, fetched once, then there without internet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from nest.errors import UserError
from nest.i18n import tr

if TYPE_CHECKING:
    from spatz.images.cache import Kept, Wanted

firmware_app = typer.Typer(no_args_is_help=True, help=tr("MicroPython for the boards, kept on this computer."))
AsJson = Annotated[bool, typer.Option("--json", help=tr("Machine-readable output."))]


def _examples(*commands: str) -> str:
    return "\n\n".join([tr("Examples:"), *(f"[bold]{command}[/bold]" for command in commands)])


@firmware_app.command(
    "fetch",
    help=tr("Fetch MicroPython for these boards, or for all; what is here and right stays."),
    epilog=_examples(
        "spatz firmware fetch heltec-v3",
        "spatz firmware fetch --all",
        "spatz firmware fetch --all --from /media/stick/firmware",
        "spatz firmware fetch heltec-v3 --from http://192.168.1.20:8000",
    ),
)
def fetch_command(
    boards: Annotated[list[str] | None, typer.Argument(metavar="[BOARD]...", help=tr("Names of boards."))] = None,
    all_: Annotated[bool, typer.Option("--all", help=tr("For every board (as without any name)."))] = False,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FOLDER|URL",
            help=tr("Take the files from a folder (a USB stick), or from a web server of your own."),
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch MicroPython for these boards, or for all."""
    from spatz.images import cache
    from spatz.images.fetch import fetch

    if all_ and boards:
        raise UserError(tr("--all and names of boards together."), tr("Leave one of them out."))
    rows = []
    for wanted in _wanted(boards or []):
        before = cache.kept(wanted)
        with _Bar(wanted, as_json) as progress:
            here = fetch(wanted, source, progress)
        rows.append({**_row(wanted, here), "fetched": before is None})
        if not as_json:
            _tell(wanted, here, fetched=before is None)
    if as_json:
        _print_json({"folder": str(cache.images_folder()), "files": rows})


@firmware_app.command(
    "list",
    help=tr("Show which MicroPython is here, for which boards, and how surely it is the right one."),
    epilog=_examples("spatz firmware list", "spatz firmware list --json"),
)
def list_command(as_json: AsJson = False) -> None:
    """Show which MicroPython is here."""
    from spatz.images import cache

    found = _wanted([])
    rows = [_row(wanted, cache.kept(wanted)) for wanted in found]
    others = cache.strangers(found)
    if as_json:
        _print_json({"folder": str(cache.images_folder()), "files": rows, "others": [path.name for path in others]})
        return
    _print_table(rows, others)


def _wanted(names: list[str]) -> list[Wanted]:
    from spatz.boards import list_boards, load_board
    from spatz.images.cache import wanted_by

    return wanted_by([load_board(name) for name in names] if names else list_boards())


def _row(wanted: Wanted, here: Kept | None) -> dict[str, Any]:
    return {
        "file": wanted.name,
        "build": wanted.build,
        "version": wanted.version,
        "boards": list(wanted.boards),
        "here": here is not None,
        "bytes": here.size if here else None,
        "sha256": here.sha256 if here else wanted.sha256,
        "checksum": here.checksum if here else ("published" if wanted.sha256 else "not known"),
        "since": here.since if here else "",
    }


def _tell(wanted: Wanted, here: Kept, *, fetched: bool) -> None:
    size = f"{here.size / 1e6:.1f} MB"
    if fetched:
        typer.echo(tr("{file} is here now ({size}).", file=wanted.name, size=size))
    else:
        typer.echo(tr("{file} was here already.", file=wanted.name))
    if not wanted.sha256:
        typer.echo(tr("  Nobody has published its SHA-256; from now on it has to be {sha256}", sha256=here.sha256))


def _print_table(rows: list[dict[str, Any]], others: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    from spatz.images.cache import images_folder

    console = Console(highlight=False)
    table = Table("MicroPython", tr("Version"), tr("Boards"), tr("Here"), tr("SHA-256"), box=None)
    names = {"published": tr("as published"), "not known": tr("not known"), "first seen": tr("as first seen")}
    for row in rows:
        here = f"{row['bytes'] / 1e6:.1f} MB" if row["here"] else tr("no")
        known = names[row["checksum"]] + (f" {row['since']}" if row["since"] else "")
        table.add_row(row["build"], row["version"], ", ".join(row["boards"]), here, known)
    console.print(table)
    for path in others:
        console.print(tr("Not for these boards: {file}", file=path.name), markup=False)
    console.print(tr("They lie in {folder}", folder=images_folder()), soft_wrap=True, markup=False)
    if not all(row["here"] for row in rows):
        console.print(tr("What is missing: spatz firmware fetch --all"))


class _Bar:
    """A bar for one file, on a terminal; called with (bytes here, bytes in all)."""

    def __init__(self, wanted: Wanted, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(wanted.name, total=None)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total or None)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
