"""config.json, compiled from the catalogue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nest.errors import UserError
from nest.town import SLUG
from spatz.boards import load_board, load_sensor
from spatz.catalogue import Board
from spatz.config import compile_config


def changed(**parts: Any) -> Board:
    """The Heltec with other tables."""
    return load_board("heltec-v3").model_copy(update=parts)


def test_everything_a_node_needs() -> None:
    config = compile_config("heltec-v3", ["bme280"], "amsel", interval_s=300, safe_window_s=90, confirmed=True)
    assert config == {
        "format": 1,
        "name": "amsel",
        "board": "heltec-v3",
        "region": "EU868",
        "interval_s": 300,
        "safe_window_s": 90,
        "confirmed": True,
        "radio": {
            "chip": "sx1262",
            "spi": {"id": 1, "sck": 9, "mosi": 10, "miso": 11, "baudrate": 8_000_000},
            "cs": 8,
            "reset": 12,
            "busy": 13,
            "dio1": 14,
            "tcxo_mv": 1800,
            "dio2_rf_switch": True,
            "dcdc": True,
            "antenna_gain_dbi": 2.0,
            "max_eirp_dbm": 16,
            "clock_error_ppm": 1000,
            "jitter_us": 20_000,
        },
        "i2c": {"id": 0, "sda": 41, "scl": 42, "freq": 100_000},
        "sensors": [
            {
                "driver": "bme280",
                "bus": "i2c",
                "address": 0x76,
                "quantities": ["temperature", "humidity", "pressure"],
            }
        ],
        "battery": {
            "adc": 1,
            "ratio": 4.9,
            "trim": 1.045,
            "atten_db": 2.5,
            "enable_pin": 37,
            "enable_level": "sense",
            "settle_ms": 10,
        },
        "vext": {"pin": 36, "on": 0, "settle_ms": 20},
        "led": {"pin": 35, "on": 1},
        "button": {"pin": 0, "pressed": 0},
        "usb": {"sense": "battery-above", "mv": 4250},
    }
    assert json.loads(json.dumps(config)) == config


def test_another_antenna() -> None:
    config = compile_config("heltec-v3", [], "amsel", antenna_gain_dbi=5.0)
    assert config["radio"]["antenna_gain_dbi"] == 5.0
    assert config["sensors"] == []


@pytest.mark.parametrize("gain", [-5.5, 15.1, 40, float("nan"), float("inf"), True, "2"])
def test_antenna_that_cannot_be(gain: Any) -> None:
    with pytest.raises(UserError, match="expected -5 to 15") as caught:
        compile_config("heltec-v3", [], "amsel", antenna_gain_dbi=gain)
    assert caught.value.next_step


def test_antenna_with_which_no_power_is_lawful() -> None:
    assert compile_config("lora32-v2-1-6", [], "amsel", antenna_gain_dbi=14)
    with pytest.raises(UserError, match="more than the law allows"):
        compile_config("lora32-v2-1-6", [], "amsel", antenna_gain_dbi=14.1)
    with pytest.raises(UserError, match="more than the law allows"):
        compile_config("heltec-v4", [], "amsel", antenna_gain_dbi=12.1)


def test_radios_of_other_kinds() -> None:
    sx1276 = compile_config("lora32-v2-1-6", [], "amsel")["radio"]
    assert sx1276 == {
        "chip": "sx1276",
        "spi": {"id": 1, "sck": 5, "mosi": 27, "miso": 19, "baudrate": 8_000_000},
        "cs": 18,
        "reset": 23,
        "dio0": 26,
        "antenna_gain_dbi": 2.0,
        "max_eirp_dbm": 16,
        "clock_error_ppm": 1000,
        "jitter_us": 20_000,
    }
    either = compile_config("t3-s3", [], "amsel")["radio"]
    assert (either["chip"], either["busy"], either["dio1"], either["dio0"]) == ("probe", 34, 33, 9)
    amplified = compile_config("heltec-v4", [], "amsel")["radio"]
    assert amplified["enable"] == [[7, 1], [2, 1], [5, 1], [46, 0]]
    assert amplified["amplifier"] == [[5, 13.0]]


def test_board_without_extras_has_none_in_its_config() -> None:
    config = compile_config(changed(battery=None, vext=None, led=None, button=None), ["bme280"], "amsel")
    assert not {"battery", "vext", "led", "button"} & set(config)


@pytest.mark.parametrize("name", ["", "Amsel", "amsel_1", "-amsel", "amsel-", "ü", "a" * 49])
def test_bad_names(name: str) -> None:
    with pytest.raises(UserError):
        compile_config("heltec-v3", [], name)


def test_a_name_that_the_registry_takes_the_node_takes_too() -> None:
    longest = f"amsel-{'i' * 42}"
    assert SLUG.fullmatch(longest)
    assert not SLUG.fullmatch(longest + "i")
    assert compile_config("heltec-v3", [], longest)["name"] == longest


@pytest.mark.parametrize(
    "wish",
    [{"interval_s": 4}, {"interval_s": 86_401}, {"interval_s": 10.0}, {"interval_s": True}, {"safe_window_s": -1},
     {"safe_window_s": 3_601}, {"region": "US915"}],
)  # fmt: skip
def test_bad_wishes(wish: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        compile_config("heltec-v3", [], "amsel", **wish)
    assert caught.value.next_step


def test_fair_use_and_certification_are_there_only_when_wished_for() -> None:
    plain = compile_config("heltec-v3", [], "amsel")
    assert not {"fair_use_s", "certification"} & set(plain)
    config = compile_config("heltec-v3", [], "amsel", fair_use_s=30, certification="lab")
    assert (config["fair_use_s"], config["certification"]) == (30, "lab")
    for wish in (-1, 865, 1.5, True):
        with pytest.raises(UserError, match="fair use"):
            compile_config("heltec-v3", [], "amsel", fair_use_s=wish)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="always"):
        compile_config("heltec-v3", [], "amsel", certification="always")


def test_the_data_rate_for_joining_is_there_only_when_wished_for() -> None:
    assert "lorawan" not in compile_config("heltec-v3", [], "amsel")
    for join_dr in (0, 2, 5):
        assert compile_config("heltec-v3", [], "amsel", join_dr=join_dr)["lorawan"] == {"join_dr": join_dr}
    for wish in (-1, 6, 2.0, True, "2"):
        with pytest.raises(UserError, match="expected 0 to 5") as caught:
            compile_config("heltec-v3", [], "amsel", join_dr=wish)  # type: ignore[arg-type]
        assert caught.value.next_step


def test_parity_is_said_where_it_is_not_the_firmwares_own() -> None:
    assert "parity" not in compile_config("heltec-v3", [], "amsel")
    assert compile_config("heltec-v3", [], "amsel", parity=2)["parity"] == 2
    for wish in (-1, 5, 1.0, True, "2", None):
        with pytest.raises(UserError, match="parity") as caught:
            compile_config("heltec-v3", [], "amsel", parity=wish)  # type: ignore[arg-type]
        assert caught.value.next_step


def test_quantity_is_measured_once() -> None:
    with pytest.raises(UserError, match="bme280"):
        compile_config("heltec-v3", ["bme280", "bme280"], "amsel")
    cell = load_sensor("bme280").model_copy(update={"name": "cell", "quantities": ["battery"]})
    with pytest.raises(UserError, match="heltec-v3"):
        compile_config("heltec-v3", [cell], "amsel")


def test_second_sensor_takes_the_second_address_and_a_third_has_none() -> None:
    first = load_sensor("bme280")
    second = first.model_copy(update={"name": "second", "quantities": ["soil_temperature"]})
    third = first.model_copy(update={"name": "third", "quantities": ["rain"]})
    config = compile_config("heltec-v3", [first, second], "amsel")
    assert [sensor["address"] for sensor in config["sensors"]] == [0x76, 0x77]
    with pytest.raises(UserError, match="address"):
        compile_config("heltec-v3", [first, second, third], "amsel")


def test_board_without_i2c_cannot_carry_the_sensor() -> None:
    with pytest.raises(UserError, match="I2C"):
        compile_config(changed(i2c=None), ["bme280"], "amsel")


def test_unknown_board_and_sensor() -> None:
    with pytest.raises(UserError):
        compile_config("nothing", [], "amsel")
    with pytest.raises(UserError):
        compile_config("heltec-v3", ["nothing"], "amsel")
