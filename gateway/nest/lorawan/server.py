"""The network server: frames and time in, effects out."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from nest.lorawan.effects import Effect
from nest.lorawan.settings import Settings
from nest.model import Device, Downlink, JoinRecord, RadioFrame, SessionState


class UnknownDevice(LookupError):
    """No device with this DevEUI is registered."""


class NetworkServer:
    """A class A network server, sans I/O.

    `now` is everywhere the same steadily rising clock in seconds (`time.monotonic()`); received times travel inside the
    frames. `random` should be `random.SystemRandom()`; tests give a seeded one.
    """

    def __init__(
        self,
        settings: Settings,
        devices: Iterable[Device],
        sessions: Iterable[SessionState],
        nonces: Iterable[JoinRecord],
        random: Random,
    ) -> None:
        self.counters: dict[str, int] = {}

    def add_device(self, device: Device, nonces: Iterable[JoinRecord] = ()) -> None:
        """Register a device while running."""

    def remove_device(self, dev_eui: bytes) -> None:
        """Forget a device, its sessions and its queue."""

    def receive(self, frame: RadioFrame, now: float) -> list[Effect]:
        """Take one reception of a frame."""
        return []

    def poll(self, now: float) -> list[Effect]:
        """What is due by `now`: answers and publications of frames whose deduplication window has closed."""
        return []

    def next_deadline(self) -> float | None:
        """When `poll` has something to do next, on the clock of `now`; None: nothing waits."""
        return None

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
        """Queue a downlink for the device's next uplink. Raises UnknownDevice, ValueError (port 1..223, size, window)."""

    def queued(self, dev_eui: bytes) -> int:
        """How many downlinks wait for this device."""
        return 0

    def session(self, dev_eui: bytes) -> SessionState | None:
        """The device's active session."""
        return None

    def transmit_result(self, downlink: Downlink, error: str | None, now: float) -> list[Effect]:
        """What the gateway said about a SendDownlink; `error` None: accepted."""
        return []
