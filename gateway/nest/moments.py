"""Moments as the nest keeps them (Unix milliseconds), writes them for others (ISO 8601), and says them to people."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from nest.i18n import translate

# (below this age in seconds, seconds per unit, message); the last one has no end
AGES: tuple[tuple[float, int, str], ...] = (
    (60, 1, "{n} s ago"),
    (3600, 60, "{n} min ago"),
    (48 * 3600, 3600, "{n} h ago"),
    (float("inf"), 86400, "{n} days ago"),
)


def now_ms() -> int:
    """This moment in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def iso(unix_s: float) -> str:
    """ISO 8601 in UTC with milliseconds: `2026-05-01T12:00:00.250Z`, cut and not rounded, so never in the future."""
    milliseconds = int(unix_s * 1000 + 1e-4)  # 1e-4 ms: what a double loses of a whole millisecond
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def age(seconds: float, language: str) -> str:
    """How long ago: `12 s ago`, `vor 12 s`. A reading from the future (a clock that was set) is 0 s old."""
    seconds = max(0.0, seconds)
    for below, unit, message in AGES:
        if seconds < below:
            return translate(message, language).format(n=int(seconds // unit))
    raise AssertionError("the last row of AGES has no end")
