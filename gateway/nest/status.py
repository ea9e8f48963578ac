"""How the nest is doing: one snapshot, kept in the database while it runs, so that `nest status` needs no server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, delete, insert, select

from nest.archive.database import writing
from nest.archive.schema import status
from nest.forwarders.semtech_udp import Gateway
from nest.moments import now_ms

_PART = "nest"
HEARTBEAT_S = 30.0  # how often an idle nest says that it lives

_PATIENCE_MS = 100  # the event loop waits with us, and the next snapshot comes soon

# what the public may know of a snapshot
PUBLIC = ("running", "started_at", "counters", "gateways", "nodes", "downlinks_waiting")


def snapshot(
    *,
    running: bool,
    started_at: float,
    ports: Mapping[str, int],
    counters: Mapping[str, int],
    gateways: Mapping[str, Gateway],
    nodes: int,
    downlinks_waiting: int,
    mqtt: Mapping[str, object],
) -> dict[str, Any]:
    """Everything that `nest status` shows, as JSON values; times are Unix s."""
    return {
        "running": running,
        "pid": os.getpid(),
        "started_at": round(started_at, 3),
        "ports": dict(ports),
        "counters": {kind: counters[kind] for kind in sorted(counters)},
        "gateways": [
            {
                "eui": gateway.eui,
                "last_seen": round(gateway.last_seen, 3),
                "frames": gateway.frames,
                "downlinks": gateway.downlinks,
                "downlink_path": gateway.pull_address is not None,
                "stat": gateway.stat,
            }
            for _, gateway in sorted(gateways.items())
        ],
        "nodes": nodes,
        "downlinks_waiting": downlinks_waiting,
        "mqtt": dict(mqtt),
    }


def public(full: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a snapshot that may stand on the open page: no addresses, no process numbers."""
    shown = {key: full[key] for key in PUBLIC}
    shown["gateways"] = [
        {key: gateway[key] for key in ("eui", "last_seen", "frames", "downlinks")} for gateway in full["gateways"]
    ]
    return {**shown, "mqtt": {"connected": full["mqtt"].get("connected", False)}}


def save(engine: Engine, full: Mapping[str, Any]) -> None:
    """Put `full` in the place of the snapshot before; when another program has the database, not for long."""
    with writing(engine, patience_ms=_PATIENCE_MS) as connection:
        connection.execute(delete(status).where(status.c.part == _PART))
        connection.execute(insert(status).values(part=_PART, updated_at=now_ms(), value=dict(full)))


def load(engine: Engine) -> dict[str, Any] | None:
    """The latest snapshot, with `updated_at` (Unix s) and a `running` that is true only while its process lives;
    None before the first `nest run`."""
    with engine.begin() as connection:
        row = connection.execute(select(status).where(status.c.part == _PART)).one_or_none()
    if row is None:
        return None
    full = dict(row.value)
    full["updated_at"] = row.updated_at / 1000
    fresh = time.time() - full["updated_at"] < 3 * HEARTBEAT_S  # another process may have the number by now
    full["running"] = bool(full["running"]) and fresh and _alive(full["pid"])
    return full


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
