"""The archive as the rest of the nest sees it: every call is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Engine, func, select

from nest.archive import decoding, reading, schema, storing
from nest.archive.database import writing
from nest.archive.reading import NodeInfo, NodeLatest
from nest.live import ReadingEvent
from nest.model import Heard, JoinRecord, SessionState, Uplink
from nest.moments import now_ms


class Archive:
    """Frames, readings and sessions in a town's database. Safe in several threads and beside other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # what the network server wants remembered

    def store_join(self, record: JoinRecord, session: SessionState) -> None:
        """Remember both nonces and the new session. Raises LookupError: the node was never registered."""
        with writing(self._engine) as connection:
            storing.store_join(connection, record, session, now_ms())

    def store_uplink(self, uplink: Uplink, session: SessionState, *, activates: bool = False) -> int:
        """The raw frame and its session's counters, in one transaction, before anything is decoded.

        Returns the frame's number, for `decode`. When it returns, both are on the disk.
        Raises storing.SessionEndedError: the node was removed meanwhile.
        """
        with writing(self._engine) as connection:
            return storing.store_uplink(connection, uplink, session, activates, now_ms())

    def merge_copy(self, dev_eui: bytes, join_nonce: int, fcnt: int, heard: Heard) -> None:
        """Add a further reception to a stored frame."""
        with writing(self._engine) as connection:
            storing.merge_copy(connection, dev_eui, join_nonce, fcnt, heard)

    def store_session(self, session: SessionState) -> None:
        """Write a session's counters; when it returns, they are on the disk. Raises storing.SessionEndedError."""
        with writing(self._engine) as connection:
            storing.store_session(connection, session)

    def sessions(self) -> list[SessionState]:
        """Every session that has not ended: what a network server starts with."""
        with self._engine.begin() as connection:
            return storing.sessions(connection)

    def joins(self, dev_eui: bytes | None = None) -> list[JoinRecord]:
        """Every answered join, of one device or of all."""
        with self._engine.begin() as connection:
            return storing.joins(connection, dev_eui)

    # from frames to readings

    def decode(self, frame_id: int) -> ReadingEvent | None:
        """Decode a stored frame and keep its readings; None where it carries none. Repeatable."""
        with writing(self._engine) as connection:
            return decoding.decode_frame(connection, frame_id)

    def decode_waiting(self) -> int:
        """Decode every frame that was stored but not decoded, as after a crash; returns how many."""
        total = 0
        while True:
            with writing(self._engine) as connection:
                done = decoding.decode_waiting(connection)
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
        """Keep a reading that came another way than by a frame. Raises LookupError: no such node or quantity."""
        kept: dict[str, float | None] = dict(values)
        qualities = dict.fromkeys(values, schema.QUALITY_NAMES[schema.GOOD])
        for names, quality in ((failed, schema.FAILED), (out_of_range, schema.OUT_OF_RANGE)):
            for name in names:
                kept[name], qualities[name] = None, schema.QUALITY_NAMES[quality]
        with writing(self._engine) as connection:
            nodes = schema.nodes
            node_id = connection.execute(select(nodes.c.id).where(nodes.c.slug == slug)).scalar_one_or_none()
            if node_id is None:
                raise LookupError(f"no node {slug}")
            decoding.add_reading(connection, node_id, round(time * 1000), kept, qualities)

    # what people ask for

    def nodes(self) -> list[NodeInfo]:
        """Every registered node, by slug."""
        with self._engine.begin() as connection:
            return reading.nodes(connection)

    def latest(self, slug: str | None = None) -> list[NodeLatest]:
        """Every registered node, or the one of that slug, with the latest value of each of its quantities."""
        with self._engine.begin() as connection:
            return reading.latest(connection, slug)

    def series(
        self, slug: str, quantity: str, start: float, end: float, limit: int | None = None
    ) -> list[tuple[float, float | None]]:
        """(Unix s, value) of the first `limit` of start <= time < end in the order of time; None where the sensor
        failed or was out of range; empty for an unknown node or quantity."""
        with self._engine.begin() as connection:
            return reading.series(connection, slug, quantity, start, end, limit)

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
