"""Which wire of a sensor goes where, as it is told to whoever holds both: what the node's config.json has, no more."""

from __future__ import annotations

import re

import pytest
from nest.i18n import language_of_locale
from spatz.boards import board_names, list_sensors, load_board
from spatz.cli_boards import boards_app
from spatz.flash.one import Done
from spatz.flash.plan import Keys
from spatz.flash.show import print_summary
from spatz.wires import wiring
from spatz.wiring import wire
from typer.testing import CliRunner

I2C = "SDA to GPIO 41, SCL to GPIO 42, power to Ve (3.3 V), GND to GND"
WORDS_AT_MOST = 25


def speak(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", language)
    language_of_locale.cache_clear()


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    speak("en", monkeypatch)


def lines(*wishes: str, board: str = "heltec-v3") -> list[str]:
    return wiring(load_board(board), wishes)


def test_each_kind_of_sensor_says_where_its_wires_go() -> None:
    assert lines("bme280", "ds18b20", "soil", "rain", "sds011") == [
        f"BME280: {I2C}; address 0x76",
        "DS18B20: data to GPIO 38, 4.7 kOhm from data to power, power to Ve (3.3 V), GND to GND",
        "SOIL: signal to GPIO 4, power to Ve (3.3 V), GND to GND",
        "RAIN: one wire to GPIO 7, the other to GND, 100 kOhm from GPIO 7 to 3.3 V",
        "SDS011: TX to GPIO 47, RX to GPIO 48, power to 5 V, GND to GND",
    ]


def test_a_wished_pin_or_address_is_the_one_that_is_told() -> None:
    assert lines("ds18b20:pin=6", "bme280:address=0x77")[0].startswith("DS18B20: data to GPIO 6,")
    assert lines("bme280:address=0x77") == [f"BME280: {I2C}; address 0x77"]


def test_what_is_looked_for_hangs_on_the_bus_and_none_nowhere() -> None:
    assert lines("auto") == [f"I2C: {I2C}"]
    assert [line.partition(":")[0] for line in lines("auto", "ds18b20")] == ["DS18B20", "I2C"]
    assert lines("none") == lines() == []


def test_a_board_that_switches_no_supply_has_one_that_is_always_there() -> None:
    assert "power to 3.3 V, GND" in lines("bme280", board="t-beam")[0]
    assert "power to 3V3_S (3.3 V)" in lines("bme280", board="rak11200")[0]
    for name in board_names():
        board = load_board(name)
        switched = board.vext or (board.radio.supply and board.radio.supply.sensors)
        assert bool(switched) == bool(board.ports and board.ports.power), name


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("board", board_names())
def test_every_gpio_that_is_told_is_one_of_the_configuration(
    board: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(language, monkeypatch)
    for sensor in list_sensors():
        wish = {"a02yyuw": "a02yyuw:zero_cm=300"}.get(sensor, sensor)
        (line,) = lines(wish, board=board)
        (entry,) = wire(load_board(board), [wish])["sensors"]
        bus = load_board(board).i2c
        assert bus
        pins = {bus.sda, bus.scl} if entry["bus"] == "i2c" else {entry.get(key) for key in ("pin", "tx", "rx")} - {None}
        assert {int(pin) for pin in re.findall(r"GPIO (\d+)", line)} == pins
        assert len(line.split()) <= WORDS_AT_MOST
        assert ("Strom" in line or "100 kOhm" in line) == (language == "de" or "RAIN" in line)


def test_boards_show_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = CliRunner().invoke(boards_app, ["show", "heltec-v3"]).stdout
    assert f"I2C: {I2C}\n" in text
    assert "serial (TX/RX of the sensor) 47/48, 34/33; one-wire 38, 39; soil probe 4, 5, 6; rain gauge 7, 6, 5" in text
    speak("de", monkeypatch)
    text = CliRunner().invoke(boards_app, ["show", "heltec-v3"]).stdout
    assert "I2C: SDA an GPIO 41, SCL an GPIO 42, Strom an Ve (3,3 V), GND an GND\n" in text


def test_one_board_is_told_its_wires_at_the_end_and_ten_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    done = [
        Done(name, bytes(8), "heltec-v3", Keys.NEW, 1.0, wiring=tuple(lines("bme280"))) for name in ("amsel", "fink")
    ]
    print_summary(done[:1], [])
    assert I2C in capsys.readouterr().out.replace("\n", " ")
    print_summary(done, [])
    assert "SDA" not in capsys.readouterr().out
