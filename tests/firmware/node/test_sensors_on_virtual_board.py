"""Sensors on every bus, with the real firmware: found by themselves, in their own rhythm, saying the weather."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from nest.payload import Decoded, decode
from nest.quantities import by_name
from on_board import run_node
from sky import weather
from spatz.boards import list_sensors, load_board, load_sensor
from spatz.config import compile_config
from spatz.sim import nodes

SEED = 5
EPOCH = 1_767_225_600 + 43_200  # a noon: there is light
WEATHER = weather.Weather(SEED)
Reading = tuple[float, Decoded]
Runner = Callable[..., tuple[str, list[Reading]]]


@pytest.fixture
def node(tmp_path: Path) -> Runner:
    def run(boots: int, configured: Sequence[str], wired: Sequence[str], **plan: Any) -> tuple[str, list[Reading]]:
        board = load_board("heltec-v3")
        config = compile_config(board, configured, "amsel", interval_s=900, safe_window_s=0)
        world = {"module": board.module.chip, "weather": {"seed": SEED, "unix_s": EPOCH}}
        chips = nodes.chips(board, 1, wired)
        ran = run_node(tmp_path, boots, config=json.dumps(config), chips=chips, world=world, **plan)
        sent = [frame for frame in ran.sent if "payload" in frame]
        return ran.text, [(frame["at"] / 1e6, decode(1, bytes.fromhex(frame["payload"]))) for frame in sent]

    return run


def assert_weather(reading: Reading, names: set[str], tolerance: dict[str, float]) -> None:
    """What was measured is what the weather was in the seconds before."""
    at, decoded = reading
    assert set(decoded.values) - {"battery"} == names
    for name in names:
        then = [WEATHER.value(name, EPOCH + at - ago) for ago in (0, 5, 15)]
        margin = tolerance.get(name, 0) + by_name()[name].resolution
        assert min(then) - margin <= decoded.values[name] <= max(then) + margin, name


def test_soil_probe_on_its_own_supply(node: Runner) -> None:
    _, readings = node(3, ["bme280", "soil"], ["bme280", "soil"])
    for reading in readings:
        assert_weather(reading, {"temperature", "humidity", "pressure", "soil_moisture"}, {"soil_moisture": 0.6})


def test_soil_probe_that_is_not_connected_is_failed(node: Runner) -> None:
    text, readings = node(2, ["bme280", "soil"], ["bme280"])
    assert "sensor soil failed: SensorError: no voltage" in text
    assert [decoded.failed for _, decoded in readings] == [{"soil_moisture"}] * 2
    assert all("temperature" in decoded.values for _, decoded in readings)


def test_a_sensor_is_found_by_itself_and_once_only(node: Runner) -> None:
    text, readings = node(4, ["auto"], ["bme280"])
    assert text.count("found ") == 1
    assert "found bme280 at 0x76" in text
    assert len(readings) == 4
    for reading in readings:
        assert_weather(reading, {"temperature", "humidity", "pressure"}, {})


def test_a_bmp280_is_not_taken_for_a_bme280(node: Runner) -> None:
    text, readings = node(2, ["auto"], ["bmp280"])
    assert "found bmp280 at 0x76" in text
    for reading in readings:
        assert_weather(reading, {"temperature", "pressure"}, {})
        assert not reading[1].failed


def test_after_a_power_cut_it_is_looked_for_again(node: Runner) -> None:
    text, _ = node(4, ["auto"], ["bme280"], between={"2": "power_cut"})
    assert text.count("found bme280") == 2


def test_nothing_on_the_bus_is_nothing_in_the_reading(node: Runner) -> None:
    text, readings = node(2, ["auto", "soil"], ["soil"])
    assert "found" not in text
    for reading in readings:
        assert_weather(reading, {"soil_moisture"}, {"soil_moisture": 0.6})


def test_a_slower_rhythm(node: Runner) -> None:
    _, readings = node(10, ["bme280", "soil:every_s=3600"], ["bme280", "soil"])
    with_soil = ["soil_moisture" in decoded.values for _, decoded in readings]
    assert with_soil == [True, False, False, False, True, False, False, False, True, False]
    assert not any(decoded.failed for _, decoded in readings)


# how far a reading may be from the weather, beyond its resolution: what the sensors themselves resolve
TOLERANCE = {"pm2_5": 1, "pm10": 1, "co2": 1, "illuminance": 400, "soil_moisture": 0.6, "soil_temperature": 0.1}


@pytest.mark.parametrize("name", [name for name in list_sensors() if name != "rain"])
def test_every_sensor_of_the_catalogue_says_what_the_weather_is(node: Runner, name: str) -> None:
    sensor = load_sensor(name)
    needed = "".join(f",{key}=300" for key, it in sensor.calibration.settings.items() if it.default is None)
    wish = f"{name}:every_s=0{needed}"
    text, readings = node(3, [wish], [wish])
    assert "failed" not in text
    assert len(readings) == 3
    for reading in readings:
        assert_weather(reading, set(sensor.quantities), TOLERANCE)


def test_many_sensors_are_found_and_the_best_one_measures(node: Runner) -> None:
    wired = ["sht4x", "bme280", "scd4x:quantities=co2", "veml7700"]
    text, readings = node(3, ["auto"], wired)
    found = [line.split()[1] for line in text.splitlines() if line.startswith("found ")]
    assert sorted(found) == ["bme280", "scd4x", "sht4x", "veml7700"]
    often = {"temperature", "humidity", "pressure", "illuminance"}
    assert_weather(readings[0], often | {"co2"}, TOLERANCE)
    assert_weather(readings[1], often, TOLERANCE)  # co2 has a slower rhythm
    assert_weather(readings[2], often | {"co2"}, TOLERANCE)
    assert not any(decoded.failed for _, decoded in readings)
