"""The work of one of the journal's transactions: effects in, rows out.

Frames and counters are collected and written many at a time; what must see them written (a join, the end of a session)
has them written first, so that the order of the effects is kept.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nest import quantities
from nest.archive import decoding, schema
from nest.archive.statements import Sql, insert_readings
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
from nest.model import MOST_HEARD, Heard, SessionState, Uplink
from nest.moments import now_ms

if TYPE_CHECKING:
    from nest.archive.journal import Committed

RECENT = 4096  # frames whose receptions are remembered, so that a further copy needs no look into the database
_WALK = 64  # moments looked at in one go


class Node:
    """What the journal remembers of a node. Its frames fill every millisecond from `run` to `newest`."""

    __slots__ = ("dev_eui", "id", "newest", "run", "slug")

    def __init__(self, dev_eui: bytes, number: int, slug: str, newest: int) -> None:
        self.dev_eui, self.id, self.slug = dev_eui, number, slug
        self.run = self.newest = newest


class Session:
    """What the journal remembers of a session; whether it has ended is asked for each time."""

    __slots__ = ("id", "node")

    def __init__(self, number: int, node: Node) -> None:
        self.id, self.node = number, node


class Frame:
    """A frame that was stored lately, or will be with this burst (then it has no `id` yet)."""

    __slots__ = ("heard", "id")

    def __init__(self, number: int, heard: tuple[Heard, ...]) -> None:
        self.id, self.heard = number, heard


class Memory:
    """What stays from one transaction to the next. After one that was rolled back it is empty."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.sessions: dict[tuple[bytes, int], Session] = {}
        self.recent: dict[tuple[Session, int], Frame] = {}
        self.older: dict[tuple[Session, int], Frame] = {}

    def committed(self) -> None:
        """A transaction is on the disk: frames that are no longer recent may be forgotten."""
        if len(self.recent) > RECENT:
            self.recent, self.older = {}, self.recent


class Burst:
    """One transaction's work; whoever made it begins and commits, and forgets the memory when it fails."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory, done: Committed) -> None:
        self._connection, self._memory, self._done = connection, memory, done
        self._now = now_ms()
        self._next_frame = self._next_seq = 0
        # collected, and not written yet
        self._changed: dict[Session, SessionState] = {}
        self._fresh: list[tuple[Uplink, Session, Frame]] = []
        self._merged: dict[Frame, None] = {}

    def carry_out(self, effects: Sequence[Stored]) -> None:
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

    # -- collecting

    def _session(self, dev_eui: bytes, join_nonce: int) -> Session | None:
        key = (dev_eui, join_nonce)
        session = self._memory.sessions.get(key)
        if session is None:
            row = self._connection.execute(Sql.session, (dev_eui.hex(), join_nonce)).fetchone()
            if row is None:
                self._report(dev_eui)
                return None
            number, node_id, slug, newest = row
            node = self._memory.nodes.get(dev_eui)
            if node is None:
                node = self._memory.nodes[dev_eui] = Node(dev_eui, node_id, slug, -1 if newest is None else newest)
            session = self._memory.sessions[key] = Session(number, node)
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
        if not self._next_frame:
            self._next_frame = (self._one(Sql.last_frame) or (0,))[0] or 0
            self._next_seq = (self._one(Sql.last_seq) or (0,))[0]
        frame_id, seq, done = self._next_frame, self._next_seq, self._done
        frames: list[tuple[Any, ...]] = []
        readings: dict[int, list[list[Any]]] = {}  # number of values -> all columns of all of them
        outbox: list[tuple[Any, ...]] = []
        taken: set[tuple[int, int]] | None = None  # (node, moment) of the rows above, made when it is first needed
        for uplink, session, frame in fresh:
            if ended and session in ended:
                self._memory.recent.pop((session, uplink.fcnt), None)
                continue
            node = session.node
            moment = round(uplink.received_at * 1000)
            if moment > node.newest:
                node.run = node.newest = moment
            elif moment >= node.run:
                node.newest = moment = node.newest + 1
            else:
                if taken is None:
                    taken = {(row[1], row[4]) for row in frames}
                moment = self._free_moment(node, moment, taken)
            if taken is not None:
                taken.add((node.id, moment))
            frame_id += 1
            frame.id = frame_id
            outcome, reading = decoding.read(uplink.fport, uplink.payload, node.slug, uplink.fcnt)
            frames.append(
                (
                    frame_id,
                    node.id,
                    session.id,
                    uplink.fcnt,
                    moment,
                    uplink.fport,
                    uplink.payload,
                    uplink.phy,
                    uplink.confirmed,
                    uplink.freq_hz,
                    uplink.sf,
                    uplink.bw_hz,
                    heard_json(frame.heard),
                    outcome,
                )
            )
            if reading is None:
                if outcome == schema.UNDECODABLE:
                    done.undecodable += 1
                else:
                    done.no_reading += 1
                continue
            values, qualities = reading
            node_id = node.id
            columns: list[Any] = []
            for name, value in values.items():
                columns += (node_id, _BITS[name], moment, value, _CODES[qualities[name]])
            readings.setdefault(len(values), []).append(columns)
            seq += 1
            outbox.append((seq, node_id, moment, frame_id))
            event = ReadingEvent(node.slug, moment / 1000, values, qualities, frame.heard, uplink.fcnt)
            done.readings.append((seq, event))
        executemany = self._connection.executemany
        executemany(Sql.insert_frame, frames)
        for count, of_frames in readings.items():
            if count:
                executemany(insert_readings(count), of_frames)
        executemany(Sql.insert_outbox, outbox)
        self._next_frame, self._next_seq = frame_id, seq

    def _free_moment(self, node: Node, moment: int, taken: set[tuple[int, int]]) -> int:
        """`moment`, or the next millisecond at which this node has no frame: each reading keeps a moment of its own,
        though a gateway that comes back delivers a whole night at one."""
        while moment < node.run:
            last = min(moment + _WALK, node.run) - 1
            found = {row[0] for row in self._connection.execute(Sql.times, (node.id, moment, last))}
            for free in range(moment, last + 1):
                if free not in found and (node.id, free) not in taken:
                    return free
            moment = last + 1
        node.newest += 1
        return node.newest

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
}
_BITS = {quantity.name: quantity.bit for quantity in quantities.all_quantities()}
_CODES = decoding.QUALITY_CODES


def merged(known: tuple[Heard, ...], heard: Heard) -> tuple[Heard, ...] | None:
    """`known` with one more reception, strongest first; None where it adds nothing."""
    rest = known
    for entry in known:
        if entry.gateway == heard.gateway:
            if _strength(heard) <= _strength(entry):
                return None
            rest = tuple(other for other in known if other is not entry)
            break
    else:
        if len(known) >= MOST_HEARD:
            return None
    return tuple(sorted((*rest, heard), key=_strength, reverse=True))


def heard_json(heard: Sequence[Heard]) -> str:
    """What stands in the column `heard`; json.dumps in a third of its time, where the numbers are plain."""
    parts: list[str] = []
    for one in heard:
        gateway, rssi, snr, at = one.gateway, one.rssi, one.snr, one.received_at
        try:
            plain = -1e6 < rssi < 1e6 and -1e15 < at < 1e15 and (snr is None or -1e6 < snr < 1e6)
        except TypeError:
            plain = False
        if not plain or not (gateway.isalnum() and gateway.isascii()):
            return _careful_json(heard)
        parts.append(
            f'{{"gateway": "{gateway}", "rssi": {rssi}, "snr": {"null" if snr is None else snr}, '
            f'"freq_hz": {one.freq_hz}, "received_at": {at}}}'
        )
    return f"[{', '.join(parts)}]"


def _careful_json(heard: Sequence[Heard]) -> str:
    """A number that is none (no forwarder should let it through) becomes null, and the frame is kept."""

    def number(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return json.dumps(
        [
            {
                "gateway": one.gateway,
                "rssi": number(one.rssi),
                "snr": number(one.snr),
                "freq_hz": one.freq_hz,
                "received_at": number(one.received_at),
            }
            for one in heard
        ]
    )


def _strength(heard: Heard) -> float:
    return -math.inf if heard.rssi is None else heard.rssi
