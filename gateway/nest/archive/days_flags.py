"""Which values of a day are doubtful. Pure; the limits of each quantity stand in `boards/quantities.toml` (`doubt`).
A doubtful value is flagged and stays what it is: a firework is no error, and people decide.

- *spike*: a jump and a return, both larger than the quantity makes them from one value to the next.
- *stuck*: the same code has stood there for hours, of a quantity that always moves; the first hours are not flagged.
- *neighbours*: far from the median of what at least three nodes nearby have measured in that hour.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from nest.archive.schema import NEIGHBOURS, SPIKE, STUCK
from nest.quantities import Quantity, all_quantities

HOUR_MS = 3_600_000
APART_MS = 3 * HOUR_MS  # values with more than this between them say nothing about what was between them
LEAST_NEIGHBOURS = 3
# how far a day's flags look back, and ahead
BEFORE_MS = round(max(quantity.doubt.stuck_h for quantity in all_quantities()) * HOUR_MS) + HOUR_MS
BEHIND_MS = APART_MS
_EARTH_KM = 6371.0

Series = Sequence[tuple[int, int]]  # time (ms) and code, by time


def flags(
    series: Mapping[Quantity, Series], start: int, end: int, means: Mapping[tuple[str, int], Sequence[float]]
) -> dict[tuple[int, str], int]:
    """(time, quantity) -> bits, of start <= time < end (ms). `series`: with what was before and behind, good values
    only; `means`: (quantity, beginning of an hour) -> what each of the neighbours has measured in it."""
    found: dict[tuple[int, str], int] = {}
    for quantity, values in series.items():
        for time, bits in _of(quantity, values, start, end, means).items():
            found[time, quantity.name] = bits
    return found


def _of(
    quantity: Quantity, series: Series, start: int, end: int, means: Mapping[tuple[str, int], Sequence[float]]
) -> dict[int, int]:
    doubt = quantity.doubt
    found: dict[int, int] = {}
    jump = doubt.spike / quantity.resolution
    stuck_ms = doubt.stuck_h * HOUR_MS
    since = series[0][0] if series else 0  # since when this code has stood there
    for at, (time, code) in enumerate(series):
        if at and (code != series[at - 1][1] or time - series[at - 1][0] > APART_MS):
            since = time  # nobody knows what it did while nothing was heard
        if not start <= time < end:
            continue
        bits = 0
        if jump and 0 < at < len(series) - 1 and _is_spike(series[at - 1], (time, code), series[at + 1], jump):
            bits |= SPIKE
        if stuck_ms and time - since >= stuck_ms:
            bits |= STUCK
        nearby = means.get((quantity.name, time // HOUR_MS * HOUR_MS), ()) if doubt.apart else ()
        if len(nearby) >= LEAST_NEIGHBOURS and abs(quantity.value(code) - statistics.median(nearby)) > doubt.apart:
            bits |= NEIGHBOURS
        if bits:
            found[time] = bits
    return found


def _is_spike(before: tuple[int, int], here: tuple[int, int], behind: tuple[int, int], jump: float) -> bool:
    if here[0] - before[0] > APART_MS or behind[0] - here[0] > APART_MS:
        return False
    up, down = here[1] - before[1], here[1] - behind[1]
    return min(abs(up), abs(down)) > jump and (up > 0) == (down > 0)


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Between two places (degrees north, degrees east), on a sphere."""
    north, other_north = math.radians(here[0]), math.radians(there[0])
    half = math.sin((other_north - north) / 2) ** 2
    half += math.cos(north) * math.cos(other_north) * math.sin(math.radians(there[1] - here[1]) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
