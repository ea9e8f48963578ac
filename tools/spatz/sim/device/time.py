"""`time` of a node: MicroPython's functions on the board's clock (ESP32: ticks wrap at 2**30, the epoch is 2000).

Without a board (a plain test that only imports this directory) it is the built-in time. Reading a timer costs a
few µs of node time, so a loop that polls one ends.
"""

import board as _board
import utime as _utime

_PERIOD = 1 << 30
_EPOCH_2000 = 946684800  # the unix port counts from 1970
_READ_COST_US = 4


def ticks_us():
    b = _board.current
    if b is None:
        return _utime.ticks_us() & (_PERIOD - 1)
    b.clock.spend(_READ_COST_US)
    return b.clock.node_us() & (_PERIOD - 1)


def ticks_ms():
    b = _board.current
    if b is None:
        return _utime.ticks_ms() & (_PERIOD - 1)
    b.clock.spend(_READ_COST_US)
    return (b.clock.node_us() // 1000) & (_PERIOD - 1)


ticks_cpu = ticks_us


def ticks_add(ticks, delta):
    return (ticks + delta) & (_PERIOD - 1)


def ticks_diff(end, start):
    return ((end - start + _PERIOD // 2) & (_PERIOD - 1)) - _PERIOD // 2


def sleep_us(us):
    b = _board.current
    if b is None:
        _utime.sleep_us(us)
    else:
        b.sleep_us(us)


def sleep_ms(ms):
    b = _board.current
    if b is None:
        _utime.sleep_ms(ms)
    else:
        start = b.clock.now
        b.sleep_us(ms * 1000)
        b.energy.slept(b.clock.now - start)


def sleep(seconds):
    sleep_ms(int(seconds * 1000))


def time():
    """Seconds since 2000-01-01; counts from 0 at power-on until machine.RTC().datetime() sets it."""
    b = _board.current
    return _utime.time() - _EPOCH_2000 if b is None else b.rtc_us() // 1000000


def time_ns():
    b = _board.current
    return _utime.time_ns() - _EPOCH_2000 * 1000000000 if b is None else b.rtc_us() * 1000


def gmtime(secs=None):
    return _utime.gmtime((time() if secs is None else secs) + _EPOCH_2000)[:8]


localtime = gmtime


def mktime(fields):
    days = _days(fields[0], fields[1], fields[2])
    return ((days * 24 + fields[3]) * 60 + fields[4]) * 60 + fields[5]


def _days(year, month, day):
    """Days from 2000-01-01 (proleptic Gregorian, months may overflow)."""
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1 - 730425
