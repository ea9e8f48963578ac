"""Readings that did not come, and those that came another way: what a burst does about gaps.

A *slot* is an FCnt of a session; part 0 is the reading that its frame carried, part k the k-th of those that were made
before that frame and never sent (boards/payload.md). A slot that is missing when a later frame comes is a *gap*: a row
that stays, and tells what became of it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nest.archive import codes, orders, schema
from nest.archive.decoding import airtime_ms, told
from nest.archive.memory import Session
from nest.archive.rows import Rows
from nest.archive.statements import Sql
from nest.extras import Absent, Earlier, Rest
from nest.live import ReadingEvent

if TYPE_CHECKING:
    from nest.archive.changes import CloseGap, StoreRecovered
    from nest.archive.journal import Committed

_log = logging.getLogger(__name__)

MOST_SKIPPED = 2000  # slots that become gaps at once; a counter that jumps further has not lost so many readings
_ABSENT = (schema.OPEN, schema.GIVEN_UP, schema.NEVER_WAS)  # gaps that a node's log may still fill


class Slots:
    """See above. Times are ms."""

    def __init__(self, rows: Rows, done: Committed) -> None:
        self._rows, self._done = rows, done

    def skipped(self, session: Session, fcnt: int, time: int) -> None:
        """The frame `fcnt`, measured at `time`, came behind `session.fcnt`: what was between is missing.

        Each is taken to have been measured at its place on a straight line."""
        count = fcnt - session.fcnt
        first = session.fcnt + 1
        if count > MOST_SKIPPED:
            _log.warning(
                "the counter of %s has gone from %d to %d at once; the last %d frames are taken for lost",
                session.node.slug, session.fcnt, fcnt, MOST_SKIPPED,
            )  # fmt: skip
            first = fcnt - MOST_SKIPPED
        began = session.time
        if began is None:
            last = self._neighbour(Sql.frame_before, session.id, fcnt)
            began = round(self._rows.one(Sql.joined_at, session.id)[0] * 1000) if last is None else last[1]
        began = min(began, time) if began > 0 else time
        for lost in range(first, fcnt):
            moment = began + (time - began) * (lost - session.fcnt) // count
            self._rows.gap(session.id, session.node, lost, 0, moment)

    def heard_late(self, session: Session, fcnt: int, time: int, packed: bytes | None) -> None:
        """A frame behind which others came already was measured at `time`; None: it carried no reading.

        What had been taken for its reading gives way to it."""
        rows, node = self._rows, session.node
        rows.flush()
        found = rows.one(Sql.gap, session.id, fcnt, 0)
        if found is None:
            return
        known_at, state = found
        if state in (schema.GAP_RECOVERED, schema.GAP_BACKFILLED):
            known = rows.one(Sql.reading, node.id, known_at)
            if known is not None and known[0] in (schema.RECOVERED, schema.BACKFILLED):
                if bytes(known[1]) != packed:
                    self._differs(session, fcnt, state)
                rows.connection.execute(Sql.delete_reading, (node.id, known_at))
                rows.connection.execute(Sql.move_measured, (time, node.id, known_at))
                node.readings = None  # the newest may be another one now
                rows.mark(node, known_at)
        rows.mark(node, known_at)
        state = schema.NEVER_WAS if packed is None else schema.HEARD_LATE
        rows.connection.execute(Sql.update_gap, (time, state, rows.now, session.id, fcnt, 0))

    def _differs(self, session: Session, fcnt: int, state: int) -> None:
        came = "recovered" if state == schema.GAP_RECOVERED else "taken from its log"
        _log.error("frame %d of %s was %s as another reading than it carried", fcnt, session.node.slug, came)
        if state == schema.GAP_RECOVERED:
            self._done.healing_wrong += 1

    def told(self, session: Session, fcnt: int, moment: int, begun: int, time: int, found: Rest) -> None:
        """What the frame `fcnt` says beside its reading. It was heard at `moment`; its transmission began at `begun`,
        its reading was measured at `time`."""
        if found.unsent:
            before, earlier = self._neighbour(Sql.frame_before, session.id, fcnt), time
            if before is not None:  # the slot before this one, on a straight line
                last, began = before
                earlier = min(began + (time - began) * (fcnt - 1 - last) // (fcnt - last), time)
            for part in range(1, found.unsent + 1):
                made = earlier + (time - earlier) * part // (found.unsent + 1)
                self._rows.gap(session.id, session.node, fcnt, part, made)
        if not (found.earlier or found.none or found.answer):
            return
        self._rows.flush()
        if found.answer:
            orders.answered(self._rows.connection, session.node.id, *found.answer, self._rows.now)
        known: list[tuple[int, int, int]] = []
        if found.earlier or found.none:
            known = [*map(tuple, self._rows.connection.execute(Sql.sessions_of_node, (session.node.id,)))]
        for record in found.earlier:
            self._backfill(known, session, max(fcnt, session.fcnt), record, moment, begun)
        for absent in found.none:
            self._never_was(known, session, max(fcnt, session.fcnt), absent)

    def recovered(self, session: Session, change: StoreRecovered) -> None:
        """Parity has given a reading back."""
        rows, node = self._rows, session.node
        rows.flush()
        found = rows.one(Sql.gap, session.id, change.fcnt, 0)
        if found is None or found[1] != schema.OPEN:
            return
        self._add(session, found[0], schema.RECOVERED, None, codes.pack(change.codes), change.fcnt, 0)
        self._done.recovered += 1
        rows.mark(node, found[0])

    def close(self, session: Session, change: CloseGap) -> None:
        """A gap is settled, or nobody looks for its reading any more."""
        rows = self._rows
        rows.flush()
        found = rows.one(Sql.gap, session.id, change.fcnt, change.part)
        if found is not None and found[1] in schema.MISSING:
            keys = (session.id, change.fcnt, change.part)
            rows.connection.execute(Sql.update_gap, (found[0], change.state, rows.now, *keys))
            rows.mark(session.node, found[0])

    # -- what a node says

    def _backfill(
        self,
        known: list[tuple[int, int, int]],
        session: Session,
        newest: int,
        record: Earlier,
        moment: int,
        begun: int,
    ) -> None:
        rows = self._rows
        slot = _slot(known, session, newest, record.session, record.fcnt)
        if slot is None:
            return
        session_id, fcnt = slot
        found = rows.one(Sql.gap, session_id, fcnt, record.part)
        if found is None:
            if record.part == 0 and rows.one(Sql.frame, session_id, fcnt) is not None:
                return  # it was heard
        elif found[1] not in _ABSENT:
            return
        if record.age_s is not None:
            time = begun - round(record.age_s * 1000)
        elif found is not None:
            time = found[0]
        else:
            time = self._estimate(session_id, fcnt)
        if time is None:
            return
        if found is None:
            rows.gap(session_id, session.node, fcnt, record.part, time)
            rows.flush()
        else:
            rows.mark(session.node, found[0])
        self._add(session, time, schema.BACKFILLED, moment, codes.pack(record.codes), fcnt, record.part, session_id)
        rows.flush()
        self._done.backfilled += 1

    def _never_was(self, known: list[tuple[int, int, int]], session: Session, newest: int, absent: Absent) -> None:
        slot = _slot(known, session, newest, absent.session, absent.fcnt)
        if slot is None or not absent.count:
            return
        rows, (session_id, first) = self._rows, slot
        missing = rows.connection.execute(Sql.missing, (session_id, first, first + absent.count - 1)).fetchall()
        for fcnt, part, time in missing:
            rows.connection.execute(Sql.update_gap, (time, schema.NEVER_WAS, rows.now, session_id, fcnt, part))
            rows.mark(session.node, time)

    # -- helpers

    def _add(
        self,
        session: Session,
        time: int,
        origin: int,
        heard: int | None,
        packed: bytes,
        fcnt: int,
        part: int,
        session_id: int | None = None,
    ) -> None:
        """Add a reading that was missing, and close its gap."""
        rows, node = self._rows, session.node
        found = codes.unpack(packed)
        time = rows.reading(node, time, origin, heard, packed, tuple(found), None)
        state = schema.GAP_RECOVERED if origin == schema.RECOVERED else schema.GAP_BACKFILLED
        keys = (session_id or session.id, fcnt, part)
        rows.connection.execute(Sql.update_gap, (time, state, rows.now, *keys))
        heard_at = None if heard is None else heard / 1000
        values, qualities = told(found)
        event = ReadingEvent(
            node.slug, time / 1000, values, qualities, origin=schema.ORIGIN_NAMES[origin], heard_at=heard_at
        )
        self._done.readings.append((rows.seq, event))

    def _estimate(self, session_id: int, fcnt: int) -> int | None:
        """When the reading of a slot that nobody knew of was measured: between the frames beside it."""
        before = self._neighbour(Sql.frame_before, session_id, fcnt)
        behind = self._neighbour(Sql.frame_behind, session_id, fcnt)
        if before and behind:
            return before[1] + (behind[1] - before[1]) * (fcnt - before[0]) // (behind[0] - before[0])
        found = before or behind
        return found[1] if found else None

    def _neighbour(self, statement: str, session_id: int, fcnt: int) -> tuple[int, int] | None:
        """FCnt and beginning of the nearest frame."""
        self._rows.flush()
        found: Any = self._rows.one(statement, session_id, fcnt)
        return None if found is None else (found[0], found[1] - airtime_ms(*found[2:]))


def _slot(
    known: list[tuple[int, int, int]], session: Session, newest: int, nonce: int, fcnt: int
) -> tuple[int, int] | None:
    """Session and whole FCnt from the low bits that a node sends; None: it cannot be meant. `known`: the node's
    sessions (id, JoinNonce, last FCnt), newest first; `newest`: the last FCnt of the one in which it was told."""
    for number, join_nonce, last in known:
        if join_nonce & 0xFF == nonce and join_nonce <= session.key[1]:
            top = newest if number == session.id else last
            whole = top & ~0xFFFF | fcnt
            if whole > top:
                whole -= 0x10000
            return (number, whole) if whole >= 0 else None
    return None
