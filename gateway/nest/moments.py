"""Moments as the nest keeps them (Unix milliseconds) and as it writes them for others (ISO 8601)."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """This moment in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def iso(unix_s: float) -> str:
    """ISO 8601 in UTC with milliseconds: `2026-05-01T12:00:00.250Z`, cut and not rounded, so never in the future."""
    milliseconds = int(unix_s * 1000 + 1e-4)  # 1e-4 ms: what a double loses of a whole millisecond
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
