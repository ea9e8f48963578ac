"""History decoded again from the raw frames, healing included: a better decoder, or a better solver, makes old readings
right. Frame after frame in the order of their counters, session by session, a few hundred at a time: what it needs of
memory does not grow with the history.

- A reading that is there as its frame says it stays; one that differs is corrected; one that is missing is added.
- A reading that was missing and that parity gives back, or that a frame brings from the node's log, is added.
- Nothing is deleted. What cannot be explained stays as it is, and is counted.

It works beside a running nest: frames are read and decoded first; what is to be changed is looked at again under the
writers' lock, and changed if it still is what it was. Nothing of this is published a second time.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Engine, Row, bindparam, func, select

from nest.archive import adding, codes, decoding, schema
from nest.archive.database import writing
from nest.archive.redecode_changes import Plan, Slot, Summary, Wanted
from nest.archive.slots import whole_fcnt
from nest.archive.snapshots import Progress
from nest.extras import Earlier, has_extras, read_rest
from nest.healing import KEEP, Healer, Recovered

_BEFORE_JOIN_MS = 5 * 3_600_000  # as `slots`
CHUNK = 500  # frames at once


class Redecoder:
    """See above. Times are Unix ms. `pause`: sleeps so many seconds, after every write for as long as that took."""

    def __init__(
        self,
        engine: Engine,
        *,
        since: int | None = None,
        dry_run: bool = False,
        pause: Callable[[float], None] = clock.sleep,
    ) -> None:
        self.engine, self.since, self.dry_run, self.pause = engine, since, dry_run, pause
        self.done = Summary()

    def run(self, slugs: Sequence[str] = (), progress: Progress | None = None) -> Summary:
        """All nodes, or these. Raises SQLAlchemyError; what was done stays."""
        nodes, frames = schema.nodes, schema.frames
        wanted = select(nodes.c.id, nodes.c.slug).order_by(nodes.c.slug)
        if slugs:
            wanted = wanted.where(nodes.c.slug.in_(slugs))
        with self.engine.begin() as connection:
            found = connection.execute(wanted).all()
            ids = [row.id for row in found]
            total = connection.execute(select(func.count()).where(frames.c.node_id.in_(ids))).scalar_one()
        for node in found:
            with self.engine.begin() as connection:
                table = schema.sessions
                known = connection.execute(
                    select(table.c.id, table.c.join_nonce, table.c.fcnt_up, table.c.joined_at)
                    .where(table.c.node_id == node.id)
                    .order_by(table.c.join_nonce)
                ).all()
            changed = False
            for session in known:
                for done in _Session(self, node, session, known).chunks():
                    changed = changed or done
                    if progress is not None:
                        progress(min(self.done.frames, total), total)
            if changed and not self.dry_run:
                with writing(self.engine) as connection:
                    adding.renew_last_measured(connection, [node.id])
        return self.done


class _Session:
    """One session of one node."""

    def __init__(self, of: Redecoder, node: Row, session: Row, known: Sequence[Row]) -> None:
        self._of, self._node, self._session, self._known = of, node, session, known
        self._healer = Healer()
        self._newest = -1

    def chunks(self) -> Iterable[bool]:
        """Whether anything was changed, chunk by chunk."""
        engine, frames = self._of.engine, schema.frames
        wanted = (
            select(
                frames.c.id, frames.c.fcnt, frames.c.time, frames.c.fport, frames.c.payload, frames.c.sf,
                frames.c.bw_hz, func.length(frames.c.phy).label("size"), frames.c.decoded,
            )
            .where(frames.c.session_id == self._session.id, frames.c.fcnt > bindparam("last"))
            .order_by(frames.c.fcnt)
            .limit(CHUNK)
        )  # fmt: skip
        last = self._first() - 1
        while True:
            with engine.begin() as connection:
                rows = connection.execute(wanted, {"last": last}).all()
                if not rows:
                    return
                plan = Plan(connection, self._node.id, self._of.done, self._of.since)
                self._decode(rows, plan)
                plan.look()
            yield plan.carry_out(engine, self._of.pause) if not self._of.dry_run else False
            last = rows[-1].fcnt

    def _first(self) -> int:
        """The first FCnt to decode: before `since` as many as healing looks back."""
        since, frames = self._of.since, schema.frames
        if since is None:
            return 0
        first = (
            select(frames.c.fcnt)
            .where(frames.c.node_id == self._node.id, frames.c.session_id == self._session.id, frames.c.time >= since)
            .order_by(frames.c.time)
            .limit(1)
        )
        with self._of.engine.begin() as connection:
            found = connection.execute(first).scalar_one_or_none()
        return self._session.fcnt_up + 1 if found is None else max(0, found - KEEP)

    def _decode(self, rows: Sequence[Row], plan: Plan) -> None:
        healer, done, session = self._healer, self._of.done, self._session.id
        for row in rows:
            done.frames += 1
            self._newest = row.fcnt
            outcome, decoded = decoding.read(row.fport, row.payload, self._node.slug, row.fcnt)
            if outcome != row.decoded:
                plan.outcomes.append({"of_frame": row.id, "decoded": outcome})
            slot = Slot(session, row.fcnt, 0)
            if decoded is None:
                done.undecodable += outcome == schema.UNDECODABLE
                if outcome == schema.NO_READING:
                    healer.silent(row.fcnt)
                plan.empty.append(row.time)
                continue
            begun = row.time - decoding.airtime_ms(row.sf, row.bw_hz, row.size)
            age = 0
            found: list[Recovered] = []
            if has_extras(decoded.rest):
                rest = read_rest(decoded.rest)
                age = round(rest.age_s * 1000)
                for record in rest.earlier:
                    found += self._earlier(record, row.time, begun, plan)
            packed = decoding.packed(row.payload, decoded)
            plan.heard.append(Wanted(slot, begun - age, schema.HEARD, row.time, packed))
            found += healer.heard(row.fcnt, decoded.codes, decoded.rest)
            for one in found:
                self._recovered(one, plan)

    def _recovered(self, one: Recovered, plan: Plan) -> None:
        slot = Slot(self._session.id, one.fcnt, 0)
        if one.codes:
            plan.others.append(Wanted(slot, None, schema.RECOVERED, None, codes.pack(one.codes)))
        else:
            plan.never.append(slot)

    def _earlier(self, record: Earlier, heard: int, begun: int, plan: Plan) -> list[Recovered]:
        time = None if record.age_s is None else begun - round(record.age_s * 1000)
        slot = self._slot_of(record, time)
        if slot is None:
            return []
        plan.others.append(Wanted(slot, time, schema.BACKFILLED, heard, codes.pack(record.codes)))
        if slot.session == self._session.id and slot.part == 0:
            return self._healer.known(slot.fcnt, record.codes)
        return []

    def _slot_of(self, record: Earlier, time: int | None) -> Slot | None:
        """As `slots.Slots._backfill`: the session that is meant, and the whole FCnt."""
        own = self._session.join_nonce
        meant = [one for one in reversed(self._known) if one.join_nonce & 0xFF == record.session]
        meant = [one for one in meant if one.join_nonce <= own]
        if time is not None:  # of 256 sessions two have the same byte
            fitting = [one for one in meant if one.joined_at * 1000 - _BEFORE_JOIN_MS <= time]
            meant = fitting[:1] or (meant[:1] if record.part else [])
        if len(meant) != 1:
            return None
        newest = self._newest if meant[0].id == self._session.id else None
        whole = whole_fcnt(record.fcnt, meant[0].fcnt_up, newest)
        return Slot(meant[0].id, whole, record.part) if whole >= 0 else None
