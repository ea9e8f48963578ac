"""What is still to be published: one row per reading, written in the transaction of the reading itself.

A sink remembers up to which number everything is published for good (its mark). Rows up to the lowest mark are deleted
by the journal; a number is never used again.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, and_, delete, func, insert, select

from nest.archive import decoding, schema
from nest.archive.database import writing
from nest.archive.schema import frames, nodes, outbox, quantities, readings, sinks
from nest.live import ReadingEvent

SINK = "mqtt"
_LOOK_BACK = 100  # frames: a node that sent nothing but others for so long has no reading that is worth a search


class Outbox:
    """The readings in a town's database that one sink has not published yet."""

    def __init__(self, engine: Engine, sink: str = SINK) -> None:
        self._engine, self._sink = engine, sink

    def after(self, seq: int, limit: int = 500) -> list[tuple[int, ReadingEvent]]:
        """The first `limit` readings behind number `seq`, each with its number, rising; as they were told when they
        came, but with everybody who heard them by now."""
        wanted = (
            select(outbox.c.seq, outbox.c.time, nodes.c.slug, frames.c.fcnt, frames.c.heard)
            .join(nodes, nodes.c.id == outbox.c.node_id)
            .outerjoin(frames, frames.c.id == outbox.c.frame_id)
            .where(outbox.c.seq > seq)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
            if not rows:
                return []
            every = [*connection.scalars(select(quantities.c.id))]
            found: dict[int, list[tuple[int, float | None, int]]] = {}
            at_that_moment = and_(
                readings.c.node_id == outbox.c.node_id,
                readings.c.time == outbox.c.time,
                readings.c.quantity_id.in_(every),  # makes the key of `readings` fit: node, quantity, time
            )
            values = (
                select(outbox.c.seq, readings.c.quantity_id, readings.c.value, readings.c.quality)
                .join(readings, at_that_moment)
                .where(outbox.c.seq.between(rows[0].seq, rows[-1].seq))
            )
            for number, quantity_id, value, quality in connection.execute(values):
                found.setdefault(number, []).append((quantity_id, value, quality))
        return [(row.seq, decoding.event(row.slug, row.time, row, found.get(row.seq, []))) for row in rows]

    def latest(self, page: int = 100) -> Iterator[ReadingEvent]:
        """Every registered node's latest reading that came by a frame; asks the database for `page` nodes at a time."""
        others = frames.alias()
        recent = (
            select(others.c.id, others.c.time, others.c.decoded)
            .where(others.c.node_id == nodes.c.id)
            .order_by(others.c.time.desc())
            .limit(_LOOK_BACK)
            .correlate(nodes)
            .subquery()
        )
        newest = (
            select(recent.c.id)
            .where(recent.c.decoded == schema.DECODED)
            .order_by(recent.c.time.desc())
            .limit(1)
            .correlate(nodes)
            .scalar_subquery()
        )
        of_frame = (frames.c.id.label("frame_id"), frames.c.time, frames.c.fcnt, frames.c.heard)
        wanted = (
            select(nodes.c.id, nodes.c.slug, *of_frame)
            .select_from(nodes.outerjoin(frames, frames.c.id == newest))
            .where(nodes.c.removed_at.is_(None))
            .order_by(nodes.c.id)
            .limit(page)
        )
        behind = 0
        while True:
            with self._engine.begin() as connection:
                rows = connection.execute(wanted.where(nodes.c.id > behind)).all()
                if not rows:
                    return
                values = self._values(connection, [row.frame_id for row in rows if row.frame_id is not None])
            behind = rows[-1].id
            for row in rows:
                if row.frame_id is not None:
                    yield decoding.event(row.slug, row.time, row, values.get(row.frame_id, []))

    def _values(self, connection: Connection, of: list[int]) -> dict[int, list[tuple[int, float | None, int]]]:
        same_moment = and_(
            readings.c.node_id == frames.c.node_id,
            readings.c.time == frames.c.time,
            readings.c.quantity_id.in_([*connection.scalars(select(quantities.c.id))]),  # makes the key fit
        )
        wanted = (
            select(frames.c.id, readings.c.quantity_id, readings.c.value, readings.c.quality)
            .select_from(frames.join(readings, same_moment))
            .where(frames.c.id.in_(of))
        )
        found: dict[int, list[tuple[int, float | None, int]]] = {}
        for number, quantity_id, value, quality in connection.execute(wanted):
            found.setdefault(number, []).append((quantity_id, value, quality))
        return found

    def mark(self) -> int:
        """Everything up to this number is published for good."""
        with self._engine.begin() as connection:
            found = connection.execute(select(sinks.c.done).where(sinks.c.name == self._sink)).scalar_one_or_none()
        return found or 0

    def set_mark(self, seq: int) -> None:
        """Note that everything up to `seq` is published; a running nest leaves that to `Journal.commit`."""
        with writing(self._engine) as connection:
            connection.execute(delete(sinks).where(sinks.c.name == self._sink))
            connection.execute(insert(sinks).values(name=self._sink, done=seq))
            lowest = select(func.min(sinks.c.done)).scalar_subquery()
            connection.execute(delete(outbox).where(outbox.c.seq <= lowest))

    def waiting(self) -> int:
        """How many readings are not published yet. Numbers are given without gaps, so nothing has to be counted."""
        with self._engine.begin() as connection:
            last = connection.execute(select(func.max(outbox.c.seq))).scalar_one()
            done = connection.execute(select(sinks.c.done).where(sinks.c.name == self._sink)).scalar_one_or_none()
        return 0 if last is None else max(0, last - (done or 0))
