"""How the nest is doing: one snapshot, for `nest status`, `/metrics` and the API, and kept in the database while the
nest runs, so that `nest status` needs no server.

| key | what |
| --- | --- |
| `running`, `pid`, `version`, `started_at` | the process; times are Unix s |
| `ports` | part ("web", "semtech_udp", "basics_station", "mqtt") -> port |
| `counters` | kind -> how often, since the town was made; `nest.outcomes` says what each means |
| `gateways` | registered ones, by EUI: `eui`, `name`, `protocol`, `last_seen` (null: never), `frames`, `useless`, `downlinks`, `refused`, `downlink_path` (a downlink would find its way), `airtime_left` {band: 0..1}, `software`, `stat` |
| `strangers` | gateways that knock without being registered, newest first: `eui`, `protocol`, `last_seen`, `count`, `address` |
| `nodes` | how many are registered |
| `batch_waiting` | effects that wait for the database; stays near 0 |
| `outbox_waiting` | readings that MQTT has not taken over yet |
| `downlinks_waiting` | downlinks that were ordered and have not gone out |
| `trouble` | why the database refuses; null: it does not |
| `mqtt` | `broker`, `connected`, `published`, `trouble` |
"""  # noqa: E501  a table

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, exists, insert, select

from nest import __version__
from nest.archive.database import writing
from nest.archive.schema import frames, nodes, status
from nest.forwarders.gateways import Gateways
from nest.gateways import note, noted
from nest.moments import now_ms

_PART = "nest"
HEARTBEAT_S = 30.0  # how often an idle nest says that it lives
LITTLE_ROOM = 50_000_000  # bytes; with less than so much on the disk an operator should know
SILENT_AFTER_S = 24 * 3600.0  # a node that was not heard for so long needs a visit

_PATIENCE_MS = 100  # the event loop waits with us, and the next snapshot comes soon

# what the public may know of a snapshot
PUBLIC = ("running", "started_at", "counters", "nodes", "downlinks_waiting", "outbox_waiting")
PUBLIC_OF_GATEWAY = ("protocol", "last_seen", "frames", "downlinks")  # whoever knows an EUI can speak UDP in its name


def snapshot(
    *,
    running: bool,
    started_at: float,
    ports: Mapping[str, int],
    counters: Mapping[str, int],
    gateways: Gateways,
    airtime_left: Mapping[str, Mapping[str, float]],
    nodes: int,
    downlinks_waiting: int,
    outbox_waiting: int,
    batch_waiting: int,
    trouble: str | None,
    mqtt: Mapping[str, object],
) -> dict[str, Any]:
    """Everything that is shown, as JSON values, in the shape at the top of this file.

    Costs microseconds per gateway and never waits: the event loop may call it for every request.
    """
    return {
        "running": running,
        "pid": os.getpid(),
        "version": __version__,
        "started_at": round(started_at, 3),
        "ports": dict(ports),
        "counters": {kind: counters[kind] for kind in sorted(counters)},
        "gateways": [
            {
                "eui": eui,
                "name": gateway.info.name,
                "protocol": gateway.protocol,
                "last_seen": round(gateway.last_seen, 3) or None,
                "frames": gateway.frames,
                "useless": gateway.useless,
                "downlinks": gateway.downlinks,
                "refused": gateway.refused,
                "downlink_path": gateway.reachable,
                "airtime_left": {band: round(left, 4) for band, left in airtime_left.get(eui, {}).items()},
                "software": gateway.software,
                "stat": gateway.stat,
            }
            for eui, gateway in sorted(gateways.known.items())
        ],
        "strangers": [
            {
                "eui": eui,
                "protocol": stranger.protocol,
                "last_seen": round(stranger.last_seen, 3),
                "count": stranger.count,
                "address": stranger.address,
            }
            for eui, stranger in reversed(gateways.strangers.items())
        ],
        "nodes": nodes,
        "batch_waiting": batch_waiting,
        "outbox_waiting": outbox_waiting,
        "downlinks_waiting": downlinks_waiting,
        "trouble": trouble,
        "mqtt": dict(mqtt),
    }


def public(full: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a snapshot that may stand on the open page: no EUIs, no addresses, no positions, no process
    numbers, and of strangers only how many knock."""
    shown = {key: full.get(key) for key in PUBLIC}
    shown["gateways"] = [
        {key: gateway.get(key) for key in PUBLIC_OF_GATEWAY} for gateway in full.get("gateways", ())
    ]  # fmt: skip
    shown["strangers"] = len(full.get("strangers", ()))
    shown["stored"] = not stuck(full)
    return {**shown, "mqtt": {"connected": bool(full.get("mqtt", {}).get("connected", False))}}


def stuck(full: Mapping[str, Any]) -> bool:
    """Whether what was heard waits for a database that refuses it."""
    return full.get("trouble") is not None and full.get("batch_waiting", 0) > 0


def heard_since(engine: Engine, moment: float) -> tuple[int, list[str]]:
    """How many registered nodes were heard at or after `moment` (Unix s), and the slugs of those that were not.

    Looks once into an index for each node: 50 000 nodes take a tenth of a second, so not in the event loop.
    """
    fresh = exists().where(frames.c.node_id == nodes.c.id, frames.c.time >= int(moment * 1000))
    wanted = select(nodes.c.slug, fresh.label("heard")).where(nodes.c.removed_at.is_(None)).order_by(nodes.c.slug)
    with engine.begin() as connection:
        rows = connection.execute(wanted).all()
    silent = [row.slug for row in rows if not row.heard]
    return len(rows) - len(silent), silent


def disk_free(folder: Path) -> int:
    """How many bytes are free for the town."""
    return shutil.disk_usage(folder).free


def save(engine: Engine, full: Mapping[str, Any]) -> None:
    """Put `full` in the place of the snapshot before, and note in the register when gateways were heard; when another
    program has the database, not for long."""
    with writing(engine, patience_ms=_PATIENCE_MS) as connection:
        connection.execute(delete(status).where(status.c.part == _PART))
        connection.execute(insert(status).values(part=_PART, updated_at=now_ms(), value=dict(full)))
        note(connection, full["gateways"])


def load(engine: Engine) -> dict[str, Any] | None:
    """The latest snapshot, with `updated_at` (Unix s) and a `running` that is true only while its process lives;
    None before the first `nest run`. Of a gateway not heard since the start it says
    what an earlier run has noted. One that an earlier version wrote lacks some keys."""
    with engine.begin() as connection:
        row = connection.execute(select(status).where(status.c.part == _PART)).one_or_none()
        before = noted(connection)
    if row is None:
        return None
    full = dict(row.value)
    full["gateways"] = [
        gateway if gateway["last_seen"] is not None else {**gateway, **before.get(gateway["eui"], {})}
        for gateway in full["gateways"]
    ]
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
