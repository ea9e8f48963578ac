"""`spatz update`, `shell`, `logs`, `identify`, `doctor`: what can be done with a node at the USB socket."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from nest.errors import EXIT_USER_ERROR, UserError
from nest.i18n import tr
from nest.logs import printable

if TYPE_CHECKING:
    from spatz.attached.identify import Who
    from spatz.attached.updating import Request, Result
    from spatz.usb import Port

PortArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PORT]", help=tr("Port, serial number, or name of the node; none is needed for the only board.")
    ),
]
PortArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PORT]...", help=tr("Ports, serial numbers, or names of nodes; none is needed for the only board.")
    ),
]
Town = Annotated[
    Path | None,
    typer.Option("--town", metavar="DIR", help=tr("The town's folder; without it SPATZ_TOWN, or the current folder.")),
]
PutAside = Annotated[
    Path | None,
    typer.Option("--file", help=tr("With --stored: of this file, which spatz flash has put aside, instead of a node.")),
]
Everyone = Annotated[bool, typer.Option("--all", help=tr("Every board that is plugged in."))]
AsJson = Annotated[bool, typer.Option("--json", help=tr("Machine-readable output."))]

_MOST_LINES = 12
_LET_GO_S = 20.0  # for all boards, at the end; after that a signal ends the program as any other
_LOOK_S = 0.2  # on Windows, Ctrl-C does not end a wait without an end
Done = TypeVar("Done")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for name, command, text, examples in _COMMANDS:
        epilog = "\n\n".join([tr("Examples:"), *(f"[bold]{example}[/bold]" for example in examples)])
        app.command(name, help=text, epilog=epilog)(command)


# --- spatz update -----------------------------------------------------------------------------------------------------


def update(
    ports: PortArguments = None,
    town: Town = None,
    interval: Annotated[
        int | None, typer.Option("--interval", min=5, max=86_400, help=tr("Seconds between two readings from now on."))
    ] = None,
    sensor: Annotated[
        list[str] | None,
        typer.Option("--sensor", metavar="SENSOR", help=tr('A sensor from now on, or "none"; may be given again.')),
    ] = None,
    parity: Annotated[
        int | None,
        typer.Option("--parity", min=0, max=4, help=tr("Symbols in every frame that heal lost ones, 0 to 4.")),
    ] = None,
    confirmed: Annotated[
        bool | None, typer.Option("--confirmed/--no-confirmed", help=tr("Whether it asks for an acknowledgement."))
    ] = None,
    fair_use: Annotated[
        int | None,
        typer.Option("--fair-use", min=0, max=864, help=tr("Seconds on air per day that a shared network allows.")),
    ] = None,
    antenna_gain: Annotated[
        float | None, typer.Option("--antenna-gain", metavar="DBI", help=tr("Gain of another antenna, in dBi."))
    ] = None,
    safe_window: Annotated[
        int | None,
        typer.Option("--safe-window", min=0, max=3600, help=tr("Seconds after power-on in which it stays reachable.")),
    ] = None,
    join_dr: Annotated[
        int | None, typer.Option("--join-dr", min=0, max=5, help=tr("The fastest data rate for joining, 0 to 5."))
    ] = None,
    all_: Everyone = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=tr("Only show what would be done."))] = False,
    as_json: AsJson = False,
) -> None:
    """Bring firmware and settings of a node up to date."""
    from spatz.attached.town import town_folder
    from spatz.attached.updating import Request

    asked = {
        "interval_s": interval,
        "sensors": tuple(sensor) if sensor else None,
        "parity": parity,
        "confirmed": confirmed,
        "fair_use_s": fair_use,
        "antenna_gain_dbi": antenna_gain,
        "safe_window_s": safe_window,
        "join_dr": join_dr,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    request = Request(changes, town_folder(town), dry_run)
    chosen = _chosen(ports or [], all_=all_, as_json=as_json, town=town)
    failed = False
    ending = threading.Event()
    with _Progress(chosen, as_json) as progress:
        job = functools.partial(_update_one, request=request, progress=progress, ending=ending)
        for port, done in _each(chosen, job, ending):
            failed |= isinstance(done, UserError) or done.running is False
            progress.tell(port, done)
    if failed:
        raise typer.Exit(EXIT_USER_ERROR)


def _update_one(port: Port, request: Request, progress: _Progress, ending: threading.Event) -> Result:
    from spatz.attached.updating import update_board

    return update_board(port, request, say=progress.say(port), progress=progress.bar(port), ending=ending)


class _Progress:
    """Bars while nodes are updated, and what became of each as soon as it is known."""

    def __init__(self, ports: Sequence[Port], as_json: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn
        from rich.progress import Progress as Bars

        self._as_json = as_json
        self._several = len(ports) > 1
        self._console = Console(stderr=True, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            console=self._console,
            transient=True,
            disable=as_json or not self._console.is_terminal,
        )

    def __enter__(self) -> _Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, port: Port) -> Callable[[str], None]:
        """For a sentence while it is going on."""

        def say(text: str) -> None:
            text = f"{port.device}: {text}" if self._several else text
            self._console.print(text, markup=False, soft_wrap=True)

        return say

    def bar(self, port: Port) -> Callable[[int, int], None]:
        """For bytes that are there, of how many."""
        bar = self._bars.add_task(port.device, total=None, visible=False)
        return lambda done, total: self._bars.update(bar, completed=done, total=total, visible=True)

    def tell(self, port: Port, done: Result | UserError) -> None:
        """What became of one node."""
        if self._as_json:
            print(json.dumps(_failed_json(port, done) if isinstance(done, UserError) else done.to_json()), flush=True)
            return
        if isinstance(done, UserError):
            if not self._several:
                raise done
            print(f"{port.device}: {done.message}", file=sys.stderr)
            print(f"→ {done.next_step}", file=sys.stderr)
            return
        for line in [*_told(done), *(() if self._several or done.running is False else done.wiring)]:
            print(line)


def _told(result: Result) -> list[str]:
    """What was done with a node, as lines."""
    name = result.wishes.name
    if not result.plan:
        lines = [tr("{name}: everything is as it should be, nothing to do.", name=name)]
    else:
        count = len(result.plan.send) + len(result.plan.remove)
        lines = [tr("{name} ({board}): {count} files", name=name, board=result.wishes.board, count=count)]
        rows = [(tr(change.why), change.path) for change in result.plan.send]
        rows += [(tr("removed"), printable(path)) for path in result.plan.remove]
        lines += [f"  {why:10} {path}" for why, path in rows[:_MOST_LINES]]
        if len(rows) > _MOST_LINES:
            lines.append("  " + tr("and {count} more", count=len(rows) - _MOST_LINES))
    if result.in_town is False:
        lines.append(tr("The town does not know this node; its settings are kept on the node alone."))
    if result.dry_run:
        lines.append(tr("Nothing was changed. Leave out --dry-run to do it."))
    elif result.running:
        lines.append(tr("{name} runs again ({seconds} s).", name=name, seconds=f"{result.seconds:.1f}"))
    elif result.running is False:
        lines.append(tr("{name} does not say its name afterwards: {words}", name=name, words=result.last_words or "–"))
        lines.append("→ " + tr("Look at it: spatz doctor"))
    return lines


# --- spatz shell, logs, identify --------------------------------------------------------------------------------------


def shell(port: PortArgument = None) -> None:
    """MicroPython's prompt on a node."""
    from spatz.attached.shell import shell as library

    (chosen,) = _one(port, as_json=False)
    typer.echo(tr("Leave with Ctrl-]. Ctrl-C interrupts the node's program, Ctrl-D starts it again."))
    raise typer.Exit(library(chosen, typer.echo))


def logs(
    port: PortArgument = None,
    follow: Annotated[bool, typer.Option("--follow", help=tr("What the node prints (the default)."))] = False,
    is_stored: Annotated[
        bool, typer.Option("--stored", help=tr("The readings that the node has written down, heard or not."))
    ] = False,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help=tr("End after this time."))] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help=tr("With --stored: a table for spreadsheets."))] = False,
    file: PutAside = None,
    as_json: AsJson = False,
) -> None:
    """What a node prints, or has written down."""
    if is_stored and (follow or seconds is not None):
        raise UserError(tr("--stored ends by itself."), tr("Leave --follow and --seconds out."))
    if file and (port or not is_stored):
        raise UserError(
            tr("--file needs --stored, and no node."), tr("Say: spatz logs --stored --file {file}", file=file)
        )
    chosen = file or _one(port, as_json=as_json or as_csv)[0]
    if is_stored or isinstance(chosen, Path):
        _show_stored(chosen, as_csv=as_csv, as_json=as_json)
        return
    from spatz.attached import logs as library

    for line in library.follow(chosen, seconds):
        if as_json:
            moment = line.at.isoformat(timespec="milliseconds")
            print(json.dumps({"time": moment, "line": line.text}), flush=True)
        else:
            print(f"{line.at:%H:%M:%S}  {line.text}", flush=True)


def _show_stored(of: Port | Path, *, as_csv: bool, as_json: bool) -> None:
    from spatz.attached import logs as library
    from spatz.attached import put_aside, stored_table

    if isinstance(of, Path):
        name, found = put_aside.read_put_aside(of)
    else:
        with _Progress([of], as_json or as_csv) as progress, _explained(of):
            name, found = library.read_stored(of, say=progress.say(of), progress=progress.bar(of))
    if as_json:
        print(json.dumps({"name": name, "readings": [reading.to_json() for reading in found]}))
    elif as_csv:
        sys.stdout.write(stored_table.csv_of(found))
    else:
        stored_table.show(name, found)


def identify(
    ports: PortArguments = None,
    all_: Annotated[bool, typer.Option("--all", help=tr("Every board, one after the other."))] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help=tr("Stop after this time."))] = 60,
    as_json: AsJson = False,
) -> None:
    """Let the light of a board flicker."""
    from spatz.attached import identify as library
    from spatz.attached.enter import Enter

    failed = False
    enter = Enter()
    for port in _chosen(ports or [], all_=all_, as_json=as_json):
        seen = enter.watch()

        def met(who: library.Who) -> None:
            print(json.dumps(who.to_json()) if as_json else _introduced(who), flush=True)

        try:
            with _explained(port):
                library.identify(port, met, seen, for_s=seconds, say=functools.partial(print, file=sys.stderr))
        except UserError as error:
            if not all_:
                raise
            failed = True
            if as_json:
                print(json.dumps(_failed_json(port, error)), flush=True)
            else:
                print(f"{port.device}: {error}", file=sys.stderr)
    if failed:
        raise typer.Exit(EXIT_USER_ERROR)


def _introduced(who: Who) -> str:
    name = " ".join(part for part in (who.name or tr("a board without a name"), who.code) if part)
    if not who.light:
        return tr("{name} at {port}: it has no light that can be switched.", name=name, port=who.port)
    return tr("{name} at {port}: its light flickers now. Found it? Press Enter.", name=name, port=who.port)


# --- spatz doctor -----------------------------------------------------------------------------------------------------


def doctor(port: PortArgument = None, town: Town = None, as_json: AsJson = False) -> None:
    """What is wrong with a node, and what to do."""
    from spatz.cli_doctor import run

    run(port, town, as_json=as_json)


# --- what they share --------------------------------------------------------------------------------------------------


def _chosen(typed: Sequence[str], *, all_: bool, as_json: bool, town: Path | None = None) -> list[Port]:
    from spatz.attached.select import choose_ports

    return choose_ports(typed, all_=all_, ask=False if as_json else None, named=named_by(town))


def named_by(town: Path | None) -> Callable[[Port], str | None]:
    """How a node is found by its name. Only a single board is reset for it: others may be at work."""
    from spatz.attached.naming import name_of
    from spatz.attached.town import town_folder
    from spatz.usb import boards_at_usb

    alone = len(boards_at_usb()) < 2
    say = functools.partial(print, file=sys.stderr)
    return functools.partial(name_of, folder=town_folder(town), may_reset=alone, say=say)


def _one(typed: str | None, *, as_json: bool) -> list[Port]:
    chosen = _chosen([typed] if typed else [], all_=False, as_json=as_json)
    if len(chosen) > 1:
        raise UserError(tr("This is done with one board at a time."), tr("Name one of them."))
    return chosen


def _each(
    ports: Sequence[Port], job: Callable[[Port], Done], ending: threading.Event
) -> Iterator[tuple[Port, Done | UserError]]:
    """(port, what the job gave, or its UserError) of each, as they come; none waits for another. ending: is set when
    the jobs shall end early, which they do by KeyboardInterrupt."""
    from spatz.attached import signals

    def one(port: Port) -> Done | UserError:
        try:
            with _explained(port):
                return job(port)
        except UserError as error:
            return error

    if len(ports) == 1:  # here, where Ctrl-C arrives
        yield ports[0], one(ports[0])
        return
    pool = ThreadPoolExecutor(max_workers=len(ports))
    with signals.as_interrupt():
        jobs = {pool.submit(one, port): port for port in ports}
        try:
            left = set(jobs)
            while left:
                done, left = wait(left, _LOOK_S, FIRST_COMPLETED)
                for future in done:
                    yield jobs[future], future.result()
        finally:
            with signals.put_off():  # pressed once more it would leave nodes at their prompt
                ending.set()
                if not all(future.done() for future in jobs):
                    print(tr("Ending; the nodes are let go."), file=sys.stderr, flush=True)
                stuck = wait(jobs, _LET_GO_S).not_done
                pool.shutdown(wait=not stuck, cancel_futures=True)


@contextlib.contextmanager
def _explained(port: Port) -> Iterator[None]:
    """What nobody has foreseen is a Trouble of this one board, too, and not the end of the others."""
    from spatz.troubles import explain

    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise explain(error, port) from error


def _failed_json(port: Port, error: UserError) -> dict[str, Any]:
    return {
        "port": port.device,
        "trouble": getattr(error, "kind", "unknown"),
        "message": error.message,
        "next_step": error.next_step,
    }


_COMMANDS: tuple[tuple[str, Callable[..., None], str, tuple[str, ...]], ...] = (
    (
        "update",
        update,
        tr("Bring firmware and settings of a node up to date over USB: only what changed; key and log stay."),
        (
            "spatz update",
            "spatz update --interval 900 --parity 2",
            "spatz update amsel --sensor bme280 --sensor rain",
            "spatz update --all --town ./town --json",
        ),
    ),
    ("shell", shell, tr("MicroPython's prompt on a node."), ("spatz shell", "spatz shell amsel")),
    (
        "logs",
        logs,
        tr("What a node prints, with the time; or the readings that it has written down."),
        ("spatz logs", "spatz logs --stored", "spatz logs amsel --stored --csv > amsel.csv"),
    ),
    (
        "identify",
        identify,
        tr("Which board is it? Its light flickers, and you see its name and the short code of its label."),
        ("spatz identify", "spatz identify --all", "spatz identify amsel --seconds 10"),
    ),
    (
        "doctor",
        doctor,
        tr("It does not work? Cable, driver, MicroPython, files, key, radio, sensors: what is wrong, and what to do."),
        ("spatz doctor", "spatz doctor amsel --town ./town", "spatz doctor --json"),
    ),
)
