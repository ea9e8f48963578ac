"""What the operator's part of the web side stands on: metrics, health and the admin API."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

Told = Callable[[], dict[str, Any]]


def remembered(tell: Told, seconds: float) -> Told:
    """`tell`, asked at most once in `seconds`: however many ask the nest how it is, it is not kept from its work."""
    last: list[tuple[float, dict[str, Any]]] = []

    def told() -> dict[str, Any]:
        now = time.monotonic()
        if not last or now - last[0][0] >= seconds:
            last[:] = [(now, tell())]
        return last[0][1]

    return told


@dataclasses.dataclass(frozen=True, slots=True)
class Operations:
    """`snapshot` is `nest.status.snapshot` of this moment; it is called in the event loop and must not wait.
    `join_eui`: the town's, of nodes that are registered without one."""

    engine: Engine
    snapshot: Told
    join_eui: bytes = bytes(8)
