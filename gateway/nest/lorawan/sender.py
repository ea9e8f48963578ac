"""Making downlinks and seeing them on their way: what follows an uplink, and what a gateway's refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nest.lorawan import crypto
from nest.lorawan.dedup import Copy
from nest.lorawan.downlinks import JOIN_WINDOWS, LEAD_S, Attempt, Outgoing, Windows, plan, window_order
from nest.lorawan.effects import Count, DownlinkOutcome, Effect, SendDownlink, StoreDownlinkCounter
from nest.lorawan.frames import build_data_down
from nest.lorawan.sessions import QueuedDownlink, Session, Sessions
from nest.lorawan.settings import Settings

PAYLOAD_OVERHEAD = 13  # MHDR 1, FHDR 7, FPort 1, MIC 4
RESULT_WITHIN_S = 5.0  # a gateway's word on a downlink that comes later than this is of no use


class Sender:
    """Builds answers and keeps those in flight until the gateway has spoken or their time has passed."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._settings = settings
        self._sessions = sessions
        self._in_flight: dict[int, Outgoing] = {}
        self._last_id = 0

    def send_join_accept(self, dev_eui: bytes, phy: bytes, copies: Sequence[Copy], now: float) -> list[Effect]:
        """Send a JoinAccept in RX1, five seconds after the request; RX2 comes when RX1 is refused."""
        return self._send(Outgoing(phy, dev_eui, plan(copies, JOIN_WINDOWS, (1, 2))), now)

    def answer(
        self, session: Session, copies: Sequence[Copy], *, acknowledge: bool, must_answer: bool, now: float
    ) -> list[Effect]:
        """Answer an uplink: the next queued downlink, an acknowledgement, both, or nothing.

        The FCntDown is used up and stored before the frame exists outside.
        """
        queue = self._sessions.queue(session.device.dev_eui)
        if not queue and not must_answer:
            return []
        wish = (queue[0].window if queue else None) or self._settings.downlink_window
        attempts = _in_time(plan(copies, Windows.of(session.state), window_order(wish)), now)
        if not attempts:
            return [Count("downlink_failed")]
        effects: list[Effect] = []
        room = max(attempt.max_phy for attempt in attempts)
        while queue and PAYLOAD_OVERHEAD + len(queue[0].payload) > room:
            effects.append(Count("downlink_too_long"))
            effects.append(DownlinkOutcome(session.device.dev_eui, queue.popleft().reference, "too_long"))
        item = queue.popleft() if queue else None
        if item is None and not must_answer:
            return effects
        phy = self._build(session, item, acknowledge, f_pending=bool(queue))
        effects.append(StoreDownlinkCounter(session.state))
        if item is not None and item.confirmed:
            session.awaiting_ack = item
        attempts = [attempt for attempt in attempts if attempt.max_phy >= len(phy)]
        return effects + self._send(Outgoing(phy, session.device.dev_eui, attempts, session, item), now)

    def result(self, number: int, error: str | None, now: float) -> list[Effect]:
        """A gateway took (`error` None) or refused the downlink with this id."""
        outgoing = self._in_flight.pop(number, None)
        if outgoing is None or error is None:
            return []
        if _in_time(outgoing.attempts, now):
            return [Count("downlink_retried"), *self._send(outgoing, now)]
        return self._give_up(outgoing)

    def give_up(self, number: int) -> None:
        """The downlink with this id never reached a gateway; what was queued waits for the next uplink."""
        if outgoing := self._in_flight.pop(number, None):
            self._give_up(outgoing)

    def _build(self, session: Session, item: QueuedDownlink | None, ack: bool, *, f_pending: bool) -> bytes:
        state, cipher = session.state, session.cipher
        fcnt = state.fcnt_down
        session.state = replace(state, fcnt_down=fcnt + 1)
        if item is None:
            message = build_data_down(state.dev_addr, fcnt, ack=ack, f_pending=f_pending)
        else:
            message = build_data_down(
                state.dev_addr,
                fcnt,
                confirmed=item.confirmed,
                ack=ack,
                f_pending=f_pending,
                fport=item.port,
                frm_payload=cipher.crypt(crypto.DOWN, fcnt, item.port, item.payload),
            )
        return message + cipher.mic(crypto.DOWN, fcnt, message)

    def _send(self, outgoing: Outgoing, now: float) -> list[Effect]:
        self._forget_past(now)
        attempts = _in_time(outgoing.attempts, now)
        if not attempts:
            return self._give_up(outgoing)
        attempt, *outgoing.attempts = attempts
        outgoing.until = attempt.starts_at + RESULT_WITHIN_S
        self._last_id += 1
        self._in_flight[self._last_id] = outgoing
        downlink = attempt.downlink(
            outgoing.phy, outgoing.dev_eui, self._settings.downlink_eirp_dbm, number=self._last_id
        )
        effects: list[Effect] = [Count("downlink_sent")]
        if outgoing.item is not None:
            effects.append(DownlinkOutcome(outgoing.dev_eui, outgoing.item.reference, "sent"))
        return [*effects, SendDownlink(downlink)]  # last, for the gateway's refusal may come at once

    def _give_up(self, outgoing: Outgoing) -> list[Effect]:
        effects: list[Effect] = [Count("downlink_failed")]
        item, session = outgoing.item, outgoing.session
        if item is not None and session is not None:
            if session.awaiting_ack is item:
                session.awaiting_ack = None
            if self._sessions.active(outgoing.dev_eui) is not None:  # the device may have been removed meanwhile
                self._sessions.queue(outgoing.dev_eui).appendleft(item)
                effects.append(DownlinkOutcome(outgoing.dev_eui, item.reference, "queued"))
        return effects

    def _forget_past(self, now: float) -> None:
        while self._in_flight:
            oldest = next(iter(self._in_flight))
            if self._in_flight[oldest].until >= now:
                break
            del self._in_flight[oldest]


def _in_time(attempts: Sequence[Attempt], now: float) -> list[Attempt]:
    return [attempt for attempt in attempts if attempt.starts_at - LEAD_S >= now]
