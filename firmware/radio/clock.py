"""The clock that receive windows are timed by: light sleep for the long part of a wait, exact waiting for the rest."""

from micropython import const

_LIGHT_SLEEP_US = const(8000)  # a shorter wait is not worth it
_WAKE_EARLY_US = const(5000)  # light sleep ends late by the time the flash needs to wake: this much at first, ...
_SPARE_US = const(500)  # ... then what the last one was late by, and this
_EXACT_US = const(2000)  # the last part is waited for without the scheduler's milliseconds


class Clock:
    """time: ticks_us, ticks_add, ticks_diff, sleep_ms, sleep_us; lightsleep(ms).

    stay_awake: set by the node while somebody may want to reach it; light sleep would cut the serial port off.
    """

    def __init__(self, time, lightsleep):
        self._time = time
        self._lightsleep = lightsleep
        self.stay_awake = True
        self._early_us = _WAKE_EARLY_US
        self.ticks_us = time.ticks_us
        self.ticks_add = time.ticks_add
        self.ticks_diff = time.ticks_diff
        self._looked_ms = time.ticks_ms()
        self._uptime_ms = 0

    def sleep_until_us(self, moment_us, exact=True):
        """Return at `moment_us` (ticks), or at once when it has passed. Not `exact`: not before, but perhaps some ms
        late; this costs no waiting awake for the end of the wait."""
        time = self._time
        early_us = self._early_us if exact else -1000
        while True:
            now_us = time.ticks_us()
            left_us = time.ticks_diff(moment_us, now_us)
            if left_us <= 0:
                return
            if left_us >= _LIGHT_SLEEP_US and left_us > early_us and not self.stay_awake:
                ms = (left_us - early_us) // 1000
                self._lightsleep(ms)
                late_us = time.ticks_diff(time.ticks_us(), now_us) - 1000 * ms
                early_us = self._early_us = max(late_us, 0) + _SPARE_US
            elif left_us > _EXACT_US:
                time.sleep_ms((left_us - _EXACT_US) // 1000 + 1)
            else:
                time.sleep_us(left_us)

    def uptime_ms(self):
        """ms since this clock was made. To be called at least every six days, because ticks come round."""
        now_ms = self._time.ticks_ms()
        self._uptime_ms += self._time.ticks_diff(now_ms, self._looked_ms)
        self._looked_ms = now_ms
        return self._uptime_ms
