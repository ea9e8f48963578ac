"""The judge of the proofs: reads what happened on the air and to the node, in true time; it knows nothing of the node.

CPython only, on `cryptography`. The limits are those of the law (ERC/REC 70-03, EN 300 220, RP002-1.0.4 2.4, TR007-1.1
4.8), entered here once more. A judge gives its findings as sentences.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import lorawan_network as network

HEAD = struct.Struct("<BBHIQIbBH")
TX, OFF, ON, FLASH, ACCEPT, START, SENT, ROT, NOTE, WAITS, LOST = range(1, 12)
HOUR_US = 3_600_000_000

# (from Hz, to Hz, airtime in µs that an hour may hold)
BANDS = (
    (863_000_000, 865_000_000, 3_600_000),
    (865_000_000, 868_000_000, 36_000_000),
    (868_000_000, 868_600_000, 36_000_000),
    (868_700_000, 869_200_000, 3_600_000),
    (869_400_000, 869_650_000, 360_000_000),
    (869_700_000, 870_000_000, 36_000_000),
)
MAX_EIRP_DBM = 16
HALF_BANDWIDTH_HZ = 62_500


@dataclass(slots=True)
class Record:
    kind: int
    flag: int
    node: int
    number: int
    us: int
    airtime_us: int
    eirp_dbm: int
    sf: int
    data: bytes


def records(stream: IO[bytes]) -> Iterator[Record]:
    read = stream.read
    size = HEAD.size
    while True:
        head = read(size)
        if len(head) < size:
            if head:
                raise ValueError("the log breaks off")
            return
        values = HEAD.unpack(head)
        kind, flag, node, number, us, airtime, eirp_dbm, sf, length = values
        yield Record(kind, flag, node, number, us, airtime, eirp_dbm, sf, read(length))


def band_of(freq_hz: int) -> int:
    for index, (low, high, _) in enumerate(BANDS):
        if low <= freq_hz - HALF_BANDWIDTH_HZ and freq_hz + HALF_BANDWIDTH_HZ <= high:
            return index
    return -1


def airtime_us(sf: int, size: int) -> int:
    """Of an uplink at 125 kHz: preamble 8, CR 4/5, explicit header, CRC (SX1276 data sheet 4.1.1.7)."""
    low = 2 if sf > 10 else 0
    blocks = max(0, -(-(8 * size - 4 * sf + 44) // (4 * (sf - low))))
    return (49 + 4 * (8 + 5 * blocks)) * (8 << sf) // 4


@dataclass
class Window:
    """The airtime of a sliding window, exactly: what lies partly in it counts in part."""

    length_us: int
    frames: deque[tuple[int, int]] = field(default_factory=deque)  # begin, end
    sum_us: int = 0

    def add(self, begin_us: int, end_us: int) -> int:
        """Airtime in the window that ends with this frame; between two ends it is never greater."""
        self.frames.append((begin_us, end_us))
        self.sum_us += end_us - begin_us
        edge = end_us - self.length_us
        while self.frames[0][1] <= edge:
            begin, end = self.frames.popleft()
            self.sum_us -= end - begin
        return self.sum_us - max(0, edge - self.frames[0][0])


class Law:
    """Judges one node's transmissions. `worst`: per band, the greatest share of its hour that was used."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.windows = [Window(HOUR_US) for _ in BANDS]
        self.worst = [0.0] * len(BANDS)
        self.worst_join = 0.0
        self.max_eirp = -100
        self.frames = 0
        self.joins = 0
        self.cuts = 0
        self.airtime_us = 0
        self.findings: list[str] = []
        self.join_began: tuple[int, int] | None = None  # true and powered time of the first JoinRequest
        self.join_budget: dict[int, int] = {}
        self.join_day = Window(24 * HOUR_US)
        self.join_total = 0
        self.powered_us = 0
        self.on_us: int | None = None
        self.last_end = 0

    def take(self, record: Record) -> None:
        if record.kind == TX:
            self._transmission(record)
        elif record.kind == ON:
            if self.on_us is None:
                self.on_us = record.us
        elif record.kind == OFF:
            self.cuts += 1
            if self.on_us is not None:
                self.powered_us += record.us - self.on_us
            self.on_us = None
        elif record.kind == ACCEPT:
            self.join_began = None
        elif record.kind == NOTE and record.flag:
            self.say(record.us, record.data.decode())

    def say(self, us: int, text: str) -> None:
        self.findings.append(f"node {self.node} at {us / HOUR_US:.3f} h: {text}")

    def _transmission(self, record: Record) -> None:
        begin = record.us
        end = begin + record.airtime_us
        self.frames += 1
        self.airtime_us += record.airtime_us
        if begin < self.last_end:
            self.say(begin, "two transmissions at a time")
        self.last_end = end
        if self.on_us is None:
            self.say(begin, "a transmission without power")
        self.max_eirp = max(self.max_eirp, record.eirp_dbm)
        if record.eirp_dbm > MAX_EIRP_DBM:
            self.say(begin, f"{record.eirp_dbm} dBm EIRP")
        freq_hz = record.number * 100
        band = band_of(freq_hz)
        if band < 0:
            self.say(begin, f"a transmission at {freq_hz} Hz")
        else:
            limit = BANDS[band][2]
            used = self.windows[band].add(begin, end)
            self.worst[band] = max(self.worst[band], used / limit)
            if used > limit:
                self.say(end, f"{used / 1e6:.3f} s in an hour of band {band}, where {limit / 1e6} s are allowed")
        if record.data[:1] == b"\0":
            self._join(begin, end)

    def _join(self, begin: int, end: int) -> None:
        """TR007-1.1 4.8, by powered time; and in the sum by true time, which runs ahead of it."""
        self.joins += 1
        assert self.on_us is not None
        powered = self.powered_us + end - self.on_us
        if self.join_began is None:
            self.join_began = begin, powered - (end - begin)
            self.join_budget = {}
            self.join_day = Window(24 * HOUR_US)
            self.join_total = 0
        true_us = end - self.join_began[0]
        powered -= self.join_began[1]
        airtime = end - begin
        stage = 0 if powered <= HOUR_US else 1 if powered <= 11 * HOUR_US else 2
        self.join_total += airtime
        if stage < 2:
            used = self.join_budget[stage] = self.join_budget.get(stage, 0) + airtime
            limit = 36_000_000
        else:
            used = self.join_day.add(powered - airtime, powered)
            limit = 8_700_000
        self.worst_join = max(self.worst_join, used / limit)
        if used > limit:
            self.say(end, f"{used / 1e6:.3f} s of JoinRequests in stage {stage}, {limit / 1e6} s allowed")
        allowed = 36_000_000
        if true_us > HOUR_US:
            allowed += 36_000_000
        if true_us > 11 * HOUR_US:
            allowed += 8_700_000 * -(-(true_us - 11 * HOUR_US) // (24 * HOUR_US))
        if self.join_total > allowed:
            self.say(
                end,
                f"{self.join_total / 1e6:.3f} s of JoinRequests in {true_us / HOUR_US:.2f} h, "
                f"{allowed / 1e6} s allowed",
            )


@dataclass
class Session:
    nwk_skey: bytes
    dev_addr: int
    frames: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # FCntUp: (frame, start it was sent in)
    last: int = -1
    starts: int = 0  # since the last frame
    stored: bool = False


class Counters:
    """Judges what one node does with its counters and its memory over cuts.

    bound_us: powered true time in which every start that is not cut off before has to send; 0: not judged.
    """

    def __init__(self, node: int, app_key: bytes, bound_us: int = 0) -> None:
        self.node = node
        self.app_key = app_key
        self.bound_us = bound_us
        self.findings: list[str] = []
        self.nonces: dict[int, int] = {}
        self.starts = 0
        self.session: Session | None = None
        self.older: list[Session] = []
        self.request: bytes = b""
        self.on_us = 0
        self.sent_since_on = False
        self.began_us = 0  # powered time began here, and no frame since
        self.cuts = 0
        self.cuts_by_kind = [0, 0, 0]
        self.cut_writes = 0
        self.cut_frames = 0
        self.writes = 0
        self.rots = 0
        self.rotten = False
        self.frames = 0
        self.needless = 0
        self.jump = 0
        self.slowest_us = 0
        self.restarts_that_sent = 0
        self.record_bytes = 0
        self.lost = False
        self.holds = False  # the node runs with the last session

    def say(self, us: int, text: str) -> None:
        self.findings.append(f"node {self.node} at {us} µs, start {self.starts}, {self.cuts} cuts: {text}")

    def take(self, record: Record) -> None:
        kind = record.kind
        if kind == TX:
            self._transmission(record)
        elif kind == ON:
            self.starts += 1
            for session in (*self.older, self.session):
                if session:
                    session.starts += 1
            if record.flag != 3:  # a start after deep sleep goes on with what was before
                self.began_us = record.us
                self.sent_since_on = False
        elif kind == OFF:
            self.cuts += 1
            self.holds = False
            self.cuts_by_kind[record.flag] += 1
        elif kind == FLASH:
            self.writes += 1
            self.record_bytes = max(self.record_bytes, record.airtime_us)
            self.cut_writes += record.flag != 0
            if self.session and self.holds and record.flag in (0, 3):
                self.session.stored = True
                self.rotten = False
        elif kind == ROT:
            self.rots += 1
            self.rotten = True
        elif kind == ACCEPT:
            self._accept(record)
        elif kind == LOST:
            self.lost = True
        elif kind == START:
            self.lost = False
            self.holds = bool(self.session and record.flag and record.airtime_us == self.session.dev_addr)
            if self.session and self.session.stored and not self.holds and not self.rotten:
                self.needless += 1
                self.say(record.us, "the session was stored and is gone")
        elif kind == NOTE and record.flag:
            self.say(record.us, record.data.decode())

    def _transmission(self, record: Record) -> None:
        frame = record.data
        self.frames += 1
        self.cut_frames += record.flag
        if not self.sent_since_on:
            took = record.us - self.began_us
            self.slowest_us = max(self.slowest_us, took)
            self.restarts_that_sent += 1
            if self.bound_us and took > self.bound_us:
                self.say(record.us, f"sent nothing for {took / HOUR_US:.2f} h after a start")
            self.sent_since_on = True
        if frame[0] == 0:
            self._join_request(record, frame)
            return
        session = self.session
        dev_addr = int.from_bytes(frame[1:5], "little")
        if session is None or session.dev_addr != dev_addr:
            session = next((old for old in self.older if old.dev_addr == dev_addr), None)
        if session is None:
            self.say(record.us, "an uplink without a session")
            return
        fcnt = (session.last & ~0xFFFF if session.last >= 0 else 0) | frame[6] | frame[7] << 8
        if fcnt < session.last - 0x8000:
            fcnt += 0x10000
        b0 = struct.pack("<B4xBIIxB", 0x49, 0, dev_addr, fcnt, len(frame) - 4)
        if network.cmac(session.nwk_skey, b0 + frame[:-4])[:4] != frame[-4:]:
            self.say(record.us, f"the MIC of FCntUp {fcnt} is wrong")
            return
        before = session.frames.get(fcnt)
        if before is None:
            if fcnt <= session.last:
                self.say(record.us, f"FCntUp {fcnt} after {session.last}")
            jump = fcnt - session.last
            self.jump = max(self.jump, jump)
            if jump > 260 * (session.starts + 1):
                self.say(record.us, f"FCntUp jumps by {jump} over {session.starts} starts")
            session.frames[fcnt] = frame, self.starts
        elif before[0] != frame:
            self.say(record.us, f"FCntUp {fcnt} twice, with other bytes")
        session.last = max(session.last, fcnt)
        session.starts = 0

    def _join_request(self, record: Record, frame: bytes) -> None:
        if network.cmac(self.app_key, frame[:-4])[:4] != frame[-4:]:
            self.say(record.us, "a JoinRequest with a wrong MIC: the identity is lost")
        nonce = frame[17] | frame[18] << 8
        if nonce in self.nonces:
            self.say(record.us, f"DevNonce {nonce} twice")
        if self.nonces and nonce < max(self.nonces):
            self.say(record.us, f"DevNonce {nonce} after {max(self.nonces)}")
        self.nonces[nonce] = self.starts
        self.request = frame
        if self.session and self.session.stored and not self.rotten and not self.lost:
            self.needless += 1
            self.say(record.us, "a join, although the session was stored")

    def _accept(self, record: Record) -> None:
        plain = network.ecb(self.app_key, record.data[1:])
        if network.cmac(self.app_key, b"\x20" + plain[:-4])[:4] != plain[-4:]:
            self.say(record.us, "the rig made a JoinAccept that is none")
            return
        nonce = self.request[17] | self.request[18] << 8
        join_nonce, net_id = int.from_bytes(plain[:3], "little"), int.from_bytes(plain[3:6], "little")
        nwk_skey, _ = network.session_keys(self.app_key, join_nonce, net_id, nonce)
        if self.session:
            self.older = [*self.older[-3:], self.session]
        self.session = Session(nwk_skey, int.from_bytes(plain[6:10], "little"))
        self.lost = self.rotten = False
        self.holds = True


def by_node(log: Iterable[Record], judges: dict) -> None:
    """Hand every record to its node's judge; `judges` makes them (a defaultdict with a key)."""
    for record in log:
        judges[record.node].take(record)
