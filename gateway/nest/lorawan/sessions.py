"""The sessions in use, found by DevAddr and by device.

A device has at most one active and one pending session: a JoinAccept makes a pending one, the first uplink under its
keys makes it the active one and ends the other. So neither a replayed JoinRequest nor a JoinAccept lost on the way cuts
a node off. Two sessions may share a DevAddr (they should not, but a small NetID has few); the MIC decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nest.lorawan.crypto import SessionCipher
from nest.lorawan.dev_addr import address_bits, compose
from nest.model import Device, SessionState

MAX_REPEATED_ANSWERS = 15  # NbTrans is at most 15; replaying a node's last frame must not drain FCntDown or the air


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


class Session:
    """A session at work: its state, its cipher (made when first needed), and what is under way in it."""

    __slots__ = ("_cipher", "awaiting_ack", "device", "repeats_left", "state")

    def __init__(self, device: Device, state: SessionState) -> None:
        self.device = device
        self.state = state
        self.awaiting_ack: QueuedDownlink | None = None
        self.repeats_left = MAX_REPEATED_ANSWERS
        self._cipher: SessionCipher | None = None

    @property
    def cipher(self) -> SessionCipher:
        if self._cipher is None:
            self._cipher = SessionCipher(self.state.dev_addr, self.state.nwk_skey, self.state.app_skey)
        return self._cipher


class Sessions:
    """All sessions, and the downlink queue of each device."""

    def __init__(self) -> None:
        self._at: dict[int, list[Session]] = {}
        self._active: dict[bytes, Session] = {}
        self._pending: dict[bytes, Session] = {}
        self._queues: dict[bytes, deque[QueuedDownlink]] = {}

    def load(self, devices: dict[bytes, Device], states: Iterable[SessionState]) -> None:
        """Take over stored sessions; those of devices no longer registered are left out."""
        for state in states:
            device = devices.get(state.dev_eui)
            if device is not None:
                self._place(Session(device, state))

    def at(self, dev_addr: int) -> list[Session]:
        """All sessions with this DevAddr."""
        return self._at.get(dev_addr, [])

    def active(self, dev_eui: bytes) -> Session | None:
        return self._active.get(dev_eui)

    def pending(self, dev_eui: bytes) -> Session | None:
        return self._pending.get(dev_eui)

    def add(self, device: Device, state: SessionState) -> Session:
        """Add a pending session, in place of the device's earlier pending one."""
        session = Session(device, state)
        self._place(session)
        return session

    def take_back(self, session: Session, earlier: Session | None) -> None:
        """Undo `add`: `earlier` is the pending session that was replaced."""
        del self._pending[session.device.dev_eui]
        self._leave_address(session)
        if earlier is not None:
            self._place(earlier)

    def activate(self, session: Session) -> None:
        """Make a pending session the device's only one."""
        dev_eui = session.device.dev_eui
        old = self._active.get(dev_eui)
        if old is not None:
            self._leave_address(old)
        self._pending.pop(dev_eui, None)
        self._active[dev_eui] = session

    def deactivate(self, session: Session, earlier: Session | None) -> None:
        """Undo `activate`: `earlier` is the active session that was replaced."""
        dev_eui = session.device.dev_eui
        del self._active[dev_eui]
        self._pending[dev_eui] = session
        if earlier is not None:
            self._place(earlier)

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
        """The device's downlinks, next first."""
        return self._queues.setdefault(dev_eui, deque())

    def free_address(self, net_id: int, random: Randomness) -> int:
        """A DevAddr of this network that no session has; when all are taken, any."""
        bits = address_bits(net_id)
        start = random.getrandbits(bits)
        for step in range(1 << bits):  # ends at once but in a network that is nearly full
            address = compose(net_id, start + step * 0x9E3779B1)  # an odd step visits every address once
            if address not in self._at:
                return address
        return compose(net_id, start)

    def _place(self, session: Session) -> None:
        where = self._active if session.state.active else self._pending
        old = where.get(session.device.dev_eui)
        if old is not None:
            self._leave_address(old)
        where[session.device.dev_eui] = session
        self._at.setdefault(session.state.dev_addr, []).append(session)

    def _leave_address(self, session: Session) -> None:
        others = self._at[session.state.dev_addr]
        others.remove(session)
        if not others:
            del self._at[session.state.dev_addr]
