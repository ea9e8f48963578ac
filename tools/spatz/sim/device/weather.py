"""Weather that changes over the day, and a battery that lives from it. Pure: the same on MicroPython and CPython.

    Weather(seed).at(unix_s) -> (temperature in °C, relative humidity in %, pressure in Pa)
    Weather(seed).values(unix_s) -> {quantity: value in its unit} of all that is measured at a moment
    Weather(seed).tips(start_s, end_s) -> when a rain gauge tips
    battery_mv(seed, unix_s) -> battery voltage in mV

A warm afternoon (15:00 UTC) over a slow swing of some days; humidity runs against temperature, pressure swings over
days. No noise: between two readings of one minute temperature moves by less than 0.05 °C.
"""

from math import acos, exp, pi, sin

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


_AT = ("temperature", "humidity", "pressure")  # as `at` gives them; there in Pa
_OTHERS = ("pm2_5", "pm10", "co2", "illuminance", "soil_moisture", "soil_temperature", "water_level")
MM_PER_TIP = 0.2794
SLOT_S = 21600  # at most one shower in each
_SHOWERS = 0.25  # the part of the slots that have one
_MOST_TIPS = 45


class Weather:
    def __init__(self, seed):
        self.seed = seed
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

    # What other sensors measure

    def _later(self, index):
        """A phase of these, which `at` knows nothing of."""
        return _random(self.seed, 40 + index)

    def co2(self, unix_s):
        """ppm; highest before sunrise, when the air stands still."""
        return 440 + 35 * _wave(unix_s, DAY_S, 0.02 + 0.03 * self._later(0)) + 20 * _wave(unix_s, 4100, self._later(1))

    def pm2_5(self, unix_s):
        """µg/m³: two peaks a day of traffic and stoves over days of clean or still air."""
        base = 9 + 6 * _wave(unix_s, 4.1 * DAY_S, self._later(2)) + 3 * _wave(unix_s, DAY_S / 2, self._later(3))
        return max(0.5, base + 0.8 * _wave(unix_s, 3300, self._later(4)))

    def pm10(self, unix_s):
        """µg/m³; always more than PM2.5, which is a part of it."""
        return self.pm2_5(unix_s) * (1.5 + 0.3 * _wave(unix_s, 2.3 * DAY_S, self._later(5))) + 1

    def illuminance(self, unix_s):
        """lx: 0 at night, up to some 100 000 at noon (12:00 UTC), less under clouds."""
        height = _wave(unix_s, DAY_S, -0.25) + 0.1
        if height <= 0:
            return 0.0
        clouds = 0.55 + 0.35 * _wave(unix_s, 1.7 * DAY_S, self._later(6)) + 0.05 * _wave(unix_s, 1900, self._later(7))
        return 95000 * height**1.3 * clouds

    def soil_temperature(self, unix_s):
        """°C at a hand's depth: the day's wave is small and late."""
        slow = _wave(unix_s, 5.3 * DAY_S, self._phases[1] - 0.15)
        return self._mean + 1.2 * slow + 0.25 * self._day * _wave(unix_s, DAY_S, -0.375 - 0.17)

    def soil_moisture(self, unix_s):
        """% between air and water: it dries over days, and each shower of the last four wets it."""
        moisture = 22 + 8 * self._later(8) + 2 * _wave(unix_s, DAY_S, 0.2)
        for slot in range(int(unix_s // SLOT_S) - 16, int(unix_s // SLOT_S) + 1):
            start_s, length_s, count = self._shower(slot)
            since_s = unix_s - start_s
            if count and since_s > 0:
                moisture += 0.5 * count * min(1, since_s / length_s) * exp(-since_s / (1.5 * DAY_S))
        return min(95, moisture)

    def water_level(self, unix_s):
        """cm above the zero of the gauge: a stream that the showers of the last two days raise."""
        level = 38 + 20 * self._later(9) + 3 * _wave(unix_s, 6.1 * DAY_S, self._later(10))
        for slot in range(int(unix_s // SLOT_S) - 8, int(unix_s // SLOT_S) + 1):
            start_s, _, count = self._shower(slot)
            since_h = (unix_s - start_s) / 3600
            if count and since_h > 0:
                level += 0.9 * count * since_h / 4 * exp(1 - since_h / 4)  # highest four hours after its beginning
        return level

    def value(self, quantity, unix_s):
        """One of `values`."""
        if quantity in _AT:
            return self.at(unix_s)[_AT.index(quantity)] / (100 if quantity == "pressure" else 1)
        return getattr(self, quantity)(unix_s)

    def values(self, unix_s):
        """{quantity: value} at a moment, by the names and in the units of boards/quantities.toml."""
        return {quantity: self.value(quantity, unix_s) for quantity in _AT + _OTHERS}

    # Rain

    def _shower(self, slot):
        """(start in Unix s, length in s, tips) of the shower in this slot of time; 0 tips: it stays dry."""
        if _random(self.seed, 1000 + 4 * slot) >= _SHOWERS:
            return 0, 1, 0
        length_s = 1200 + 6000 * _random(self.seed, 1001 + 4 * slot)
        start_s = slot * SLOT_S + (SLOT_S - length_s) * _random(self.seed, 1002 + 4 * slot)
        strength = _random(self.seed, 1003 + 4 * slot)
        return start_s, length_s, 1 + int((_MOST_TIPS - 1) * strength * strength * length_s / 7200)

    def tips(self, start_s, end_s):
        """Unix times (s, in order) in [start_s, end_s) at which a bucket of MM_PER_TIP tips. A shower begins and ends
        gently, and fills whole buckets."""
        result = []
        for slot in range(int(start_s // SLOT_S), int(end_s // SLOT_S) + 1):
            first_s, length_s, count = self._shower(slot)
            for number in range(count):
                moment = first_s + length_s * acos(1 - (2 * number + 1) / count) / pi
                if start_s <= moment < end_s:
                    result.append(moment)
        return result

    def rain_mm(self, start_s, end_s):
        """mm of rain in [start_s, end_s), as a rain gauge counts them."""
        return MM_PER_TIP * len(self.tips(start_s, end_s))


def battery_mv(seed, unix_s):
    """Voltage of a lithium cell with a small solar panel, in mV: fullest in the late afternoon."""
    swing = _wave(unix_s, DAY_S, -0.42 + 0.05 * _random(seed, 20))
    return 3850 + 150 * _random(seed, 21) + 90 * swing + 60 * _wave(unix_s, 9 * DAY_S, _random(seed, 22))
