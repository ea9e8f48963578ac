"""What the operator's part of the web side stands on: metrics, health and the admin API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine


@dataclasses.dataclass(frozen=True, slots=True)
class Operations:
    """`snapshot` is `nest.status.snapshot` of this moment; it is called in the event loop and must not wait."""

    engine: Engine
    snapshot: Callable[[], dict[str, Any]]
