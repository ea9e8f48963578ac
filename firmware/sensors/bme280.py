"""Bosch BME280: temperature, humidity and air pressure over I2C; and the BMP280, which has no humidity.

Source: BST-BME280-DS002-15 (rev. 1.6). Measured on demand ("forced mode"), every value once, without filter: a sensor
that runs all the time warms itself by 1 to 5 °C. The compensation is the data sheet's in whole numbers (4.2.3), because
the floats of an ESP32 have 24 bits, which is too little for pressure.
"""

import struct

from micropython import const

from payload.encode import FAILED, OUT_OF_RANGE
from sensors.errors import SensorError

CHIP_ID = const(0xD0)
_CTRL_HUM = const(0xF2)
_STATUS = const(0xF3)
_CTRL_MEAS = const(0xF4)
_CONFIG = const(0xF5)
_DATA = const(0xF7)  # pressure 3 bytes, temperature 3, humidity 2
_CALIBRATION_1 = const(0x88)  # 26 bytes: T1..T3, P1..P9, one unused, H1
_CALIBRATION_2 = const(0xE1)  # 7 bytes: H2..H6

_BME280 = const(0x60)
_BMP280 = const(0x58)

_MEASURING = const(0x08)  # status (5.4.4)
_LOADING = const(0x01)  # status: calibration is being copied after power-on
_ONCE_FORCED = const(0x25)  # ctrl_meas (5.4.5): osrs_t = x1, osrs_p = x1, mode = forced
_ONCE = const(0x01)  # ctrl_hum (5.4.3): osrs_h = x1
_MEASURE_MS = const(10)  # 9.3 ms at most (9.1)
_TRIES = const(10)

_SKIPPED_20 = const(0x80000)  # what the data registers hold when nothing was measured (5.4.7, 5.4.8)
_SKIPPED_16 = const(0x8000)  # the same of humidity (5.4.9)

# what the sensor is made for (1.1 and 1.4): beyond that it answers, but not with a measurement
_RANGE = {"temperature": (-40, 85), "humidity": (0, 100), "pressure": (300, 1100)}


class Calibration:
    """The coefficients of one sensor, by the names of the data sheet (table 16); h is None for a BMP280."""

    __slots__ = ("h", "p", "t")

    def __init__(self, t, p, h):
        self.t = t  # T1..T3
        self.p = p  # P1..P9
        self.h = h  # H1..H6


def calibration(block_1, block_2=None):
    """Coefficients from the registers 0x88..0xA1 (26 bytes) and, of a BME280, 0xE1..0xE7 (7 bytes).

    Raises SensorError when the registers hold nothing (all 0 or all 255): the bus is broken, or the sensor is.
    """
    if min(block_1) == max(block_1):
        raise SensorError("its calibration is empty")
    numbers = struct.unpack_from("<HhhHhhhhhhhh", block_1)
    h = None
    if block_2 is not None:
        h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", block_2)
        # H4 and H5 are 12 bits each and share the byte at 0xE5; the sign is in the whole bytes
        h = (block_1[25], h2, h3, e4 * 16 + (e5 & 15), e6 * 16 + (e5 >> 4), h6)
    return Calibration(numbers[:3], numbers[3:], h)


def temperature_fine(cal, adc_t):
    """t_fine of 4.2.3: temperature in 1/5120 °C, which pressure and humidity need too."""
    t1, t2, t3 = cal.t
    var1 = ((adc_t >> 3) - (t1 << 1)) * t2 >> 11
    offset = (adc_t >> 4) - t1
    return var1 + ((offset * offset >> 12) * t3 >> 14)


def temperature(t_fine):
    """Hundredths of a °C."""
    return t_fine * 5 + 128 >> 8


def pressure(cal, adc_p, t_fine):
    """256ths of a Pa; 0 when the calibration makes no sense."""
    p1, p2, p3, p4, p5, p6, p7, p8, p9 = cal.p
    var1 = t_fine - 128000
    var2 = var1 * var1 * p6 + (var1 * p5 << 17) + (p4 << 35)
    var1 = (var1 * var1 * p3 >> 8) + (var1 * p2 << 12)
    var1 = ((1 << 47) + var1) * p1 >> 33
    if var1 == 0:
        return 0
    p = ((1048576 - adc_p << 31) - var2) * 3125 // var1
    var1 = p9 * (p >> 13) * (p >> 13) >> 25
    var2 = p8 * p >> 19
    return (p + var1 + var2 >> 8) + (p7 << 4)


def humidity(cal, adc_h, t_fine):
    """1024ths of a % relative humidity, 0..102400."""
    h1, h2, h3, h4, h5, h6 = cal.h
    v = t_fine - 76800
    slope = ((v * h6 >> 10) * ((v * h3 >> 11) + 32768) >> 10) + 2097152
    v = ((adc_h << 14) - (h4 << 20) - h5 * v + 16384 >> 15) * (slope * h2 + 8192 >> 14)
    v -= ((v >> 15) * (v >> 15) >> 7) * h1 >> 4
    return min(max(v, 0), 419430400) >> 12


def reading(cal, data):
    """The reading in the 8 bytes (BMP280: 6) from register 0xF7: {quantity: °C, %, hPa, or FAILED, or OUT_OF_RANGE}."""
    adc_p = data[0] << 12 | data[1] << 4 | data[2] >> 4
    adc_t = data[3] << 12 | data[4] << 4 | data[5] >> 4
    result: dict = {"temperature": FAILED, "pressure": FAILED}
    if cal.h:
        result["humidity"] = FAILED
    if adc_t == _SKIPPED_20:
        return result  # without a temperature nothing can be compensated
    t_fine = temperature_fine(cal, adc_t)
    result["temperature"] = _checked("temperature", temperature(t_fine) / 100)
    if adc_p != _SKIPPED_20:
        result["pressure"] = _checked("pressure", pressure(cal, adc_p, t_fine) / 25600)
    if cal.h:
        adc_h = data[6] << 8 | data[7]
        if adc_h != _SKIPPED_16:
            result["humidity"] = _checked("humidity", humidity(cal, adc_h, t_fine) / 1024)
    return result


def _checked(quantity, value):
    low, high = _RANGE[quantity]
    return value if low <= value <= high else OUT_OF_RANGE


def probe(i2c, address):
    """Whether a BME280 answers there. Raises OSError of the bus when nothing does."""
    return i2c.readfrom_mem(address, CHIP_ID, 1)[0] == _BME280


def read(i2c, entry, sleep_ms):
    """Measure once: {quantity: value, or FAILED, or OUT_OF_RANGE}; a BMP280 gives no humidity.

    i2c: with readfrom_mem and writeto_mem of `machine.I2C`; entry: of config.json, its "address" is 0x76 or 0x77;
    sleep_ms: a function. Raises SensorError; and OSError of the bus when nothing answers.
    """
    address = entry["address"]
    chip = i2c.readfrom_mem(address, CHIP_ID, 1)[0]
    if chip not in (_BME280, _BMP280):
        raise SensorError(f"chip id {chip:#x}, expected 0x60 (BME280) or 0x58 (BMP280)")
    wet = chip == _BME280
    _wait(i2c, address, _LOADING, sleep_ms)
    cal = calibration(
        i2c.readfrom_mem(address, _CALIBRATION_1, 26), i2c.readfrom_mem(address, _CALIBRATION_2, 7) if wet else None
    )
    i2c.writeto_mem(address, _CONFIG, b"\x00")  # filter off
    if wet:
        i2c.writeto_mem(address, _CTRL_HUM, bytes([_ONCE]))  # takes effect with the next ctrl_meas (5.4.3)
    i2c.writeto_mem(address, _CTRL_MEAS, bytes([_ONCE_FORCED]))
    sleep_ms(_MEASURE_MS)
    _wait(i2c, address, _MEASURING, sleep_ms)
    return reading(cal, i2c.readfrom_mem(address, _DATA, 8 if wet else 6))


def _wait(i2c, address, mask, sleep_ms):
    for _ in range(_TRIES):
        if not i2c.readfrom_mem(address, _STATUS, 1)[0] & mask:
            return
        sleep_ms(2)
    raise SensorError("it does not finish")
