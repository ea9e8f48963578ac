"""Weather that changes over the day, and a battery that lives from it. Pure: the same on MicroPython and CPython.

    Weather(seed).at(unix_s) -> (temperature in °C, relative humidity in %, pressure in Pa)
    battery_mv(seed, unix_s) -> battery voltage in mV

A warm afternoon (15:00 UTC) over a slow swing of some days; humidity runs against temperature, pressure swings over
days. No noise: between two readings of one minute temperature moves by less than 0.05 °C.
"""

from math import pi, sin

DAY_S = 86400


def _random(seed, index):
    """A fixed number in [0, 1) for this seed and index (integer hash, exact on both Pythons)."""
    x = (seed * 2654435761 + index * 40503 + 12345) & 0xFFFFFFFF
    for _ in range(3):
        x ^= x >> 16
        x = (x * 0x45D9F3B) & 0xFFFFFFFF
    x ^= x >> 16
    return x / 4294967296


def _wave(unix_s, period_s, phase):
    """sin with the time reduced first, so big times lose no precision."""
    return sin(2 * pi * ((unix_s % period_s) / period_s + phase))


class Weather:
    def __init__(self, seed):
        self._mean = 8 + 10 * _random(seed, 1)
        self._day = 3 + 4 * _random(seed, 2)
        self._phases = [_random(seed, 3 + i) for i in range(5)]
        self._humidity = 60 + 20 * _random(seed, 8)
        self._pressure = 99500 + 2500 * _random(seed, 9)

    def at(self, unix_s):
        """(temperature_c, humidity_pct, pressure_pa) at a Unix time in seconds (float or int)."""
        p = self._phases
        day = _wave(unix_s, DAY_S, -0.375 + (p[0] - 0.5) * 0.04)  # highest at 15:00 UTC +- half an hour
        slow = _wave(unix_s, 5.3 * DAY_S, p[1])
        gust = _wave(unix_s, 5400, p[2])
        temperature = self._mean + self._day * day + 2.5 * slow + 0.15 * gust
        humidity = self._humidity - 14 * day - 6 * slow + 1.5 * _wave(unix_s, 7100, p[3])
        pressure = self._pressure + 900 * _wave(unix_s, 6.7 * DAY_S, p[4]) + 60 * _wave(unix_s, DAY_S / 2, p[0])
        return temperature, min(98.0, max(15.0, humidity)), pressure


def battery_mv(seed, unix_s):
    """Voltage of a lithium cell with a small solar panel, in mV: fullest in the late afternoon."""
    swing = _wave(unix_s, DAY_S, -0.42 + 0.05 * _random(seed, 20))
    return 3850 + 150 * _random(seed, 21) + 90 * swing + 60 * _wave(unix_s, 9 * DAY_S, _random(seed, 22))
