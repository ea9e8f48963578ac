"""The network server: frames and time in, effects out (TS001-1.0.4, class A).

The way of a frame: radio checksum, copy of a known one?, parse, find the device or session, MIC, counter. A fresh frame
is to be stored at once; its answer and its publication wait until the deduplication window has closed (`poll`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nest.lorawan import crypto, frames, join
from nest.lorawan.dedup import Copy, Dedup, Group
from nest.lorawan.downlinks import JOIN_WINDOWS
from nest.lorawan.effects import (
    KINDS,
    Count,
    DownlinkOutcome,
    Effect,
    MergeCopy,
    Publish,
    SendDownlink,
    StoreJoin,
    StoreUplink,
)
from nest.lorawan.sender import Sender
from nest.lorawan.sessions import MAX_REPEATED_ANSWERS, QueuedDownlink, Randomness, Session, Sessions
from nest.lorawan.settings import Settings
from nest.model import Device, Downlink, JoinRecord, RadioFrame, SessionState, Uplink

MAX_FCNT = 0xFFFFFFFF
MAX_DOWNLINK_PAYLOAD = 242  # bytes at DR4 and faster (RP002-1.0.4 EU868)


class UnknownDeviceError(LookupError):
    """No device with this DevEUI is registered."""


@dataclass(frozen=True, slots=True)
class _Join:
    """A JoinRequest that was good, and its answer."""

    dev_eui: bytes
    session: Session
    accept: bytes


@dataclass(frozen=True, slots=True)
class _Data:
    """A data frame that was good."""

    session: Session
    uplink: Uplink
    adr_ack_req: bool


class NetworkServer:
    """A class A network server, sans I/O.

    `now` is everywhere the same steadily rising clock in seconds (`time.monotonic()`); received times travel inside the
    frames. `random` should be `random.SystemRandom()`; tests give a seeded one. `sessions` and `nonces` are what the
    Store… effects have told to keep. `counters` counts every kind of `effects.KINDS` since the start.
    """

    def __init__(
        self,
        settings: Settings,
        devices: Iterable[Device],
        sessions: Iterable[SessionState],
        nonces: Iterable[JoinRecord],
        random: Randomness,
    ) -> None:
        self.counters: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._settings = settings
        self._random = random
        self._devices = {device.dev_eui: device for device in devices}
        self._sessions = Sessions()
        self._sessions.load(self._devices, sessions)
        self._nonces = join.JoinNonces()
        self._nonces.remember(nonces)
        self._sender = Sender(settings, self._sessions)
        self._dedup: Dedup[_Join | _Data] = Dedup(settings.dedup_window_s)
        self._undo: Callable[[], None] = _nothing  # takes back what the last `receive` wanted stored

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

    def remove_device(self, dev_eui: bytes) -> None:
        """Forget a device, its sessions, its queue and its DevNonces (give them to `add_device`, should it return)."""
        self._devices.pop(dev_eui, None)
        self._forget(dev_eui)

    def receive(self, frame: RadioFrame, now: float) -> list[Effect]:
        """Take one reception of a frame; whatever it holds, it is only counted when it is no good."""
        return self._tally(self._receive(frame, now))

    def poll(self, now: float) -> list[Effect]:
        """What is due by `now`: answers and publications of frames whose deduplication window has closed."""
        effects: list[Effect] = []
        for group in self._dedup.closed(now):
            if isinstance(group.subject, _Join):
                effects += self._answer_join(group.subject, group.strongest_first(), now)
            else:
                effects += self._conclude(group.subject, group, now)
        return self._tally(effects)

    def next_deadline(self) -> float | None:
        """When `poll` has something to do next, on the clock of `now`; None: nothing waits."""
        return self._dedup.next_due()

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

    def queued(self, dev_eui: bytes) -> int:
        """How many downlinks wait for this device."""
        return len(self._sessions.queue(dev_eui)) if dev_eui in self._devices else 0

    def session(self, dev_eui: bytes) -> SessionState | None:
        """The device's active session."""
        session = self._sessions.active(dev_eui)
        return None if session is None else session.state

    def transmit_result(self, downlink: Downlink, error: str | None, now: float) -> list[Effect]:
        """What became of a SendDownlink: `error` None, the gateway took it; else its refusal, which makes the server
        try the next window or gateway while there is time. A downlink of which nothing is heard counts as sent."""
        return self._tally(self._sender.result(downlink.id, error, now))

    def not_done(self, effect: Effect) -> None:
        """`effect` of the last call was not carried out; say so before the next call.

        A frame or join that was not stored is neither answered nor published and has not happened: the same frame may
        come again and is fresh then. A downlink that was not sent waits for the next uplink.
        """
        if isinstance(effect, StoreJoin | StoreUplink):
            self._undo()
            self._undo = _nothing
        elif isinstance(effect, SendDownlink):
            self._sender.give_up(effect.downlink.id)

    # -- receiving

    def _receive(self, frame: RadioFrame, now: float) -> list[Effect]:
        if frame.crc_ok is False:
            return [Count("crc_bad")]
        group = self._dedup.find(frame.phy, now)
        if group is not None:
            return self._receive_copy(group, frame, now)
        try:
            mtype = frames.message_type(frame.phy)
            if mtype == frames.JOIN_REQUEST:
                return self._receive_join(frames.parse_join_request(frame.phy), frame, now)
            if mtype in (frames.UNCONFIRMED_UP, frames.CONFIRMED_UP):
                return self._receive_data(frames.parse_data(frame.phy), frame, now)
        except frames.FrameError:
            return [Count("malformed")]
        return [Count("unexpected_type")]

    def _receive_copy(self, group: Group[_Join | _Data], frame: RadioFrame, now: float) -> list[Effect]:
        subject = group.subject
        if group.is_new_emission(frame, now):
            if isinstance(subject, _Join):
                return [Count("dev_nonce_used")]
            if subject.uplink.fcnt == subject.session.state.fcnt_up and self._is_current(subject.session):
                return self._receive_again(subject, frame, now)
            return [Count("replay")]
        count = Count("duplicate" if now < group.due else "late_copy")
        if group.add(frame, now) and isinstance(subject, _Data):
            return [_merge(subject, frame, now), count]
        return [count]

    def _receive_join(self, request: frames.JoinRequest, frame: RadioFrame, now: float) -> list[Effect]:
        device = self._devices.get(request.dev_eui)
        if device is None or device.join_eui != request.join_eui:
            return [Count("unknown_device")]
        if not join.mic_is_good(device, frame.phy, request):
            return [Count("mic_bad")]
        refusal = self._nonces.refusal(device, request.dev_nonce)
        if refusal is not None:
            return [Count(refusal)]
        state = join.open_session(
            device,
            request,
            self._settings,
            self._nonces.next_join_nonce(device.dev_eui),
            self._sessions.free_address(self._settings.net_id, self._random),
            frame.received_at,
        )
        record = JoinRecord(device.dev_eui, request.dev_nonce, state.join_nonce)
        self._nonces.remember((record,))
        earlier = self._sessions.pending(device.dev_eui)
        session = self._sessions.add(device, state)
        accept = join.join_accept(device, state, self._settings.net_id)
        group = self._dedup.open(frame, _Join(device.dev_eui, session, accept), now, JOIN_WINDOWS.rx1_delay_s + 1)

        def undo() -> None:  # but for the nonces: a number that was not used does no harm
            self._dedup.withdraw(group)
            self._sessions.take_back(session, earlier)

        self._undo = undo
        return [StoreJoin(record, state), Count("join_accepted")]

    def _receive_data(self, data: frames.DataFrame, frame: RadioFrame, now: float) -> list[Effect]:
        candidates = self._sessions.at(data.dev_addr)
        if not candidates:
            return [Count("unknown_session")]
        message = frame.phy[:-4]
        counters = [(session, *frames.rebuild_fcnt(session.state.fcnt_up, data.fcnt16)) for session in candidates]
        for session, fcnt, _ in counters:
            if fcnt <= MAX_FCNT and crypto.same(session.cipher.mic(crypto.UP, fcnt, message), data.mic):
                return self._receive_fresh(session, data, fcnt, frame, now)
        for session, _, fcnt in counters:
            if fcnt >= 0 and crypto.same(session.cipher.mic(crypto.UP, fcnt, message), data.mic):
                if fcnt != session.state.fcnt_up:
                    return [Count("replay")]
                return self._receive_again(self._read(session, data, fcnt, frame, now), frame, now)
        return [Count("mic_bad")]

    def _receive_fresh(
        self, session: Session, data: frames.DataFrame, fcnt: int, frame: RadioFrame, now: float
    ) -> list[Effect]:
        before, earlier = session.state, self._sessions.active(session.device.dev_eui)
        activates = not before.active
        session.state = replace(session.state, fcnt_up=fcnt, active=True)
        session.repeats_left = MAX_REPEATED_ANSWERS
        if activates:
            self._sessions.activate(session)
        subject = self._read(session, data, fcnt, frame, now)
        effects: list[Effect] = [StoreUplink(subject.uplink, session.state, activates), Count("accepted")]
        item, session.awaiting_ack = session.awaiting_ack, None
        if item is not None:
            outcome = "acknowledged" if data.ack else "unacknowledged"
            effects.append(DownlinkOutcome(session.device.dev_eui, item.reference, outcome))
        group = self._dedup.open(frame, subject, now, _until_repeat(session))

        def undo() -> None:
            self._dedup.withdraw(group)
            session.state, session.awaiting_ack = before, item
            if activates:
                self._sessions.deactivate(session, earlier)

        self._undo = undo
        return effects

    def _receive_again(self, subject: _Data, frame: RadioFrame, now: float) -> list[Effect]:
        """The device's last frame once more: it missed the answer, or repeats everything (NbTrans)."""
        self._dedup.open(frame, subject, now, _until_repeat(subject.session), repeated=True)
        return [_merge(subject, frame, now), Count("retransmission")]

    def _read(self, session: Session, data: frames.DataFrame, fcnt: int, frame: RadioFrame, now: float) -> _Data:
        fport = data.fport
        clear = b"" if fport is None else session.cipher.crypt(crypto.UP, fcnt, fport, data.frm_payload)
        uplink = Uplink(
            node=session.device.slug,
            dev_eui=session.device.dev_eui,
            received_at=frame.received_at,
            fcnt=fcnt,
            fport=fport,
            payload=clear if fport else b"",
            confirmed=data.confirmed,
            heard=(Copy(frame, now).heard(),),
            sf=frame.sf,
            bw_hz=frame.bw_hz,
            freq_hz=frame.freq_hz,
            phy=frame.phy,
            mac_commands=clear if fport == 0 else data.fopts,
        )
        return _Data(session, uplink, data.adr_ack_req)

    def _forget(self, dev_eui: bytes) -> None:
        self._sessions.drop(dev_eui)
        self._nonces.forget_dev_nonces(dev_eui)

    # -- answering

    def _answer_join(self, subject: _Join, copies: list[Copy], now: float) -> list[Effect]:
        if self._sessions.pending(subject.dev_eui) is not subject.session:
            return []  # the device has asked again meanwhile, or was removed
        return self._sender.send_join_accept(subject.dev_eui, subject.accept, copies, now)

    def _conclude(self, subject: _Data, group: Group[_Join | _Data], now: float) -> list[Effect]:
        session, uplink = subject.session, subject.uplink
        copies = group.strongest_first()
        effects: list[Effect] = []
        # A later frame of the device has closed the windows of this one.
        if self._is_current(session) and session.state.fcnt_up == uplink.fcnt:
            effects += self._answer(subject, group.repeated, copies, now)
        if uplink.fport and not group.repeated:
            best = copies[0].frame
            heard = tuple(copy.heard() for copy in copies)
            effects.append(Publish(replace(uplink, heard=heard, sf=best.sf, bw_hz=best.bw_hz, freq_hz=best.freq_hz)))
        return effects

    def _answer(self, subject: _Data, repeated: bool, copies: list[Copy], now: float) -> list[Effect]:
        session = subject.session
        if repeated:
            if not session.repeats_left:
                return []
            session.repeats_left -= 1
        acknowledge = subject.uplink.confirmed
        return self._sender.answer(
            session, copies, acknowledge=acknowledge, must_answer=acknowledge or subject.adr_ack_req, now=now
        )

    def _is_current(self, session: Session) -> bool:
        return self._sessions.active(session.device.dev_eui) is session

    def _tally(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Count):
                self.counters[effect.kind] += 1
        return effects


def _merge(subject: _Data, frame: RadioFrame, now: float) -> MergeCopy:
    uplink = subject.uplink
    return MergeCopy(uplink.dev_eui, subject.session.state.join_nonce, uplink.fcnt, Copy(frame, now).heard())


def _nothing() -> None:
    pass


def _until_repeat(session: Session) -> float:
    """How soon after a frame its device can send again: not before its second receive window (TS001-1.0.4 3.3)."""
    return session.state.rx1_delay_s + 1
