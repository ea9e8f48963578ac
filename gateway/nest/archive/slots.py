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
_ABSENT = (schema.OPEN, schema.GIVEN_UP, schema.NEVER_WAS)  # gaps that may still be filled, though its log is lost
_BEFORE_JOIN_MS = 5 * 3_600_000  # a frame may carry a reading that is so much older than its session: see AGE

_Known = list[tuple[int, int, int, float]]  # of `Sql.sessions_of_node`


class Slots:
    """See above. Times are ms."""

    def __init__(self, rows: Rows, done: Committed) -> None:
        self._rows, self._done = rows, done

    def skipped(self, session: Session, fcnt: int, time: int) -> None:
        """The frame `fcnt`, measured at `time`, came behind `session.fcnt`: what was between is missing.

        Each is taken to have been measured at its place on a straight line, which begins with the join where nothing
        was heard before: a node that has joined sends at once."""
        count = fcnt - session.fcnt
        before, first = session.fcnt, session.fcnt + 1
        if count > MOST_SKIPPED:
            _log.warning(
                "the counter of %s has gone from %d to %d at once; the last %d frames are taken for lost",
                session.node.slug, session.fcnt, fcnt, MOST_SKIPPED,
            )  # fmt: skip
            first = fcnt - MOST_SKIPPED
        began = session.time
        if began is None:
            last = self._neighbour(Sql.frame_before, session.id, fcnt)
            if last is None:
                before, began = 0, round(self._rows.one(Sql.joined_at, session.id)[0] * 1000)
            else:
                began = last[1]
        began = min(began, time) if began > 0 else time
        for lost in range(first, fcnt):
            moment = began + (time - began) * (lost - before) // (fcnt - before)
            moment = min(moment, time - (fcnt - lost))  # never the node's latest
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
                made = min(made, time - (found.unsent + 1 - part))
                self._rows.gap(session.id, session.node, fcnt, part, made)
        if not (found.earlier or found.none or found.answer):
            return
        self._rows.flush()
        if found.answer:
            orders.answered(self._rows.connection, session.node.id, *found.answer, self._rows.now)
        known: _Known = []
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
        if found is None or found[1] not in _ABSENT:
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
            self._settle(session, (session.id, change.fcnt, change.part), found[0], change.state)

    # -- what a node says

    def _backfill(
        self,
        known: _Known,
        session: Session,
        newest: int,
        record: Earlier,
        moment: int,
        begun: int,
    ) -> None:
        rows = self._rows
        time = None if record.age_s is None else begun - round(record.age_s * 1000)
        meant = _sessions(known, session, record.session)
        if time is not None:  # of 256 sessions two have the same byte
            fitting = [one for one in meant if one[3] * 1000 - _BEFORE_JOIN_MS <= time]
            meant = fitting[:1] or (meant[:1] if record.part else [])  # else it is of a session that nobody here knows
        slot = _slot(meant[0], session, newest, record.fcnt) if len(meant) == 1 else None
        if slot is None:
            return
        session_id, fcnt = slot
        found = rows.one(Sql.gap, session_id, fcnt, record.part)
        if found is None:
            if record.part == 0 and rows.one(Sql.frame, session_id, fcnt) is not None:
                return  # it was heard
        elif found[1] not in _ABSENT:
            return
        if time is None and record.part and self._neighbour(Sql.frame_before, session_id, fcnt) is None:
            # made before all that was heard of its session, perhaps by days: it stays in the node's log, and here it is
            # missing, which is better than at a false time
            if found is not None and found[1] == schema.OPEN:
                self._settle(session, (session_id, fcnt, record.part), found[0], schema.GIVEN_UP)
            return
        if time is None:
            time = self._estimate(session_id, fcnt) if found is None else found[0]
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

    def _never_was(self, known: _Known, session: Session, newest: int, absent: Absent) -> None:
        rows = self._rows
        for one in _sessions(known, session, absent.session):  # the log has it of none
            slot = _slot(one, session, newest, absent.fcnt)
            if slot is None or not absent.count:
                continue
            session_id, first = slot
            missing = rows.connection.execute(Sql.missing, (session_id, first, first + absent.count - 1)).fetchall()
            for fcnt, part, time in missing:
                self._settle(session, (session_id, fcnt, part), time, schema.NEVER_WAS)

    # -- helpers

    def _settle(self, session: Session, slot: tuple[int, int, int], time: int, state: int) -> None:
        """Note what became of a gap: `slot` is its session, FCnt and part, `time` its place."""
        self._rows.connection.execute(Sql.update_gap, (time, state, self._rows.now, *slot))
        self._rows.mark(session.node, time)

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
        """When the reading of a slot that nobody knew of was measured: on a straight line between the frames beside it.
        None: there is one on one side only, and nobody knows how far from it. What a frame that was heard came behind
        was measured before that one."""
        before = self._neighbour(Sql.frame_before, session_id, fcnt)
        behind = self._neighbour(Sql.frame_behind, session_id, fcnt - 1)
        if before is None or behind is None:
            return None
        return before[1] + (behind[1] - before[1]) * (fcnt - before[0]) // (behind[0] - before[0])

    def _neighbour(self, statement: str, session_id: int, fcnt: int) -> tuple[int, int] | None:
        """FCnt and beginning of the nearest frame."""
        self._rows.flush()
        found: Any = self._rows.one(statement, session_id, fcnt)
        return None if found is None else (found[0], found[1] - airtime_ms(*found[2:]))


def _sessions(known: _Known, session: Session, nonce: int) -> _Known:
    """Those of the node's sessions that the low byte of a JoinNonce may mean, newest first."""
    return [one for one in known if one[1] & 0xFF == nonce and one[1] <= session.key[1]]


def _slot(meant: tuple[int, int, int, float], session: Session, newest: int, fcnt: int) -> tuple[int, int] | None:
    """Session and whole FCnt from the low bits that a node sends; None: it cannot be meant. `meant`: one of `_Known`;
    `newest`: the last FCnt of the session in which it was told."""
    whole = whole_fcnt(fcnt, meant[2], newest if meant[0] == session.id else None)
    return (meant[0], whole) if whole >= 0 else None


def whole_fcnt(low: int, last: int, newest: int | None) -> int:
    """An FCnt by its low 16 bits; below 0: it cannot be meant. `newest`: of the session that goes on; None: of one that
    has ended, which may have gone on unheard behind `last`, the last one heard."""
    if newest is not None:
        return newest - (newest - low & 0xFFFF)
    return last + (low - last + 0x8000 & 0xFFFF) - 0x8000
