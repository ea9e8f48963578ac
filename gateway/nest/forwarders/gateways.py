"""The gateways that may speak to the nest, while it runs: what is known of each, who knocked without being asked, and
how much nonsense one of them may send. Shared by all protocols; no sockets and no clock here.

A gateway is named by its EUI, 16 lower-case hex digits. Times are Unix seconds, but for those of `Allowance`, which may
be of any clock that never goes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nest.model import Downlink, GatewayInfo, RadioFrame

KINDS: dict[str, str] = {
    "unknown_gateway": "message of a gateway that is not registered, not answered",
    "token_needed": "a gateway that has a token spoke without it, not answered",
    "rate_limited": "message of a gateway that has sent too many of no use, not taken",
    "frames_refused": "frames that could not be taken now, not acknowledged: the gateway may send them again",
    "no_downlink_path": "downlink for a gateway that cannot be reached now",
    "send_error": "the network refused a message to a gateway",
}

OnFrames = Callable[[Sequence[RadioFrame], Callable[[], None] | None], int | None]
"""`on_frames(frames, stored)`: how many were of use; None: not taken, do not acknowledge. `stored()` is called when
they are on the disk, at once for frames of no use: now they may be acknowledged."""

OnDrained = Callable[[], None]
"""The end of a burst: what came in it may be committed."""

OnResult = Callable[[Downlink, str | None, int | None], None]
"""What became of a downlink: `on_result(downlink, error, window)`; `window` 1 or 2 where the gateway chose itself."""

MAX_STRANGERS = 100

USELESS_PER_S = 200.0
"""Frames of no use to us (neighbours', forged ones) that a gateway may send, per second. One with eight channels hears
at most 130 frames a second, of whomever: 8 / 61.7 ms at SF7."""

USELESS_BURST = 2000.0
"""As many at once: what has piled up while the nest or the way to it was down."""


class Allowance:
    """A token bucket that is charged afterwards: what proves useful is free, however fast it comes."""

    __slots__ = ("_at", "_level")

    def __init__(self) -> None:
        self._level = USELESS_BURST
        self._at: float | None = None

    def left(self, now: float) -> bool:
        """True: one more may be taken. `now` in seconds, of a clock that never goes back."""
        if self._level >= 1:
            return True
        self._refill(now)
        return self._level >= 1

    def spend(self, count: int, now: float) -> None:
        """`count` of what was taken was of no use. One message can hold many, so this may run into debt, but never into
        more than a whole burst."""
        self._refill(now)
        self._level = max(self._level - count, -USELESS_BURST)

    def _refill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._level = min(self._level + (now - self._at) * USELESS_PER_S, USELESS_BURST)
        self._at = now


@dataclass(slots=True, eq=False)
class Gateway:
    """What is known of one admitted gateway since the start.

    `protocol`: "semtech_udp", "basics_station" or None, it has not spoken yet; `last_seen` is 0.0 then. `frames` counts
    the receptions it sent that could be read, `useless` those of them that were not ours; `downlinks` those handed to
    it, `refused` those of them it would not send. `reachable`: a downlink would find its way now. `stat` are its latest
    statistics, `software` what it says it runs. `admitted` turns False when it is dismissed: whoever kept this lets go.
    """

    info: GatewayInfo
    protocol: str | None = None
    last_seen: float = 0.0
    frames: int = 0
    useless: int = 0
    downlinks: int = 0
    refused: int = 0
    stat: dict[str, Any] | None = None
    reachable: bool = False
    software: str = ""
    admitted: bool = True
    allowance: Allowance = field(default_factory=Allowance)

    def may_send(self, now: float) -> bool:
        """True: it has not sent too much of no use (see `Allowance`)."""
        return self.allowance.left(now)

    def charge(self, useless: int, now: float) -> None:
        """`useless` frames or messages of it were of no use."""
        self.allowance.spend(useless, now)


@dataclass(slots=True)
class Stranger:
    """A gateway that spoke without being registered: what an operator needs to see when adding one."""

    protocol: str
    last_seen: float
    count: int
    address: str


class Gateways:
    """The allow-list. `known` by EUI; `strangers` by EUI, the longest silent first, at most MAX_STRANGERS."""

    def __init__(self, admitted: Iterable[GatewayInfo] = ()) -> None:
        self.known: dict[str, Gateway] = {}
        self.strangers: OrderedDict[str, Stranger] = OrderedDict()
        for info in admitted:
            self.admit(info)

    def admit(self, info: GatewayInfo) -> Gateway:
        """Let a gateway speak, or take over what has changed of it; what is known of it stays."""
        self.strangers.pop(info.eui, None)
        gateway = self.known.get(info.eui)
        if gateway is None:
            gateway = self.known[info.eui] = Gateway(info)
        else:
            gateway.info = info
        return gateway

    def dismiss(self, eui: str) -> Gateway | None:
        """From now on a stranger; None: it was one."""
        gateway = self.known.pop(eui, None)
        if gateway is not None:
            gateway.admitted = gateway.reachable = False
        return gateway

    def get(self, eui: str) -> Gateway | None:
        """None: not admitted."""
        return self.known.get(eui)

    def knock(self, eui: str, protocol: str, address: str, now: float) -> None:
        """An unknown gateway spoke (`now`: Unix s). EUIs are easily made up: the longest silent are forgotten."""
        stranger = self.strangers.get(eui)
        if stranger is None:
            if len(self.strangers) >= MAX_STRANGERS:
                self.strangers.popitem(last=False)
            self.strangers[eui] = Stranger(protocol, now, 1, address)
            return
        self.strangers.move_to_end(eui)
        stranger.protocol, stranger.last_seen, stranger.address = protocol, now, address
        stranger.count += 1
