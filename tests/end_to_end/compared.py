"""What a town's archive has, reading by reading, beside what the weather was when its node measured."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field

from nest.archive import codes, schema
from sqlalchemy import select

from .whole_town import BEGAN, DAY_S, Measured, Town

NEAR_S = 2000.0
"""A reading is looked for among those measured so near to its time. The time of recovered ones is estimated, on a
straight line from frame to frame; beside a reset, after which a node measures at once, that is wrong by an interval."""


@dataclass
class Comparison:
    """`made`: readings that the archive can know of; `came`: those that are there, by origin; `errors_s`: by origin,
    how far the time of each is from the moment of measuring; `invented`: times of rows that are no reading of the node,
    or one that another row is already; `missing`: moments of readings that are not there, `unknown` those of them for
    which no gap stands; `cut_off`: how many the node has never written."""

    came: Counter[str] = field(default_factory=Counter)
    errors_s: dict[str, list[float]] = field(default_factory=dict)
    invented: list[float] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    cut_off: int = 0
    made: int = 0

    def share(self, what: str) -> float:
        """Per cent of the readings that were made."""
        return 100 * (len(self.missing) if what == "missing" else self.came[what]) / self.made

    def told(self) -> str:
        """In one line."""
        shares = ", ".join(
            f"{what} {self.share(what):.2f} %" for what in ("heard", "recovered", "backfilled", "missing")
        )
        errors = "; ".join(
            f"{how} {_at(errors, 0.5):.2f} s, {_at(errors, 0.99):.2f} s, {max(errors):.2f} s"
            for how, errors in self.errors_s.items()
            if errors
        )
        return f"{self.made} readings: {shares}. Error of the time (median, 99 %, most): {errors}"


def compare(town: Town, until_s: float | None = None) -> Comparison:
    """`until_s`: only readings measured before it count; without, those before the last frame heard."""
    readings, gaps = schema.readings, schema.gaps
    with town.engine.begin() as connection:
        rows = connection.execute(select(readings.c.time, readings.c.origin, readings.c.codes)).all()
        standing = sorted(
            time / 1000 for (time,) in connection.execute(select(gaps.c.time).where(gaps.c.state.in_(schema.MISSING)))
        )
    heard = sorted(row.time / 1000 for row in rows if row.origin == schema.HEARD)
    until = heard[-1] + 30 if until_s is None else BEGAN + until_s
    made = [reading for reading in town.measured if not reading.cut_off]
    taken: set[int] = set()
    result = Comparison(cut_off=len(town.measured) - len(made))
    truths = [codes.pack({**_codes(town, reading), **_battery(town, reading)}) for reading in made]
    times = [reading.time for reading in made]
    for row in sorted(rows, key=lambda row: row.origin):
        index = _of(row.time / 1000, bytes(row.codes), times, truths, taken)
        if index is None:
            result.invented.append(row.time / 1000)
            continue
        taken.add(index)
        if times[index] < until:
            how = schema.ORIGIN_NAMES[row.origin]
            result.came[how] += 1
            result.errors_s.setdefault(how, []).append(abs(row.time / 1000 - times[index]))
    result.made = sum(time < until for time in times)
    result.missing = [time for index, time in enumerate(times) if time < until and index not in taken]
    result.unknown = _unknown(result.missing, standing, heard)
    return result


def _codes(town: Town, reading: Measured) -> dict[str, int]:
    return codes.from_values(town.truth(reading.time))


def _battery(town: Town, reading: Measured) -> dict[str, int]:
    return codes.from_values({"battery": town.battery(reading.time)})


def _of(time: float, packed: bytes, times: list[float], truths: list[bytes], taken: set[int]) -> int | None:
    """The measured reading that a row is: the nearest with these values that no other row is."""
    near = range(bisect.bisect(times, time - NEAR_S), bisect.bisect(times, time + NEAR_S))
    fitting = [index for index in near if truths[index] == packed and index not in taken]
    return min(fitting, key=lambda index: abs(times[index] - time), default=None)


def _unknown(missing: list[float], standing: list[float], heard: list[float]) -> list[float]:
    """Those for which no gap stands between the frames beside them."""
    edges = [0.0, *heard, BEGAN + 400.0 * DAY_S]
    left = Counter(bisect.bisect(edges, time) for time in standing)
    unknown = []
    for time in missing:
        place = bisect.bisect(edges, time)
        if left[place]:
            left[place] -= 1
        else:
            unknown.append(time)
    return unknown


def _at(values: list[float], share: float) -> float:
    return sorted(values)[round(share * (len(values) - 1))]
