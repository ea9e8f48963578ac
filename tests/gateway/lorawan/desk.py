"""A sender at its desk: one session, a few gateways and a time of its own, for tests of what is sent when."""

from __future__ import annotations

from collections.abc import Iterable

from nest.lorawan import Count, DownlinkOutcome, Effect, SendDownlink, Settings
from nest.lorawan.dedup import Copy
from nest.lorawan.sender import Sender
from nest.lorawan.sessions import QueuedDownlink, Session, Sessions
from nest.model import Device, Downlink, RadioFrame, SessionState

from .device import EndDevice

NEAR, FAR, THIRD = "aa" * 8, "bb" * 8, "cc" * 8
KEY = bytes(range(16))


class Desk:
    """A sender with one session, at a time of its own."""

    def __init__(self, *, settings: Settings | None = None, **state: int) -> None:
        self.settings = settings or Settings()
        self.sessions = Sessions(self.settings)
        self.sender = Sender(self.settings, self.sessions)
        self.now = 1000.0
        self.device = EndDevice()
        self.device.dev_addr, self.device.nwk_skey, self.device.app_skey = 0x260B1234, KEY, KEY[::-1]
        self.session = self.with_session(self.device, **({"rx2_dr": 3} | state))
        self.effects: list[Effect] = []

    def with_session(self, device: EndDevice, **state: int) -> Session:
        registered = Device(device.dev_eui, device.join_eui, device.app_key, f"spatz-{device.dev_eui[-1]}")
        session = SessionState(device.dev_eui, 1, device.dev_addr, device.nwk_skey, device.app_skey, active=True)
        for name, value in state.items():
            setattr(session, name, value)
        return self.sessions.add(registered, session)

    def copy(
        self, gateway: str = NEAR, snr: float | None = 9.0, sf: int = 7, *, ago: float = 0.2, context: object = None,
        tmst: int | None = -1, buffered: bool = False, freq_hz: int = 868_100_000,
    ) -> Copy:  # fmt: skip
        """A reception a while ago; each gateway's counter is the clock and something of its own."""
        at = self.now - ago
        if tmst == -1:
            tmst = (round(at * 1e6) + gateway.encode()[0] * 10_000_019) & 0xFFFFFFFF
        frame = RadioFrame(
            b"x", gateway, 1.8e9 + at, freq_hz, sf, 125_000, -90.0, snr, tmst, buffered=buffered, context=context
        )
        return Copy(frame, at)

    def answer(
        self, *copies: Copy, ack: bool = True, fopts: bytes = b"", must: bool = False, session: Session | None = None
    ) -> list[Effect]:
        effects = self.sender.answer(
            session or self.session, copies or (self.copy(),), acknowledge=ack, fopts=fopts, must_answer=must,
            now=self.now,
        )  # fmt: skip
        return self.take(effects)

    def take(self, effects: Iterable[Effect]) -> list[Effect]:
        new = list(effects)
        self.effects += new
        return new

    def refuse(self, error: str | None = "TOO_LATE", window: int | None = None) -> list[Effect]:
        return self.take(self.sender.result(self.sent[-1].id, error, self.now, window))

    def leave_unanswered(self, gateway: str = NEAR) -> None:
        """The gateway says nothing to a downlink: from then on it is given them shortly before they start."""
        before = len(self.sent)
        self.answer(self.copy(gateway))
        assert [downlink.gateway for downlink in self.sent[before:]] == [gateway]
        self.now += 10
        self.effects.clear()

    def pass_until_next(self) -> list[Effect]:
        deadline = self.sender.next_deadline()
        assert deadline is not None
        self.now = deadline
        return self.take(self.sender.poll(self.now))

    def queue(self, payload: bytes = b"data", *, confirmed: bool = False, window: int | None = None) -> None:
        queue = self.sessions.queue(self.device.dev_eui)
        queue.append(QueuedDownlink(10, payload, confirmed, window, len(queue) + 1))

    @property
    def sent(self) -> list[Downlink]:
        return [effect.downlink for effect in self.effects if isinstance(effect, SendDownlink)]

    def left(self, gateway: str, band: str) -> float:
        return self.sender.airtime_left(self.now).get(gateway, {}).get(band, 1.0)

    @property
    def ways(self) -> list[tuple[str, int]]:
        return [(downlink.gateway, downlink.window) for downlink in self.sent]


def kinds(effects: Iterable[Effect]) -> list[str]:
    return [effect.kind for effect in effects if isinstance(effect, Count)]


def outcomes(effects: Iterable[Effect]) -> list[str]:
    return [effect.outcome for effect in effects if isinstance(effect, DownlinkOutcome)]
