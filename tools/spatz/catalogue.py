"""What a board file and a sensor file hold (`boards/`), as models."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from nest.i18n import tr
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from spatz.tomlfile import Table

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
ModuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
SettingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Text = Annotated[str, Field(min_length=1)]
Gpio = Annotated[int, Field(ge=0, le=127)]
Level = Literal[0, 1]
ATTENUATIONS_DB = (0, 2.5, 6, 11)  # of the ESP32's ADC
HOW_WORDS = 15
LEAVE_WORDS = 10
Sources = Annotated[list[str], Field(min_length=1)]


def _attenuation(decibel: float) -> float:
    if decibel not in ATTENUATIONS_DB:
        raise PydanticCustomError("literal_error", "one of {expected}", {"expected": "0, 2.5, 6, 11"})
    return decibel


def _wanted(what: str) -> PydanticCustomError:
    """What is expected instead, in the user's language."""
    return PydanticCustomError("wanted", "{what}", {"what": what})


def _usb_id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", text):
        raise _wanted(tr('two numbers of four digits, 0 to 9 and a to f, like "10c4:ea60" (lsusb shows them)'))
    return text


def _build(text: str) -> str:
    if not re.fullmatch(r"[A-Z0-9_]+(-[A-Z0-9_]+)?", text):
        raise _wanted(tr('its name at micropython.org/download, like "ESP32_GENERIC_S3"'))
    return text


def _version(text: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+(\.[0-9]+)?", text):
        raise _wanted(tr('a version like "1.29.0"'))
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https://[^ ]+\.bin", text):
        raise _wanted(tr("the address of the file, from https:// to .bin"))
    return text


def _sha256(text: str) -> str:
    if not re.fullmatch(r"([0-9a-f]{64})?", text):
        raise _wanted(tr('64 digits, 0 to 9 and a to f; or "" when nobody says it'))
    return text


def _short(sentence: str) -> str:
    if len(sentence.split()) > HOW_WORDS:
        raise _wanted(tr("at most {limit} words", limit=HOW_WORDS))
    return sentence


def _brief(sentence: str) -> str:
    if len(sentence.split()) > LEAVE_WORDS:
        raise _wanted(tr("at most {limit} words", limit=LEAVE_WORDS))
    return sentence


UsbId = Annotated[str, AfterValidator(_usb_id)]


class Module(Table):
    """The processor and its memory."""

    chip: Literal["esp32", "esp32s3"]
    flash_mb: Annotated[int, Field(ge=2, le=64)]
    other_flash_mb: list[Annotated[int, Field(ge=2, le=64)]] = Field(default_factory=list)  # it is sold with, too
    psram_mb: Annotated[int, Field(ge=0, le=64)]
    psram: Literal["quad", "octal"] | None = None  # how it is connected: an ESP32-S3 with PSRAM says it
    sources: Sources


class Micropython(Table):
    """The MicroPython that this board runs: the file that `spatz firmware fetch` gets from its makers."""

    build: Annotated[str, AfterValidator(_build)]  # ESP32_GENERIC, ESP32_GENERIC-SPIRAM
    version: Annotated[str, AfterValidator(_version)]
    url: Annotated[str, AfterValidator(_url)]
    sha256: Annotated[str, AfterValidator(_sha256)] = ""  # "": not known here; said when it is fetched
    sources: Sources


class Bootloader(Table):
    """How a person gets the board to listen to `spatz flash`, when it does not by itself."""

    boot: str  # what is printed beside the button; "": there is none
    reset: str
    how_en: Annotated[Text, AfterValidator(_short)]  # at most 15 words
    how_de: Annotated[Text, AfterValidator(_short)]
    # how it gets out again, where a wire leads in: reset alone leads in again; at most 10 words
    leave_en: Annotated[Text, AfterValidator(_brief)] | None = None
    leave_de: Annotated[Text, AfterValidator(_brief)] | None = None
    auto: bool  # the computer gets it there by itself, as a rule
    sources: Sources


class Spi(Table):
    """The bus of the radio."""

    id: Annotated[int, Field(ge=1, le=2)]
    sck: Gpio
    mosi: Gpio
    miso: Gpio
    baudrate: Annotated[int, Field(ge=100_000, le=16_000_000)]  # SX1262 at most 16 MHz, SX1276 10


class Supply(Table):
    """A pin that the radio needs at a level: of a TCXO, an amplifier, a switch at the antenna. Low in deep sleep.

    A board with one of these says what its amplifier adds, or amplifier = []: there is none."""

    pin: Gpio
    level: Level


class RadioSupply(Table):
    """A pin that feeds the radio as a whole. Off in deep sleep, and NSS low then; sensors: what hangs outside, too."""

    pin: Gpio
    level: Level
    sensors: bool = False


class Gain(Table):
    """What an amplifier between the chip and the antenna adds, up to an output of the chip."""

    up_to_dbm: Annotated[int, Field(ge=-9, le=22)]
    gain_db: Annotated[float, Field(ge=-5, le=40)]


class Radio(Table):
    """The radio chip and how it is wired. "probe": the board is sold with either, and the node finds out which."""

    chip: Literal["sx1262", "sx1276", "probe"]
    spi: Spi
    cs: Gpio
    reset: Gpio
    # SX1262
    busy: Gpio | None = None
    dio1: Gpio | None = None
    tcxo_mv: Literal[0, 1600, 1700, 1800, 2200, 2400, 2700, 3000, 3300] | None = None  # 0: a plain crystal
    dio2_rf_switch: bool | None = None
    rx_enable: Gpio | None = None  # receive path of the antenna switch: high to receive, low to send and in sleep
    dcdc: bool | None = None  # the board has the inductor of the DC-DC converter
    # SX1276
    dio0: Gpio | None = None
    tcxo: bool | None = None  # a TCXO instead of a plain crystal
    pa_boost: bool | None = None  # false: the antenna is at the pin RFO
    # around the chip
    supply: RadioSupply | None = None
    enable: Annotated[list[Supply], Field(min_length=1)] | None = None  # in this order
    amplifier: list[Gain] | None = None  # by rising power; above the last never used
    sources: Sources


RADIO_KEYS = {  # of each chip: those that must be there, those that may
    "sx1262": (("busy", "dio1", "tcxo_mv", "dio2_rf_switch", "dcdc"), ("rx_enable",)),
    "sx1276": (("dio0",), ("tcxo", "pa_boost")),
}
ANTENNA_GAIN_DBI = (-5, 15)  # a stub on a lossy cable; a small directional antenna


class Antenna(Table):
    """What is radiated: conducted power + gain may not exceed the limit."""

    gain_dbi: Annotated[float, Field(ge=ANTENNA_GAIN_DBI[0], le=ANTENNA_GAIN_DBI[1])]
    max_eirp_dbm: Annotated[int, Field(ge=0, le=16)]  # EU868; the firmware has the same limit (radio/__init__.py)
    sources: Sources


class Timing(Table):
    """How much earlier and longer the node listens, because its clock is not perfect."""

    clock_error_ppm: Annotated[int, Field(ge=0, le=50_000)]
    jitter_us: Annotated[int, Field(ge=0, le=200_000)]
    sources: Sources


class PowerBus(Table):
    """The I2C bus of a power chip that has one of its own."""

    id: Literal[0, 1]
    sda: Gpio
    scl: Gpio
    freq: Annotated[int, Field(ge=10_000, le=400_000)]


class Axp192(Table):
    """What its rails feed. What the processor needs (DCDC1, DCDC3) is no name here: nobody can switch it off."""

    radio: Literal["ldo2", "ldo3"]
    on: list[Literal["ldo2", "ldo3"]] = Field(default_factory=list)  # always
    off: list[Literal["ldo2", "ldo3"]] = Field(default_factory=list)  # what a node does not need: GNSS


AldoBldo = Literal["aldo1", "aldo2", "aldo3", "aldo4", "bldo1", "bldo2"]


class Axp2101(Table):
    """What its rails feed. What the processor needs (DC1) is no name here."""

    radio: AldoBldo
    on: list[AldoBldo] = Field(default_factory=list)
    off: list[AldoBldo] = Field(default_factory=list)


class Pmu(Table):
    """A power chip at I2C address 0x34: one table for each that the board may have, the node asks which it is."""

    i2c: PowerBus | None = None  # without it: on the bus of the sensors
    axp192: Axp192 | None = None
    axp2101: Axp2101 | None = None
    sources: Sources

    @property
    def chips(self) -> dict[str, Axp192 | Axp2101]:
        """Those that the board may have, by name."""
        both = {"axp192": self.axp192, "axp2101": self.axp2101}
        return {name: table for name, table in both.items() if table}


class Battery(Table):
    """The voltage divider at the battery; or pmu = true and nothing else: the power chip measures it."""

    pmu: Literal[True] | None = None
    adc: Gpio | None = None
    ratio: Annotated[float, Field(ge=1, le=20)] | None = None
    trim: Annotated[float, Field(ge=0.5, le=2)] = 1.0
    atten_db: Annotated[float, AfterValidator(_attenuation)] | None = None
    enable_pin: Gpio | None = None
    enable_level: Literal[0, 1, "sense"] | None = None  # "sense": the opposite of the pin's idle level
    settle_ms: Annotated[int, Field(ge=0, le=1000)] = 10
    sources: Sources


class Vext(Table):
    """The switched supply of display and outside sensors."""

    pin: Gpio
    on: Level
    settle_ms: Annotated[int, Field(ge=0, le=5000)]
    sources: Sources


class Led(Table):
    """The light for people."""

    pin: Gpio
    on: Level
    sources: Sources


class Button(Table):
    """The button for people; held, it keeps the node awake."""

    pin: Gpio
    pressed: Level
    sources: Sources


class I2c(Table):
    """The bus for outside sensors."""

    id: Literal[0, 1]
    sda: Gpio
    scl: Gpio
    freq: Annotated[int, Field(ge=10_000, le=1_000_000)]
    sources: Sources


class Uart(Table):
    """A serial line for an outside sensor: of the three that the chip has, not the first, which people talk to."""

    id: Annotated[int, Field(ge=1, le=2)]
    tx: Gpio  # of the board: the sensor's RX
    rx: Gpio


class Ports(Table):
    """Pins for outside sensors that nothing on the board needs, the best first; one may be in several lists, a sensor
    takes the first that is free."""

    uart: list[Uart] = Field(default_factory=list)
    onewire: list[Gpio] = Field(default_factory=list)
    adc: list[Gpio] = Field(default_factory=list)
    pulse: list[Gpio] = Field(default_factory=list)
    power: Text | None = None  # what is printed beside the pin of the 3.3 V that the node switches for them
    sources: Sources


class Usb(Table):
    """At a computer's USB socket: as what the board shows itself, and how the node notices that a computer is there."""

    ids: Annotated[list[UsbId], Field(min_length=1)]  # "10c4:ea60"; the first is the usual one
    sense: Literal["battery-above", "pmu", "usb-frames", "none"]
    mv: Annotated[int, Field(ge=3000, le=6000)] | None = None
    sources: Sources


class Sleep(Table):
    """What is done before deep sleep, and what it was measured to cost."""

    recipe: Annotated[list[Text], Field(min_length=1)]
    current_ua: Annotated[float, Field(gt=0)] | Literal["not measured"]
    sources: Sources


class Board(Table):
    """One file of `boards/`."""

    format: Literal[1]
    name: Name
    title: Text
    notes: list[Text] = Field(default_factory=list)
    sources: dict[str, Text]
    module: Module
    micropython: Micropython
    bootloader: Bootloader
    radio: Radio
    antenna: Antenna
    timing: Timing
    pmu: Pmu | None = None
    battery: Battery | None = None
    vext: Vext | None = None
    led: Led | None = None
    button: Button | None = None
    i2c: I2c | None = None
    ports: Ports | None = None
    usb: Usb
    sleep: Sleep


class Bus(Table):
    """How a sensor is talked to. Which keys there are is said by `kind`: BUS_KEYS."""

    kind: Literal["i2c", "uart", "onewire", "adc", "pulse"]
    # i2c
    addresses: Annotated[list[Annotated[int, Field(ge=0x08, le=0x77)]], Field(min_length=1)] | None = None
    freq_max: Annotated[int, Field(ge=10_000)] | None = None
    # uart: 8 data bits, no parity, 1 stop bit
    baud: Annotated[int, Field(ge=1_200, le=921_600)] | None = None
    # adc
    atten_db: Annotated[float, AfterValidator(_attenuation)] | None = None
    # pulse: a contact to ground
    debounce_ms: Annotated[int, Field(ge=10, le=1_000)] | None = None
    sources: Sources


BUS_KEYS = {  # of each kind, beside `sources`: all must be there
    "i2c": ("addresses", "freq_max"),
    "uart": ("baud",),
    "onewire": (),
    "adc": ("atten_db",),
    "pulse": ("debounce_ms",),
}


class Power(Table):
    """What a sensor needs."""

    supply_v: Annotated[list[float], Field(min_length=2, max_length=2)]
    startup_ms: Annotated[int, Field(ge=0)]
    measure_ms: Annotated[int, Field(ge=0)]
    warm_up_ms: Annotated[int, Field(ge=0, le=300_000)] = 0  # between the driver's start() and its read()
    active_ua: Annotated[float, Field(ge=0)]
    sleep_ua: Annotated[float, Field(ge=0)]
    sources: Sources


EVERY_S = (0, 86_400)
TAKEN_SETTINGS = {
    "driver", "bus", "address", "id", "tx", "rx", "baud", "pin", "atten_db", "debounce_ms", "pull", "quantities",
    "every_s", "warm_up_ms", "startup_ms", "asked_s", "now_s",
}  # fmt: skip
"""What else stands in a sensor's entry of config.json (spatz.wiring, node.measure): no setting may be called so."""


class Rhythm(Table):
    """How often a sensor is asked."""

    every_s: Annotated[int, Field(ge=EVERY_S[0], le=EVERY_S[1])] = 0  # 0: at every wake
    sources: list[str] = Field(default_factory=list)


class Setting(Table):
    """A number that belongs to one sensor or to its place. Without a default, whoever builds the node must say it."""

    default: float | None = None
    least: float | None = None
    most: float | None = None
    above: SettingName | None = None  # another setting, which must be less than this one


def _setting(value: object) -> object:
    return {"default": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Calibration(Table):
    """Settings by name; one that is written as a number is its default, and has no limits."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[SettingName, Annotated[Setting, BeforeValidator(_setting)]] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]
    sources: list[str] = Field(default_factory=list)

    @property
    def settings(self) -> dict[str, Setting]:
        """All of them, by name."""
        return dict(self.__pydantic_extra__ or {})


class Sensor(Table):
    """One file of `boards/sensors/`."""

    format: Literal[1]
    name: Name
    title: Text
    driver: ModuleName  # module of firmware/sensors/
    quantities: Annotated[list[Text], Field(min_length=1)]
    instead: list[Text] = Field(default_factory=list)  # what one of them may be called instead, by where it hangs
    rank: Annotated[int, Field(ge=1, le=99)] = 50  # of those found by themselves that measure the same, the lowest does
    notes: list[Text] = Field(default_factory=list)
    sources: dict[str, Text]
    bus: Bus
    power: Power
    rhythm: Rhythm = Rhythm()
    calibration: Calibration = Calibration()
