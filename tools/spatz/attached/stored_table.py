"""The readings of a node's log as a table for people, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from nest.i18n import tr
from rich.console import Console
from rich.table import Table

from spatz.attached.stored import Stored


def show(name: str, readings: Sequence[Stored]) -> None:
    """Print them."""
    print(tr("{name} has written down {count} readings.", name=name, count=len(readings)))
    if not readings:
        return
    quantities = quantities_of(readings)
    table = Table(tr("Time"), tr("Frame"), *quantities, box=None)
    for reading in readings:
        table.add_row(
            _moment(reading), str(reading.frame[1]) if reading.frame else "–", *_cells(reading, quantities, "–")
        )
    Console(highlight=False, markup=False).print(table)


def csv_of(readings: Sequence[Stored]) -> str:
    """One line each, with the time in UTC; empty where there is nothing."""
    quantities = quantities_of(readings)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["time", "start", "start_s", "session", "fcnt", *quantities])
    for reading in readings:
        said = reading.to_json()
        head = ["" if said[key] is None else said[key] for key in ("time", "start", "start_s", "session", "fcnt")]
        table.writerow([*head, *_cells(reading, quantities, "")])
    return text.getvalue()


def quantities_of(readings: Sequence[Stored]) -> list[str]:
    """Every quantity that is in one of them, in the order of the first that has it."""
    names: dict[str, None] = {}
    for reading in readings:
        names |= dict.fromkeys([*reading.values, *reading.failed, *reading.out_of_range])
    return list(names)


def _cells(reading: Stored, quantities: Sequence[str], nothing: str) -> list[str]:
    return [_cell(reading, name, nothing) for name in quantities]


def _cell(reading: Stored, name: str, nothing: str) -> str:
    if name in reading.values:
        return f"{reading.values[name]:.10g}"
    if name in reading.failed:
        return "failed"
    return "out_of_range" if name in reading.out_of_range else nothing


def _moment(reading: Stored) -> str:
    if reading.at:
        return f"{reading.at.astimezone():%Y-%m-%d %H:%M:%S}"
    return tr("{seconds} s after start {start}", seconds=f"{reading.start_s:.0f}", start=reading.start)
