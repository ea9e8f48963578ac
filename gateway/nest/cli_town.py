"""`nest token`, `backup`, `restore`, `systemd`: what an operator does with a town as a whole."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from sqlalchemy import Engine

from nest import systemd, town
from nest.archive import copies, meta
from nest.cli_common import AsJson, Folder, database, examples, new_app
from nest.errors import UserError
from nest.given import read_text
from nest.i18n import tr
from nest.tokens import fingerprint, new_token

app = new_app()

Progress = Callable[[int, int], None]
File = Annotated[Path, typer.Argument(metavar="FILE", help=tr("a backup, as nest backup makes them"))]


@app.command(
    help=tr("Make a new admin token; the old one is void."),
    epilog=examples("nest token ./town"),
)
def token(folder: Folder, as_json: AsJson = False) -> None:
    with database(folder) as engine:
        made = new_admin_token(engine)
    if as_json:
        print(json.dumps({"admin_token": made}))
    else:
        show_admin_token(made)


def new_admin_token(engine: Engine) -> str:
    """Make the operator's token and keep its fingerprint; the one before is void from now on."""
    made = new_token()
    meta.put(engine, meta.ADMIN_TOKEN, fingerprint(made), patience_ms=None)
    return made


def with_password(url: str, file: Path) -> str:
    """A broker's address with the password from a file, or from standard input ("-"): no command line shows it then.

    Raises UserError: the file cannot be read, or no user is in the address.
    """
    text = read_text(file)
    scheme, colon, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if not colon or not at or not user or ":" in user:
        raise UserError(
            tr("A password needs a user in the broker's address, and no other password."),
            tr("Write it as mqtt://user@host:port."),
        )
    return f"{scheme}://{user}:{quote(text.rstrip(chr(10) + chr(13)), safe='')}@{host}"


def show_admin_token(made: str) -> None:
    """The one time that it is shown."""
    print(tr("The admin token, shown this once: {token}", token=made))
    print("→ " + tr("Keep it like a key. A new one: nest token FOLDER"))


@app.command(
    help=tr("Copy a town into one file: settings, keys, readings. The nest may run meanwhile."),
    epilog=examples("nest backup ./town", "nest backup ./town /media/stick/brandis.nest.tar.gz"),
)
def backup(
    folder: Folder,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help=tr("where to; else a name with the date, in this folder"))
    ] = None,
    as_json: AsJson = False,
) -> None:
    settings = town.load(folder)
    named = file or Path(f"{settings.slug}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.nest.tar.gz")
    with _progress(tr("copying")) as progress:
        copies.backup(settings, named, progress)
    size = named.stat().st_size
    if as_json:
        print(json.dumps({"file": str(named), "bytes": size}))
        return
    print(tr("{town} is copied to {file} ({size} MB).", town=settings.name, file=named, size=f"{size / 1e6:.1f}"))
    print("→ " + tr("It holds all keys: keep it where nobody else can read it."))


@app.command(
    help=tr("Put a backup in the place of a town. The nest may run meanwhile and goes on with it."),
    epilog=examples("nest restore brandis-20260501T120000Z.nest.tar.gz ./town"),
)
def restore(
    file: File,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help=tr("the town's folder; made when it is missing"))],
    yes: Annotated[bool, typer.Option("--yes", help=tr("do not ask before a town is replaced"))] = False,
    as_json: AsJson = False,
) -> None:
    if (folder / town.SETTINGS_FILE).exists() and not yes:
        _ask(folder)
    with _progress(tr("restoring")) as progress:
        restored = copies.restore(file, folder, progress)
    if as_json:
        print(json.dumps({"folder": str(folder), "town": restored.slug}))
        return
    print(tr("{town} stands in {folder} as it was when the backup was made.", town=restored.name, folder=folder))
    print("→ " + tr("The restored town.toml counts from the next start of the nest."))


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """`report(done, total)` moves a bar on standard error; only where somebody looks."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


def _ask(folder: Path) -> None:
    """A town is about to be replaced: only by somebody who says so."""
    if not sys.stdin.isatty():
        raise UserError(
            tr("There is a town already: {path}", path=folder),
            tr("To put the backup in its place, say --yes."),
        )
    question = tr("Replace the town in {folder} by the backup? What came since then is lost.", folder=folder)
    typer.confirm(question, abort=True)


@app.command(
    "systemd",
    help=tr("Print a unit file, with which systemd starts the nest, watches over it and shuts it in."),
    epilog=examples(
        "nest systemd ./town | sudo tee /etc/systemd/system/funkspatz.service",
        "nest systemd ./town --user > ~/.config/systemd/user/funkspatz.service",
    ),
)
def print_unit(
    folder: Folder,
    user: Annotated[bool, typer.Option("--user", help=tr("for your own systemd --user, with less protection"))] = False,
) -> None:
    settings = town.load(folder)
    if systemd.vanishes(settings.path):
        warning = tr("{folder} does not outlive a restart, and a service does not see it.", folder=folder)
        print(warning, file=sys.stderr)
        print("→ " + tr("Move the town first, for example to {place}.", place="/var/lib/funkspatz"), file=sys.stderr)
    print(systemd.unit(settings, _command(), user=user), end="")


def _command() -> list[str]:
    """How to start `nest` from anywhere."""
    beside = Path(sys.executable).absolute().with_name("nest")
    if beside.is_file():
        return [str(beside)]
    if found := shutil.which("nest"):
        return [str(Path(found).absolute())]
    return [str(Path(sys.executable).absolute()), "-c", "from nest.cli import main; main()"]
