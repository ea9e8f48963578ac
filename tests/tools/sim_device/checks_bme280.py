# ruff: noqa: B905, PT018 - MicroPython has no strict zip, and a check is no pytest function
"""The BME280: registers, forced mode, and that the compensated value is the weather."""

import time

import bme280
from bench import rejects
from board import Board
from machine import I2C, Pin

RESET_DATA = b"\x80\x00\x00\x80\x00\x00\x80\x00"


def _sensor(**world):
    board = Board(world)
    Pin(36, Pin.OUT, value=0)
    time.sleep_ms(5)
    return board, I2C(0, scl=Pin(42), sda=Pin(41), freq=100000)


def _force(i2c, hum=1, meas=0x25):
    i2c.writeto_mem(118, 0xF2, bytes([hum]))
    i2c.writeto_mem(118, 0xF4, bytes([meas]))


def _signed(low, high):
    value = low | high << 8
    return value - 65536 if value > 32767 else value


def _compensate(i2c):
    """Data sheet 4.2.3 in integers (64 bit for pressure), from the registers alone; the emulator uses 8.1."""
    c = i2c.readfrom_mem(118, 0x88, 26)
    h = i2c.readfrom_mem(118, 0xE1, 7)
    t1, t2, t3 = c[0] | c[1] << 8, _signed(c[2], c[3]), _signed(c[4], c[5])
    p = [c[6] | c[7] << 8] + [_signed(c[i], c[i + 1]) for i in range(8, 24, 2)]
    h1, h2, h3, h6 = c[25], _signed(h[0], h[1]), h[2], h[6] - 256 if h[6] > 127 else h[6]
    h4 = (h[3] - 256 if h[3] > 127 else h[3]) << 4 | h[4] & 15
    h5 = (h[5] - 256 if h[5] > 127 else h[5]) << 4 | h[4] >> 4
    d = i2c.readfrom_mem(118, 0xF7, 8)
    adc_p, adc_t, adc_h = d[0] << 12 | d[1] << 4 | d[2] >> 4, d[3] << 12 | d[4] << 4 | d[5] >> 4, d[6] << 8 | d[7]
    fine = ((adc_t >> 3) - (t1 << 1)) * t2 >> 11
    fine += ((((adc_t >> 4) - t1) ** 2 >> 12) * t3) >> 14
    temperature = ((fine * 5 + 128) >> 8) / 100
    v1 = fine - 128000
    v2 = v1 * v1 * p[5] + (v1 * p[4] << 17) + (p[3] << 35)
    v1 = (v1 * v1 * p[2] >> 8) + (v1 * p[1] << 12)
    v1 = ((1 << 47) + v1) * p[0] >> 33
    x = ((1048576 - adc_p << 31) - v2) * 3125 // v1
    x = (x + (p[8] * (x >> 13) * (x >> 13) >> 25) + (p[7] * x >> 19) >> 8) + (p[6] << 4)
    v = fine - 76800
    v = ((adc_h << 14) - (h4 << 20) - h5 * v + 16384 >> 15) * (
        ((((v * h6 >> 10) * ((v * h3 >> 11) + 32768) >> 10) + 2097152) * h2 + 8192) >> 14
    )
    v -= ((v >> 15) * (v >> 15) >> 7) * h1 >> 4
    return temperature, max(0, min(v, 419430400)) / 4194304, x / 256


def check_chip_id_and_reset():
    _, i2c = _sensor()
    assert i2c.readfrom_mem(118, 0xD0, 1) == b"\x60"
    _force(i2c)
    time.sleep_ms(20)
    assert i2c.readfrom_mem(118, 0xF7, 8) != RESET_DATA
    i2c.writeto_mem(118, 0xE0, b"\xb6")
    assert i2c.readfrom_mem(118, 0xF3, 1)[0] & 1 == 1, "copying its calibration"
    time.sleep_ms(3)
    assert i2c.readfrom_mem(118, 0xF3, 1) == b"\x00"
    assert i2c.readfrom_mem(118, 0xF7, 8) == RESET_DATA


def check_compensated_values_are_the_weather():
    for seed in range(1, 12):
        board, i2c = _sensor(weather={"seed": seed, "offset_s": seed * 7777})
        _force(i2c)
        time.sleep_ms(10)
        weather = board.weather_now()
        got = _compensate(i2c)
        for value, wanted, limit in zip(got, weather, (0.01, 0.05, 3)):
            assert abs(value - wanted) <= limit, (got, weather)


def check_extremes_of_the_range():
    for temperature, humidity, pressure in ((-39, 3, 65000), (-10, 99, 103000), (0, 50, 90000), (60, 10, 98000)):
        adc_t, adc_h, adc_p = bme280.raw_values(temperature, humidity, pressure)
        fine = bme280.t_fine(adc_t)
        assert abs(bme280.temperature_c(adc_t) - temperature) < 0.01
        assert abs(bme280.humidity_pct(adc_h, fine) - humidity) < 0.05
        assert abs(bme280.pressure_pa(adc_p, fine) - pressure) < 3


def check_measuring_takes_its_time():
    # data sheet 9.1, longest: 1.25 + 2.3 + 2.3 + 0.575 + 2.3 + 0.575 = 9.3 ms at oversampling 1; 112.8 ms at 16
    for hum, meas, early_ms, late_ms in ((1, 0x25, 6, 4), (5, 0xB5, 110, 5)):
        _, i2c = _sensor()
        _force(i2c, hum, meas)
        time.sleep_ms(early_ms)
        assert i2c.readfrom_mem(118, 0xF3, 1) == b"\x08"
        assert i2c.readfrom_mem(118, 0xF7, 8) == RESET_DATA, "too early"
        time.sleep_ms(late_ms)
        assert i2c.readfrom_mem(118, 0xF3, 1) == b"\x00"
        assert i2c.readfrom_mem(118, 0xF7, 8) != RESET_DATA
        assert i2c.readfrom_mem(118, 0xF4, 1)[0] & 3 == 0, "back in sleep mode"


def check_measuring_lasts_the_data_sheets_longest_time():
    for hum, meas, lasts_us in ((1, 0x25, 9300), (0, 0x21, 3550), (0, 0x25, 6425), (2, 0x6D, 25400)):
        board, i2c = _sensor()
        i2c = I2C(0, scl=Pin(42), sda=Pin(41), freq=1000000)
        _force(i2c, hum, meas)
        start = board.clock.now
        while i2c.readfrom_mem(118, 0xF3, 1)[0] & 8:
            pass
        assert lasts_us - 100 < board.clock.now - start < lasts_us + 200, board.clock.now - start


def check_a_reading_does_not_refresh_itself():
    _, i2c = _sensor()
    _force(i2c)
    time.sleep_ms(20)
    first = i2c.readfrom_mem(118, 0xF7, 8)
    time.sleep(3600)
    assert i2c.readfrom_mem(118, 0xF7, 8) == first
    _force(i2c)
    time.sleep_ms(20)
    assert i2c.readfrom_mem(118, 0xF7, 8) != first


def check_skipped_quantities_keep_their_reset_value():
    _, i2c = _sensor()
    _force(i2c, hum=0, meas=0x21)
    time.sleep_ms(20)
    data = i2c.readfrom_mem(118, 0xF7, 8)
    assert data[:3] == b"\x80\x00\x00" and data[6:] == b"\x80\x00" and data[3:6] != b"\x80\x00\x00"


def check_humidity_control_counts_from_the_next_measurement_control():
    _, i2c = _sensor()
    i2c.writeto_mem(118, 0xF4, b"\x25")
    i2c.writeto_mem(118, 0xF2, b"\x01")
    time.sleep_ms(20)
    assert i2c.readfrom_mem(118, 0xFD, 2) == b"\x80\x00", "written after ctrl_meas: not in force"
    i2c.writeto_mem(118, 0xF4, b"\x25")
    time.sleep_ms(20)
    assert i2c.readfrom_mem(118, 0xFD, 2) != b"\x80\x00"


def check_normal_mode_goes_on():
    _, i2c = _sensor()
    i2c.writeto_mem(118, 0xF2, b"\x01")
    i2c.writeto_mem(118, 0xF4, b"\x27")
    time.sleep_ms(20)
    first = i2c.readfrom_mem(118, 0xF7, 8)
    time.sleep(3600)
    assert i2c.readfrom_mem(118, 0xF7, 8) != first != RESET_DATA


def check_writes_are_pairs_and_only_where_allowed():
    _, i2c = _sensor()
    i2c.writeto(118, b"\xf2\x01\xf4\x25")
    time.sleep_ms(20)
    assert i2c.readfrom_mem(118, 0xFD, 2) != b"\x80\x00"
    rejects(lambda: i2c.writeto_mem(118, 0xF2, b"\x01\x02"), "pairs")
    rejects(lambda: i2c.writeto_mem(118, 0xD0, b"\x01"), "read-only")


def check_no_answer_without_supply():
    board = Board()
    i2c = I2C(0, scl=Pin(42), sda=Pin(41))
    assert i2c.scan() == []
    vext = Pin(36, Pin.OUT, value=0)
    try:
        i2c.readfrom_mem(118, 0xD0, 1)
        raise AssertionError("it needs 2 ms to start")
    except OSError:
        pass
    time.sleep_ms(3)
    assert i2c.scan() == [118]
    _force(i2c)
    time.sleep_ms(20)
    vext.value(1)
    time.sleep_ms(100)
    vext.value(0)
    time.sleep_ms(5)
    assert i2c.readfrom_mem(118, 0xF7, 8) == RESET_DATA, "without supply it forgets"
    board.sensors[0][1].broken = True
    assert i2c.scan() == []


def check_sensor_on_the_permanent_rail():
    from board import default_world

    chips = default_world()["chips"]
    chips["sensors"][0]["vext"] = False
    Board({"chips": chips})
    assert I2C(0, scl=Pin(42), sda=Pin(41)).scan() == [118]
