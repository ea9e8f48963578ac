"""`nest rebuild` and `nest redecode`: the archive made again from its files, and readings again from raw frames."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from nest import town
from nest.archive import day_files, schema
from nest.archive.copies import nobody_runs
from nest.archive.database import database_errors, open_database
from nest.archive.day_files_folder import NAME as DATA
from nest.archive.day_files_folder import DataFolder
from nest.archive.rebuild import RebuiltDay
from nest.archive.snapshots import Progress
from nest.cli_common import AsJson, Folder, database
from nest.errors import UserError
from nest.i18n import tr

Into = Annotated[
    Path | None, typer.Option(metavar="NEW_FOLDER", help=tr("make a new town there, and leave the old one as it is"))
]
SomeNodes = Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help=tr("only these nodes"))]


def rebuild(folder: Folder, into: Into = None, as_json: AsJson = False) -> None:
    """Readings, gaps and nodes' names, out of `data/` of the town's folder."""
    from nest.archive.rebuild import rebuild as bring_in

    source = folder / DATA
    settings = _target(folder, into or folder)
    title = (settings.slug, settings.name)
    done: list[RebuiltDay] = []

    def report(day: RebuiltDay) -> None:
        done.append(day)
        if not as_json:
            print(
                tr(
                    "{node} {day}: {readings} readings, {missing} missing, SHA-256 {sum} in file and database",
                    node=day.slug, day=day_files.date_of(day.day), readings=day.readings, missing=day.missing,
                    sum=day.sha256,
                )
            )  # fmt: skip

    with _nobody_runs(settings.path):
        engine = open_database(settings.database)
        try:
            with database_errors(settings.database), _progress(tr("rebuilding")) as progress:
                target = None if into is None else DataFolder(settings.path / DATA, title)
                bring_in(DataFolder(source, title), source, engine, report, progress, target)
        finally:
            engine.dispose()
    nodes, readings = len({day.slug for day in done}), sum(day.readings for day in done)
    if as_json:
        days = [{**day._asdict(), "day": day_files.date_of(day.day)} for day in done]
        print(json.dumps({"folder": str(settings.path), "days": days}))
        return
    print(
        tr(
            "{readings} readings of {nodes} nodes on {days} days are back, each day equal to its file.",
            readings=readings, nodes=nodes, days=len(done),
        )
    )  # fmt: skip
    print("→ " + tr("Keys are in no public file: add each node again under its name, and it finds its readings."))


def redecode(
    folder: Folder,
    nodes: SomeNodes = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help=tr("only readings from this UTC day on, for example 2026-05-01"))
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=tr("say what would be done, and do nothing"))] = False,
    as_json: AsJson = False,
) -> None:
    """Decode the raw frames again, healing included."""
    from nest.archive.redecode import Redecoder
    from nest.registry import Registry, unknown_node

    day = None if since is None else day_files.day_of(since)
    if since is not None and day is None:
        raise UserError(tr("{text} is no day.", text=repr(since)), tr("Write it as year, month and day: 2026-05-01"))
    with database(folder) as engine:
        known = {node.slug for node in Registry(engine).list()}
        for slug in nodes or ():
            if slug not in known:
                raise unknown_node(slug)
        redecoder = Redecoder(engine, since=None if day is None else day * schema.DAY_MS, dry_run=dry_run)
        with _progress(tr("decoding")) as progress:
            done = redecoder.run(nodes or (), progress)
    if as_json:
        print(json.dumps({"dry_run": dry_run, **dataclasses.asdict(done)}))
        return
    print(tr("{frames} frames decoded again:", frames=done.frames))
    for number, what in (
        (done.same, tr("{n} readings are as they were")),
        (done.corrected, tr("{n} corrected")),
        (done.added, tr("{n} added that their frames had brought")),
        (done.recovered, tr("{n} recovered anew from parity")),
        (done.backfilled, tr("{n} added from the logs of nodes")),
        (done.undecodable, tr("{n} frames cannot be decoded")),
        (done.unexplained, tr("{n} readings differ and cannot be explained; they stay as they are")),
    ):
        print("  " + what.format(n=number))
    if dry_run:
        print("→ " + tr("Nothing was changed. Leave out --dry-run to do it."))


def _target(folder: Path, target: Path) -> town.Town:
    """The town whose database is filled; made where it is new, with the settings of the old one."""
    if target != folder and not (target / town.SETTINGS_FILE).exists() and (folder / town.SETTINGS_FILE).exists():
        if target.exists() and any(target.iterdir()):
            raise UserError(
                tr("{folder} is there, and it is no town.", folder=target),
                tr("Choose a new folder, or that of a town."),
            )
        try:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(folder / town.SETTINGS_FILE, target / town.SETTINGS_FILE)
            (target / town.SETTINGS_FILE).chmod(0o600)
        except OSError as error:
            raise UserError(
                tr("{path} cannot be written: {reason}.", path=target, reason=error.strerror),
                tr("Choose a folder that belongs to you."),
            ) from error
    return town.load(target)


def _nobody_runs(folder: Path) -> AbstractContextManager[None]:
    running = UserError(
        tr("This town is running already: {folder}", folder=folder),
        tr("End that nest first, or choose another folder: --into NEW_FOLDER"),
    )
    return nobody_runs(folder, running)


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """`report(done, total)` moves a bar on standard error; only where somebody looks."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
