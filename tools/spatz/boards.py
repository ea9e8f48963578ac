"""The hardware catalogue: board and sensor files of `boards/`, checked and loaded.

A board file is data that a node's config is compiled from (`spatz.config`), so it is checked like code: unknown keys,
pins that the chip does not have, pins used twice, and facts without a source are refused.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr
from nest.resources import boards_dir

from spatz.catalogue import BUS_KEYS, RADIO_KEYS, TAKEN_SETTINGS, Board, Pmu, Sensor, Setting
from spatz.chips import CHIPS
from spatz.tomlfile import Location, Problem, Table, dotted, line_of, read, shown, user_error, validate

# every pin of a board file, and what is done with it
_PINS: tuple[tuple[Location, str], ...] = (
    (("radio", "spi", "sck"), "output"),
    (("radio", "spi", "mosi"), "output"),
    (("radio", "spi", "miso"), "input"),
    (("radio", "cs"), "output"),
    (("radio", "reset"), "output"),
    (("radio", "busy"), "input"),
    (("radio", "dio1"), "input"),
    (("radio", "dio0"), "input"),
    (("radio", "rx_enable"), "output"),
    (("radio", "supply", "pin"), "output"),
    (("pmu", "i2c", "sda"), "output"),
    (("pmu", "i2c", "scl"), "output"),
    (("battery", "adc"), "adc"),
    (("battery", "enable_pin"), "output"),
    (("vext", "pin"), "output"),
    (("led", "pin"), "output"),
    (("button", "pin"), "input"),
    (("i2c", "sda"), "output"),
    (("i2c", "scl"), "output"),
)

# what the chips can put out at least (SX1262 data sheet 13.4.4, SX1276 data sheet 3.4.2)
_LOWEST_DBM = {"sx1262": -9, "sx1276": 2}
_LOWEST_RFO_DBM = -4
_SX1276_HZ = 10_000_000


def pins(board: Board) -> Iterator[tuple[Location, int, str]]:
    """Every pin that the board uses: (key, GPIO, "output" | "input" | "adc")."""
    for location, use in _PINS:
        value: Any = board
        for part in location:
            value = getattr(value, str(part), None)
        if value is not None:
            yield location, value, use
    for at, supply in enumerate(board.radio.enable or []):
        yield ("radio", "enable", at, "pin"), supply.pin, "output"


def port_pins(board: Board) -> Iterator[tuple[Location, int, str]]:
    """Every pin that the board offers to outside sensors: (key, GPIO, "output" | "input" | "adc" | "pulse").

    One GPIO may come several times.
    """
    ports = board.ports
    if ports is None:
        return
    for at, uart in enumerate(ports.uart):
        yield ("ports", "uart", at, "tx"), uart.tx, "output"
        yield ("ports", "uart", at, "rx"), uart.rx, "input"
    for kind, use in (("onewire", "output"), ("adc", "adc"), ("pulse", "pulse")):
        for at, gpio in enumerate(getattr(ports, kind)):
            yield ("ports", kind, at), gpio, use


def least_eirp_dbm(board: Board, antenna_gain_dbi: float) -> float:
    """What the board radiates at least with this antenna, at the lowest power of its radio (of either, where it may
    have two)."""
    radio = board.radio
    lowest_dbm = max(_LOWEST_DBM[chip] for chip in _chips(board))
    if radio.pa_boost is False:
        lowest_dbm = _LOWEST_RFO_DBM
    gain_db = next((row.gain_db for row in radio.amplifier or [] if lowest_dbm <= row.up_to_dbm), 0)
    return lowest_dbm + gain_db + antenna_gain_dbi


def _chips(board: Board) -> list[str]:
    """The radios that the board may have."""
    return list(RADIO_KEYS) if board.radio.chip == "probe" else [board.radio.chip]


def strapping_notes(board: Board) -> list[str]:
    """Pins that also decide how the chip starts: allowed, but whoever wires something to them should know."""
    chip = CHIPS[board.module.chip]
    return [
        tr(
            "GPIO{pin} ({key}) also decides how the {chip} starts; nothing else may pull it while it is reset.",
            pin=gpio,
            key=dotted(location),
            chip=chip.title,
        )
        for location, gpio, _ in pins(board)
        if gpio in chip.strapping
    ]


# --- checks that need more than one value ----------------------------------------------------------------------------


def _pin_problems(board: Board) -> Iterator[tuple[Location, str, str]]:
    used: dict[int, Location] = {}
    for location, gpio, use in pins(board):
        if wanted := _wrong_pin(board, gpio, use):
            yield location, str(gpio), wanted
        elif gpio in used:
            yield location, str(gpio), tr("a GPIO of its own; {key} has it already", key=dotted(used[gpio]))
        used.setdefault(gpio, location)
    for location, gpio, use in port_pins(board):
        if wanted := _wrong_pin(board, gpio, use, outside=True):
            yield location, str(gpio), wanted
        elif gpio in used:
            yield location, str(gpio), tr("a GPIO that is free; {key} has it already", key=dotted(used[gpio]))
    for at, uart in enumerate(board.ports.uart if board.ports else ()):
        if uart.tx == uart.rx:
            yield ("ports", "uart", at, "rx"), str(uart.rx), tr("another GPIO than tx")


def wrong_port(board: Board, gpio: int, use: str) -> str:
    """What is expected instead of this GPIO for an outside sensor; "" when it can be used so. use: see port_pins."""
    return _wrong_pin(board, gpio, use, outside=True)


def _wrong_pin(board: Board, gpio: int, use: str, *, outside: bool = False) -> str:
    """What is expected instead of this GPIO; "" when it can be used so."""
    chip = CHIPS[board.module.chip]
    if gpio not in chip.gpios:
        return tr("a GPIO of the {chip}: {ranges}", chip=chip.title, ranges=_ranges(chip.gpios))
    if gpio in chip.flash:
        return tr("a GPIO that the flash chip does not use (not {ranges})", ranges=_ranges(chip.flash))
    if board.module.psram == "octal" and gpio in chip.octal:
        return tr("a GPIO that the octal PSRAM does not use (not {ranges})", ranges=_ranges(chip.octal))
    if use == "output" and gpio in chip.input_only:
        return tr("a GPIO that can be an output (not {ranges})", ranges=_ranges(chip.input_only))
    if use == "adc" and gpio not in chip.adc:
        return tr("a GPIO of the first ADC: {ranges}", ranges=_ranges(chip.adc))
    if use == "pulse" and gpio not in chip.rtc:
        return tr("a GPIO that can wake the chip: {ranges}", ranges=_ranges(chip.rtc))
    if outside and gpio in chip.strapping:
        return tr("a GPIO that does not decide how the chip starts (not {ranges})", ranges=_ranges(chip.strapping))
    return ""


def _radio_problems(board: Board) -> Iterator[tuple[Location, str, str]]:
    radio = board.radio
    chips = _chips(board)
    known = [key for chip in chips for keys in RADIO_KEYS[chip] for key in keys]
    for chip, (needed, optional) in RADIO_KEYS.items():
        for key in (*needed, *optional):
            value = getattr(radio, key)
            if value is None and chip in chips and key in needed:
                yield ("radio", key), tr("missing"), tr("a value, this key must be there")
            elif value is not None and key not in known:
                wanted = tr('nothing, a radio with chip = "{chip}" has none', chip=radio.chip)
                yield ("radio", key), shown(value), wanted
    if "sx1276" in chips and radio.spi.baudrate > _SX1276_HZ:
        yield ("radio", "spi", "baudrate"), str(radio.spi.baudrate), tr("at most {limit}", limit=_SX1276_HZ)
    if radio.enable and radio.amplifier is None:
        wanted = tr("what the amplifier adds, or [] when there is none: the board has pins in enable")
        yield ("radio", "amplifier"), tr("missing"), wanted
    reach = [row.up_to_dbm for row in radio.amplifier or []]
    if reach != sorted(set(reach)):
        yield ("radio", "amplifier"), shown(reach), tr("one row for each up_to_dbm, from the lowest to the highest")
    least = least_eirp_dbm(board, board.antenna.gain_dbi)
    if least > board.antenna.max_eirp_dbm:
        yield (
            ("antenna", "gain_dbi"),
            shown(board.antenna.gain_dbi),
            tr("less gain: the radio sends {dbm} dBm at least, with this antenna", dbm=round(least, 1)),
        )


def _module_problems(board: Board) -> Iterator[tuple[Location, str, str]]:
    module = board.module
    lines = bool(CHIPS[module.chip].octal) and module.psram_mb > 0
    if lines and module.psram is None:
        yield ("module", "psram"), tr("missing"), tr('"quad" or "octal": how the PSRAM is connected')
    elif not lines and module.psram is not None:
        yield ("module", "psram"), shown(module.psram), tr("nothing, only an ESP32-S3 with PSRAM has it")
    if board.usb.sense == "usb-frames" and module.chip != "esp32s3":
        yield ("usb", "sense"), shown(board.usb.sense), tr("another one: only an ESP32-S3 has a USB of its own")


def _ranges(numbers: frozenset[int]) -> str:
    """{0, 1, 2, 7} as "0-2, 7"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(str(end) for end in part) for part in parts)


def _source_problems(entry: Board | Sensor) -> Iterator[tuple[Location, str, str]]:
    known = ", ".join(sorted(entry.sources))
    for name in type(entry).model_fields:
        for source in getattr(getattr(entry, name), "sources", ()):
            if source not in entry.sources:
                yield (name, "sources"), shown(source), tr("one of [sources]: {names}", names=known)


def _board_problems(board: Board) -> Iterator[tuple[Location, str, str]]:
    yield from _pin_problems(board)
    yield from _radio_problems(board)
    yield from _module_problems(board)
    yield from _source_problems(board)
    loader = board.bootloader
    if (loader.leave_en is None) != (loader.leave_de is None):
        missing = "leave_de" if loader.leave_de is None else "leave_en"
        yield ("bootloader", missing), tr("missing"), tr("both leave_en and leave_de, or neither")
    battery = board.battery
    if battery:
        for key in ("adc", "ratio", "atten_db", "enable_pin", "enable_level"):
            value = getattr(battery, key)
            if battery.pmu and value is not None:
                yield ("battery", key), shown(value), tr("nothing beside pmu = true: the power chip measures by itself")
            elif not battery.pmu and value is None and not key.startswith("enable"):
                yield ("battery", key), tr("missing"), tr("a value, this key must be there")
    if battery and (battery.enable_pin is None) != (battery.enable_level is None):
        missing = "enable_level" if battery.enable_level is None else "enable_pin"
        yield ("battery", missing), tr("missing"), tr("both enable_pin and enable_level, or neither")
    if board.usb.sense == "battery-above":
        if board.usb.mv is None:
            yield ("usb", "mv"), tr("missing"), tr("the voltage above which a computer must be there")
        if battery is None:
            yield ("usb", "sense"), shown(board.usb.sense), tr('a [battery] to measure, or sense = "none"')
    if board.pmu:
        yield from _pmu_problems(board, board.pmu)
    elif (battery and battery.pmu) or board.usb.sense == "pmu":
        yield ("pmu",), tr("missing"), tr("a table of the power chip, because [battery] or [usb] asks it")


def _pmu_problems(board: Board, pmu: Pmu) -> Iterator[tuple[Location, str, str]]:
    if not pmu.chips:
        yield ("pmu",), tr("empty"), tr("a table axp192 or axp2101, or both when the board is sold with either")
    if pmu.i2c is None and board.i2c is None:
        yield ("pmu", "i2c"), tr("missing"), tr("the bus that the power chip is on, when there is no [i2c]")
    if pmu.i2c and board.i2c and pmu.i2c.id == board.i2c.id:
        yield ("pmu", "i2c", "id"), str(pmu.i2c.id), tr("another one than that of [i2c]")
    for name, chip in pmu.chips.items():
        seen = [chip.radio]
        for key in ("on", "off"):
            for rail in getattr(chip, key):
                if rail in seen:
                    yield ("pmu", name, key), shown(rail), tr("a rail that is named once")
                seen.append(rail)


def _sensor_problems(sensor: Sensor) -> Iterator[tuple[Location, str, str]]:
    from spatz.quantities import load_quantities

    yield from _source_problems(sensor)
    known = [quantity.name for quantity in load_quantities()]
    for key in ("quantities", "instead"):
        for name in getattr(sensor, key):
            if name not in known:
                yield (key,), shown(name), tr("one of quantities.toml: {names}", names=", ".join(known))
    bus = sensor.bus
    for kind, keys in BUS_KEYS.items():
        for key in keys:
            value = getattr(bus, key)
            if value is None and kind == bus.kind:
                yield ("bus", key), tr("missing"), tr("a value, this key must be there")
            elif value is not None and kind != bus.kind:
                yield ("bus", key), shown(value), tr('nothing, a bus with kind = "{kind}" has none', kind=bus.kind)
    for name, setting in sensor.calibration.settings.items():
        if name in TAKEN_SETTINGS:
            yield ("calibration", name), name, tr("another name, a node's configuration has one of this name")
        if setting.above is not None and setting.above not in sensor.calibration.settings:
            yield ("calibration", name, "above"), shown(setting.above), tr("another setting of [calibration]")
        if setting.default is not None and (wanted := outside(setting, setting.default)):
            yield ("calibration", name, "default"), shown(setting.default), wanted


def outside(setting: Setting, value: float) -> str:
    """What is expected instead of this value; "" when it can be."""
    if setting.least is not None and value < setting.least:
        return tr("at least {limit}", limit=f"{setting.least:.12g}")
    if setting.most is not None and value > setting.most:
        return tr("at most {limit}", limit=f"{setting.most:.12g}")
    return ""


# --- loading ----------------------------------------------------------------------------------------------------------


def check(path: Path) -> Board | Sensor:
    """Read and check one file of the catalogue; a file with a `driver` describes a sensor, any other a board.

    Raises:
        UserError: every problem with file, line, what was found and what was expected.
    """
    path = Path(path)
    data, lines = read(path)
    entry = validate(path, Sensor if "driver" in data else Board, data, lines)
    found = list(_sensor_problems(entry) if isinstance(entry, Sensor) else _board_problems(entry))
    if entry.name != path.stem:
        found.append((("name",), shown(entry.name), tr('"{stem}", the name of the file', stem=path.stem)))
    if found:
        raise user_error([Problem(path, line_of(lines, at), dotted(at), was, wanted) for at, was, wanted in found])
    return entry


def board_names() -> list[str]:
    """The names of all boards."""
    return _names(boards_dir(), Board)


def list_boards() -> list[Board]:
    """All boards, by name. Raises UserError: a file is broken."""
    return [load_board(name) for name in board_names()]


def candidates(usb_id: str | None = None, chip: str | None = None, flash_mb: int | None = None) -> list[Board]:
    """The boards that one can be that shows itself so: as what at USB ("10c4:ea60"), with which chip ("esp32",
    "esp32s3") and how much flash; None for what is not known. By name; none for a device that no board shows itself as.

    More flash than any of them should have is no reason to refuse: modules are sold with other sizes.
    """
    fits = [
        board
        for board in list_boards()
        if usb_id in (None, *board.usb.ids)
        and chip in (None, board.module.chip)
        and (flash_mb is None or board.module.flash_mb <= flash_mb)
    ]
    return [board for board in fits if flash_mb in (None, board.module.flash_mb)] or fits


def list_sensors() -> list[str]:
    """The names of all sensors."""
    return _names(boards_dir() / "sensors", Sensor)


def _names(folder: Path, kind: type[Table]) -> list[str]:
    tables = {"quantities"} if kind is Board else set()
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem not in tables)


@functools.cache
def load_board(name: str) -> Board:
    """The board called `name`.

    Raises:
        UserError: there is none, or its file is broken.
    """
    if name not in board_names():
        raise UserError(
            tr('There is no board "{name}".', name=name),
            tr("Known boards: {names}.", names=", ".join(board_names())),
        )
    entry = check(boards_dir() / f"{name}.toml")
    assert isinstance(entry, Board)  # noqa: S101  # a board file with a `driver` key has been refused as a sensor
    return entry


@functools.cache
def load_sensor(name: str) -> Sensor:
    """The sensor called `name`.

    Raises:
        UserError: there is none, or its file is broken.
    """
    if name not in list_sensors():
        raise UserError(
            tr('There is no sensor "{name}".', name=name),
            tr("Known sensors: {names}.", names=", ".join(list_sensors())),
        )
    entry = check(boards_dir() / "sensors" / f"{name}.toml")
    assert isinstance(entry, Sensor)  # noqa: S101
    return entry
