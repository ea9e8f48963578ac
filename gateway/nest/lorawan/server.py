"""The network server: frames and time in, effects out (TS001-1.0.4, class A).

The life of a frame:

1. `receive`: radio checksum; a copy of a known one? (`dedup`: then it is merged and that is all); parse; find the
   device or the sessions with its DevAddr; MIC, which also says the upper half of the counter.
2. A data frame with a counter above the last one is *fresh*: it is to be stored at once. The last counter once more is
   a retransmission: merged, and perhaps answered again. A lower one is a replay, unless its gateway had heard it before
   the last one, which has overtaken it (`StoreLate`; the archive knows whether it has it already).
3. Its window stays open for further copies. When it closes (`poll`), the strongest copy speaks for the frame: the
   MAC commands are concluded (`control`), an answer is planned (`sender`), and the frame is published with all who
   heard it. A frame that a gateway held back is never answered: its device has long stopped listening.
4. A JoinRequest stores nothing when it is received. When its window closes and a gateway has lawful time for the
   JoinAccept, the nonces are used up and the session is made; without, it has not happened, and the device asks again.

The server runs ahead of the database: what it wants stored it takes as stored, and whoever carries out the effects
keeps their order and lets nothing be seen outside before it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nest.lorawan import crypto, eu868, frames, join
from nest.lorawan.dedup import Copy, Dedup, Group, live
from nest.lorawan.effects import (
    COUNT,
    DownlinkOutcome,
    Effect,
    Publish,
    StoreJoin,
    StoreLate,
    StoreSession,
    StoreStatus,
    StoreUplink,
)
from nest.lorawan.sender import Sender
from nest.lorawan.sessions import MAX_REPEATED_ANSWERS, QueuedDownlink, Randomness, Session, Sessions
from nest.lorawan.settings import Settings
from nest.lorawan.uplinks import as_heard, heard_before_newest, merge, read
from nest.model import Device, Downlink, JoinRecord, RadioFrame, SessionState, Uplink

MAX_FCNT = 0xFFFFFFFF
MAX_DOWNLINK_PAYLOAD = 242  # bytes at DR4 and faster (RP002-1.0.4 EU868)

_ACCEPTED = COUNT["accepted"]
_JOIN_REPEAT_S = eu868.JOIN_ACCEPT_DELAY_S[1]  # a device does not ask again before its second window


class UnknownDeviceError(LookupError):
    """No device with this DevEUI is registered."""


@dataclass(slots=True)
class _Join:
    """A JoinRequest that is good."""

    request: frames.JoinRequest


@dataclass(slots=True)
class _Data:
    """A data frame that was good. `must_answer`: there is something that a repetition of it must be told again."""

    session: Session
    uplink: Uplink
    fctrl: int
    must_answer: bool = False


class NetworkServer:
    """A class A network server, sans I/O.

    `now` is everywhere the same steadily rising clock in seconds (`time.monotonic()`); received times travel inside the
    frames. `random` should be `random.SystemRandom()`; tests give a seeded one. `sessions` and `nonces` are what the
    Store… effects have told to keep.
    """

    def __init__(
        self,
        settings: Settings,
        devices: Iterable[Device],
        sessions: Iterable[SessionState],
        nonces: Iterable[JoinRecord],
        random: Randomness,
    ) -> None:
        self._settings = settings
        self._random = random
        self._devices = {device.dev_eui: device for device in devices}
        self._sessions = Sessions(settings)
        self._sessions.load(self._devices, sessions)
        self._nonces = join.JoinNonces()
        self._nonces.remember(nonces)
        self._sender = Sender(settings, self._sessions)
        self._dedup: Dedup[_Join | _Data] = Dedup(settings.dedup_window_s)
        self._asking: dict[bytes, _Join] = {}  # the newest JoinRequest of each device whose window is open

    def add_device(self, device: Device, nonces: Iterable[JoinRecord] = ()) -> None:
        """Register a device while running, or give a registered one new data.

        `nonces`: its earlier joins under this AppKey. A new AppKey ends its sessions and starts its DevNonces anew.
        """
        known = self._devices.get(device.dev_eui)
        if known is not None and (known.app_key, known.join_eui) != (device.app_key, device.join_eui):
            self._forget(device.dev_eui)
        self._sessions.rename(device)
        self._devices[device.dev_eui] = device
        self._nonces.remember(nonces)

    def change_key(self, device: Device) -> None:
        """A registered device has another AppKey: its DevNonces begin anew, its sessions go on until it joins."""
        self._asking.pop(device.dev_eui, None)
        self._nonces.forget_dev_nonces(device.dev_eui)
        self._sessions.rename(device)
        self._devices[device.dev_eui] = device

    def remove_device(self, dev_eui: bytes) -> None:
        """Forget a device, its sessions, its queue and its DevNonces (give them to `add_device`, should it return)."""
        self._devices.pop(dev_eui, None)
        self._forget(dev_eui)

    def receive(self, frame: RadioFrame, now: float) -> list[Effect]:
        """Take one reception of a frame; whatever it holds, it is only counted when it is no good."""
        if frame.crc_ok is False:
            return [COUNT["crc_bad"]]
        group = self._dedup.find(frame.phy, now)
        if group is not None:
            return self._receive_copy(group, frame, now)
        try:
            mtype = frames.message_type(frame.phy)
            if mtype == frames.UNCONFIRMED_UP or mtype == frames.CONFIRMED_UP:
                return self._receive_data(frames.parse_data(frame.phy), frame, now)
            if mtype == frames.JOIN_REQUEST:
                return self._receive_join(frames.parse_join_request(frame.phy), frame, now)
        except frames.FrameError:
            return [COUNT["malformed"]]
        return [COUNT["unexpected_type"]]

    def poll(self, now: float) -> list[Effect]:
        """What is due by `now`: answers and publications of frames whose deduplication window has closed, and
        transmissions whose moment has come."""
        effects: list[Effect] = []
        for group in self._dedup.closed(now):
            subject = group.subject
            if isinstance(subject, _Data):
                self._conclude(subject, group, now, effects)
            else:
                effects += self._decide_join(subject, group, now)
        effects += self._sender.poll(now)
        return effects

    def next_deadline(self) -> float | None:
        """When `poll` has something to do next, on the clock of `now`; None: nothing waits."""
        window, transmission = self._dedup.next_due(), self._sender.next_deadline()
        if window is None or transmission is None:
            return transmission if window is None else window
        return min(window, transmission)

    def enqueue(
        self,
        dev_eui: bytes,
        port: int,
        payload: bytes,
        confirmed: bool = False,
        *,
        window: int | None = None,
        reference: int | None = None,
    ) -> None:
        """Queue a downlink for the device's next uplink; `reference` comes back in DownlinkOutcome.

        `window` 1 (then 2, should the gateway refuse), 2, or None for the setting.
        Raises UnknownDeviceError; ValueError: port not 1..223, more than 242 bytes, no such window.
        """
        if dev_eui not in self._devices:
            raise UnknownDeviceError(dev_eui.hex())
        if not 1 <= port <= 223:
            raise ValueError(f"port must be 1..223, not {port}")
        if len(payload) > MAX_DOWNLINK_PAYLOAD:
            raise ValueError(f"at most {MAX_DOWNLINK_PAYLOAD} bytes, not {len(payload)}")
        if window not in (None, 1, 2):
            raise ValueError(f"window must be 1 or 2, not {window}")
        self._sessions.queue(dev_eui).append(QueuedDownlink(port, payload, confirmed, window, reference))

    def withdraw(self, dev_eui: bytes, reference: int) -> bool:
        """Take a queued downlink back; False: it is not in the queue, because it is on its way or went out."""
        if not self._sessions.queued(dev_eui):
            return False
        queue = self._sessions.queue(dev_eui)
        kept = [item for item in queue if item.reference != reference]
        found = len(kept) < len(queue)
        queue.clear()
        queue.extend(kept)
        return found

    def queued(self, dev_eui: bytes) -> int:
        """How many downlinks wait for this device."""
        return self._sessions.queued(dev_eui)

    def session(self, dev_eui: bytes) -> SessionState | None:
        """The device's active session."""
        session = self._sessions.active(dev_eui)
        return None if session is None else session.state

    def airtime_left(self, now: float | None = None) -> dict[str, dict[str, float]]:
        """For each gateway that has sent in the last hour, by sub-band, the share of its airtime that is left."""
        return self._sender.airtime_left(now)

    def export_airtime(self, now: float, unix: float) -> dict[str, Any]:
        """The airtime used up, for `restore_airtime` after a restart (see `schedule.Schedule.export`)."""
        return self._sender.export_airtime(now, unix)

    def restore_airtime(self, data: dict[str, Any], now: float, unix: float, unsaved_s: float = 2.0) -> None:
        """Take up the airtime that an earlier process has used (see `schedule.Schedule.restore`)."""
        self._sender.restore_airtime(data, now, unix, unsaved_s)

    def transmit_result(
        self, downlink: Downlink, error: str | None, now: float, window: int | None = None
    ) -> list[Effect]:
        """What became of a SendDownlink: `error` None, the gateway took it (and used `window`, where it chose by
        itself); else its refusal, which makes the server try the next window or gateway while there is time. A downlink
        of which nothing is heard counts as sent."""
        return self._sender.result(downlink.id, error, now, window)

    def is_in_time(self, downlink: Downlink, now: float) -> bool:
        """Can the gateway still send this? A later one it must not have: it may go out when `tmst` has come round."""
        return self._sender.is_in_time(downlink.id, now)

    # -- receiving

    def _receive_copy(self, group: Group[_Join | _Data], frame: RadioFrame, now: float) -> list[Effect]:
        subject = group.subject
        if group.is_new_emission(frame, now):
            if isinstance(subject, _Join):
                return self._receive_join(subject.request, frame, now)  # a new chance, if it was not answered
            if subject.uplink.fcnt == subject.session.state.fcnt_up and self._is_current(subject.session):
                return self._receive_again(subject, frame, now)
            return [COUNT["replay"]]
        count = COUNT["duplicate" if now < group.due else "late_copy"]
        if group.add(frame, now) and isinstance(subject, _Data):
            return [merge(subject.session, subject.uplink.fcnt, frame), count]
        return [count]

    def _receive_join(self, request: frames.JoinRequest, frame: RadioFrame, now: float) -> list[Effect]:
        device = self._devices.get(request.dev_eui)
        if device is None or device.join_eui != request.join_eui:
            return [COUNT["unknown_device"]]
        if not join.mic_is_good(device, frame.phy, request):
            return [COUNT["mic_bad"]]
        refusal = self._nonces.refusal(device, request.dev_nonce)
        if refusal is not None:
            return [COUNT[refusal]]
        earlier = self._asking.get(device.dev_eui)
        if earlier is not None and device.rising_dev_nonce and request.dev_nonce < earlier.request.dev_nonce:
            return [COUNT["dev_nonce_low"]]
        subject = self._asking[device.dev_eui] = _Join(request)
        self._dedup.open(frame, subject, now, _JOIN_REPEAT_S)
        return []

    def _receive_data(self, data: frames.DataFrame, frame: RadioFrame, now: float) -> list[Effect]:
        candidates = self._sessions.at(data.dev_addr)
        if not candidates:
            return [COUNT["unknown_session"]]
        message = frame.phy[:-4]
        for session in candidates:
            fcnt, _ = frames.rebuild_fcnt(session.state.fcnt_up, data.fcnt16)
            if fcnt <= MAX_FCNT and crypto.same(session.cipher.mic(crypto.UP, fcnt, message), data.mic):
                return self._receive_fresh(session, data, fcnt, frame, now)
        for session in candidates:
            _, fcnt = frames.rebuild_fcnt(session.state.fcnt_up, data.fcnt16)
            if fcnt >= 0 and crypto.same(session.cipher.mic(crypto.UP, fcnt, message), data.mic):
                return self._receive_old(session, data, fcnt, frame, now)
        return [COUNT["mic_bad"]]

    def _receive_fresh(
        self, session: Session, data: frames.DataFrame, fcnt: int, frame: RadioFrame, now: float
    ) -> list[Effect]:
        state = session.state
        uplink = read(session, data, fcnt, frame)
        activates = not state.active
        if activates:
            state.active = True
            self._sessions.activate(session)
        state.fcnt_up = fcnt
        state.heard_at = frame.received_at
        state.heard_by, state.heard_tmst = frame.gateway, frame.tmst
        session.repeats_left, session.answered_with = MAX_REPEATED_ANSWERS, None
        self._dedup.open(frame, _Data(session, uplink, data.fctrl), now, state.rx1_delay_s + 1)
        item = session.awaiting_ack
        if item is None:
            return [StoreUplink(uplink, state, activates), _ACCEPTED]
        session.awaiting_ack = None
        outcome = "acknowledged" if data.fctrl & frames.ACK and not activates else "unacknowledged"
        told = DownlinkOutcome(state.dev_eui, item.reference, outcome)
        return [StoreUplink(uplink, state, activates), _ACCEPTED, told]

    def _receive_old(
        self, session: Session, data: frames.DataFrame, fcnt: int, frame: RadioFrame, now: float
    ) -> list[Effect]:
        """A frame whose counter is not above the last one, and which is not remembered."""
        state = session.state
        if fcnt == state.fcnt_up:
            if frame.buffered:
                return [merge(session, fcnt, frame), COUNT["late_copy"]]
            return self._receive_again(_Data(session, read(session, data, fcnt, frame), data.fctrl), frame, now)
        heard_at = heard_before_newest(state, frame)
        if heard_at is not None:
            uplink = read(session, data, fcnt, frame)
            uplink.received_at = heard_at
            self._dedup.open(frame, _Data(session, uplink, data.fctrl), now, state.rx1_delay_s + 1, repeated=True)
            return [StoreLate(uplink, state)]
        return [COUNT["replay"]]

    def _receive_again(self, subject: _Data, frame: RadioFrame, now: float) -> list[Effect]:
        """The device's last frame once more: it missed the answer, or repeats everything (NbTrans)."""
        session = subject.session
        self._dedup.open(frame, subject, now, session.state.rx1_delay_s + 1, repeated=True)
        return [merge(session, subject.uplink.fcnt, frame), COUNT["retransmission"]]

    def _forget(self, dev_eui: bytes) -> None:
        self._sender.drop(dev_eui)
        self._sessions.drop(dev_eui)
        self._nonces.forget_dev_nonces(dev_eui)
        self._asking.pop(dev_eui, None)

    # -- when a window has closed

    def _decide_join(self, subject: _Join, group: Group[_Join | _Data], now: float) -> list[Effect]:
        request = subject.request
        if self._asking.get(request.dev_eui) is not subject:
            return []  # the device has asked again meanwhile, or was removed
        del self._asking[request.dev_eui]
        way = self._sender.join_way(live(group.strongest_first()), now)
        if way is None:
            return [COUNT["join_deferred"]]
        device = self._devices[request.dev_eui]
        state = join.open_session(
            device,
            request,
            self._settings,
            self._nonces.next_join_nonce(device),
            self._sessions.free_address(self._settings.net_id, self._random),
            group.copies[0].frame.received_at,
        )
        record = JoinRecord(device.dev_eui, request.dev_nonce, state.join_nonce)
        self._nonces.remember((record,))
        if self._sessions.pending(device.dev_eui) is not None:
            self._sender.drop(device.dev_eui)  # the device does not listen for that JoinAccept any more
        self._sessions.add(device, state)
        accept = join.join_accept(device, state, self._settings.net_id)
        return [
            StoreJoin(record, state),
            COUNT["join_accepted"],
            *self._sender.send_join_accept(way, device.dev_eui, accept, now),
        ]

    def _conclude(self, subject: _Data, group: Group[_Join | _Data], now: float, effects: list[Effect]) -> None:
        session, uplink = subject.session, subject.uplink
        copies = group.strongest_first()
        if self._is_current(session) and (answerable := live(copies)):
            # A later frame of the device has closed the windows of this one.
            newest = session.state.fcnt_up == uplink.fcnt
            if not group.repeated:
                self._answer(subject, answerable, newest, now, effects)
            elif newest and session.repeats_left:
                self._answer_again(subject, answerable, now, effects)
        if uplink.fport and not group.repeated:
            effects.append(Publish(as_heard(uplink, copies) if group.merged else uplink))

    def _answer(self, subject: _Data, copies: Sequence[Copy], newest: bool, now: float, effects: list[Effect]) -> None:
        session, uplink, best = subject.session, subject.uplink, copies[0].frame
        adr_ack_req = subject.fctrl & frames.ADR_ACK_REQ != 0
        reply = session.control.conclude(
            uplink.mac_commands,
            adr=subject.fctrl & frames.ADR != 0,
            adr_ack_req=adr_ack_req,
            fcnt=uplink.fcnt,
            dr=eu868.DR_OF.get((best.sf, best.bw_hz)),
            snr=best.snr,
            gateways=len(copies),
            heard_at=uplink.received_at,
        )
        if reply.status is not None:
            battery, margin_db = reply.status
            effects.append(StoreStatus(uplink.dev_eui, uplink.received_at, battery, margin_db))
        if reply.changed:
            effects.append(StoreSession(session.state))
        if reply.kinds:
            effects += [COUNT[kind] for kind in reply.kinds]
        if not newest:
            return
        subject.must_answer = reply.must_answer or uplink.confirmed or adr_ack_req
        effects += self._sender.answer(
            session,
            copies,
            acknowledge=uplink.confirmed,
            fopts=reply.fopts,
            must_answer=subject.must_answer,
            now=now,
        )

    def _answer_again(self, subject: _Data, copies: Sequence[Copy], now: float, effects: list[Effect]) -> None:
        session, confirmed = subject.session, subject.uplink.confirmed
        session.repeats_left -= 1
        effects += self._sender.answer(
            session,
            copies,
            acknowledge=confirmed,
            fopts=session.control.again(copies[0].frame.received_at),
            must_answer=confirmed or subject.must_answer or subject.fctrl & frames.ADR_ACK_REQ != 0,
            again=True,
            now=now,
        )

    def _is_current(self, session: Session) -> bool:
        return self._sessions.active(session.state.dev_eui) is session
