"""weather.py and lora_phy.py are pure: they import on CPython, and give the same there as on MicroPython."""

import importlib.util
import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest
from spatz.quantities import load_quantities
from spatz.sim.micropython import command

DEVICE = Path(__file__).parents[3] / "tools" / "spatz" / "sim" / "device"
VECTORS = Path(__file__).parents[2] / "vectors" / "lorawan.json"


def _load(name):
    # not by sys.path: that directory shadows `time`
    spec = importlib.util.spec_from_file_location(f"device_{name}", DEVICE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


weather = _load("weather")
lora_phy = _load("lora_phy")

DAY_S = 86400
NOON = 1_795_262_400
MIDNIGHT = NOON - DAY_S // 2


def test_weather_is_the_same_on_both_pythons():
    program = (
        "from weather import Weather, battery_mv\n"
        "for seed in range(5):\n"
        "    for hour in range(0, 48, 5):\n"
        f"        t = {NOON} + hour * 3600\n"
        "        print(repr(Weather(seed).at(t + 0.25)), repr(battery_mv(seed, t)))\n"
    )
    done = subprocess.run(
        [*command(), "-c", program],
        env={**os.environ, "MICROPYPATH": f"{DEVICE}:.frozen"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 50, done.stderr
    index = 0
    for seed in range(5):
        for hour in range(0, 48, 5):
            moment = NOON + hour * 3600
            expected = [*weather.Weather(seed).at(moment + 0.25), weather.battery_mv(seed, moment)]
            got = [float(word) for word in lines[index].replace("(", "").replace(")", "").replace(",", " ").split()]
            assert got == pytest.approx(expected, rel=1e-12)
            index += 1


def test_what_other_sensors_measure_is_the_same_on_both_pythons():
    program = (
        "import json\n"
        "from weather import Weather\n"
        "for seed in range(3):\n"
        "    w = Weather(seed)\n"
        f"    print(json.dumps([w.tips({NOON}, {NOON} + 5 * 86400)]))\n"
        "    for hour in range(0, 72, 7):\n"
        f"        print(json.dumps(w.values({NOON} + hour * 3600 + 0.5)))\n"
    )
    done = subprocess.run(
        [*command(), "-c", program],
        env={**os.environ, "MICROPYPATH": f"{DEVICE}:.frozen"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3 * 12, done.stderr
    for seed in range(3):
        model = weather.Weather(seed)
        tips, *rows = lines[seed * 12 : seed * 12 + 12]
        assert tips[0] == pytest.approx(model.tips(NOON, NOON + 5 * DAY_S), rel=1e-12)
        for row, hour in zip(rows, range(0, 72, 7), strict=True):
            assert row == pytest.approx(model.values(NOON + hour * 3600 + 0.5), rel=1e-9)


def test_the_weather_has_every_quantity():
    names = {quantity.name for quantity in load_quantities()}
    assert {*weather.Weather(1).values(NOON), "rain", "battery"} == names


@pytest.mark.parametrize("seed", range(12))
def test_other_quantities_are_plausible_and_within_the_table(seed):
    model = weather.Weather(seed)
    ranges = {
        "temperature": (-25, 45), "humidity": (10, 100), "pressure": (950, 1060), "pm2_5": (0.5, 40), "pm10": (1, 80),
        "co2": (380, 500), "illuminance": (0, 120000), "soil_moisture": (0, 95), "soil_temperature": (-20, 40),
        "water_level": (0, 400),
    }  # fmt: skip
    for hour in range(24 * 30):
        values = model.values(MIDNIGHT + hour * 3600)
        assert values.keys() == ranges.keys()
        for name, (low, high) in ranges.items():
            assert low <= values[name] <= high, name
            assert values[name] == model.value(name, MIDNIGHT + hour * 3600)
        assert values["pm10"] > values["pm2_5"]
    assert model.illuminance(MIDNIGHT) == 0
    assert model.illuminance(NOON) > 5000


@pytest.mark.parametrize("seed", range(12))
def test_rain_falls_in_showers_and_adds_up(seed):
    model = weather.Weather(seed)
    end = NOON + 365 * DAY_S
    tips = model.tips(NOON, end)
    assert 300 < model.rain_mm(NOON, end) < 1500, "mm a year"
    assert tips == sorted(tips)
    assert min(later - earlier for earlier, later in itertools.pairwise(tips)) > 5
    pieces = [model.tips(start, min(start + 5000.5, end)) for start in steps(NOON, end, 5000.5)]
    assert sum(map(len, pieces)) == len(tips), "the same however it is asked"
    wettest = max(model.soil_moisture(tip) for tip in tips)
    dry = [moment for moment in steps(NOON, end, DAY_S / 4) if not model.tips(moment - 3 * DAY_S, moment)]
    assert wettest > max(map(model.soil_moisture, dry)), "rain is wet"


def steps(start, end, step):
    while start < end:
        yield start
        start += step


@pytest.mark.parametrize("seed", range(20))
def test_weather_changes_over_the_day_and_stays_plausible(seed):
    hours = [weather.Weather(seed).at(MIDNIGHT + hour * 3600) for hour in range(24 * 14)]
    temperature, humidity, pressure = zip(*hours, strict=True)
    today = temperature[:24]
    assert 5 < max(today) - min(today) < 20
    assert 12 <= today.index(max(today)) <= 18, "warmest in the afternoon"
    assert min(temperature) > -15
    assert max(temperature) < 40
    assert min(humidity) >= 15
    assert max(humidity) <= 98
    assert min(pressure) > 98000
    assert max(pressure) < 103500
    assert max(pressure) - min(pressure) > 500
    millivolts = [weather.battery_mv(seed, NOON + hour * 3600) for hour in range(24 * 14)]
    assert min(millivolts) > 3500
    assert max(millivolts) < 4200


def test_weather_moves_slowly():
    model = weather.Weather(3)
    for second in range(0, DAY_S, 60):
        now, then = model.at(NOON + second), model.at(NOON + second + 60)
        assert abs(now[0] - then[0]) < 0.05
        assert abs(now[2] - then[2]) < 5


def test_seeds_differ_and_repeat():
    assert weather.Weather(1).at(NOON) == weather.Weather(1).at(NOON)
    assert len({weather.Weather(seed).at(NOON) for seed in range(50)}) == 50


def test_airtime_against_the_calculator_values():
    rows = [row for row in json.loads(VECTORS.read_text())["airtime"] if row["chip"] == "sx126x"]
    assert len(rows) >= 11
    for row in rows:
        got = lora_phy.airtime_us(
            row["sf"], row["bwHz"], row["payload"], row["cr"], row["crc"], row["implicitHeader"], row["preamble"],
            row["ldro"],
        )  # fmt: skip
        assert got == pytest.approx(row["ms"] * 1000, abs=1), row["name"]


@pytest.mark.parametrize(
    ("size", "milliseconds"),
    [  # reference 4.1: SF7 ... SF12 at 125 kHz
        (13, (46.336, 82.432, 164.864, 288.768, 577.536, 1155.072)),
        (23, (61.696, 113.152, 205.824, 370.688, 823.296, 1482.752)),
        (64, (118.016, 215.552, 390.144, 698.368, 1560.576, 2793.472)),
    ],
)
def test_airtime_of_lorawan_frames(size, milliseconds):
    for sf, wanted in enumerate(milliseconds, 7):
        assert lora_phy.airtime_us(sf, 125000, size) == round(wanted * 1000)


def test_symbol_times():
    assert lora_phy.symbol_us(7, 125000) == 1024
    assert lora_phy.symbol_us(12, 125000) == 32768
    assert lora_phy.symbol_us(7, 250000) == 512
    assert [sf for sf in range(5, 13) if lora_phy.usual_ldro(sf, 125000)] == [11, 12]
