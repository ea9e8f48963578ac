"""Sensors of a node: options, pins, addresses, and who measures what."""

from __future__ import annotations

from typing import Any

import pytest
from nest.errors import UserError
from nest.i18n import language_of_locale
from spatz.boards import board_names, list_sensors, load_board, load_sensor, pins
from spatz.catalogue import Calibration, Sensor, Setting
from spatz.chips import CHIPS
from spatz.wiring import Wish, wire


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "en")
    language_of_locale.cache_clear()


def made(name: str, kind: str, quantity: str, **bus: Any) -> Sensor:
    """A sensor that is in no file."""
    like = load_sensor("rain")
    table = like.bus.model_copy(update={"kind": kind, "debounce_ms": None, **bus})
    changes = {"name": name, "title": name, "driver": name, "quantities": [quantity], "bus": table}
    return like.model_copy(update={**changes, "calibration": Calibration()})


def sensors(board: str, *wishes: Wish) -> list[dict[str, Any]]:
    return wire(load_board(board), wishes)["sensors"]


def refused(board: str, *wishes: Wish) -> UserError:
    with pytest.raises(UserError) as caught:
        wire(load_board(board), wishes)
    assert caught.value.next_step
    return caught.value


SERIAL = made("dust", "uart", "pm10", baud=9600)
SECOND = made("gauge", "uart", "water_level", baud=115200)
THIRD = made("third", "uart", "pm2_5", baud=9600)
WIRE = made("wire", "onewire", "soil_temperature")


def test_each_kind_of_bus_says_where_the_sensor_hangs() -> None:
    assert sensors("heltec-v3", "soil", "rain", SERIAL, SECOND, WIRE) == [
        {
            "driver": "soil", "bus": "adc", "pin": 4, "atten_db": 11, "quantities": ["soil_moisture"],
            "startup_ms": 480, "dry_uv": 2_600_000, "wet_uv": 1_200_000,
        },
        {
            "driver": "rain", "bus": "pulse", "pin": 7, "debounce_ms": 200, "pull": True, "quantities": ["rain"],
            "mm_per_tip": 0.2794,
        },
        {"driver": "dust", "bus": "uart", "id": 1, "tx": 48, "rx": 47, "baud": 9600, "quantities": ["pm10"]},
        {"driver": "gauge", "bus": "uart", "id": 2, "tx": 33, "rx": 34, "baud": 115200, "quantities": ["water_level"]},
        {"driver": "wire", "bus": "onewire", "pin": 38, "quantities": ["soil_temperature"]},
    ]  # fmt: skip


@pytest.mark.parametrize("board", board_names())
def test_no_pin_is_given_twice(board: str) -> None:
    entries = sensors(board, "bme280", "rain", SERIAL, WIRE)
    given = [entry[key] for entry in entries for key in ("pin", "tx", "rx") if key in entry]
    own = [gpio for _, gpio, _ in pins(load_board(board))]
    assert len({*given, *own}) == len(given) + len(own)
    chip = CHIPS[load_board(board).module.chip]
    rain = next(entry for entry in entries if entry["bus"] == "pulse")
    assert rain["pin"] in chip.rtc
    assert rain["pull"] == (rain["pin"] not in chip.input_only)


@pytest.mark.parametrize("board", board_names())
@pytest.mark.parametrize("name", list_sensors())
def test_every_board_carries_every_sensor(board: str, name: str) -> None:
    needed = {key: 100 for key, it in load_sensor(name).calibration.settings.items() if it.default is None}
    assert wire(load_board(board), [{"sensor": name, **needed}])["sensors"][0]["quantities"]


def test_options_as_text_and_as_a_table() -> None:
    text = sensors("heltec-v3", "soil:dry_uv=2500000, wet_uv=1000000,pin=5,every_s=3600")
    table = sensors("heltec-v3", {"sensor": "soil", "dry_uv": 2500000, "wet_uv": 1000000, "pin": 5, "every_s": 3600})
    assert text == table
    assert (text[0]["dry_uv"], text[0]["wet_uv"], text[0]["pin"], text[0]["every_s"]) == (2500000, 1000000, 5, 3600)
    assert sensors("heltec-v3", "rain:mm_per_tip=0.2")[0]["mm_per_tip"] == 0.2
    assert sensors("heltec-v3", "bme280:address=0x77")[0]["address"] == 0x77


def test_a_sensor_with_a_rhythm_keeps_note_of_its_turns_even_when_it_is_asked_at_every_wake() -> None:
    assert sensors("heltec-v3", "sps30")[0]["every_s"] == 3600
    assert sensors("heltec-v3", "sps30:every_s=0")[0]["every_s"] == 1  # or its fan is never cleaned
    assert "every_s" not in sensors("heltec-v3", "bme280:every_s=0")[0]


def test_a_wished_pin_is_kept_for_the_one_that_wished() -> None:
    entries = sensors("heltec-v3", "soil", {"sensor": "rain", "pin": 4})
    assert [entry["pin"] for entry in entries] == [5, 4]
    entries = sensors("heltec-v3", SERIAL, "soil:pin=6")
    assert [entry.get("pin") for entry in entries] == [None, 6]


def test_of_two_that_measure_the_same_the_first_does() -> None:
    second = load_sensor("bme280").model_copy(update={"name": "second", "quantities": ["co2", "temperature"]})
    assert [entry["quantities"] for entry in sensors("heltec-v3", "bme280", second)] == [
        ["temperature", "humidity", "pressure"],
        ["co2"],
    ]
    assert sensors("heltec-v3", "bme280:quantities=pressure", second)[1]["quantities"] == ["co2", "temperature"]
    error = refused("heltec-v3", "bme280", WIRE.model_copy(update={"quantities": ["temperature"]}))
    assert "both measure temperature" in error.message


def test_what_a_sensor_may_measure_instead() -> None:
    one = WIRE.model_copy(update={"instead": ["temperature"]})
    assert sensors("heltec-v3", one)[0]["quantities"] == ["soil_temperature"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("soil:dry_uv=1200000", "expected more than wet_uv, which is 1200000"),
        ("soil:dry_uv=1000000,wet_uv=2000000", "expected more than wet_uv"),
        ("soil:dry_uv=9000000", "expected at most 3300000"),
        ("soil:dry_uv=high", "The option dry_uv is high, expected a number"),
        ("soil:dry_uv=nan", "The option dry_uv is nan, expected a number"),
        ("rain:mm_per_tip=inf", "expected a number"),
        ("soil:wet=1", "has no option wet"),
        ("soil:dry_uv", "is no sensor with options"),
        ("rain:pin=8", "expected a GPIO that is free; Heltec"),
        ("rain:pin=38", "expected a GPIO that can wake the chip"),
        ("rain:pin=3", "does not decide how the chip starts"),
        ("rain:pin=7.5", "expected a whole number"),
        ("soil:pin=11", "expected a GPIO of the first ADC"),
        ("rain:every_s=100000", "expected a whole number from 0 to 86400"),
        ("bme280:address=3", "expected one of 0x76, 0x77"),
        ("bme280:quantities=rain", "expected some of temperature, humidity, pressure"),
        ({"sensor": "rain", "quantities": "rain"}, "expected some of rain"),
        ({"sensor": "rain", "mm_per_tip": True}, "expected a number"),
        ({"sensor": ""}, 'There is no sensor ""'),
    ],
)
def test_a_wish_that_cannot_be(wish: Wish, words: str) -> None:
    assert words in refused("heltec-v3", wish).message


def test_one_pin_of_a_serial_line_is_not_enough() -> None:
    uart = {"sensor": "sds011", "tx": 4}
    assert "not rx" in refused("heltec-v3", uart).message
    entry = sensors("heltec-v3", {**uart, "rx": 5})[0]
    assert (entry["id"], entry["tx"], entry["rx"]) == (1, 4, 5)


def test_more_sensors_than_pins() -> None:
    error = refused("heltec-v3", SERIAL, SECOND, THIRD)
    assert "no pins left for third" in error.message
    assert "tx, rx" in error.next_step
    assert "cannot both wake" in refused("heltec-v3", "rain", made("wind", "pulse", "co2", debounce_ms=20)).message
    bare = load_board("heltec-v3").model_copy(update={"ports": None})
    with pytest.raises(UserError) as caught:
        wire(bare, ["soil"])
    assert "ports.adc to boards/heltec-v3.toml" in caught.value.next_step


def test_a_setting_that_nobody_else_can_know() -> None:
    known = Calibration.model_validate({"zero_cm": {"least": 1, "most": 1000}})
    assert known.settings == {"zero_cm": Setting(least=1, most=1000)}
    sensor = SERIAL.model_copy(update={"calibration": known})
    error = refused("heltec-v3", sensor)
    assert "needs its zero_cm" in error.message
    assert "dust:zero_cm=" in error.next_step


@pytest.mark.parametrize("board", board_names())
def test_none_lets_the_node_look_for_nothing(board: str) -> None:
    assert wire(load_board(board), ["none"]) == {"sensors": []}


@pytest.mark.parametrize("wishes", [("none", "bme280"), ("auto", "none"), ("soil", "none", "rain")])
def test_none_stands_alone(wishes: tuple[str, ...]) -> None:
    assert "none" in refused("heltec-v3", *wishes).message


def test_auto_lets_the_node_look_for_what_is_on_its_bus() -> None:
    result = wire(load_board("heltec-v3"), ["auto", "rain", "bme280:address=0x77"])
    assert [entry["driver"] for entry in result["sensors"]] == ["rain", "bme280"]
    assert {entry["bus"] for entry in result["find"]} == {"i2c"}
    candidates = [(entry["driver"], entry["address"]) for entry in result["find"]]
    assert ("bme280", 0x76) in candidates
    assert ("bme280", 0x77) not in candidates, "somebody else is there"
    assert candidates.index(("bme280", 0x76)) < candidates.index(("bmp280", 0x76)), "by rank"
    assert "find" not in wire(load_board("heltec-v3"), ["rain"])
    deaf = load_board("heltec-v3").model_copy(update={"i2c": None})
    with pytest.raises(UserError, match="found by themselves"):
        wire(deaf, ["auto"])
