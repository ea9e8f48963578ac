"""What is still to be published: one row per reading, written in the transaction of the reading itself.

A sink remembers up to which number everything is published for good (its mark). Rows up to the lowest mark are deleted
by the journal; a number is never used again.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine, and_, delete, func, insert, select

from nest.archive import decoding, schema
from nest.archive.database import writing
from nest.archive.schema import frames, nodes, outbox, readings, sinks
from nest.live import ReadingEvent

SINK = "mqtt"
_LOOK_BACK = 200  # readings
_OF_READING = (readings.c.time, readings.c.origin, readings.c.delay_ms, readings.c.codes)


class Outbox:
    """The readings in a town's database that one sink has not published yet."""

    def __init__(self, engine: Engine, sink: str = SINK) -> None:
        self._engine, self._sink = engine, sink

    def after(self, seq: int, limit: int = 500) -> list[tuple[int, ReadingEvent]]:
        """The first `limit` readings behind number `seq`, each with its number, rising; as they were told when they
        came, but with everybody who heard them by now."""
        wanted = (
            select(outbox.c.seq, nodes.c.slug, frames.c.fcnt, frames.c.heard, *_OF_READING)
            .join(nodes, nodes.c.id == outbox.c.node_id)
            # not there any more: it was recovered, and then heard after all; that is told in its own place
            .join(readings, and_(readings.c.node_id == outbox.c.node_id, readings.c.time == outbox.c.time))
            .outerjoin(frames, frames.c.id == outbox.c.frame_id)
            .where(outbox.c.seq > seq)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        return [(row.seq, decoding.event(row.slug, row, row)) for row in rows]

    def latest(self, page: int = 100) -> Iterator[ReadingEvent]:
        """Every registered node's latest reading that was heard, or is of another source; asks the database for `page`
        nodes at a time.

        A node of whose last readings all came late has none that is worth a search.
        """
        others = readings.alias()
        recent = (
            select(others.c.time, others.c.origin)
            .where(others.c.node_id == nodes.c.id)
            .order_by(others.c.time.desc())
            .limit(_LOOK_BACK)
            .correlate(nodes)
            .subquery()
        )
        newest = (
            select(func.max(recent.c.time))
            .where(recent.c.origin.in_((schema.HEARD, schema.OTHER)))  # as `messages.is_earlier`
            .correlate(nodes)
            .scalar_subquery()
        )
        wanted = (
            select(nodes.c.id, nodes.c.slug, frames.c.fcnt, frames.c.heard, *_OF_READING)
            .select_from(
                nodes.outerjoin(readings, and_(readings.c.node_id == nodes.c.id, readings.c.time == newest)).outerjoin(
                    frames,
                    and_(frames.c.node_id == nodes.c.id, frames.c.time == readings.c.time + readings.c.delay_ms),
                )
            )
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
            behind = rows[-1].id
            for row in rows:
                if row.time is not None:
                    yield decoding.event(row.slug, row, row)

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
