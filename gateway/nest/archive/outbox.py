"""What is still to be published: one row per reading, written in the transaction of the reading itself.

A sink remembers up to which number everything is published for good (its mark). Rows up to the lowest mark are deleted
by the journal; a number is never used again.
"""

from __future__ import annotations

from sqlalchemy import Engine, and_, delete, func, insert, select

from nest.archive import decoding
from nest.archive.database import writing
from nest.archive.schema import frames, nodes, outbox, quantities, readings, sinks
from nest.live import ReadingEvent

SINK = "mqtt"


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
        """How many readings are not published yet."""
        wanted = select(func.count()).select_from(outbox).where(outbox.c.seq > self.mark())
        with self._engine.begin() as connection:
            return connection.execute(wanted).scalar_one()
