"""What the network server asks to be remembered: joins, raw frames with their counters, further copies.

Each function is one transaction's worth of work on a connection that `database.writing` opened. Nothing here looks
into a payload.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from nest.archive import schema
from nest.model import MOST_HEARD, Heard, JoinRecord, SessionState, Uplink

_SESSION_FIELDS = [field.name for field in dataclasses.fields(SessionState) if field.name != "dev_eui"]


class SessionEndedError(LookupError):
    """The session has ended or never was: its node was removed, perhaps added again, beside the running nest."""

    def __init__(self, dev_eui: bytes) -> None:
        super().__init__(f"the session of {dev_eui.hex()} has ended")
        self.dev_eui = dev_eui


def node_id(connection: Connection, dev_eui: bytes) -> int:
    """The node's number. Raises LookupError for a DevEUI that was never registered."""
    table = schema.nodes
    found = connection.execute(select(table.c.id).where(table.c.dev_eui == dev_eui.hex())).scalar_one_or_none()
    if found is None:
        raise LookupError(f"no node with DevEUI {dev_eui.hex()}")
    return found


def store_join(connection: Connection, record: JoinRecord, session: SessionState, now_ms: int) -> None:
    """Remember both nonces, and the new session in the place of one that is still waiting for its first uplink."""
    node = node_id(connection, record.dev_eui)
    connection.execute(
        insert(schema.joins).values(
            node_id=node, join_nonce=record.join_nonce, dev_nonce=record.dev_nonce, time=now_ms
        )
    )
    table = schema.sessions
    _end_sessions(connection, (table.c.node_id == node) & ~table.c.active, now_ms)
    connection.execute(insert(table).values(node_id=node, ended_at=None, **_session_values(session)))


def store_session(connection: Connection, session: SessionState) -> int:
    """Write the session's counters; returns its number. Raises SessionEndedError: an ended one stays as it is."""
    table = schema.sessions
    number = connection.execute(
        update(table)
        .where(
            table.c.node_id == node_id(connection, session.dev_eui),
            table.c.join_nonce == session.join_nonce,
            table.c.ended_at.is_(None),
        )
        .values(**_session_values(session))
        .returning(table.c.id)
    ).scalar_one_or_none()
    if number is None:
        raise SessionEndedError(session.dev_eui)
    return number


def store_uplink(connection: Connection, uplink: Uplink, session: SessionState, activates: bool, now_ms: int) -> int:
    """The raw frame and the counters; returns the frame's number. `activates`: the node's other sessions end."""
    session_id = store_session(connection, session)
    node = node_id(connection, uplink.dev_eui)
    if activates:
        table = schema.sessions
        _end_sessions(connection, (table.c.node_id == node) & (table.c.id != session_id), now_ms)
    return connection.execute(
        insert(schema.frames)
        .values(
            node_id=node,
            session_id=session_id,
            fcnt=uplink.fcnt,
            time=_free_moment(connection, node, round(uplink.received_at * 1000)),
            fport=uplink.fport,
            payload=uplink.payload,
            phy=uplink.phy,
            confirmed=uplink.confirmed,
            freq_hz=uplink.freq_hz,
            sf=uplink.sf,
            bw_hz=uplink.bw_hz,
            heard=[dataclasses.asdict(heard) for heard in uplink.heard],
            decoded=schema.NOT_DECODED if uplink.fport else schema.NO_READING,
        )
        .returning(schema.frames.c.id)
    ).scalar_one()


def merge_copy(connection: Connection, dev_eui: bytes, join_nonce: int, fcnt: int, heard: Heard) -> None:
    """Add to the stored frame how one more gateway heard it, or how the same gateway heard it better."""
    frames, sessions = schema.frames, schema.sessions
    row = connection.execute(
        select(frames.c.id, frames.c.heard)
        .join(sessions, sessions.c.id == frames.c.session_id)
        .where(
            sessions.c.node_id == node_id(connection, dev_eui),
            sessions.c.join_nonce == join_nonce,
            frames.c.fcnt == fcnt,
        )
    ).one_or_none()
    if row is None:
        return
    entries = {entry["gateway"]: entry for entry in row.heard}
    before = entries.get(heard.gateway)
    if before is None and len(entries) >= MOST_HEARD:
        return
    if before is None or _strength(dataclasses.asdict(heard)) > _strength(before):
        entries[heard.gateway] = dataclasses.asdict(heard)
        merged = sorted(entries.values(), key=_strength, reverse=True)
        connection.execute(update(frames).where(frames.c.id == row.id).values(heard=merged))


def sessions(connection: Connection) -> list[SessionState]:
    """Every session that has not ended."""
    table, nodes = schema.sessions, schema.nodes
    found = (
        select(table, nodes.c.dev_eui)
        .join(nodes, nodes.c.id == table.c.node_id)
        .where(table.c.ended_at.is_(None), nodes.c.removed_at.is_(None))
        .order_by(table.c.id)
    )
    return [
        SessionState(dev_eui=bytes.fromhex(row.dev_eui), **{name: getattr(row, name) for name in _SESSION_FIELDS})
        for row in connection.execute(found)
    ]


def joins(connection: Connection, dev_eui: bytes | None = None) -> list[JoinRecord]:
    """Every answered join, of one device or of all."""
    table, nodes = schema.joins, schema.nodes
    found = select(table, nodes.c.dev_eui).join(nodes, nodes.c.id == table.c.node_id).order_by(table.c.join_nonce)
    if dev_eui is not None:
        found = found.where(nodes.c.dev_eui == dev_eui.hex())
    return [
        JoinRecord(bytes.fromhex(row.dev_eui), row.dev_nonce, row.join_nonce) for row in connection.execute(found)
    ]


def _strength(entry: dict[str, Any]) -> float:
    return -math.inf if entry["rssi"] is None else entry["rssi"]


def _session_values(session: SessionState) -> dict[str, object]:
    return {name: getattr(session, name) for name in _SESSION_FIELDS}


def _end_sessions(connection: Connection, which: ColumnElement[bool], now_ms: int) -> None:
    table = schema.sessions
    connection.execute(
        update(table)
        .where(table.c.ended_at.is_(None), which)
        .values(ended_at=now_ms, active=False, nwk_skey=None, app_skey=None)
    )


def _free_moment(connection: Connection, node: int, time_ms: int) -> int:
    """`time_ms`, or the next millisecond at which this node has no frame yet: a gateway that comes back delivers a
    whole night at one moment, and each reading keeps a moment of its own."""
    frames = schema.frames
    while connection.execute(
        select(frames.c.id).where(frames.c.node_id == node, frames.c.time == time_ms)
    ).first():
        time_ms += 1
    return time_ms
