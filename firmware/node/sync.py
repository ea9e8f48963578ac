"""What time it is: node time by the network's clock (DeviceTimeReq), which node time drifts from.

Node time stands still while a node starts and goes as fast as the node's own clock; both are steady, so two answers of
the network tell how fast it goes. It is asked at the first uplink, an hour later, and then once a day. A reset in deep
sleep takes an unknown piece out of node time: from then on the time is unknown until the network has answered again.

Moments are told by a stamp: quarters of a second since 2020-01-01 UTC when the time is known and how fast the node's
goes, else of node time, which may be put right later; and flags: 0x80 known, the lower bits number the starts, because
node times of two starts cannot be compared.
"""

import struct

from micropython import const

KNOWN = const(0x80)
BOOTS = const(0x7F)
_GPS_TO_2020 = const(1261872018)  # s from 1980-01-06 to 2020-01-01 UTC, the 18 leap seconds since 2017 left out
_TIME_MAX_MS = const(1073741823750)  # of 2**32 quarters of a second
_UNIT = const(10000000)
_RATE_MAX = const(1000000)  # 10 %: no clock is as bad, it was something else
_BASELINE_MS = const(3600000)  # what a rate is learned from, so that some ms of error are a quarter of a second a day
_DAY_MS = const(86400000)
_RETRY_MS = const(900000)  # after a request without answer
_TRIES_MAX = const(255)
# known, steady and learned; start, tries, base in node time, base in UTC, when to ask (s), rate, began (s)
_STATE = "<BBBQQIiI"


class Sync:
    """packed: of `pack`. Times are in ms, of node time where nothing else is said.

    known: whether the time is. tries: requests without answer. boot: the number of this start, 0..127.
    """

    def __init__(self, packed=b""):
        self.known = self._steady = self._learned = False
        self.boot = self.tries = 0
        self._base_ms = self._utc_ms = self._ask_s = self._rate = self._began_s = 0
        if len(packed) == struct.calcsize(_STATE):
            fields = struct.unpack(_STATE, packed)
            bits, self.boot, self.tries, self._base_ms, self._utc_ms, self._ask_s, self._rate, self._began_s = fields
            self.known = bool(bits & 1)
            self._steady = bool(bits & 2)
            self._learned = bool(bits & 4)

    def pack(self):
        """31 bytes."""
        bits = (1 if self.known else 0) | (2 if self._steady else 0) | (4 if self._learned else 0)
        times = self._base_ms, self._utc_ms, self._ask_s, self._rate, self._began_s
        return struct.pack(_STATE, bits, self.boot, self.tries, *times)

    def started(self, boot, now_ms):
        """Node time has a gap: a reset, or a power cut. boot: the number of this start."""
        self.boot = boot & BOOTS
        self._began_s = now_ms // 1000
        self.known = False
        self.tries = 0
        self.unsteady()

    @property
    def began_ms(self):
        """When this start was."""
        return self._began_s * 1000

    def unsteady(self):
        """From here on node time may go at another rate, because the node wakes more often or more rarely."""
        self._steady = False
        self._ask_s = 0

    def due(self, now_ms):
        """Whether to ask the network with the next uplink."""
        return now_ms // 1000 >= self._ask_s

    def asked(self, now_ms):
        """It was asked; until it answers, the next time is in a while."""
        self.tries = min(self.tries + 1, _TRIES_MAX)
        self._ask_s = (now_ms + _RETRY_MS) // 1000

    def answered(self, at_ms, gps_s, fraction):
        """It answered: at `at_ms` it was `gps_s` and `fraction` / 256 s since 1980-01-06, as GPS counts."""
        utc_ms = (gps_s - _GPS_TO_2020) * 1000 + fraction * 1000 // 256
        if not 0 <= utc_ms < _TIME_MAX_MS:
            return
        passed_ms = at_ms - self._base_ms
        twice = self.known and self._steady and passed_ms > _BASELINE_MS - 1000
        if twice:
            rate = (utc_ms - self._utc_ms - passed_ms) * _UNIT // passed_ms
            if -_RATE_MAX < rate < _RATE_MAX:
                self._rate = rate
                self._learned = True
        self.tries = 0
        self.known = self._steady = True
        self._base_ms = at_ms
        self._utc_ms = utc_ms
        self._ask_s = (at_ms + (_DAY_MS if twice else _BASELINE_MS)) // 1000

    def utc_ms(self, now_ms):
        """ms since 2020-01-01 UTC, as far as it is `known`."""
        return self._utc_ms + self._true(now_ms - self._base_ms)

    def stamp(self, now_ms):
        """(quarters of a second, flags) of a moment of this start."""
        known = self.known and self._learned
        ms = self.utc_ms(now_ms) if known else now_ms
        return (ms + 125) // 250 & 0xFFFFFFFF, self.boot | (KNOWN if known else 0)

    def age(self, when, flags, now_ms):
        """Quarters of a second that have passed since a stamp; None where nobody can say."""
        if flags & KNOWN:
            if not self.known:
                return None
            quarters = (self.utc_ms(now_ms) + 125) // 250 - when
        elif flags & BOOTS == self.boot and when >= 4 * self._began_s:  # else it is 128 starts old
            quarters = (self._true(now_ms - 250 * when) + 125) // 250
        else:
            return None
        return max(0, quarters)

    def _true(self, ms):
        return ms + ms * self._rate // _UNIT
