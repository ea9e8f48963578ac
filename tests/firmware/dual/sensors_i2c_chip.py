"""The I2C sensors on their strict emulated chips: each driver gives the weather of the virtual board, and each quirk
of a chip is one that the driver lives with."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
import machine
from board import Board, default_world
from expect import equal, raises
from fault import SimFault
from payload.encode import OUT_OF_RANGE
from sensors import bh1750, scd4x, scd30, sht3x, sht4x, sps30, veml7700

ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)

ADDRESSES = {
    "sht3x": 0x44, "sht4x": 0x44, "scd30": 0x61, "scd4x": 0x62, "sps30": 0x69, "bh1750": 0x23, "veml7700": 0x10,
}  # fmt: skip
DRIVERS = {
    "sht3x": sht3x, "sht4x": sht4x, "scd30": scd30, "scd4x": scd4x, "sps30": sps30, "bh1750": bh1750,
    "veml7700": veml7700,
}  # fmt: skip
START_UP_MS = {"scd30": 2000, "scd4x": 30}
WARM_UP_MS = {"scd30": 60000, "scd4x": 60000, "sps30": 30000}
NOON = 1782043200  # 2026-06-21, 12:00 UTC
VEXT, ON, OFF = 36, 0, 1


class Bench:
    """A board with chips on its bus, at a moment of its weather."""

    def __init__(self, *chips, unix_s=NOON, seed=3, **spec):
        chip_world = dict(default_world()["chips"])
        chip_world["sensors"] = []
        for name in chips:
            one = {"chip": name, "i2c": 0, "address": ADDRESSES[name], "sda": 41, "scl": 42}
            one.update(spec)
            chip_world["sensors"].append(one)
        self.board = Board(
            {"clock": "virtual", "chips": chip_world, "weather": {"seed": seed, "unix_s": unix_s, "offset_s": 0}}
        )
        self.chip = self.board.sensors[0][1]
        self.bus = machine.I2C(0, scl=machine.Pin(42), sda=machine.Pin(41), freq=100000)
        self.name = chips[0]
        self.vext = machine.Pin(VEXT, machine.Pin.OUT, value=ON)
        self.wait(START_UP_MS.get(self.name, 5))

    def wait(self, ms):
        self.board.clock.spend(int(ms * 1000))

    def cut(self):
        """The supply off and on again."""
        self.vext.value(OFF)
        self.wait(1000)
        self.vext.value(ON)
        self.wait(START_UP_MS.get(self.name, 5))

    def take(self, **more):
        """What the node does (node/measure.py)."""
        driver = DRIVERS[self.name]
        entry = {"address": ADDRESSES[self.name]}
        entry.update(more)
        started = self.board.clock.now
        try:
            if hasattr(driver, "start"):
                driver.start(self.bus, entry, self.wait)
            self.wait(WARM_UP_MS.get(self.name, 0))
            return driver.read(self.bus, entry, self.wait)
        finally:
            if hasattr(driver, "stop"):
                driver.stop(self.bus, entry, self.wait)
            self.took_ms = (self.board.clock.now - started) // 1000

    def agrees(self, got, **within):
        """Each quantity is what the weather says, at the most so far off."""
        true = self.board.weather().values(self.board.unix_now())
        equal(sorted(got), sorted(within))
        for quantity in within:
            value = got[quantity]
            assert not isinstance(value, str), f"{quantity} {value}"
            off = abs(value - true[quantity])
            assert off <= within[quantity], f"{quantity}: {value} instead of {true[quantity]}"


def on_the_chip(check):
    """SimFault goes by every `except Exception`; here it is the check's failure."""

    def run(*_vectors):
        try:
            check()
        except SimFault as fault:
            raise AssertionError(f"SimFault: {fault}")  # noqa: B904 - MicroPython keeps no exception chains

    return run


# --- the weather, to the resolution of the sensor ---------------------------------------------------------------------


@on_the_chip
def check_sht3x_gives_the_weather():
    for hour in range(0, 24, 5):
        bench = Bench("sht3x", unix_s=NOON + 3600 * hour)
        bench.agrees(bench.take(), temperature=0.002, humidity=0.002)
        assert bench.took_ms < 40, bench.took_ms


@on_the_chip
def check_sht4x_gives_the_weather():
    for hour in range(0, 24, 5):
        bench = Bench("sht4x", unix_s=NOON + 3600 * hour)
        bench.agrees(bench.take(), temperature=0.002, humidity=0.002)
        assert bench.took_ms < 20, bench.took_ms


@on_the_chip
def check_scd30_gives_the_weather():
    for hour in range(0, 24, 5):
        bench = Bench("scd30", unix_s=NOON + 3600 * hour)
        bench.agrees(bench.take(), co2=0.5, temperature=0.01, humidity=0.05)
        assert bench.took_ms < 61000, bench.took_ms


@on_the_chip
def check_scd4x_gives_the_weather():
    for part in ("scd40", "scd41", "scd43"):
        for hour in range(0, 24, 5):
            bench = Bench("scd4x", unix_s=NOON + 3600 * hour, part=part)
            bench.agrees(bench.take(), co2=0.6, temperature=0.003, humidity=0.01)
            assert bench.took_ms < 66000, bench.took_ms


@on_the_chip
def check_sps30_gives_the_weather():
    for hour in range(0, 24, 5):
        bench = Bench("sps30", unix_s=NOON + 3600 * hour)
        bench.agrees(bench.take(), pm2_5=0.05, pm10=0.05)
        assert bench.took_ms < 31500, bench.took_ms


def _light(name, within):
    """Day and night: within the given share, or half a lx at night."""
    seen = []
    for hour in range(24):
        bench = Bench(name, unix_s=NOON + 3600 * hour)
        true = bench.board.weather_value("illuminance")
        got = bench.take()
        bench.agrees(got, illuminance=0.5 + true * within)
        seen.append(got["illuminance"])
        assert bench.took_ms < 600, bench.took_ms
    assert min(seen) == 0, min(seen)
    assert max(seen) > 56000, max(seen)  # more than a BH1750 as delivered can tell


@on_the_chip
def check_bh1750_gives_the_light_of_day_and_night():
    _light("bh1750", 0.0005)


@on_the_chip
def check_veml7700_gives_the_light_of_day_and_night():
    _light("veml7700", 0.003)


# --- what the chips forget, and what they do not ----------------------------------------------------------------------


@on_the_chip
def check_every_one_works_again_after_a_power_cut():
    """Also when it comes in the middle of a measurement, and when the supply is never switched off."""
    for name in sorted(ADDRESSES):
        bench = Bench(name)
        first = bench.take()
        again = bench.take()
        driver = DRIVERS[name]
        if hasattr(driver, "start"):
            driver.start(bench.bus, {"address": ADDRESSES[name]}, bench.wait)
        bench.cut()
        after = bench.take()
        for got in (first, again, after):
            marks = [quantity for quantity in got if isinstance(got[quantity], str)]
            equal(marks, [], name)


@on_the_chip
def check_none_without_power():
    for name in sorted(ADDRESSES):
        bench = Bench(name)
        bench.vext.value(OFF)
        raises(OSError, bench.take)
        equal(DRIVERS[name].probe(bench.bus, ADDRESSES[name]), False, name)


@on_the_chip
def check_node_that_was_reset_in_the_middle():
    """The chips go on measuring; the next start has to find its way."""
    for name in ("scd30", "scd4x", "sps30"):
        for part in ("scd40", "scd41"):
            bench = Bench(name, part=part)
            DRIVERS[name].start(bench.bus, {"address": ADDRESSES[name]}, bench.wait)
            bench.wait(2500)
            bench.take()


# --- probing ----------------------------------------------------------------------------------------------------------


@on_the_chip
def check_each_is_found_and_is_no_other():
    for name in sorted(ADDRESSES):
        for driver in sorted(DRIVERS):
            bench = Bench(name)
            found = DRIVERS[driver].probe(bench.bus, ADDRESSES[driver])
            equal(found, driver == name, f"{driver} asks where a {name} is")
            if ADDRESSES[driver] == ADDRESSES[name]:
                got = bench.take()  # and no harm was done
                assert not any(isinstance(got[quantity], str) for quantity in got), got


@on_the_chip
def check_sht3x_driver_does_not_heat_an_sht4x():
    """A node whose sensor was exchanged: refused, and no SimFault of the heater."""
    bench = Bench("sht4x")
    raises(OSError, sht3x.read, bench.bus, {"address": 0x44}, bench.wait)
    bench = Bench("sht3x")
    raises(OSError, sht4x.read, bench.bus, {"address": 0x44}, bench.wait)


@on_the_chip
def check_sleeping_ones_are_found():
    for name, part in (("scd4x", "scd41"), ("scd4x", "scd40")):
        bench = Bench(name, part=part)
        bench.take()
        bench.wait(1000)
        equal(DRIVERS[name].probe(bench.bus, ADDRESSES[name]), True, part)


# --- quirks -----------------------------------------------------------------------------------------------------------


@on_the_chip
def check_sht3x_heater_and_periodic_mode_of_a_stranger():
    bench = Bench("sht3x")
    bench.bus.writeto(0x44, b"\x30\x6d")  # heater on
    bench.wait(2)
    bench.bus.writeto(0x44, b"\x21\x30")  # once a second
    bench.wait(2)
    bench.agrees(bench.take(), temperature=0.002, humidity=0.002)
    equal(bench.chip.heater, False)


@on_the_chip
def check_sht3x_asked_too_early_does_not_answer():
    bench = Bench("sht3x")
    raises(OSError, sht3x.read, bench.bus, {"address": 0x44}, lambda ms: bench.wait(ms / 2))


@on_the_chip
def check_scd30_settings_are_written_once():
    """They are kept without power, in a memory that wears."""
    bench = Bench("scd30")
    for _ in range(5):
        bench.take()
        bench.cut()
    equal((bench.chip.kept["self_calibration"], bench.chip.settings_written), (0, 1))
    bench.take(altitude_m=520)
    equal((bench.chip.kept["altitude"], bench.chip.settings_written), (520, 2))
    equal(bench.chip.kept["measuring"], False, "it would measure by itself as soon as it has power")


@on_the_chip
def check_scd30_is_waited_for_while_it_boots():
    bench = Bench("scd30")
    bench.vext.value(OFF)
    bench.wait(1000)
    bench.vext.value(ON)
    bench.agrees(bench.take(), co2=0.5, temperature=0.01, humidity=0.05)


@on_the_chip
def check_scd30_first_value_is_not_believed():
    """Read as soon as there is one: it is 0 ppm, so the driver waits for the next."""
    bench = Bench("scd30")
    entry = {"address": 0x61}
    scd30.start(bench.bus, entry, bench.wait)
    got = scd30.read(bench.bus, entry, bench.wait)
    bench.agrees(got, co2=0.5, temperature=0.01, humidity=0.05)


@on_the_chip
def check_scd41_shots():
    """Two a turn, the first thrown away; asleep in between, and never corrected by a calibration that cannot work."""
    bench = Bench("scd4x")
    bench.take()
    equal((bench.chip.shots, bench.chip.asleep, bench.chip.self_calibration), (2, True, 0))
    bench.wait(900000)
    bench.agrees(bench.take(), co2=0.6, temperature=0.003, humidity=0.01)
    equal((bench.chip.shots, bench.chip.self_calibration), (2, 0))


@on_the_chip
def check_scd40_is_stopped():
    bench = Bench("scd4x", part="scd40")
    bench.take()
    equal((bench.chip.measuring, bench.chip.shots, bench.chip.self_calibration), (False, 0, 0))


@on_the_chip
def check_sps30_owes_its_fan_a_cleaning_a_week():
    bench = Bench("sps30")
    before = None
    for hour in range(0, 15 * 24, 6):
        now = 3600 * hour
        bench.agrees(bench.take(asked_s=before, now_s=now), pm2_5=0.05, pm10=0.05)
        before = now
        bench.cut()
    equal(bench.chip.cleanings, 3, "at the beginning, after a week, after two")


@on_the_chip
def check_sps30_of_the_first_firmware():
    bench = Bench("sps30", firmware=1.0)
    bench.agrees(bench.take(), pm2_5=0.05, pm10=0.05)
    equal(bench.chip.asleep, False)


@on_the_chip
def check_sps30_is_too_low_before_its_30_seconds():
    """So the emulator is one on which a warm-up that is too short shows."""
    bench = Bench("sps30")
    entry = {"address": 0x69}
    sps30.start(bench.bus, entry, bench.wait)
    bench.wait(5000)
    got = sps30.read(bench.bus, entry, bench.wait)
    assert got["pm2_5"] < bench.board.weather().pm2_5(bench.board.unix_now()) / 2, got


@on_the_chip
def check_sps30_with_a_blocked_fan():
    bench = Bench("sps30")
    bench.chip.flags = 1 << 4
    assert "fan" in str(raises(sps30.SensorError, bench.take))


@on_the_chip
def check_more_sun_than_the_light_sensors_can_tell():
    for name, lux in (("bh1750", 130000), ("veml7700", 150000)):
        bench = Bench(name)
        bench.board.weather().illuminance = lambda unix_s: lux  # noqa: B023 - called within the turn
        equal(bench.take(), {"illuminance": OUT_OF_RANGE})


@on_the_chip
def check_direct_sun_is_told():
    for name in ("bh1750", "veml7700"):
        bench = Bench(name)
        bench.board.weather().illuminance = lambda unix_s: 118000.0
        got = bench.take()["illuminance"]
        assert abs(got - 118000) < 100, (name, got)


@on_the_chip
def check_light_sensors_read_no_old_value():
    """Night falls while the chip still has the day in its register."""
    for name in ("bh1750", "veml7700"):
        bench = Bench(name)
        bench.take()
        bench.board.weather().illuminance = lambda unix_s: 0.0
        equal(bench.take(), {"illuminance": 0})


# --- the emulator is strict -------------------------------------------------------------------------------------------


def check_nonsense_is_a_fault():
    for name, data in (
        ("sht3x", b"\x12\x34"), ("sht4x", b"\x12"), ("sht4x", b"\x24\x00"), ("scd30", b"\x12\x34"),
        ("scd30", b"\x46\x00\x00\x01\xb0"), ("scd4x", b"\x36\x15"), ("scd4x", b"\x36"), ("sps30", b"\x80\x04"),
        ("bh1750", b"\x13\x00"), ("bh1750", b"\x13"), ("veml7700", b"\x04\x00\x00"), ("veml7700", b"\x00\x04\x00"),
    ):  # fmt: skip
        bench = Bench(name)
        raises(SimFault, bench.bus.writeto, ADDRESSES[name], data)
    raises(SimFault, Bench("scd4x", part="scd40").bus.writeto, 0x62, b"\x21\x9d")


def check_damaged_argument_is_not_taken():
    for name, data in (("scd30", b"\x53\x06\x00\x00\x82"), ("scd4x", b"\x24\x16\x00\x00\x82")):
        bench = Bench(name)
        raises(OSError, bench.bus.writeto, ADDRESSES[name], data)


def check_scd30_asked_within_3_ms_is_a_fault():
    bench = Bench("scd30")
    bench.bus.writeto(0x61, b"\x02\x02")
    raises(SimFault, bench.bus.readfrom, 0x61, 3)
