"""What a person sees while a simulation runs: a live table on a terminal, one line per happening elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from nest.i18n import language_of_locale, tr
from rich.console import Console
from rich.live import Live
from rich.table import Table

from spatz.sim.simulation import NodeReport
from spatz.sim.supervisor import Event

ROWS = 30
"""A live table with more rows than the screen flickers; of a larger flock the first nodes are shown."""


class Progress:
    """Feed it events; it shows them on `console` (rich obeys NO_COLOR), or nothing at all when `quiet`."""

    def __init__(self, console: Console, names: Sequence[str], *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._doing = dict.fromkeys(names, "")

    @contextlib.contextmanager
    def shown(
        self,
        reports: Mapping[str, NodeReport],
        extra: Mapping[str, str] | None = None,
        came: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Iterator[None]:
        """Show the table while the block runs; by node, `extra` is a last column (the latest reading), `came` how many
        of its readings were recovered, backfilled, and are missing."""
        if self._quiet or not self._console.is_terminal:
            yield
            return

        def draw() -> Table:
            return self._table(reports, extra, came)

        with Live(get_renderable=draw, console=self._console, refresh_per_second=4, transient=True) as self._live:
            yield
        self._live = None

    def note(self, event: Event) -> None:
        """Something happened to a node."""
        what = _doing().get(event.kind)
        if what is not None:
            self._doing[event.node] = what
        if event.kind == "joined":
            self._line(tr("{node} has joined.", node=event.node))
        elif event.kind == "faster":
            first, now = event.detail.split()
            self.say(
                tr(
                    "{node} now sends at {now} instead of {first}: the nest has told it so (ADR).",
                    node=event.node,
                    now=now,
                    first=first,
                )
            )
        elif event.kind == "crashed":
            self.say(tr("{node} stopped unexpectedly ({detail}) and starts again.", **_of(event)))
        elif event.kind == "fault":
            self.say(tr("{node}: the emulated hardware objects: {detail}", **_of(event)))

    def say(self, text: str) -> None:
        """A line that matters: on a terminal above the table."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def table(
        self,
        reports: Mapping[str, NodeReport],
        extra: Mapping[str, str] | None = None,
        came: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """The table once more, to stay."""
        if not self._quiet:
            self._console.print(self._table(reports, extra, came, len(reports)))

    def _line(self, text: str) -> None:
        if self._live is None:  # on a terminal the table shows it
            self.say(text)

    def _table(
        self,
        reports: Mapping[str, NodeReport],
        extra: Mapping[str, str] | None,
        came: Mapping[str, Mapping[str, int]] | None,
        rows: int = ROWS,
    ) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in (tr("node"), tr("joined"), tr("sent"), tr("heard"), tr("data rate"), tr("state")):
            table.add_column(heading)
        for heading in (tr("healed"), tr("fetched"), tr("lacking")) if came is not None else ():
            table.add_column(heading)
        if extra is not None:
            table.add_column(tr("latest reading"))
        for name, report in list(reports.items())[:rows]:
            joined = (
                tr("after {seconds} s", seconds=number(report.joined_s, ".1f")) if report.joined_s is not None else "–"
            )
            cells = [
                name,
                joined,
                str(report.uplinks),
                str(report.heard),
                _data_rate(report),
                self._doing.get(name, ""),
            ]
            if came is not None:
                of_node = came.get(name, {})
                cells += [
                    str(of_node[how]) if how in of_node else "–" for how in ("recovered", "backfilled", "missing")
                ]
            table.add_row(*cells, *([extra.get(name, "")] if extra is not None else []))
        if len(reports) > rows:
            table.add_row(tr("and {count} more", count=len(reports) - rows))
        return table


def _data_rate(report: NodeReport) -> str:
    """As it is on the air, and what it was at first."""
    if report.sf_now is None:
        return "–"
    if report.sf_first in (None, report.sf_now):
        return f"SF{report.sf_now}"
    return f"SF{report.sf_first} → SF{report.sf_now}"


def number(value: float, form: str = "g") -> str:
    """A number for a person: German has a decimal comma."""
    text = format(value, form)
    return text.replace(".", ",") if language_of_locale() == "de" else text


def _of(event: Event) -> dict[str, str]:
    return {"node": event.node, "detail": event.detail}


def _doing() -> dict[str, str]:
    """Event -> what the node does from then on."""
    return {
        "boot": tr("awake"),
        "joined": tr("awake"),
        "deepsleep": tr("asleep"),
        "cut": tr("without power"),
        "crashed": tr("starts again"),
        "fault": tr("starts again"),
        "ended": tr("at the prompt"),
    }
