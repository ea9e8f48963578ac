"""Which chips a board may have besides its radio, and how each hangs on it. The only table that a new one is put into.

    world key "chips" -> "sensors": [{"chip": "sht3x", "i2c": 0, "address": 68, "sda": 41, "scl": 42}, ...]

A chip's class takes (board, spec) with spec one of those dicts. By the bus in the spec it is spoken to:

    "i2c"      `address`, powered(), write(bytes), read(count) -> bytes; an address that is not acknowledged: powered()
               is False, or raise OSError(19)
    "uart"     `baud` (or the attribute `baud`); the loader gives it `line` (serial_line.py): line.send(bytes) towards
               the node; received(bytes) is called with what the node wrote, after the time it takes; powered()
    "onewire"  reset() -> bool (presence), write(byte), read() -> byte (0xFF when it says nothing)
    "adc"      uv() -> µV at the GPIO spec["adc"]
    "pulse"    drives the GPIO spec["pulse"] by itself (rain_bucket.py)

board.weather_value("co2") is what is around it (weather.py); board.vext_since(self) says since when
the chip has had power (true µs), or None while it has not; spec "vext": false feeds it by a rail that is always on.
board.clock: simclock.py. A broken rule raises fault.SimFault.
"""

from fault import SimFault

# chip: module, class
CHIPS = {
    "bh1750": ("bh1750", "Bh1750"),
    "bme280": ("bme280", "Bme280"),
    "bmp280": ("bme280", "Bmp280"),
    "a02yyuw": ("chip_a02yyuw", "A02yyuw"),
    "ds18b20": ("chip_ds18b20", "Ds18b20"),
    "pms5003": ("chip_pms5003", "Pms5003"),
    "rain": ("rain_bucket", "RainBucket"),
    "sds011": ("chip_sds011", "Sds011"),
    "scd30": ("scd30", "Scd30"),
    "scd4x": ("scd4x", "Scd4x"),
    "sht3x": ("sht3x", "Sht3x"),
    "sht4x": ("sht4x", "Sht4x"),
    "soil": ("soil_probe", "SoilProbe"),
    "sps30": ("sps30", "Sps30"),
    "veml7700": ("veml7700", "Veml7700"),
}


def make(board, spec):
    """The chip that a spec describes, on its bus."""
    if spec["chip"] not in CHIPS:
        raise SimFault("the emulator does not model the sensor {}".format(spec["chip"]))
    module, name = CHIPS[spec["chip"]]
    chip = getattr(__import__(module, None, None, (name,)), name)(board, spec)
    if "uart" in spec:
        from serial_line import Line

        chip.line = Line(board, spec, chip)
    return chip
