"""The sessions in use, found by DevAddr and by device.

A device has at most one active and one pending session: a JoinAccept makes a pending one, the first uplink under its
keys makes it the active one and ends the other. So neither a replayed JoinRequest nor a JoinAccept lost on the way cuts
a node off. Two sessions may share a DevAddr (they should not, but a small NetID has few); the MIC decides.

Ciphers are kept for the sessions that were heard last only, so that nodes which are merely registered cost little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nest.lorawan.control import Control
from nest.lorawan.crypto import SessionCipher
from nest.lorawan.dev_addr import address_bits, compose
from nest.lorawan.settings import Settings
from nest.model import Device, SessionState

MAX_REPEATED_ANSWERS = 15  # NbTrans is at most 15; replaying a node's last frame must not drain FCntDown or the air
MAX_CIPHERS = 4096  # about 2 kB each; a new one takes 6 us


class Randomness(Protocol):
    """A source of random numbers: `random.SystemRandom()`, or a seeded `random.Random` in tests."""

    def getrandbits(self, k: int, /) -> int: ...


@dataclass(slots=True)
class QueuedDownlink:
    """Application data waiting for its device's next uplink. `window` 1, 2 or None: as the settings say."""

    port: int
    payload: bytes
    confirmed: bool
    window: int | None
    reference: int | None


class Ciphers:
    """The ciphers of the sessions used last, at most `size`; the others are made again when they are needed."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, size: int = MAX_CIPHERS) -> None:
        self._half = size // 2
        self._young: dict[Session, SessionCipher] = {}
        self._old: dict[Session, SessionCipher] = {}  # those not used since `_young` was begun go with the next turn

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def of(self, session: Session) -> SessionCipher:
        cipher = self._young.get(session)
        if cipher is None:
            cipher = self._old.get(session)
            if cipher is None:
                state = session.state
                cipher = SessionCipher(state.dev_addr, state.nwk_skey, state.app_skey)
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
            self._young[session] = cipher
        return cipher

    def forget(self, session: Session) -> None:
        self._young.pop(session, None)
        self._old.pop(session, None)


class Session:
    """A session at work: its state, what is under way in it, and, made when first needed, its cipher and control."""

    __slots__ = (
        "_ciphers",
        "_control",
        "_settings",
        "answered_with",
        "awaiting_ack",
        "device",
        "repeats_left",
        "state",
    )

    def __init__(self, device: Device, state: SessionState, settings: Settings, ciphers: Ciphers) -> None:
        self.device = device
        self.state = state
        self.awaiting_ack: QueuedDownlink | None = None
        self.answered_with: QueuedDownlink | None = None  # what went with the answer to the newest uplink
        self.repeats_left = MAX_REPEATED_ANSWERS
        self._settings = settings
        self._ciphers = ciphers
        self._control: Control | None = None

    @property
    def cipher(self) -> SessionCipher:
        """For use at once: it is not kept for ever."""
        return self._ciphers.of(self)

    @property
    def control(self) -> Control:
        control = self._control
        if control is None:
            control = self._control = Control(self._settings, self.state)
        return control


class Sessions:
    """All sessions, and the downlink queue of each device."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self.ciphers = Ciphers()
        self._at: dict[int, tuple[Session, ...]] = {}
        self._active: dict[bytes, Session] = {}
        self._pending: dict[bytes, Session] = {}
        self._queues: dict[bytes, deque[QueuedDownlink]] = {}

    def load(self, devices: dict[bytes, Device], states: Iterable[SessionState]) -> None:
        """Take over stored sessions; those of devices no longer registered are left out."""
        for state in states:
            device = devices.get(state.dev_eui)
            if device is not None:
                self.add(device, state)

    def at(self, dev_addr: int) -> tuple[Session, ...]:
        """All sessions with this DevAddr."""
        return self._at.get(dev_addr, ())

    def active(self, dev_eui: bytes) -> Session | None:
        return self._active.get(dev_eui)

    def pending(self, dev_eui: bytes) -> Session | None:
        return self._pending.get(dev_eui)

    def add(self, device: Device, state: SessionState) -> Session:
        """Add a session, pending or active as its state says, in place of the device's earlier one of that kind."""
        session = Session(device, state, self._settings, self.ciphers)
        where = self._active if state.active else self._pending
        old = where.get(device.dev_eui)
        if old is not None:
            self._leave_address(old)
        where[device.dev_eui] = session
        self._at[state.dev_addr] = (*self.at(state.dev_addr), session)
        return session

    def activate(self, session: Session) -> None:
        """Make a pending session the device's only one."""
        dev_eui = session.device.dev_eui
        old = self._active.get(dev_eui)
        if old is not None:
            session.awaiting_ack = old.awaiting_ack  # in vain, and that is to be told
            self._leave_address(old)
        self._pending.pop(dev_eui, None)
        self._active[dev_eui] = session

    def rename(self, device: Device) -> None:
        """Let the device's sessions carry its new data."""
        for where in (self._active, self._pending):
            session = where.get(device.dev_eui)
            if session is not None:
                session.device = device

    def drop(self, dev_eui: bytes) -> None:
        """Forget a device's sessions and queue."""
        for where in (self._active, self._pending):
            session = where.pop(dev_eui, None)
            if session is not None:
                self._leave_address(session)
        self._queues.pop(dev_eui, None)

    def queue(self, dev_eui: bytes) -> deque[QueuedDownlink]:
        """The device's downlinks, next first, to add to."""
        queue = self._queues.get(dev_eui)
        if queue is None:
            queue = self._queues[dev_eui] = deque()
        return queue

    def queued(self, dev_eui: bytes) -> int:
        """How many downlinks wait for the device."""
        queue = self._queues.get(dev_eui)
        return 0 if queue is None else len(queue)

    def free_address(self, net_id: int, random: Randomness) -> int:
        """A DevAddr of this network that no session has; when all are taken, any."""
        bits = address_bits(net_id)
        start = random.getrandbits(bits)
        for step in range(1 << bits):  # ends at once but in a network that is nearly full
            address = compose(net_id, start + step * 0x9E3779B1)  # an odd step visits every address once
            if address not in self._at:
                return address
        return compose(net_id, start)

    def _leave_address(self, session: Session) -> None:
        address = session.state.dev_addr
        others = tuple(other for other in self._at[address] if other is not session)
        if others:
            self._at[address] = others
        else:
            del self._at[address]
        self.ciphers.forget(session)
