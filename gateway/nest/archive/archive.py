"""The archive as the rest of the nest reads it: every call is one transaction. What the network server wants remembered
goes through `journal.Journal`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Engine, func, select

from nest.archive import adding, codes, days_database, reading, schema, sessions
from nest.archive.database import writing
from nest.archive.days_database import Aggregate
from nest.archive.reading import Completeness, Gap, NodeInfo, NodeLatest, Point, Shares
from nest.model import JoinRecord, SessionState


class Archive:
    """Frames, readings and sessions in a town's database. Safe in several threads and beside other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sessions(self) -> list[SessionState]:
        """Every session that has not ended: what a network server starts with."""
        with self._engine.begin() as connection:
            return sessions.sessions(connection)

    def recent_frames(self, key: tuple[bytes, int], count: int) -> list[tuple[int, bytes, int | None]]:
        """(FCnt, FRMPayload, FPort) of the session (DevEUI, JoinNonce), those of its last `count` FCnts, by FCnt."""
        with self._engine.begin() as connection:
            return sessions.recent_frames(connection, *key, count)

    def joins(self, dev_eui: bytes | None = None) -> list[JoinRecord]:
        """Every answered join, of one device or of all; and what must count as one, see `sessions.joins`."""
        with self._engine.begin() as connection:
            return sessions.joins(connection, dev_eui)

    def decode_waiting(self) -> int:
        """Decode every frame that was stored but not decoded, as an earlier version left them; returns how many."""
        total = 0
        while True:
            with writing(self._engine) as connection:
                done = adding.decode_waiting(connection)
            total += done
            if not done:
                return total

    def add_reading(
        self,
        slug: str,
        time: float,
        values: Mapping[str, float],
        *,
        failed: Iterable[str] = (),
        out_of_range: Iterable[str] = (),
    ) -> None:
        """Keep a reading that came another way than by a frame; its values are rounded to what a node can send, see
        `codes.from_values`. Raises LookupError: no such node or quantity."""
        found = codes.from_values(values, failed, out_of_range)
        with writing(self._engine) as connection:
            nodes = schema.nodes
            node_id = connection.execute(select(nodes.c.id).where(nodes.c.slug == slug)).scalar_one_or_none()
            if node_id is None:
                raise LookupError(f"no node {slug}")
            adding.add_reading(connection, node_id, round(time * 1000), found, schema.OTHER)

    # what people ask for

    def nodes(self, slug: str | None = None) -> list[NodeInfo]:
        """Every registered node, by slug; or the one of that slug."""
        with self._engine.begin() as connection:
            return reading.nodes(connection, slug)

    def latest(self, slug: str | None = None) -> list[NodeLatest]:
        """Every registered node, or the one of that slug, with the latest value of each of its quantities."""
        with self._engine.begin() as connection:
            return reading.latest(connection, slug)

    def series(
        self, slug: str, quantity: str, start: float, end: float, limit: int | None = None
    ) -> list[tuple[float, float | None]]:
        """(Unix s, value) of the first `limit` of start <= time < end in the order of time; None where the sensor
        failed or was out of range; empty for an unknown node or quantity."""
        return [(point.time, point.value) for point in self.points(slug, quantity, start, end, limit)]

    def points(self, slug: str, quantity: str, start: float, end: float, limit: int | None = None) -> list[Point]:
        """The same, and how each came."""
        with self._engine.begin() as connection:
            return reading.points(connection, slug, quantity, start, end, limit)

    def aggregate(self, slug: str, quantity: str, span: int, start: float, end: float) -> list[Aggregate]:
        """Count, minimum, maximum and mean of the hours (schema.HOUR) or days (schema.DAY) that begin in
        start <= time < end (Unix s); those without a good value are not there. A minute or so behind the readings."""
        with self._engine.begin() as connection:
            return days_database.aggregate(connection, slug, quantity, span, start, end)

    def gaps(self, slug: str, start: float, end: float) -> list[Gap]:
        """Every reading that was missing of start <= time < end (Unix s), whatever has become of it."""
        with self._engine.begin() as connection:
            return reading.gaps(connection, slug, start, end)

    def completeness(self, slug: str, first_day: int, last_day: int) -> list[Completeness]:
        """How many readings there are and how many are missing, for each of these Unix days (both counted) of which
        anything is known."""
        with self._engine.begin() as connection:
            return reading.completeness(connection, slug, first_day, last_day)

    def shares(self, since: float, slug: str | None = None) -> dict[str, Shares]:
        """How the readings measured since then (Unix s) came and how many are missing, by slug; nodes of which nothing
        is known are not there."""
        with self._engine.begin() as connection:
            return reading.shares(connection, since, slug)

    def counts(self) -> dict[str, int]:
        """How many frames, undecodable frames and readings there are."""
        frames, readings = schema.frames, schema.readings
        undecodable = select(func.count()).select_from(frames).where(frames.c.decoded == schema.UNDECODABLE)
        with self._engine.begin() as connection:
            return {
                "frames": connection.execute(select(func.count()).select_from(frames)).scalar_one(),
                "undecodable": connection.execute(undecodable).scalar_one(),
                "readings": connection.execute(select(func.count()).select_from(readings)).scalar_one(),
            }
