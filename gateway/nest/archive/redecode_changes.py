"""How the archive differs from what a few hundred frames say, and what is changed for it: see redecode.py."""

from __future__ import annotations

import dataclasses
import time as clock
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Row, bindparam, func, insert, select, update

from nest.archive import adding, decoding, schema
from nest.archive.database import writing
from nest.moments import now_ms

_FREE_MS = 1000  # by so much a reading may have moved to a free moment
_LONGEST_AGE_MS = 0xFFFF * 250 + 60_000  # of an AGE item, and an airtime


@dataclasses.dataclass(slots=True)
class Summary:
    """What a run has found; with `dry_run`, what it would have done."""

    frames: int = 0
    same: int = 0  # readings that are as their frames say
    corrected: int = 0
    added: int = 0  # readings of frames that had none
    recovered: int = 0  # readings anew, from parity
    backfilled: int = 0  # readings anew, from a node's log
    undecodable: int = 0  # frames
    unexplained: int = 0  # readings that differ, or whose frame carries none; they stay


class Slot(NamedTuple):
    session: int
    fcnt: int
    part: int


class Wanted(NamedTuple):
    """A reading that must be there."""

    slot: Slot
    time: int | None  # of measuring; None: that of the gap, or between the frames beside it
    origin: int
    heard: int | None  # when its frame was heard; None: no frame brought it
    packed: bytes


class Plan:
    """What a chunk of frames says, and how the archive differs from it."""

    def __init__(self, connection: Connection, node_id: int, done: Summary, since: int | None) -> None:
        self._connection, self._node, self._done, self._since = connection, node_id, done, since
        self.heard: list[Wanted] = []
        self.others: list[Wanted] = []
        self.never: list[Slot] = []  # slots whose frames carried no reading
        self.empty: list[int] = []  # when frames were heard that carry no reading
        self.outcomes: list[dict[str, int]] = []  # frames that come further, or less far, than they did
        self._correct: list[tuple[Row, Wanted]] = []
        self._add: list[Wanted] = []  # of frames
        self._fill: list[tuple[Wanted, int, int | None]] = []  # time, state of the gap (None: there is none)
        self._close: list[Slot] = []

    def look(self) -> None:
        """Compare with what is there."""
        self._look_at_heard()
        self._look_at_others()
        if self.empty:
            table = schema.readings
            moments = table.c.time + table.c.delay_ms
            around = (min(self.empty) - _LONGEST_AGE_MS, max(self.empty))
            if around[1] - around[0] < 100 * schema.DAY_MS:
                there = select(func.count()).where(
                    table.c.node_id == self._node, table.c.time.between(*around), moments.in_(_padded(self.empty)),
                    table.c.origin == schema.HEARD,
                )  # fmt: skip
                self._done.unexplained += self._connection.execute(there).scalar_one()

    def _readings(self, times: Iterable[int]) -> dict[int, Row]:
        table, found = schema.readings, {}
        wanted = select(table).where(table.c.node_id == self._node, table.c.time.in_(_padded(times)))
        for row in self._connection.execute(wanted):
            found[row.time] = row
        return found

    def _look_at_heard(self) -> None:
        there = self._readings(wanted.time for wanted in self.heard if wanted.time is not None)
        for wanted in self.heard:
            if wanted.time is None or wanted.heard is None or (self._since is not None and wanted.time < self._since):
                continue
            row = there.get(wanted.time)
            if row is None or row.origin != schema.HEARD or row.delay_ms != wanted.heard - row.time:
                row = self._of_frame(wanted.heard)
            if row is None:
                self._add.append(wanted)
                self._done.added += 1
            elif bytes(row.codes) == wanted.packed and 0 <= row.time - wanted.time < _FREE_MS:
                self._done.same += 1
            else:
                self._correct.append((row, wanted))
                self._done.corrected += 1

    def _of_frame(self, heard: int) -> Row | None:
        """The reading of the frame that was heard at that moment, wherever it stands."""
        table = schema.readings
        return self._connection.execute(
            select(table).where(
                table.c.node_id == self._node,
                table.c.time.between(heard - _LONGEST_AGE_MS, heard + _FREE_MS),
                table.c.origin == schema.HEARD,
                table.c.time + table.c.delay_ms == heard,
            )
        ).first()

    def _gaps(self, slots: Iterable[Slot]) -> dict[Slot, tuple[int, int]]:
        """slot -> time, state."""
        table, by_session = schema.gaps, dict[int, list[int]]()
        for slot in slots:
            by_session.setdefault(slot.session, []).append(slot.fcnt)
        found: dict[Slot, tuple[int, int]] = {}
        for session, fcnts in by_session.items():
            wanted = select(table.c.fcnt, table.c.part, table.c.time, table.c.state).where(
                table.c.session_id == session, table.c.fcnt.in_(_padded(fcnts))
            )
            for fcnt, part, time, state in self._connection.execute(wanted):
                found[Slot(session, fcnt, part)] = time, state
        return found

    def _look_at_others(self) -> None:
        gaps = self._gaps([*(wanted.slot for wanted in self.others), *self.never])
        filled = (schema.GAP_RECOVERED, schema.GAP_BACKFILLED)
        there = self._readings(time for time, state in gaps.values() if state in filled)
        taken: set[Slot] = set()
        for wanted in self.others:
            slot = wanted.slot
            time, state = gaps.get(slot, (None, None))
            if slot in taken or (state in (schema.HEARD_LATE, None) and self._was_heard(slot)):
                continue
            taken.add(slot)
            fills = (
                (*schema.MISSING, None)
                if wanted.origin == schema.RECOVERED
                else (*schema.MISSING, schema.NEVER_WAS, None)
            )
            if state in fills:
                moment = wanted.time if wanted.time is not None else self._moment(slot, time)
                if moment is not None and (self._since is None or moment >= self._since):
                    self._fill.append((wanted, moment, state))
                    if wanted.origin == schema.RECOVERED:
                        self._done.recovered += 1
                    else:
                        self._done.backfilled += 1
            elif state in filled and time is not None and (self._since is None or time >= self._since):
                self._compare(wanted, there.get(time), time, state)
        self._close = [slot for slot in self.never if gaps.get(slot, (0, 0))[1] in schema.MISSING and slot in gaps]

    def _compare(self, wanted: Wanted, row: Row | None, time: int, state: int) -> None:
        own = schema.RECOVERED if state == schema.GAP_RECOVERED else schema.BACKFILLED
        if row is not None and bytes(row.codes) == wanted.packed:
            self._done.same += row.origin == own and wanted.origin == own
        elif row is None and wanted.origin == own:
            self._fill.append((wanted, time, state))
            self._done.added += 1
        elif row is not None and row.origin == wanted.origin == own:
            self._correct.append((row, wanted._replace(time=row.time, heard=None)))
            self._done.corrected += 1
        else:  # the node's log and parity disagree
            self._done.unexplained += 1

    def _was_heard(self, slot: Slot) -> bool:
        frames = schema.frames
        wanted = select(frames.c.id).where(frames.c.session_id == slot.session, frames.c.fcnt == slot.fcnt)
        return slot.part == 0 and self._connection.execute(wanted).first() is not None

    def _moment(self, slot: Slot, of_gap: int | None) -> int | None:
        """As `slots.Slots._backfill`: when a reading was measured of which nobody says it, None where nobody can."""
        if of_gap is not None and not slot.part:
            return of_gap
        frames = schema.frames
        before = self._beside(slot, frames.c.fcnt < slot.fcnt, frames.c.fcnt.desc())
        if before is None:
            return None
        if of_gap is not None:
            return of_gap
        behind = self._beside(slot, frames.c.fcnt >= slot.fcnt, frames.c.fcnt)
        if behind is None:
            return None
        return before[1] + (behind[1] - before[1]) * (slot.fcnt - before[0]) // (behind[0] - before[0])

    def _beside(self, slot: Slot, condition: ColumnElement[bool], order: ColumnElement[Any]) -> tuple[int, int] | None:
        """FCnt and beginning of the nearest frame."""
        frames = schema.frames
        row = self._connection.execute(
            select(frames.c.fcnt, frames.c.time, frames.c.sf, frames.c.bw_hz, func.length(frames.c.phy))
            .where(frames.c.session_id == slot.session, condition)
            .order_by(order)
            .limit(1)
        ).first()
        return None if row is None else (row[0], row[1] - decoding.airtime_ms(*row[2:]))

    # -- writing

    def carry_out(self, engine: Engine, pause: Callable[[float], None]) -> bool:
        """Change what differs; whether there was anything. `pause`: see `Redecoder`."""
        if not (self._correct or self._add or self._fill or self._close or self.outcomes):
            return False
        began = clock.monotonic()
        with writing(engine) as connection:
            self._connection = connection
            self._days: set[int] = set()
            for row, wanted in self._correct:
                self._replace(row, wanted)
            heard = [wanted for wanted in self._add if wanted.heard and self._of_frame(wanted.heard) is None]
            self._insert([(wanted, wanted.time or 0) for wanted in heard])
            self._fill_gaps()
            self._never_was()
            if self.outcomes:
                frames = schema.frames
                connection.execute(update(frames).where(frames.c.id == bindparam("of_frame")), self.outcomes)
            for day in self._days:
                adding.mark_day(connection, self._node, day * schema.DAY_MS)
        pause(clock.monotonic() - began)
        return True

    def _replace(self, row: Row, wanted: Wanted) -> None:
        table = schema.readings
        this = (table.c.node_id == self._node, table.c.time == row.time, table.c.codes == row.codes)
        time = row.time
        if wanted.time is not None and not 0 <= row.time - wanted.time < _FREE_MS:
            time = adding.free_moment(self._connection, self._node, wanted.time)
        values: dict[str, Any] = {"codes": wanted.packed, "time": time}
        if wanted.heard is not None:
            values["delay_ms"] = wanted.heard - time
        self._connection.execute(update(table).where(*this).values(**values))
        if time != row.time:  # what waits to be published tells a reading by its moment
            box = schema.outbox
            waits = (box.c.node_id == self._node, box.c.time == row.time)
            self._connection.execute(update(box).where(*waits).values(time=time))
        self._days |= {row.time // schema.DAY_MS, time // schema.DAY_MS}

    def _insert(self, those: Sequence[tuple[Wanted, int]]) -> list[int]:
        """Readings at those moments, or at the next that are free; where they stand."""
        taken = {*self._readings(time for _, time in those)}
        rows: list[dict[str, Any]] = []
        placed: list[int] = []
        for wanted, time in those:
            if time in taken:
                if rows:
                    self._connection.execute(insert(schema.readings), rows)
                    rows = []
                time = adding.free_moment(self._connection, self._node, time)
            taken.add(time)
            delay = None if wanted.heard is None else wanted.heard - time
            rows.append({"node_id": self._node, "time": time, "origin": wanted.origin, "delay_ms": delay})
            rows[-1]["codes"] = wanted.packed
            self._days.add(time // schema.DAY_MS)
            placed.append(time)
        if rows:
            self._connection.execute(insert(schema.readings), rows)
        return placed

    def _fill_gaps(self) -> None:
        table = schema.gaps
        now = self._gaps(wanted.slot for wanted, _, _ in self._fill)
        still = [(wanted, time) for wanted, time, state in self._fill if now.get(wanted.slot, (0, None))[1] == state]
        if not still:
            return
        at = now_ms()
        rows: list[dict[str, Any]] = []
        for (wanted, _), time in zip(still, self._insert(still), strict=True):
            state = schema.GAP_RECOVERED if wanted.origin == schema.RECOVERED else schema.GAP_BACKFILLED
            slot = wanted.slot
            if slot in now:
                self._days.add(now[slot][0] // schema.DAY_MS)
            else:
                values = {"session_id": slot.session, "fcnt": slot.fcnt, "part": slot.part, "node_id": self._node}
                values |= {"time": time, "opened_at": at, "state": state, "state_at": at}
                self._connection.execute(insert(table).values(**values))
            rows.append({**_keys(slot), "time": time, "state": state, "state_at": at})
        self._connection.execute(_this_gap(update(table)), rows)

    def _never_was(self) -> None:
        now = self._gaps(self._close)
        for slot in self._close:
            if slot in now and now[slot][1] in schema.MISSING:
                values = {"state": schema.NEVER_WAS, "state_at": now_ms()}
                self._connection.execute(_this_gap(update(schema.gaps)), [{**_keys(slot), **values}])
                self._days.add(now[slot][0] // schema.DAY_MS)


def _padded(numbers: Iterable[int]) -> list[int]:
    """The same in a list of one of few lengths: a statement for each length would be kept by the driver."""
    found = [*numbers]
    return found + found[-1:] * ((1 << len(found).bit_length()) - len(found))


def _keys(slot: Slot) -> dict[str, int]:
    return {"of_session": slot.session, "of_fcnt": slot.fcnt, "of_part": slot.part}


def _this_gap(statement: Any) -> Any:
    gaps = schema.gaps
    return statement.where(
        gaps.c.session_id == bindparam("of_session"),
        gaps.c.fcnt == bindparam("of_fcnt"),
        gaps.c.part == bindparam("of_part"),
    )
