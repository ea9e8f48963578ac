"""What a network server starts with: the sessions that have not ended, and every nonce that was used."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, func, select

from nest.archive import schema
from nest.model import JoinRecord, SessionState

_SESSION_FIELDS = [field.name for field in dataclasses.fields(SessionState) if field.name != "dev_eui"]
NO_DEV_NONCE = -1  # stands for a DevNonce of an AppKey that is gone, and where only the JoinNonce is known


def sessions(connection: Connection) -> list[SessionState]:
    """Every session that has not ended."""
    table, nodes = schema.sessions, schema.nodes
    found = (
        select(nodes.c.dev_eui, *(table.c[name] for name in _SESSION_FIELDS))
        .join(nodes, nodes.c.id == table.c.node_id)
        .where(table.c.ended_at.is_(None), nodes.c.removed_at.is_(None))
        .order_by(table.c.id)
    )
    return [
        SessionState(dev_eui=bytes.fromhex(row.dev_eui), **{name: getattr(row, name) for name in _SESSION_FIELDS})
        for row in connection.execute(found)
    ]


def joins(connection: Connection, dev_eui: bytes | None = None) -> list[JoinRecord]:
    """Every answered join, of one device or of all.

    Nonces may have been used that no join here knows of: JoinNonces up to a node's `join_nonce_floor` (a backup was
    restored) and DevNonces below its `nonce_floor` (another town had the node, or its key was written again). One more
    record stands for them, with the highest of each.
    """
    table, nodes = schema.joins, schema.nodes
    found = (
        select(nodes.c.dev_eui, table.c.dev_nonce, table.c.join_nonce)
        .join(nodes, nodes.c.id == table.c.node_id)
        .order_by(table.c.join_nonce)
    )
    floors = select(nodes.c.dev_eui, nodes.c.nonce_floor, nodes.c.join_nonce_floor).where(
        (nodes.c.nonce_floor > 0) | (nodes.c.join_nonce_floor > 0)
    )
    if dev_eui is not None:
        found = found.where(nodes.c.dev_eui == dev_eui.hex())
        floors = floors.where(nodes.c.dev_eui == dev_eui.hex())
    records = [JoinRecord(bytes.fromhex(row[0]), row[1], row[2]) for row in connection.execute(found)]
    # below a floor of 0 there is no DevNonce: NO_DEV_NONCE
    return records + [JoinRecord(bytes.fromhex(row[0]), row[1] - 1, row[2]) for row in connection.execute(floors)]


def recent_frames(
    connection: Connection, dev_eui: bytes, join_nonce: int, count: int
) -> list[tuple[int, bytes, int | None]]:
    """See Archive.recent_frames."""
    sessions, nodes, frames = schema.sessions, schema.nodes, schema.frames
    of_session = (
        select(sessions.c.id)
        .join(nodes, nodes.c.id == sessions.c.node_id)
        .where(nodes.c.dev_eui == dev_eui.hex(), sessions.c.join_nonce == join_nonce)
        .scalar_subquery()
    )
    newest = select(func.max(frames.c.fcnt)).where(frames.c.session_id == of_session).scalar_subquery()
    wanted = (
        select(frames.c.fcnt, frames.c.payload, frames.c.fport)
        .where(frames.c.session_id == of_session, frames.c.fcnt > newest - count)
        .order_by(frames.c.fcnt)
    )
    return [(row.fcnt, row.payload, row.fport) for row in connection.execute(wanted)]
