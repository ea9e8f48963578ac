"""When a Basics Station heard something, on our clock. Pure."""

from __future__ import annotations

CLOCK_DRIFT = 100e-6  # a concentrator's crystal against ours, at most


class StationClock:
    """How old a station's frames are, by its own microsecond counter against our steady clock.

    A station that lost its connection delivers what it still has when it comes back. Its UTC stamps are made when it
    sends, and its GPS time echoes what we told it at some earlier moment, right or wrong; only the counter is sound.
    The least delay seen stands for none; it may grow by what the two clocks drift apart, so no age is ever too high.
    """

    __slots__ = ("_at", "_offset", "_session")

    def __init__(self) -> None:
        self._session, self._offset, self._at = -1, 0.0, 0.0

    def age_s(self, xtime: int, arrived: float) -> float:
        """Seconds between reception and arrival; 0 for the first of a session. `arrived`: a steady clock."""
        session, offset = xtime >> 48, arrived - (xtime & 0xFFFFFFFFFFFF) / 1e6
        if session != self._session:
            self._session, self._offset = session, offset
        else:
            self._offset = min(offset, self._offset + max(arrived - self._at, 0.0) * CLOCK_DRIFT)
        self._at = arrived
        return offset - self._offset

    def moment(self, xtime: int) -> float | None:
        """When that was on the steady clock; None: of another session."""
        return self._offset + (xtime & 0xFFFFFFFFFFFF) / 1e6 if xtime >> 48 == self._session else None
