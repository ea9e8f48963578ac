"""weather.py and lora_phy.py are pure: they import on CPython, and give the same there as on MicroPython."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
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
