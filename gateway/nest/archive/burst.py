"""The work of one of the journal's transactions: effects in, rows out.

Frames and counters are collected and written many at a time; what must see them written (a join, the end of a session)
has them written first, so that the order of the effects is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nest.archive import decoding, schema
from nest.archive.changes import Change, CloseGap, StoreRecovered
from nest.archive.decoding import airtime_ms, packed, told
from nest.archive.memory import Frame, Memory, Node, Session
from nest.archive.receptions import heard_json, merged
from nest.archive.rows import Rows
from nest.archive.slots import Slots
from nest.archive.statements import Sql
from nest.extras import has_extras, read_rest
from nest.live import ReadingEvent
from nest.lorawan.effects import (
    DownlinkOutcome,
    MergeCopy,
    Stored,
    StoreJoin,
    StoreLate,
    StoreSession,
    StoreStatus,
    StoreUplink,
)
from nest.model import Heard, SessionState, Uplink
from nest.moments import now_ms

if TYPE_CHECKING:
    from nest.archive.database import JournalConnection
    from nest.archive.journal import Committed

_HEARD, _NO_READING, _UNDECODABLE = schema.HEARD, schema.NO_READING, schema.UNDECODABLE
_ORIGIN = schema.ORIGIN_NAMES[_HEARD]


class Burst:
    """One transaction's work; whoever made it begins and commits, and forgets the memory when it fails."""

    def __init__(self, connection: JournalConnection, memory: Memory, done: Committed) -> None:
        self._connection, self._memory, self._done = connection, memory, done
        self._now = now_ms()
        memory.look_around(connection.changes())
        self._rows = Rows(connection, memory, self._now)
        self._slots = Slots(self._rows, done)
        # collected, and not written yet
        self._changed: dict[Session, SessionState] = {}
        self._fresh: list[tuple[Uplink, Session, Frame]] = []
        self._merged: dict[Frame, None] = {}

    def carry_out(self, effects: Sequence[Stored | Change]) -> None:
        """Write all of it. Raises whatever SQLite says; nothing is put right here."""
        for effect in effects:
            if type(effect) is StoreUplink and not effect.activates:
                state = effect.session
                session = self._session(state.dev_eui, state.join_nonce)
                if session is not None:
                    self._changed[session] = state
                    self._add(effect.uplink, session)
            else:
                _CARRY_OUT[type(effect)](self, effect)
        self._write()
        self._rows.flush()

    # -- one effect each

    def _activate(self, effect: StoreUplink) -> None:
        state = effect.session
        session = self._session(state.dev_eui, state.join_nonce)
        if session is None:
            return
        self._write()  # what came before belongs to the session that ends now
        self._changed[session] = state
        self._add(effect.uplink, session)
        if session not in self._write():
            self._connection.execute(Sql.end_other_sessions, (self._now, session.node.id, session.id))

    def _store_late(self, effect: StoreLate) -> None:
        uplink, state = effect.uplink, effect.session
        session = self._session(state.dev_eui, state.join_nonce)
        if session is None:
            return
        if (frame := self._find(session, uplink.fcnt)) is not None:  # another gateway has held it back, too
            for heard in uplink.heard:
                self._merge(frame, heard)
            return
        if self._one(Sql.session_is_open, session.id) is None:
            self._ended(session.node)
            return
        self._done.late += 1
        self._add(uplink, session)

    def _store_session(self, effect: StoreSession) -> None:
        state = effect.session
        session = self._session(state.dev_eui, state.join_nonce)
        if session is not None:
            self._changed[session] = state

    def _store_join(self, effect: StoreJoin) -> None:
        self._write()
        record, state = effect.record, effect.session
        row = self._one(Sql.node, record.dev_eui.hex())
        if row is None or row[1] is not None:  # removed
            self._report(record.dev_eui)
            return
        node_id = row[0]
        execute = self._connection.execute
        execute(Sql.insert_join, (node_id, record.join_nonce, record.dev_nonce, self._now))
        execute(Sql.end_pending_sessions, (self._now, node_id))
        execute(Sql.insert_session, (node_id, *(getattr(state, name) for name in Sql.SESSION_COLUMNS[1:])))

    def _merge_copy(self, effect: MergeCopy) -> None:
        session = self._session(effect.dev_eui, effect.join_nonce)
        frame = None if session is None else self._find(session, effect.fcnt)
        if frame is not None:
            self._merge(frame, effect.heard)

    def _merge(self, frame: Frame, more: Heard) -> None:
        heard = merged(frame.heard, more)
        if heard is not None:
            frame.heard = heard
            if frame.id:
                self._merged[frame] = None

    def _store_status(self, effect: StoreStatus) -> None:
        row = self._one(Sql.node, effect.dev_eui.hex())
        if row is not None:
            values = (effect.battery, effect.margin_db, round(effect.at * 1000), row[0])
            self._connection.execute(Sql.update_status, values)

    def _downlink_outcome(self, effect: DownlinkOutcome) -> None:
        if effect.reference is not None:
            self._connection.execute(Sql.update_downlink, (effect.outcome, self._now, effect.reference))

    def _store_recovered(self, effect: StoreRecovered) -> None:
        self._change_gap(effect, self._slots.recovered)

    def _close_gap(self, effect: CloseGap) -> None:
        self._change_gap(effect, self._slots.close)

    def _change_gap(self, effect: Any, carry_out: Callable[[Session, Any], None]) -> None:
        session = self._session(effect.dev_eui, effect.join_nonce)
        if session is not None:
            self._write()  # a frame before it may have opened the gap, or closed it
            self._rows.count()
            carry_out(session, effect)

    # -- collecting

    def _session(self, dev_eui: bytes, join_nonce: int) -> Session | None:
        key = (dev_eui, join_nonce)
        session = self._memory.sessions.get(key)
        if session is None:
            row = self._connection.execute(Sql.session, (dev_eui.hex(), join_nonce)).fetchone()
            if row is None:
                self._report(dev_eui)
                return None
            number, fcnt, node_id, slug, newest, *reading = row
            node = self._memory.nodes.get(dev_eui)
            if node is None:
                node = self._memory.nodes[dev_eui] = Node(dev_eui, node_id, slug, -1 if newest is None else newest)
                node.loaded(*reading)
            session = self._memory.sessions[key] = Session(number, key, node, -1 if fcnt is None else fcnt)
        return session

    def _add(self, uplink: Uplink, session: Session) -> None:
        frame = Frame(0, uplink.heard)
        self._memory.recent[session, uplink.fcnt] = frame
        self._fresh.append((uplink, session, frame))

    def _find(self, session: Session, fcnt: int) -> Frame | None:
        """The frame of that counter, stored or about to be."""
        key, memory = (session, fcnt), self._memory
        frame = memory.recent.get(key) or memory.older.get(key)
        if frame is None:
            row = self._one(Sql.frame, session.id, fcnt)
            if row is not None:
                frame = memory.recent[key] = Frame(row[0], decoding.heard(json.loads(row[1])))
        return frame

    # -- writing

    def _write(self) -> set[Session]:
        """Write what was collected; the sessions that had ended, of which nothing was written."""
        ended = self._write_sessions() if self._changed else set()
        if self._fresh:
            self._write_frames(ended)
        if self._merged:
            self._connection.executemany(
                Sql.update_heard, [(heard_json(frame.heard), frame.id) for frame in self._merged]
            )
            self._merged = {}
        return ended

    def _write_sessions(self) -> set[Session]:
        changed, self._changed = self._changed, {}
        rows = [
            (
                state.fcnt_up,
                state.fcnt_down,
                state.rx1_delay_s,
                state.rx1_dr_offset,
                state.rx2_dr,
                state.rx2_freq_hz,
                state.active,
                state.heard_at,
                state.heard_by,
                state.heard_tmst,
                state.tx_power,
                state.nb_trans,
                state.adr_tries,
                state.status_at,
                session.id,
            )
            for session, state in changed.items()
        ]
        if self._connection.executemany(Sql.update_session, rows).rowcount == len(rows):
            return set()
        ended = {session for session in changed if self._one(Sql.session_is_open, session.id) is None}
        for session in ended:
            self._ended(session.node)
        return ended

    def _write_frames(self, ended: set[Session]) -> None:
        fresh, self._fresh = self._fresh, []
        rows, slots, done = self._rows, self._slots, self._done
        rows.count()
        for uplink, session, frame in fresh:
            if ended and session in ended:
                self._memory.recent.pop((session, uplink.fcnt), None)
                continue
            node, fcnt, fport, content = session.node, uplink.fcnt, uplink.fport, uplink.payload
            moment = rows.frame_moment(node, round(uplink.received_at * 1000))
            outcome, decoded = decoding.read(fport, content, node.slug, fcnt)
            rows.frame_id = frame.id = rows.frame_id + 1
            rows.frames.append(
                (
                    frame.id,
                    node.id,
                    session.id,
                    fcnt,
                    moment,
                    fport,
                    content,
                    uplink.phy,
                    uplink.confirmed,
                    uplink.freq_hz,
                    uplink.sf,
                    uplink.bw_hz,
                    heard_json(frame.heard),
                    outcome,
                )
            )
            done.decoded.append((session.key, fcnt, content, fport))
            time = begun = moment - airtime_ms(uplink.sf, uplink.bw_hz, len(uplink.phy))
            kept = more = None
            if decoded is not None:
                kept = packed(content, decoded)
                if has_extras(decoded.rest):
                    more = read_rest(decoded.rest)
                    time -= round(more.age_s * 1000)
            if fcnt <= session.fcnt:
                if outcome != _UNDECODABLE:  # else nobody knows what it carried, and what is known stays
                    slots.heard_late(session, fcnt, time, kept)
            else:
                if fcnt > session.fcnt + 1:
                    slots.skipped(session, fcnt, time)
                session.fcnt, session.time = fcnt, time
            if decoded is None or kept is None:
                if outcome == _NO_READING:
                    done.no_reading += 1
                else:
                    done.undecodable += 1
                continue
            values, qualities = told(decoded.codes)
            time = rows.reading(node, time, _HEARD, moment, kept, tuple(values), frame.id)
            event = ReadingEvent(node.slug, time / 1000, values, qualities, frame.heard, fcnt, _ORIGIN, moment / 1000)
            done.readings.append((rows.seq, event))
            if more is not None:
                slots.told(session, fcnt, moment, begun, time, more)
        rows.flush()

    # -- nodes removed beside us

    def _ended(self, node: Node) -> None:
        """A session had ended. Was the node removed, or has a later session only taken over?"""
        if self._one(Sql.open_session, node.id) is None:
            self._report(node.dev_eui)

    def _report(self, dev_eui: bytes) -> None:
        if dev_eui not in self._done.ended:
            self._done.ended.append(dev_eui)

    def _one(self, statement: str, *parameters: Any) -> Any:
        return self._connection.execute(statement, parameters).fetchone()


_CARRY_OUT: dict[type, Any] = {
    StoreUplink: Burst._activate,
    StoreLate: Burst._store_late,
    StoreSession: Burst._store_session,
    StoreJoin: Burst._store_join,
    MergeCopy: Burst._merge_copy,
    StoreStatus: Burst._store_status,
    DownlinkOutcome: Burst._downlink_outcome,
    StoreRecovered: Burst._store_recovered,
    CloseGap: Burst._close_gap,
}
