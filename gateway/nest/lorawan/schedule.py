"""The transmitters of all gateways: what each is going to send, and how much of the law's hour it has used.

A gateway has one transmitter. While it sends it hears nothing on any channel, it can send one thing at a time, and in
each sub-band it may be on air for a fixed share of any hour (ERC/REC 70-03). All three are kept here, so that a gateway
is asked only for what it can do and may do.

Duty cycle. The hour slides: whatever 3600 s one looks at, the airtime in them stays within the limit. The fullest hour
always ends with the end of a transmission, so it is enough to look at the hours that end with the new one and with each
one planned behind it. Airtime counts from the moment it is planned; what the gateway refuses is given back to the
microsecond; what nobody says anything about counts as sent.

After a crash. `export` is what the engine saves every few seconds; `restore` takes it up. Airtime is summed up per
minute there, under the minute's last moment, so it counts a little longer. What was asked of gateways after the last
save is not known: every transmitter counts as having been on air all that time, in every sub-band (`unsaved_s`; 0 for a
clean end). How much time has passed since is only
believed when both clocks, the monotonic and the calendar's, agree on it, that is, without a reboot in between;
otherwise none has.

Times are seconds on the server's clock outside, whole microseconds inside.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from nest.lorawan import eu868

HOUR_US = 3_600_000_000
GUARD_US = 10_000_000  # the hour is taken so much longer: a gateway's moments are known to this, and clocks differ
GAP_US = 45_000  # between two transmissions: 40 ms in which a forwarder hands over the next, 2.5 ms for the radio
LOAD_US = 60_000_000  # how far back a transmitter's load is looked at
LONGEST_US = 2_800_000  # 64 bytes at SF12, the most that is allowed there
SAME_CLOCK_US = 500_000  # a gateway's counter that is further off than this has begun anew
DRIFT = 100e-6  # how much a gateway's clock may run away from the server's
MOST_ENTRIES = 2048  # per gateway and sub-band; the older ones are summed up in pairs then
MOST_IDLE = 1024  # gateways remembered though they have sent nothing for an hour
MINUTE_US = 60_000_000
FORGET_EVERY_US = 1_000_000
CLOCKS_AGREE_S = 5.0

_LIMITS_US = [round(band.duty * HOUR_US) for band in eu868.SUB_BANDS]

BUSY = "busy"
DUTY_CYCLE = "duty_cycle"
FORBIDDEN = "forbidden"


@dataclass(slots=True, eq=False)
class Booking:
    """One transmission that is planned or was: its gateway, sub-band (index in eu868.SUB_BANDS) and time. `assumed`:
    nobody knows whether it was; it counts, but is in nobody's way."""

    gateway: str
    band: int
    start_us: int
    end_us: int
    assumed: bool = False


_start = attrgetter("start_us")


@dataclass(slots=True)
class _Hour:
    """The bookings of one transmitter in one sub-band: the last hour's and what is planned, by their start."""

    bookings: list[Booking] = field(default_factory=list)
    total_us: int = 0

    def add(self, booking: Booking) -> None:
        insort(self.bookings, booking, key=_start)
        self.total_us += booking.end_us - booking.start_us
        if len(self.bookings) > MOST_ENTRIES:
            self._sum_up()

    def remove(self, booking: Booking) -> None:
        if booking in self.bookings:
            self.bookings.remove(booking)
            self.total_us -= booking.end_us - booking.start_us

    def forget(self, past_us: int) -> None:
        """Drop what ended by then."""
        count = 0
        for booking in self.bookings:
            if booking.end_us > past_us:
                break
            self.total_us -= booking.end_us - booking.start_us
            count += 1
        del self.bookings[:count]

    def fullest_us(self, start_us: int, end_us: int) -> int:
        """Airtime in the fullest hour that a new transmission would be in."""
        fullest_us = 0
        total_us = self.total_us + end_us - start_us
        # From the last one backwards to the new one: each is the end of an hour.
        for at in range(len(self.bookings) - 1, -2, -1):
            later = at >= 0 and self.bookings[at].start_us > start_us
            hour_start = (self.bookings[at].end_us if later else end_us) - HOUR_US - GUARD_US
            before_us = max(min(end_us, hour_start) - start_us, 0)
            for booking in self.bookings:
                if booking.start_us >= hour_start:
                    break
                before_us += min(booking.end_us, hour_start) - booking.start_us
            fullest_us = max(fullest_us, total_us - before_us)
            if not later:
                break
            total_us -= self.bookings[at].end_us - self.bookings[at].start_us
        return fullest_us

    def _sum_up(self) -> None:
        """The older half in pairs: each pair's airtime under the end of its later one, so it counts a little longer."""
        half = len(self.bookings) // 4 * 2
        merged = []
        for first, second in zip(self.bookings[:half:2], self.bookings[1:half:2], strict=True):
            airtime_us = first.end_us - first.start_us + second.end_us - second.start_us
            merged.append(Booking(second.gateway, second.band, second.end_us - airtime_us, second.end_us))
        self.bookings[:half] = merged


@dataclass(slots=True)
class _Transmitter:
    """Bookings of one gateway: of each sub-band those of the last hour, and of all those of the last minute."""

    bands: dict[int, _Hour] = field(default_factory=dict)
    recent: list[Booking] = field(default_factory=list)
    recent_us: int = 0
    offset_us: float | None = None  # server's clock less gateway's counter
    offset_at: float = 0.0
    forget_at_us: int = 0

    def forget(self, now_us: int) -> None:
        self.forget_at_us = now_us + FORGET_EVERY_US
        for hour in self.bands.values():
            if hour.bookings:
                hour.forget(now_us - HOUR_US - GUARD_US)
        while self.recent and self.recent[0].end_us <= now_us - LOAD_US:
            self.recent_us -= self.recent[0].end_us - self.recent[0].start_us
            del self.recent[0]

    def hour(self, band: int) -> _Hour:
        return self.bands.get(band) or self.bands.setdefault(band, _Hour())

    def add(self, booking: Booking) -> None:
        self.hour(booking.band).add(booking)
        insort(self.recent, booking, key=_start)
        self.recent_us += booking.end_us - booking.start_us

    @property
    def idle(self) -> bool:
        return not any(hour.bookings for hour in self.bands.values())


class Schedule:
    """All transmitters. `now` is the server's steadily rising clock in seconds."""

    def __init__(self) -> None:
        self._of: dict[str, _Transmitter] = {}
        self._unseen: tuple[int, int] | None = None  # all transmitters count as on air then

    def heard_at(self, gateway: str, tmst: int, at: float) -> float:
        """When the gateway heard the frame with this `tmst`, which came in at `at`.

        The way to the server is now longer, now shorter, but the gateway's counter runs evenly: of all frames the one
        that was quickest says how the clocks stand to each other.
        """
        transmitter = self._transmitter(gateway, at)
        offset_us = at * 1e6 - tmst
        known = transmitter.offset_us
        if known is not None:
            known += (at - transmitter.offset_at) * 1e6 * DRIFT
            later = (offset_us - known + (1 << 31)) % (1 << 32) - (1 << 31)  # the counter wraps
            if 0 <= later <= SAME_CLOCK_US:
                offset_us -= later
        transmitter.offset_us, transmitter.offset_at = offset_us, at
        return (offset_us + tmst) / 1e6

    def refusal(self, gateway: str, start: float, airtime_us: int, freq_hz: int, bw_hz: int, now: float) -> str | None:
        """Why a transmission cannot be planned: BUSY, DUTY_CYCLE or FORBIDDEN (no such channel); None when it can."""
        band = eu868.band_of(freq_hz, bw_hz)
        if band is None:
            return FORBIDDEN
        transmitter = self._transmitter(gateway, now)
        start_us = round(start * 1e6)
        end_us = start_us + airtime_us
        for other in reversed(transmitter.recent):
            if other.end_us + GAP_US <= start_us:
                break
            if other.start_us < end_us + GAP_US:
                return BUSY
        fullest_us = transmitter.hour(band).fullest_us(start_us, end_us)
        return DUTY_CYCLE if fullest_us > _LIMITS_US[band] else None

    def book(self, gateway: str, start: float, airtime_us: int, freq_hz: int, bw_hz: int, now: float) -> Booking:
        """Plan a transmission for which there is no `refusal`."""
        band = eu868.band_of(freq_hz, bw_hz)
        if band is None:
            raise ValueError(f"{freq_hz} Hz is in no sub-band")
        start_us = round(start * 1e6)
        booking = Booking(gateway, band, start_us, start_us + airtime_us)
        self._transmitter(gateway, now).add(booking)
        return booking

    def release(self, booking: Booking) -> None:
        """Give back a transmission that did not come about. Does nothing for one that is forgotten."""
        transmitter = self._of.get(booking.gateway)
        if transmitter is not None:
            transmitter.hour(booking.band).remove(booking)
            if booking in transmitter.recent:
                transmitter.recent.remove(booking)
                transmitter.recent_us -= booking.end_us - booking.start_us

    def used(self, gateway: str, band: int, now: float) -> float:
        """The share of this hour's airtime that is used up in a sub-band, 0..1, with what is planned."""
        return min(self._transmitter(gateway, now).hour(band).total_us / _LIMITS_US[band], 1.0)

    def load(self, gateway: str, now: float) -> float:
        """The share of the last minute that the gateway was deaf because it sent, with what is planned."""
        return self._transmitter(gateway, now).recent_us / LOAD_US

    def left(self, now: float) -> dict[str, dict[str, float]]:
        """For each gateway that has sent, by the name of the sub-band, the share of the hour's airtime that is left."""
        left: dict[str, dict[str, float]] = {}
        for gateway, transmitter in self._of.items():
            transmitter.forget(round(now * 1e6))
            if not transmitter.idle:
                left[gateway] = {
                    eu868.SUB_BANDS[band].name: max(1.0 - hour.total_us / _LIMITS_US[band], 0.0)
                    for band, hour in sorted(transmitter.bands.items())
                }
        return left

    def export(self, now: float, unix: float) -> dict[str, Any]:
        """What `restore` needs, for JSON. `unix`: the calendar's time in seconds."""
        now_us = round(now * 1e6)
        gateways: dict[str, list[list[int]]] = {}
        for gateway, transmitter in self._of.items():
            transmitter.forget(now_us)
            rows = [row for band, hour in transmitter.bands.items() for row in _by_minute(band, hour.bookings, now_us)]
            if rows:
                gateways[gateway] = rows
        return {"now": now, "unix": unix, "gateways": gateways}

    def restore(self, data: dict[str, Any], now: float, unix: float, unsaved_s: float) -> None:
        """Take up what an earlier process exported; `unsaved_s`: how long after that a transmission that is not in it
        may have begun at most.

        Raises KeyError, TypeError or ValueError for what `export` has not made.
        """
        passed = now - float(data["now"])
        if passed < 0 or abs(unix - float(data["unix"]) - passed) > CLOCKS_AGREE_S:
            passed = 0.0
        saved_us = round((now - passed) * 1e6)
        for gateway, rows in data["gateways"].items():
            transmitter = self._of.setdefault(str(gateway), _Transmitter())
            for band, end_us, airtime_us, *assumed in rows:
                if not 0 <= band < len(eu868.SUB_BANDS):
                    raise ValueError(f"no sub-band {band}")
                end = saved_us + int(end_us)
                booking = Booking(gateway, band, end - int(airtime_us), end, bool(assumed))
                (transmitter.hour(band) if assumed else transmitter).add(booking)
            transmitter.forget(round(now * 1e6))
        if unsaved_s:
            self._unseen = saved_us, saved_us + round(unsaved_s * 1e6) + LONGEST_US
            for gateway, transmitter in self._of.items():
                self._charge_unseen(gateway, transmitter)

    def _transmitter(self, gateway: str, now: float) -> _Transmitter:
        now_us = round(now * 1e6)
        transmitter = self._of.get(gateway)
        if transmitter is None:
            if len(self._of) >= MOST_IDLE:
                for other in self._of.values():
                    other.forget(now_us)
                self._of = {name: other for name, other in self._of.items() if not other.idle}
            transmitter = self._of[gateway] = _Transmitter()
            self._charge_unseen(gateway, transmitter)
        if now_us >= transmitter.forget_at_us:
            transmitter.forget(now_us)
        return transmitter

    def _charge_unseen(self, gateway: str, transmitter: _Transmitter) -> None:
        if self._unseen is not None:
            start_us, end_us = self._unseen
            for band in range(len(eu868.SUB_BANDS)):
                hour = transmitter.hour(band)
                known_us = sum(max(min(one.end_us, end_us) - max(one.start_us, start_us), 0) for one in hour.bookings)
                if start_us + known_us < end_us:  # it was not on air for longer than all the time
                    hour.add(Booking(gateway, band, start_us + known_us, end_us, True))


def _by_minute(band: int, bookings: list[Booking], now_us: int) -> list[list[int]]:
    """Rows [sub-band, end seen from now, airtime], in microseconds: one for each minute with airtime, and one for each
    transmission that is not over, with a 1 behind it where that is only assumed."""
    rows: list[list[int]] = []
    minute = None
    for booking in bookings:
        airtime_us = booking.end_us - booking.start_us
        over = booking.end_us <= now_us
        if over and minute == booking.end_us // MINUTE_US:
            rows[-1][1] = booking.end_us - now_us
            rows[-1][2] += airtime_us
        else:
            minute = booking.end_us // MINUTE_US if over else None
            rows.append([band, booking.end_us - now_us, airtime_us, *[1] * (booking.assumed and not over)])
    return rows
