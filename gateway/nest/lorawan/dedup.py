"""One emission of a device, however often and by however many gateways it was heard.

Copies are recognised by the PHYPayload alone: gateways close to a node also hear "ghosts" of it on neighbouring
channels, which are the same frame. The first copy opens a window; what comes within it belongs to the same group, and
the answer waits for the window's end so that it can go through the gateway that heard the node best. What comes later
is either a late copy (a slow way to the nest, a gateway that held it back) or the device sending the same bytes again;
a device does that only after its second receive window (TS001-1.0.4 section 4.3.1.4), and then the gateway's `tmst` has
moved on.

Only frames with a valid MIC are remembered, so forged frames cost no memory; and of those a bounded number.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from nest.model import MOST_HEARD, Heard, RadioFrame

MEMORY_S = 60.0  # copies later than this are judged by their frame counter only
MEMORY_FRAMES = 20_000  # and so are those of frames before this many others; a frame takes about 1 kB
SAME_EMISSION_US = 1_000_000  # one gateway, tmst closer than this: one emission (longer than any ghost's difference)

T = TypeVar("T")


@dataclass(slots=True)
class Copy:
    """One reception, and when it reached the server."""

    frame: RadioFrame
    at: float

    @property
    def strength(self) -> tuple[float, float]:
        """For comparing: SNR first, it decides whether an answer arrives; then RSSI."""
        snr = self.frame.snr
        return (-math.inf if snr is None else snr, self.frame.rssi)

    def is_no_weaker_than(self, other: Copy) -> bool:
        """Compared at the same gateway. On another channel one of them is a ghost: weaker by some 50 dB, but it may
        sound as clear, for beside a gateway the SNR of everything is as good as can be measured."""
        if self.frame.freq_hz != other.frame.freq_hz and self.frame.rssi != other.frame.rssi:
            return self.frame.rssi > other.frame.rssi
        return self.strength >= other.strength

    def heard(self) -> Heard:
        frame = self.frame
        return Heard(frame.gateway, frame.rssi, frame.snr, frame.freq_hz, frame.received_at)


@dataclass(slots=True)
class Group(Generic[T]):
    """All copies of one emission, the strongest of each gateway. `subject` is what the server makes of it.

    From `repeat_from` on, the same bytes with another tmst are a new emission. `repeated` marks a group that is one, or
    that has nothing to be done at its end for another reason.
    """

    subject: T
    due: float
    repeat_from: float
    copies: list[Copy]
    repeated: bool = False
    merged: bool = False  # there are others than the first copy

    def add(self, frame: RadioFrame, now: float) -> bool:
        """Take a copy. True when its gateway is new or has now heard it better."""
        copy = Copy(frame, now)
        for at, known in enumerate(self.copies):
            if known.frame.gateway == frame.gateway:
                if known.is_no_weaker_than(copy):
                    return False
                self.copies[at] = copy
                break
        else:
            if len(self.copies) >= MOST_HEARD:
                return False
            self.copies.append(copy)
        self.merged = True
        return True

    def strongest_first(self) -> list[Copy]:
        """The copies, sorted; do not change the list."""
        if len(self.copies) > 1:
            self.copies.sort(key=_strength, reverse=True)
        return self.copies

    def is_new_emission(self, frame: RadioFrame, now: float) -> bool:
        """Has the device sent again, or is this a late copy? What a gateway held back tells nothing new."""
        if now < self.repeat_from or frame.buffered:
            return False
        known = next((copy.frame.tmst for copy in self.copies if copy.frame.gateway == frame.gateway), None)
        if known is None or frame.tmst is None:
            return True
        apart = (frame.tmst - known) & 0xFFFFFFFF
        return min(apart, 0x100000000 - apart) > SAME_EMISSION_US


class Dedup(Generic[T]):
    """Remembers groups for one to two `memory_s`, by their bytes, and says which windows have closed."""

    def __init__(self, window_s: float, memory_s: float = MEMORY_S, memory_frames: int = MEMORY_FRAMES) -> None:
        self._window_s = window_s
        self._memory_s = memory_s
        self._memory_frames = memory_frames
        self._young: dict[bytes, Group[T]] = {}
        self._old: dict[bytes, Group[T]] = {}
        self._turn_at = -math.inf
        self._open: deque[Group[T]] = deque()  # in order of their end, for all windows are equally long

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, phy: bytes, now: float) -> Group[T] | None:
        """The group these bytes belong to."""
        if now >= self._turn_at:
            self._old = self._young if now < self._turn_at + self._memory_s else {}
            self._young = {}
            self._turn_at = now + self._memory_s
        return self._young.get(phy) or self._old.get(phy)

    def open(
        self, frame: RadioFrame, subject: T, now: float, repeat_after_s: float, repeated: bool = False
    ) -> Group[T]:
        """Open a window for a frame with its first copy, in place of an earlier emission of the same bytes."""
        if len(self._young) >= self._memory_frames:
            self._turn_at = now  # a whole generation has come already
            self.find(frame.phy, now)
        group = Group(subject, now + self._window_s, now + repeat_after_s, [Copy(frame, now)], repeated)
        self._young[frame.phy] = group
        self._open.append(group)
        return group

    def closed(self, now: float) -> list[Group[T]]:
        """Every group whose window has ended, once, oldest first."""
        groups: list[Group[T]] = []
        waiting = self._open
        while waiting and waiting[0].due <= now:
            groups.append(waiting.popleft())
        return groups

    def next_due(self) -> float | None:
        """When the next window ends."""
        return self._open[0].due if self._open else None


def live(copies: list[Copy]) -> list[Copy]:
    """The copies that can still be answered: not those that a gateway held back."""
    return [copy for copy in copies if not copy.frame.buffered]


def _strength(copy: Copy) -> tuple[float, float]:
    return copy.strength
