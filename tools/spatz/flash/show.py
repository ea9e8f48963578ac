"""What a person sees while boards are flashed: a bar for each board at a terminal, plain lines anywhere else, and JSON
lines for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import typer
from nest.i18n import tr

from spatz.flash.one import Done, Event
from spatz.flash.plan import Keys
from spatz.troubles import GOES_ON
from spatz.usb import Port

if TYPE_CHECKING:
    from nest.errors import UserError


class Show(Protocol):
    """Where events go, and the end."""

    def event(self, event: Event) -> None:
        """One thing that happened."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def make_show(as_json: bool) -> Show:
    """The one that fits to where the output goes."""
    if as_json:
        return JsonShow()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return BarShow()
    return PlainShow()


class JsonShow:
    """One JSON object on each line: {"event", "port", …}. Progress is there, too."""

    def event(self, event: Event) -> None:
        """One line."""
        if event.answer is None:
            typer.echo(event.to_json())

    def close(self) -> None:
        """Nothing to do."""


class PlainShow:
    """Lines, for a file or a screen reader; no progress."""

    def event(self, event: Event) -> None:
        """A line, or none."""
        if text := sentence(event):
            typer.echo(text)

    def close(self) -> None:
        """Nothing to do."""


class BarShow:
    """A line with a bar for each board, and above them what was said."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[who]}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[step]}", markup=False),
            console=Console(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def event(self, event: Event) -> None:
        """Move the bar, or say something above it."""
        if event.what == "question":
            self._progress.stop()  # somebody is asked; the next event goes on
            return
        self._progress.start()
        key = event.port.key
        if key not in self._tasks or event.what == "found":
            if key in self._tasks:
                self._progress.remove_task(self._tasks[key])
            self._tasks[key] = self._progress.add_task("", who=event.port.device, step="", total=None)
        task = self._tasks[key]
        if event.what == "node":
            self._progress.update(task, who=f"{event.port.device}  {_named(event)}")
        if event.what == "progress":
            self._progress.update(task, completed=event.fields["done"], total=event.fields["total"])
        if event.what == "done":
            self._progress.update(task, completed=1, total=1)
        if step := _step(event):
            self._progress.update(task, step=step)
        if event.what in ("waiting", "trouble", "slower", "again", "log_aside") and (text := sentence(event)):
            self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """The bars stay as they are."""
        self._progress.stop()


def _named(event: Event) -> str:
    return f"{event.fields['node']} ({event.fields['code']})"


def _step(event: Event) -> str:
    """What is done now, in two or three words."""
    fields = event.fields
    steps: dict[str, Callable[[], str]] = {
        "found": lambda: tr("looking who is there"),
        "chip": lambda: tr("preparing"),
        "waiting": lambda: tr("waiting for you"),
        "node": lambda: tr("writing"),
        "progress": lambda: tr("writing {percent} %", percent=100 * fields["done"] // max(1, fields["total"])),
        "step": lambda: tr("starting"),
        "done": lambda: tr("lives"),
        "again": lambda: tr("was done already"),
        "trouble": lambda: tr("did not work"),
    }
    return steps[event.what]() if event.what in steps else ""


def sentence(event: Event) -> str:
    """An event as a sentence that names the board; "" for what is not worth one."""
    fields = event.fields
    who = event.port.device
    if event.what == "node":
        return tr("{port}: this is {node} ({code}), a {board}.", port=who, **_some(fields, "node", "code", "board"))
    if event.what == "slower":
        return tr("{port}: data arrive damaged; slower now, {baud} baud.", port=who, baud=fields["baud"])
    if event.what == "done":
        lives = tr(
            "{port}: {node} ({code}) lives, after {seconds} s.", port=who, **_some(fields, "node", "code", "seconds")
        )
        return f"{lives} {_became(str(fields['was_board']), str(fields['board']))}" if "was_board" in fields else lives
    if event.what == "log_aside" and fields["why"] == "old":
        return tr("Old readings of {node} cannot be on it; they lie in {file}.", **_some(fields, "node", "file"))
    if event.what == "log_aside":
        return tr("The log of {node} finds no room on it any more; it lies in {file}.", **_some(fields, "node", "file"))
    if event.what == "again":
        return tr("{port}: this board is done already.", port=who)
    if event.what in ("waiting", "trouble"):
        waits = event.what == "waiting" and fields["kind"] in GOES_ON
        goes_on = f"\n  {tr('It goes on then.')}" if waits else ""
        return f"{who}: {fields['message']}\n  → {fields['next_step']}{goes_on}"
    return ""


def _became(was: str, board: str) -> str:
    return tr("It was a {was} and is a {board} now.", was=was, board=board)


def _some(fields: dict[str, object], *names: str) -> dict[str, object]:
    return {name: fields[name] for name in names}


def what_was_done(keys: Keys) -> str:
    """For a person, what became of the keys."""
    return {
        Keys.KEPT: lambda: tr("updated, keys kept"),
        Keys.AGAIN: lambda: tr("mended, its keys written again"),
        Keys.NEW: lambda: tr("new"),
        Keys.TAKEN_OVER: lambda: tr("taken over, new keys"),
        Keys.ERASED: lambda: tr("erased, new keys"),
    }[keys]()


def print_summary(done: Sequence[Done], failed: Sequence[tuple[Port, UserError]]) -> None:
    """The end: a table of what is done, and what comes next."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if done:
        table = Table(tr("Name"), tr("Code"), tr("Board"), tr("What was done"), box=None)
        for node in sorted(done, key=lambda node: node.name):
            table.add_row(node.name, node.code, node.board, what_was_done(node.keys))
        console.print(table)
        for node in done:
            if node.was_board:
                console.print(f"{node.name}: {_became(node.was_board, node.board)}", markup=False, highlight=False)
        for line in done[0].wiring if len(done) + len(failed) == 1 else ():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(tr("Next, labels for them: {command}", command="spatz labels"), markup=False, highlight=False)
    if failed:
        count = len(failed)
        console.print(tr("Boards that did not work: {count}. Their messages are above.", count=count), highlight=False)
