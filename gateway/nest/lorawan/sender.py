"""Making downlinks and seeing them on their way: what follows an uplink, and what a gateway's refusal.

The life of a downlink: its ways are planned (`downlinks`), the best one that the schedule has room for is booked, the
frame is built, its FCntDown used up and told to be stored. Then the gateway is given it, at once, for real gateways
keep what they are to send in a queue; and those say whether they took it. One that has left a downlink unanswered may
be of the many forwarders that hold only one at a time, where a second one would overwrite the first: until it answers
again it is given a downlink 0.8 s before the start and not earlier. When the gateway refuses, what was booked is given
back and the next way is tried, with the same bytes, while there is time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nest.lorawan import crypto, eu868
from nest.lorawan.admission import JOIN_ACCEPT_SIZE, Admission
from nest.lorawan.dedup import Copy
from nest.lorawan.downlinks import HANDOVER_S, JOIN_WINDOWS, LEAD_S, NODE_EIRP_DBM, Way, Windows, plan
from nest.lorawan.effects import COUNT, DownlinkOutcome, Effect, SendDownlink, StoreSession
from nest.lorawan.frames import build_data_down
from nest.lorawan.schedule import Booking, Schedule
from nest.lorawan.sessions import QueuedDownlink, Session, Sessions
from nest.lorawan.settings import Settings

SEND_AHEAD_S = 0.8  # before a downlink starts, for a gateway that does not answer
RESULT_WITHIN_S = 5.0  # a gateway's word on a downlink that comes later than this is of no use
PAYLOAD_OVERHEAD = 13  # MHDR 1, FHDR 7, FPort 1, MIC 4
EMPTY_FRAME = 12  # without FPort
TX_POWER_STEP_DB = 2.0
LOUD_DBM = 16.0  # a gateway that refuses a power is asked for this much from then on, and then for less and less
QUIETER_DB = 2.0
LEAST_DBM = 8.0

# What a refusal says of the other ways.
NO_WAY = "NO_DOWNLINK_PATH"  # the forwarder's word, not the gateway's
GATEWAY_IS_OUT = frozenset({NO_WAY, "GPS_UNLOCKED"})
CHANNEL_IS_OUT = "TX_FREQ"
TOO_LOUD = "TX_POWER"


@dataclass(slots=True, eq=False)
class _Outgoing:
    """A frame on its way to a gateway, what is left to try, and what it was for."""

    phy: bytes
    dev_eui: bytes
    ways: list[Way]
    session: Session | None = None  # None for a JoinAccept
    item: QueuedDownlink | None = None
    commands: bool = False  # it carries what `session.control` has to say
    first: int | None = None  # window to be tried before the other, whatever it costs
    way: Way | None = None
    fallback: Way | None = None
    bookings: tuple[Booking, ...] = ()  # of `way` and of `fallback`
    told: bool = False  # the queue has been told "sent"
    held: bool = False


@dataclass(slots=True, eq=False)
class JoinWay:
    """That a JoinAccept can be sent, and how."""

    best: Way
    ways: list[Way]


class Sender:
    """Builds answers and keeps those in flight until the gateway has spoken or their time has passed."""

    def __init__(self, settings: Settings, sessions: Sessions, schedule: Schedule | None = None) -> None:
        self._settings = settings
        self._sessions = sessions
        self._schedule = schedule or Schedule()
        self._admission = Admission(self._schedule)
        self._in_flight: dict[int, _Outgoing] = {}
        self._held: list[tuple[float, int]] = []  # heap: when to give it to the gateway, number
        self._until: list[tuple[float, int]] = []  # heap: when to forget it, number
        self._silent: set[str] = set()  # gateways that have left their last downlink unanswered
        self._loudest: dict[str, float] = {}  # what gateways that refused a power are asked for, dBm EIRP
        self._last_id = 0
        self._now = 0.0

    # -- joins

    def join_way(self, copies: Sequence[Copy], now: float) -> JoinWay | None:
        """How a JoinAccept can follow this JoinRequest; None: the node shall ask again."""
        self._forget_past(now)
        self._admission.heard(copies, now)
        ways = [way for way in self._ways(copies, JOIN_WINDOWS, now) if self._admission.is_worth_it(way, now)]
        best = self._best(ways, JOIN_ACCEPT_SIZE, now)
        return None if best is None else JoinWay(best, ways)

    def send_join_accept(self, way: JoinWay, dev_eui: bytes, phy: bytes, now: float) -> list[Effect]:
        """Send a JoinAccept five seconds after the request, or six; `way`: what `join_way` has just given."""
        return self._book_and_give(_Outgoing(phy, dev_eui, way.ways), way.best, now)

    # -- data

    def answer(
        self,
        session: Session,
        copies: Sequence[Copy],
        *,
        acknowledge: bool,
        fopts: bytes,
        must_answer: bool,
        now: float,
        again: bool = False,
    ) -> list[Effect]:
        """Answer an uplink: the next queued downlink, an acknowledgement, MAC commands, all of them, or nothing.

        `again`: the node has repeated the uplink, so it has not heard the answer and is given the same downlink once
        more, but none of the others: it may be no node that repeats it, and then nobody is listening.

        `fopts` (at most 15 bytes) go with whatever is sent; they are worth a downlink only when `must_answer`. MAC
        commands go first: data that does not fit beside them waits. The FCntDown is used up and stored before the frame
        exists outside. `session.control` hears whether its commands were given to a gateway.
        """
        dev_eui = session.device.dev_eui
        must_answer = must_answer or acknowledge
        item = session.answered_with
        if not must_answer and (item is None if again else not self._sessions.queued(dev_eui)):
            return []
        self._forget_past(now)
        queue = self._sessions.queue(dev_eui)
        node_eirp_dbm = NODE_EIRP_DBM - TX_POWER_STEP_DB * session.state.tx_power
        ways = self._ways(copies, Windows.of(session.state), now, node_eirp_dbm)
        effects: list[Effect] = []
        if not again:
            effects += self._drop_too_long(queue, ways, dev_eui)
            item = queue[0] if queue else None
        if not must_answer and item is None:
            return effects
        way: Way | None = None
        found: list[Way] = []
        if item is not None:
            size = PAYLOAD_OVERHEAD + len(fopts) + len(item.payload)
            found = self._wished(ways, item)
            way = self._best(found, size, now, item.window)
            if way is None and fopts and not must_answer:
                fopts, size = b"", size - len(fopts)  # which would only have gone along
                way = self._best(found, size, now, item.window)
        if way is None and must_answer:
            item, found = None, self._wished(ways, None)
            way = self._best(found, EMPTY_FRAME + len(fopts), now)
        if way is None:
            session.control.not_sent()
            return [*effects, COUNT["downlink_no_room" if ways else "downlink_failed"]]
        if item is not None:
            if not again:
                queue.popleft()
            session.answered_with = item
            if item.confirmed:
                session.awaiting_ack = item
        phy = self._build(session, item, acknowledge, fopts, f_pending=bool(queue))
        effects.append(StoreSession(session.state))
        outgoing = _Outgoing(phy, dev_eui, found, session, item, bool(fopts), item and item.window, told=again)
        return effects + self._book_and_give(outgoing, way, now)

    def _drop_too_long(self, queue: deque[QueuedDownlink], ways: list[Way], dev_eui: bytes) -> list[Effect]:
        """What is next in the queue, but fits none of the windows."""
        effects: list[Effect] = []
        while queue:
            room = max((way.max_phy for way in self._wished(ways, queue[0])), default=0)
            if not room or PAYLOAD_OVERHEAD + len(queue[0].payload) <= room:
                break
            effects.append(COUNT["downlink_too_long"])
            effects.append(DownlinkOutcome(dev_eui, queue.popleft().reference, "too_long"))
        return effects

    def _wished(self, ways: list[Way], item: QueuedDownlink | None) -> list[Way]:
        """Those in the windows that the queue or the town wish for. Whoever wishes RX2 wants to spare the uplink
        channels, so not RX1 then."""
        wish = (item.window if item is not None else None) or self._settings.downlink_window
        return ways if wish == 1 else [way for way in ways if way.window == 2]

    def _build(
        self, session: Session, item: QueuedDownlink | None, ack: bool, fopts: bytes, *, f_pending: bool
    ) -> bytes:
        state, cipher, adr = session.state, session.cipher, self._settings.adr
        fcnt = state.fcnt_down
        state.fcnt_down = fcnt + 1
        if item is None:
            message = build_data_down(state.dev_addr, fcnt, adr=adr, ack=ack, f_pending=f_pending, fopts=fopts)
        else:
            message = build_data_down(
                state.dev_addr,
                fcnt,
                confirmed=item.confirmed,
                adr=adr,
                ack=ack,
                f_pending=f_pending,
                fopts=fopts,
                fport=item.port,
                frm_payload=cipher.crypt(crypto.DOWN, fcnt, item.port, item.payload),
            )
        return message + cipher.mic(crypto.DOWN, fcnt, message)

    # -- on the way

    def poll(self, now: float) -> list[Effect]:
        """Give to the gateways what starts soon."""
        self._forget_past(now)
        effects: list[Effect] = []
        while self._held and self._held[0][0] <= now:
            number = heapq.heappop(self._held)[1]
            outgoing = self._in_flight.get(number)
            if outgoing is None or outgoing.way is None:
                continue
            if self.is_in_time(number, now):
                effects += self._give(outgoing, outgoing.way, number)
            else:
                del self._in_flight[number]
                effects += self._try_another(outgoing, now)
        return effects

    def is_in_time(self, number: int, now: float) -> bool:
        """Whether the gateway can still send the downlink with this id."""
        outgoing = self._in_flight.get(number)
        return outgoing is not None and outgoing.way is not None and now <= outgoing.way.starts_at - HANDOVER_S

    def next_deadline(self) -> float | None:
        """When `poll` has something to give to a gateway; None: nothing waits."""
        while self._held and self._held[0][1] not in self._in_flight:
            heapq.heappop(self._held)
        return self._held[0][0] if self._held else None

    def result(self, number: int, error: str | None, now: float, window: int | None = None) -> list[Effect]:
        """A gateway took the downlink with this id (`error` None; it chose `window`) or refused it."""
        outgoing = self._in_flight.pop(number, None)
        way = outgoing and outgoing.way
        if outgoing is None or way is None:
            return []
        if error != NO_WAY:
            self._silent.discard(way.gateway)
        if error is None:
            self._settle(outgoing, window or way.window)
            return []
        if error == TOO_LOUD:
            if way.eirp_dbm > LEAST_DBM:
                self._loudest[way.gateway] = LOUD_DBM if way.eirp_dbm > LOUD_DBM else way.eirp_dbm - QUIETER_DB
                outgoing.ways.append(way)
                self._quieten(outgoing.ways)
        elif error == CHANNEL_IS_OUT:
            outgoing.ways = [
                other for other in outgoing.ways if (other.gateway, other.freq_hz) != (way.gateway, way.freq_hz)
            ]
        elif error in GATEWAY_IS_OUT:
            outgoing.ways = [other for other in outgoing.ways if other.gateway != way.gateway]
        return self._try_another(outgoing, now)

    def _try_another(self, outgoing: _Outgoing, now: float) -> list[Effect]:
        """The way that was booked has not come about."""
        for booking in outgoing.bookings:
            self._schedule.release(booking)
        outgoing.bookings = ()
        way = self._best(outgoing.ways, len(outgoing.phy), now, outgoing.first)
        if way is None:
            return self._give_up(outgoing)
        return [COUNT["downlink_retried"], *self._book_and_give(outgoing, way, now)]

    def drop(self, dev_eui: bytes) -> None:
        """Forget what is on its way to a device that is not known any more."""
        for number, outgoing in list(self._in_flight.items()):
            if outgoing.dev_eui == dev_eui:
                del self._in_flight[number]
                if outgoing.held:
                    for booking in outgoing.bookings:
                        self._schedule.release(booking)

    # -- airtime

    def airtime_left(self, now: float | None = None) -> dict[str, dict[str, float]]:
        """For each gateway that has sent in the last hour, by sub-band, the share of its airtime that is left."""
        return self._schedule.left(self._now if now is None else now)

    def export_airtime(self, now: float, unix: float) -> dict[str, Any]:
        """What `restore_airtime` needs after a restart; see Schedule.export."""
        return self._schedule.export(now, unix)

    def restore_airtime(self, data: dict[str, Any], now: float, unix: float, unsaved_s: float = 2.0) -> None:
        """Take up the airtime that an earlier process has used, whose export was `unsaved_s` old at most when it ended;
        0: it was the very last. What gateways were given after it may begin as late as RX2 does (Schedule.restore)."""
        if unsaved_s:
            unsaved_s += max(eu868.JOIN_ACCEPT_DELAY_S[1], self._settings.rx1_delay_s + 1)
        self._schedule.restore(data, now, unix, unsaved_s)

    # -- ways

    def _ways(
        self, copies: Sequence[Copy], windows: Windows, now: float, node_eirp_dbm: float = NODE_EIRP_DBM
    ) -> list[Way]:
        ways = plan(
            copies,
            windows,
            self._schedule.heard_at,
            eirp_dbm=self._settings.downlink_eirp_dbm,
            node_eirp_dbm=node_eirp_dbm,
        )
        if self._loudest:
            self._quieten(ways)
        return [way for way in ways if way.starts_at - LEAD_S >= now]

    def _best(self, ways: Iterable[Way], size: int, now: float, first: int | None = None) -> Way | None:
        """The cheapest way that a frame of `size` bytes fits, and that the schedule has room for."""
        schedule = self._schedule
        able = [way for way in ways if size <= way.max_phy and way.starts_at - LEAD_S >= now]
        for way in sorted(able, key=lambda way: (first not in (None, way.window), way.cost(size, schedule, now))):
            if way.refusal(size, schedule, now) is None:
                return way
        return None

    def _book_and_give(self, outgoing: _Outgoing, way: Way, now: float) -> list[Effect]:
        """Book this way, one of those that are left, and give the frame to the gateway, now or when it is time."""
        size = len(outgoing.phy)
        outgoing.ways.remove(way)
        outgoing.way = way
        bookings = [self._book(way, size, now)]
        outgoing.fallback = self._fallback(outgoing, way, size, now)
        if outgoing.fallback is not None:
            bookings.append(self._book(outgoing.fallback, size, now))
        outgoing.bookings = tuple(bookings)
        self._last_id += 1
        self._in_flight[self._last_id] = outgoing
        heapq.heappush(self._until, (way.starts_at + RESULT_WITHIN_S, self._last_id))
        due = way.starts_at - SEND_AHEAD_S
        if due <= now or way.gateway not in self._silent:
            return self._give(outgoing, way, self._last_id)
        outgoing.held = True
        heapq.heappush(self._held, (due, self._last_id))
        return []

    def _book(self, way: Way, size: int, now: float) -> Booking:
        return self._schedule.book(way.gateway, way.starts_at, way.airtime_us(size), way.freq_hz, way.bw_hz, now)

    def _fallback(self, outgoing: _Outgoing, way: Way, size: int, now: float) -> Way | None:
        """RX2 of the same gateway, for one that chooses by itself: those leave a context in their receptions."""
        if way.window != 1 or way.context is None:
            return None
        for other in outgoing.ways:
            if other.gateway == way.gateway and other.window == 2 and size <= other.max_phy:
                return other if other.refusal(size, self._schedule, now) is None else None
        return None

    def _quieten(self, ways: list[Way]) -> None:
        for way in ways:
            if (loudest := self._loudest.get(way.gateway)) is not None:
                way.quieten(loudest)

    def _give(self, outgoing: _Outgoing, way: Way, number: int) -> list[Effect]:
        """Into the gateway's hands."""
        outgoing.held = False
        downlink = way.downlink(outgoing.phy, outgoing.dev_eui, number, outgoing.fallback)
        effects: list[Effect] = [COUNT["downlink_sent"]]
        if outgoing.session is not None and outgoing.commands:
            outgoing.session.control.sent()
        if outgoing.item is not None and not outgoing.told:
            outgoing.told = True
            effects.append(DownlinkOutcome(outgoing.dev_eui, outgoing.item.reference, "sent"))
        return [*effects, SendDownlink(downlink)]  # last, for the gateway's refusal may come at once

    def _settle(self, outgoing: _Outgoing, window: int) -> None:
        """It was, or will be, sent in this window: give back what was booked for the other one."""
        if len(outgoing.bookings) == 2:
            self._schedule.release(outgoing.bookings[0 if window == 2 else 1])
        outgoing.bookings = ()

    def _give_up(self, outgoing: _Outgoing) -> list[Effect]:
        effects: list[Effect] = [COUNT["downlink_failed"]]
        item, session = outgoing.item, outgoing.session
        if session is not None:
            session.control.not_sent()
        if item is not None and session is not None:
            if session.awaiting_ack is item:
                session.awaiting_ack = None
            if self._sessions.active(outgoing.dev_eui) is not None:  # the device may have been removed meanwhile
                session.answered_with = None
                queue = self._sessions.queue(outgoing.dev_eui)
                if not any(other is item for other in queue):  # the node has repeated its uplink: it failed twice
                    queue.appendleft(item)
                    effects.append(DownlinkOutcome(outgoing.dev_eui, item.reference, "queued"))
        return effects

    def _forget_past(self, now: float) -> None:
        """Nothing was heard of these: they count as sent, of two windows in the one that takes longer."""
        self._now = max(self._now, now)
        while self._until and self._until[0][0] < now:
            outgoing = self._in_flight.pop(heapq.heappop(self._until)[1], None)
            if outgoing is None or outgoing.way is None:
                continue
            self._silent.add(outgoing.way.gateway)
            if len(outgoing.bookings) == 2:
                first, second = outgoing.bookings
                self._settle(outgoing, 1 if first.end_us - first.start_us >= second.end_us - second.start_us else 2)
