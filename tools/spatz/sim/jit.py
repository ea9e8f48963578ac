"""The just-in-time transmit queue of a gateway: what may be sent when, and why not. Pure; times are microseconds.

The gateway's radio can be told of one transmission at a time, so the forwarder keeps what is due later in a queue and
refuses at once what cannot be sent. Times here never wrap: `unwrap` turns the 32-bit `tmst` of the protocol, which
starts again every 71.6 minutes, into the clock's full count.
[sx1302_hal, packet_forwarder/src/jitqueue.c; PROTOCOL.md section 5.5]
"""

from __future__ import annotations

from dataclasses import dataclass, field

LEAD_US = 40_000
"""Before its start a transmission must be handed to the radio."""

START_DELAY_US = 1_500
"""The radio's own time to start."""

MARGIN_US = 1_000
"""Between two transmissions."""

MAX_ADVANCE_US = 512_000_000
"""Nothing is queued for later than this: (3 + 1) beacon periods of 128 s."""

SIZE = 32
"""Entries."""

TOO_LATE = "TOO_LATE"
TOO_EARLY = "TOO_EARLY"
COLLISION_PACKET = "COLLISION_PACKET"


def unwrap(tmst: int, now_us: int) -> int:
    """The full time nearest to `now_us` whose lowest 32 bits are `tmst`: up to 35.8 minutes ago or ahead."""
    ahead = (tmst - now_us) & 0xFFFFFFFF
    return now_us + (ahead - (1 << 32) if ahead >= 1 << 31 else ahead)


@dataclass(frozen=True, slots=True)
class Entry:
    """One transmission that was accepted."""

    start_us: int
    airtime_us: int

    @property
    def end_us(self) -> int:
        """When it leaves the antenna free."""
        return self.start_us + self.airtime_us


@dataclass(slots=True)
class JitQueue:
    """Accepted transmissions, in the order of their start; each stays until it has left the antenna."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, start_us: int, airtime_us: int, now_us: int) -> str | None:
        """Accept a transmission, or say why not: TOO_LATE, TOO_EARLY or COLLISION_PACKET (also when full).

        A start in the past is TOO_LATE. The reference forwarder computes the difference without a sign and reports such
        a frame as TOO_EARLY [packet_forwarder issues 31 and 17].
        """
        self.forget(now_us)
        if start_us - now_us <= START_DELAY_US + MARGIN_US + LEAD_US:
            return TOO_LATE
        if start_us - now_us > MAX_ADVANCE_US:
            return TOO_EARLY
        if len(self.entries) >= SIZE or not self._is_free(start_us, airtime_us):
            return COLLISION_PACKET
        self.entries.append(Entry(start_us, airtime_us))
        self.entries.sort(key=lambda entry: entry.start_us)
        return None

    def add_soon(self, airtime_us: int, now_us: int) -> tuple[int, str | None]:
        """Accept an immediate transmission at the first free moment: its start and no error, or 0 and the error."""
        self.forget(now_us)
        soonest = now_us + 2 * LEAD_US
        gap = START_DELAY_US + MARGIN_US + 1
        candidates = [soonest, *(entry.end_us + gap for entry in self.entries if entry.end_us + gap > soonest)]
        for start_us in candidates:
            if self._is_free(start_us, airtime_us):
                return start_us, self.add(start_us, airtime_us, now_us)
        return 0, COLLISION_PACKET

    def forget(self, now_us: int) -> None:
        """Drop what has been sent."""
        self.entries = [entry for entry in self.entries if entry.end_us > now_us]

    def _is_free(self, start_us: int, airtime_us: int) -> bool:
        gap = START_DELAY_US + MARGIN_US
        return all(
            start_us > entry.end_us + gap or entry.start_us > start_us + airtime_us + gap for entry in self.entries
        )
