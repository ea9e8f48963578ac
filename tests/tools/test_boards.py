"""The catalogue: what is in it, and what its check says about a file with a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nest.errors import UserError
from nest.i18n import language_of_locale
from nest.resources import boards_dir
from spatz.boards import (
    board_names,
    candidates,
    check,
    least_eirp_dbm,
    list_boards,
    list_sensors,
    load_board,
    load_sensor,
    pins,
    strapping_notes,
)
from spatz.catalogue import Board
from spatz.chips import CHIPS
from spatz.cli_boards import boards_app
from typer.testing import CliRunner

HELTEC = (boards_dir() / "heltec-v3.toml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "en")
    language_of_locale.cache_clear()


def broken(tmp_path: Path, old: str, new: str, *, text: str = HELTEC, name: str = "heltec-v3") -> tuple[str, int]:
    """What the check says about the file with `old` replaced, and the line of the change."""
    assert text.count(old) == 1, f"{old!r} must be in the file once"
    path = tmp_path / f"{name}.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        check(path)
    assert str(path) in caught.value.message
    assert caught.value.next_step
    return caught.value.message, text[: text.index(old)].count("\n") + 1


def test_heltec_v3_says_what_the_reference_says() -> None:
    board = load_board("heltec-v3")
    assert (board.module.chip, board.module.flash_mb, board.radio.chip) == ("esp32s3", 8, "sx1262")
    assert (board.radio.spi.sck, board.radio.spi.miso, board.radio.spi.mosi, board.radio.cs) == (9, 11, 10, 8)
    assert (board.radio.reset, board.radio.busy, board.radio.dio1) == (12, 13, 14)
    assert (board.radio.tcxo_mv, board.radio.dio2_rf_switch) == (1800, True)
    assert board.antenna.max_eirp_dbm == 16
    assert board.battery
    assert (board.battery.ratio, board.battery.trim, board.battery.enable_level) == (4.9, 1.045, "sense")
    assert board.sleep.current_ua == "not measured"


def test_boards_with_an_sx1276_say_what_the_reference_says() -> None:
    lora32 = load_board("lora32-v2-1-6")
    assert (lora32.module.chip, lora32.radio.chip, lora32.radio.dio0, lora32.radio.reset) == ("esp32", "sx1276", 26, 23)
    assert lora32.battery
    assert (lora32.battery.adc, lora32.battery.ratio) == (35, 2.0)
    heltec = load_board("heltec-v2")
    assert (heltec.module.chip, heltec.radio.chip, heltec.radio.dio0, heltec.radio.reset) == ("esp32", "sx1276", 26, 14)
    assert heltec.battery is None, "GPIO13 or GPIO37, depending on the revision"
    either = load_board("t3-s3").radio
    assert (either.chip, either.busy, either.dio1, either.dio0, either.tcxo_mv) == ("probe", 34, 33, 9, 1800)


def test_t_beams_say_what_feeds_the_radio() -> None:
    beam = load_board("t-beam")
    assert (beam.module.chip, beam.radio.chip, beam.radio.dio0, beam.radio.busy) == ("esp32", "probe", 26, 32)
    assert beam.pmu
    assert {name: (chip.radio, chip.off) for name, chip in beam.pmu.chips.items()} == {
        "axp192": ("ldo2", ["ldo3"]),
        "axp2101": ("aldo2", ["aldo3"]),
    }
    supreme = load_board("t-beam-supreme")
    assert supreme.pmu
    assert supreme.pmu.axp2101
    assert supreme.pmu.axp192 is None
    assert supreme.pmu.axp2101.radio == "aldo3"
    assert "aldo2" in supreme.pmu.axp2101.on, "must stay on"
    assert "aldo4" in supreme.pmu.axp2101.off, "GNSS"
    assert supreme.pmu.i2c
    assert (supreme.pmu.i2c.sda, supreme.pmu.i2c.scl) == (42, 41)
    for board, sense in ((beam, "pmu"), (supreme, "usb-frames")):
        assert board.battery
        assert (board.battery.pmu, board.usb.sense) == (True, sense)


def test_boards_with_a_switched_antenna_or_supply() -> None:
    xiao, rak = load_board("xiao-s3-wio").radio, load_board("rak11200").radio
    assert (xiao.rx_enable, xiao.enable) == (38, None)
    assert rak.supply
    assert (rak.supply.pin, rak.supply.level, rak.supply.sensors) == (27, 1, True)
    core = load_board("rak3312").radio.supply
    assert core
    assert (core.pin, core.sensors) == (4, False)


def test_octal_psram_takes_gpios_33_to_37(tmp_path: Path) -> None:
    message, _ = broken(tmp_path, "psram_mb = 0", 'psram_mb = 8\npsram = "octal"')
    for key, pin in (("led.pin", 35), ("vext.pin", 36), ("battery.enable_pin", 37), ("ports.uart.1.tx", 33)):
        assert f"{key} is {pin}, expected a GPIO that the octal PSRAM does not use (not 33-37)" in message


def test_a_board_whose_chip_has_a_usb_of_its_own_sees_the_computer_there(tmp_path: Path) -> None:
    for board in list_boards():
        native = board.module.chip == "esp32s3" and board.usb.ids[0].startswith("303a:")
        assert (board.usb.sense == "usb-frames") == native, board.name
    esp32 = (boards_dir() / "esp32-rfm95w.toml").read_text(encoding="utf-8")
    sense = f'sense = "{load_board("esp32-rfm95w").usb.sense}"'
    message, _ = broken(tmp_path, sense, 'sense = "usb-frames"', text=esp32, name="esp32-rfm95w")
    assert "only an ESP32-S3 has a USB of its own" in message


def test_how_to_get_into_the_boot_loader_is_short_in_both_languages() -> None:
    for board in list_boards():
        loader = board.bootloader
        for how in (loader.how_en, loader.how_de):
            assert 1 < len(how.split()) <= 15, board.name
            assert how.endswith("."), board.name
        if loader.boot:
            assert loader.boot in loader.how_en, board.name
            assert loader.boot in loader.how_de, board.name


def test_how_to_get_out_of_the_boot_loader_again_where_a_wire_leads_in(tmp_path: Path) -> None:
    for board in list_boards():
        loader = board.bootloader
        assert bool(loader.leave_en) == ("wire" in loader.how_en), board.name
        for leave in (loader.leave_en, loader.leave_de):
            assert leave is None or (loader.boot in leave and loader.reset in leave and leave.endswith(".")), board.name
    reset = 'reset = "RST"'
    message, _ = broken(tmp_path, reset, f'{reset}\nleave_en = "Take the wire off PRG."')
    assert "bootloader.leave_de is missing, expected both leave_en and leave_de, or neither" in message
    message, _ = broken(tmp_path, reset, f'{reset}\nleave_de = "Nimm den Draht ab."')
    assert "bootloader.leave_en is missing" in message
    long = f'{reset}\nleave_de = "Nimm den Draht ab."\nleave_en = "{"off " * 13}"'
    message, _ = broken(tmp_path, reset, long)
    assert "at most 10 words" in message


def test_every_board_names_a_file_of_micropython_for_its_chip() -> None:
    for board in list_boards():
        python = board.micropython
        assert python.url.endswith(f"/{python.build}-20260824-v{python.version}.bin"), board.name
        assert ("S3" in python.build) == (board.module.chip == "esp32s3"), board.name


def test_heltec_v4_takes_the_stronger_amplifier_off() -> None:
    board = load_board("heltec-v4")
    assert board.radio.amplifier
    assert [(row.up_to_dbm, row.gain_db) for row in board.radio.amplifier] == [(5, 13)]
    assert least_eirp_dbm(board, 2.0) == -9 + 13 + 2
    assert {gpio for location, gpio, _ in pins(board) if "enable" in location} == {7, 2, 5, 46}


def test_every_file_of_the_catalogue_is_in_order() -> None:
    assert board_names() == [
        "esp32-rfm95w", "heltec-v2", "heltec-v3", "heltec-v4", "lora32-v2-1-6", "rak11200", "rak3312", "t-beam",
        "t-beam-supreme", "t3-s3", "xiao-s3-wio",
    ]  # fmt: skip
    assert {"bme280", "bmp280", "rain", "soil"} <= set(list_sensors())
    for name in board_names():
        assert load_board(name).name == name
    for name in list_sensors():
        assert load_sensor(name).name == name


def test_every_source_is_used() -> None:
    for entry in (*map(load_board, board_names()), *map(load_sensor, list_sensors())):
        tables = [getattr(entry, field) for field in type(entry).model_fields]
        used = {source for table in tables for source in getattr(table, "sources", ())}
        assert set(entry.sources) == used, entry.name


def test_what_is_seen_at_usb_narrows_the_boards_down() -> None:
    def names(*seen: str | int | None) -> list[str]:
        return [board.name for board in candidates(*seen)]  # type: ignore[arg-type]

    assert names() == board_names()
    assert "heltec-v3" in names("10c4:ea60", "esp32s3", 8)
    assert "heltec-v2" not in names("10c4:ea60", "esp32s3", 8), "another chip"
    assert "t3-s3" in names("303a:4001", "esp32s3", 4)
    assert "heltec-v3" in names(None, "esp32s3", None)
    assert names("0403:6001") == [], "no board of the catalogue has such a bridge"
    assert "heltec-v3" in names("10c4:ea60", "esp32s3", 32), "a module with more flash than usual"


def test_strapping_pins_are_noted_not_refused() -> None:
    notes = strapping_notes(load_board("heltec-v3"))
    assert len(notes) == 1
    assert "GPIO0" in notes[0]


def test_pins_are_all_found() -> None:
    board = load_board("heltec-v3")
    assert {gpio for _, gpio, _ in pins(board)} == {9, 10, 11, 8, 12, 13, 14, 1, 37, 36, 35, 0, 41, 42}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("busy = 13", "busy = 13\nbussy = 13", "radio.bussy is unknown"),
        ("reset = 12\n", "", "radio.reset is missing"),
        ("busy = 13\n", "", "radio.busy is missing, expected a value, this key must be there"),
        ("busy = 13", "dio0 = 13", 'radio.dio0 is 13, expected nothing, a radio with chip = "sx1262" has none'),
        ('chip = "sx1262"', 'chip = "sx1301"', "expected one of 'sx1262', 'sx1276' or 'probe'"),
        ('chip = "sx1262"', 'chip = "probe" ', "radio.dio0 is missing"),
        ("dcdc = true", "dcdc = true\nenable = [{ pin = 13, level = 1 }]", "radio.enable.0.pin is 13, expected a GPIO"),
        ("dcdc = true", "dcdc = true\nenable = [{ pin = 13 }]", "radio.enable.0.level is missing"),
        ("dcdc = true", "dcdc = true\nenable = [{ pin = 7, level = 1 }]",
         "radio.amplifier is missing, expected what the amplifier adds, or []"),
        ("dcdc = true", "dcdc = true\nrx_enable = 13", "radio.rx_enable is 13, expected a GPIO of its own"),
        ("psram_mb = 0", "psram_mb = 2", 'module.psram is missing, expected "quad" or "octal"'),
        ("psram_mb = 0", 'psram_mb = 0\npsram = "quad"', 'module.psram is "quad", expected nothing'),
        ("dcdc = true", "dcdc = true\namplifier = [{ up_to_dbm = 9, gain_db = 9 }, { up_to_dbm = 9, gain_db = 8 }]",
         "radio.amplifier is [9, 9], expected one row for each"),
        ("gain_dbi = 2.0\nmax_eirp_dbm = 16", "gain_dbi = 12.0\nmax_eirp_dbm = 2",
         "antenna.gain_dbi is 12.0, expected less gain: the radio sends 3.0 dBm at least"),
        ("gain_dbi = 2.0", "gain_dbi = 16.0", "antenna.gain_dbi is 16.0, expected at most 15"),
        ("dio1 = 14", 'dio1 = "14"', 'radio.dio1 is "14", expected a whole number'),
        ("dio1 = 14", "dio1 = 14.0", "radio.dio1 is 14.0, expected a whole number"),
        ("cs = 8\n", "cs = 23\n", "radio.cs is 23, expected a GPIO of the ESP32-S3: 0-21, 26-48"),
        ("cs = 8\n", "cs = 27\n", "radio.cs is 27, expected a GPIO that the flash chip does not use (not 26-32)"),
        ("cs = 8\n", "cs = 900\n", "radio.cs is 900, expected at most 127"),
        ("busy = 13", "busy = 12", "radio.busy is 12, expected a GPIO of its own; radio.reset has it already"),
        ("adc = 1\n", "adc = 20\n", "battery.adc is 20, expected a GPIO of the first ADC: 1-10"),
        ("tcxo_mv = 1800", "tcxo_mv = 1850", "radio.tcxo_mv is 1850, expected one of"),
        ("max_eirp_dbm = 16", "max_eirp_dbm = 20", "antenna.max_eirp_dbm is 20, expected at most 16"),
        ("atten_db = 2.5", "atten_db = 3.0", "battery.atten_db is 3.0, expected one of 0, 2.5, 6, 11"),
        ('chip = "esp32s3"', 'chip = "esp8266"', "module.chip is \"esp8266\", expected one of 'esp32' or 'esp32s3'"),
        ("dio2_rf_switch = true", "dio2_rf_switch = 1   ", "radio.dio2_rf_switch is 1, expected true or false"),
        ('name = "heltec-v3"', 'name = "heltec-v4"', 'name is "heltec-v4", expected "heltec-v3"'),
        ('["etsi", "assumed"]', '["etsi", "hearsay"]', 'antenna.sources is "hearsay", expected one of [sources]:'),
        ('["etsi", "assumed"]', "[]", "antenna.sources is [], expected at least 1 entries"),
        ("enable_pin = 37 ", "# enable_pin    ", "battery.enable_pin is missing, expected both"),
        ("mv = 4250\n", "\n", "usb.mv is missing"),
        ('ids = ["10c4:ea60"]', 'ids = ["CP2102"]', 'usb.ids.0 is "CP2102", expected two numbers of four digits'),
        ('ids = ["10c4:ea60"]', "ids = []", "usb.ids is [], expected at least 1 entries"),
        ('build = "ESP32_GENERIC_S3"', 'build = "esp32 s3"', 'micropython.build is "esp32 s3", expected its name at'),
        ('version = "1.29.0"', 'version = "new"', 'micropython.version is "new", expected a version like "1.29.0"'),
        ('sha256 = "1dd9', 'sha256 = "XXd9', "expected 64 digits, 0 to 9 and a to f"),
        ('reset = "RST"\n', "", "bootloader.reset is missing"),
        ('how_en = "Hold PRG,', 'how_en = "Look at the board for a while, then hold PRG,', "expected at most 15 words"),
        ("auto = true", 'auto = "yes"', 'bootloader.auto is "yes", expected true or false'),
        ("dcdc = true", "dcdc = true\nsupply = { pin = 13, level = 1 }", "radio.supply.pin is 13, expected a GPIO"),
        ("ratio = 4.9 ", "# ratio     ", "battery.ratio is missing"),
        ("adc = 1\n", "adc = 1\npmu = true\n", "battery.adc is 1, expected nothing beside pmu = true"),
        ('sense = "battery-above"', 'sense = "pmu"', "pmu is missing, expected a table of the power chip"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    message, line = broken(tmp_path, old, new)
    assert words in message
    said = int(message.split("line ")[1].split(":")[0])
    if "missing" not in message:  # for those see below
        assert said == line + new.count("\n") - old.count("\n")


def test_missing_key_names_its_table(tmp_path: Path) -> None:
    message, _ = broken(tmp_path, "reset = 12\n", "")
    table = HELTEC[: HELTEC.index("[radio]")].count("\n") + 1
    assert f"line {table}:" in message


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    message, line = broken(tmp_path, "busy = 13", "busy = = 13")
    assert f"line {line}:" in message
    assert "TOML" in message


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    text = HELTEC.replace("cs = 8\n", 'cs = "8"\n')
    message, _ = broken(tmp_path, "busy = 13", "busy = 130", text=text)
    assert "radio.cs" in message
    assert "radio.busy" in message


def test_missing_file_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        check(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        check(tmp_path / "binary.toml")
    with pytest.raises(UserError, match="cannot be read"):
        check(tmp_path)


def test_sensor_with_an_unknown_quantity(tmp_path: Path) -> None:
    text = (boards_dir() / "sensors/bme280.toml").read_text(encoding="utf-8")
    message, line = broken(tmp_path, '"humidity", "pressure"]', '"humidity", "mood"]', text=text, name="bme280")
    assert f'line {line}: quantities is "mood", expected one of quantities.toml: temperature' in message


SOIL = (boards_dir() / "sensors/soil.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "adc"', 'kind = "spi"', "bus.kind is \"spi\", expected one of 'i2c', 'uart', 'onewire', 'adc' or"),
        ("atten_db = 11\n", "\n", "bus.atten_db is missing"),
        ("atten_db = 11\n", "atten_db = 11\nbaud = 9600\n", "bus.baud is 9600, expected nothing, a bus with kind ="),
        ("least = 1, most = 3300000, ab", "least = 2700000, ab", "calibration.dry_uv.default is 2600000.0, expected"),
        ("\ndry_uv", "\npin = 5\ndry_uv", "calibration.pin is pin, expected another name"),
        ('above = "wet_uv"', 'above = "wet"', 'calibration.dry_uv.above is "wet", expected another setting of'),
        ("dry_uv = {", "dry_uv = { typo = 1,", "calibration.dry_uv.typo is unknown"),
        ("\ndry_uv", "\nDry_uv", "calibration.Dry_uv is"),
        ("startup_ms = 500", "warm_up_ms = 500000\nstartup_ms = 500", "power.warm_up_ms is 500000, expected at most"),
        ("[calibration]", "[rhythm]\nevery_s = -1\n[calibration]", "rhythm.every_s is -1, expected at least 0"),
        ('"soil_moisture"]', '"soil_moisture"]\ninstead = ["mood"]', 'instead is "mood", expected one of quantities'),
    ],
)  # fmt: skip
def test_sensor_with_a_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    message, _ = broken(tmp_path, old, new, text=SOIL, name="soil")
    assert words in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("pulse = [7, 6, 5]", "pulse = [38]", "ports.pulse.0 is 38, expected a GPIO that can wake the chip: 0-21"),
        ("pulse = [7, 6, 5]", "pulse = [3]", "ports.pulse.0 is 3, expected a GPIO that does not decide how the chip"),
        ("adc = [4, 5, 6]", "adc = [4, 11]", "ports.adc.1 is 11, expected a GPIO of the first ADC: 1-10"),
        ("adc = [4, 5, 6]", "adc = [1]", "ports.adc.0 is 1, expected a GPIO that is free; battery.adc has it already"),
        ("onewire = [38, 39]", "onewire = [22]", "ports.onewire.0 is 22, expected a GPIO of the ESP32-S3"),
        ("tx = 33, rx = 34", "tx = 33, rx = 33", "ports.uart.1.rx is 33, expected another GPIO than tx"),
        ("tx = 33, rx = 34", "tx = 33", "ports.uart.1.rx is missing"),
        ("{ id = 2,", "{ id = 0,", "ports.uart.1.id is 0, expected at least 1"),
    ],
)
def test_port_with_a_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    message, _ = broken(tmp_path, old, new)
    assert words in message


BEAM = (boards_dir() / "t-beam.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'radio = "ldo2", off',
            'radio = "dcdc1", off',
            "expected one of 'ldo2' or 'ldo3'",
        ),
        ('off = ["ldo3"]', 'off = ["ldo2"]', 'pmu.axp192.off is "ldo2", expected a rail that is named once'),
        ("axp2101 = { radio", "axp209 = { radio", "pmu.axp209 is unknown"),
        (
            "[pmu]\n",
            "[pmu]\ni2c = { id = 0, sda = 14, scl = 15, freq = 100000 }\n",
            "pmu.i2c.id is 0, expected",
        ),
        (
            "[pmu]\n",
            "[pmu]\ni2c = { id = 1, sda = 21, scl = 15, freq = 100000 }\n",
            "own; pmu.i2c.sda has it",
        ),
    ],
)
def test_power_chip_with_a_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    message, _ = broken(tmp_path, old, new, text=BEAM, name="t-beam")
    assert words in message


def test_power_chip_without_a_table(tmp_path: Path) -> None:
    lines = [line for line in BEAM.splitlines() if not line.startswith("axp")]
    message, _ = broken(tmp_path, "[pmu]\n", "[pmu] # which?\n", text="\n".join(lines) + "\n", name="t-beam")
    assert "pmu is empty, expected a table axp192 or axp2101" in message


def test_unknown_names_say_which_there_are() -> None:
    with pytest.raises(UserError) as caught:
        load_board("heltec-v9")
    assert "heltec-v3" in caught.value.next_step
    with pytest.raises(UserError) as caught:
        load_sensor("../quantities")
    assert "bme280" in caught.value.next_step


def test_chips_have_no_contradictions() -> None:
    for chip in CHIPS.values():
        for part in (chip.flash, chip.input_only, chip.strapping, chip.adc):
            assert part <= chip.gpios


def test_list_show_and_check(tmp_path: Path) -> None:
    run = CliRunner()
    listed = json.loads(run.invoke(boards_app, ["list", "--json"]).stdout)
    kinds = dict.fromkeys(board_names(), "board") | dict.fromkeys(list_sensors(), "sensor")
    assert {entry["name"]: entry["kind"] for entry in listed["entries"]} == kinds
    assert "heltec-v3" in run.invoke(boards_app, ["list"]).stdout
    shown = json.loads(run.invoke(boards_app, ["show", "heltec-v3", "--json"]).stdout)
    assert shown["radio"]["tcxo_mv"] == 1800
    text = run.invoke(boards_app, ["show", "heltec-v3"]).stdout
    assert "meshtastic" in text
    assert "not measured" in text
    assert "bme280" in run.invoke(boards_app, ["show", "bme280"]).stdout
    path = tmp_path / "heltec-v3.toml"
    path.write_text(HELTEC, encoding="utf-8")
    assert "is in order" in run.invoke(boards_app, ["check", str(path)]).stdout
    assert json.loads(run.invoke(boards_app, ["check", str(path), "--json"]).stdout)["ok"] is True
    path.write_text(HELTEC.replace("cs = 8\n", "cs = 23\n"), encoding="utf-8")
    assert isinstance(run.invoke(boards_app, ["check", str(path)]).exception, UserError)


def test_boards_alone_is_the_list() -> None:
    run = CliRunner()
    assert run.invoke(boards_app, []).stdout == run.invoke(boards_app, ["list"]).stdout


def test_show_says_first_what_a_person_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(name: str) -> str:
        return "\n".join(CliRunner().invoke(boards_app, ["show", name]).stdout.splitlines()[:8])

    beam = first("t-beam")
    assert "MicroPython: ESP32_GENERIC 1.29.0" in beam
    assert "1a86:55d4 (CH9102)" in beam
    assert "AXP192 / AXP2101" in beam
    assert "SX1262 / SX1276" in beam
    assert "900 uA, as others measured" in beam
    assert "Hold PRG, press RST briefly" in first("heltec-v3")
    assert "not measured" in first("heltec-v3")
    monkeypatch.setenv("LANGUAGE", "de")
    language_of_locale.cache_clear()
    assert "PRG gedrückt halten" in first("heltec-v3")


def test_board_with_the_older_chip(tmp_path: Path) -> None:
    """The ESP32's own rules: inputs that cannot be outputs, flash pins, ADC pins."""
    text = HELTEC[: HELTEC.index("[ports]")] + HELTEC[HELTEC.index("[usb]") :]
    text = text.replace('chip = "esp32s3"', 'chip = "esp32"')
    moves = {
        "sck = 9": "sck = 5",
        "mosi = 10": "mosi = 27",
        "miso = 11": "miso = 19",
        "cs = 8\n": "cs = 18\n",
        "adc = 1\n": "adc = 36\n",
        "enable_pin = 37": "enable_pin = 21",
        "pin = 36": "pin = 33",
        "pin = 35": "pin = 25",
        "sda = 41": "sda = 4",
        "scl = 42": "scl = 15",
    }
    for old, new in moves.items():
        text = text.replace(old, new)
    path = tmp_path / "heltec-v3.toml"
    path.write_text(text, encoding="utf-8")
    assert isinstance(check(path), Board)
    message, _ = broken(tmp_path, "pin = 25", "pin = 39", text=text)
    assert "led.pin is 39, expected a GPIO that can be an output (not 34-39)" in message


def test_board_with_an_sx1276(tmp_path: Path) -> None:
    """Its own keys and the limit of its bus; and what an SX1262 has does not belong there."""
    text = (boards_dir() / "lora32-v2-1-6.toml").read_text(encoding="utf-8")
    for old, new, words in (
        ("dio0 = 26\n", "", "radio.dio0 is missing"),
        ("dio0 = 26", "dio0 = 26\ntcxo_mv = 1800", "radio.tcxo_mv is 1800, expected nothing, a radio with chip ="),
        ("baudrate = 8000000", "baudrate = 16000000", "radio.spi.baudrate is 16000000, expected at most 10000000"),
        ("gain_dbi = 2.0", "gain_dbi = 14.5", "antenna.gain_dbi is 14.5, expected less gain: the radio sends 16.5 dBm"),
    ):
        message, _ = broken(tmp_path, old, new, text=text, name="lora32-v2-1-6")
        assert words in message
    path = tmp_path / "lora32-v2-1-6.toml"
    path.write_text(text.replace("dio0 = 26", "dio0 = 26\npa_boost = false\ntcxo = true"), encoding="utf-8")
    board = check(path)
    assert isinstance(board, Board)
    assert least_eirp_dbm(board, 2.0) == -4 + 2
