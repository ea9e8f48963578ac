"""Which sensor of a node hangs on which pins: "sensors" and "find" of its `config.json`.

A sensor is wished for by its name, or with options: "soil:dry_uv=2600000,wet_uv=1200000", or as a dict with "sensor":
"soil". Options are the settings of its [calibration], `every_s` (its rhythm), `quantities` ("co2+humidity": only
these, or what its file has under `instead`), and where it hangs: `address`, `tx` and `rx`, or `pin`. Without those it
takes the first of the board's [ports] that nothing else has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.boards import list_sensors, load_sensor, outside, pins, wrong_port
from spatz.catalogue import EVERY_S, Board, Sensor, Uart
from spatz.chips import CHIPS

Wish = Sensor | str | Mapping[str, Any]
AUTO = "auto"
NONE = "none"  # alone: nothing is looked for
_WHERE = {"i2c": ("address",), "uart": ("tx", "rx"), "onewire": ("pin",), "adc": ("pin",), "pulse": ("pin",)}


@dataclass(frozen=True)
class _Wished:
    sensor: Sensor
    options: Mapping[str, Any]


@dataclass
class _Free:
    """What is left of a board."""

    board: Board
    pins: dict[int, str]  # GPIO -> who has it
    addresses: dict[int, str] = field(default_factory=dict)
    uarts: set[int] = field(default_factory=set)
    contact: str = ""  # only one can wake the chip

    def take(self, gpio: int, sensor: Sensor) -> int:
        self.pins[gpio] = sensor.title
        return gpio


def wire(board: Board, sensors: Sequence[Wish]) -> dict[str, Any]:
    """{"sensors": [entry, ...]} and, where one of the wishes is "auto", {"find": [entry, ...]} besides; "none" alone
    is no sensor at all.

    Raises:
        UserError: a wish cannot be, or the board cannot carry it.
    """
    if NONE in sensors and len(sensors) > 1:
        raise UserError(tr('"none" and a sensor cannot both be wished for.'), tr("Leave one of the two out."))
    wished = [_parse(wish) for wish in sensors if wish not in (AUTO, NONE)]
    given = {"battery": board.name} if board.battery else {}
    free = _Free(board, {gpio: board.title for _, gpio, _ in pins(board)})
    # those that say where they hang come first: the others take what is left
    places = {
        at: _place(free, one)
        for at, one in sorted(enumerate(wished), key=lambda item: not set(item[1].options) & set(_where(item[1])))
    }
    result: dict[str, Any] = {
        "sensors": [_entry(board, one, places[at], _own(one, given)) for at, one in enumerate(wished)]
    }
    if AUTO in sensors:
        result["find"] = _candidates(board, free)
    return result


def sensor_of(wish: Wish) -> Sensor:
    """The sensor that is wished for, options apart. Raises UserError when there is none."""
    return _parse(wish).sensor


def _candidates(board: Board, free: _Free) -> list[dict[str, Any]]:
    """Every I2C sensor at each of its addresses, the best first; the node asks the bus which there are."""
    _check_i2c(board, None)
    known = (load_sensor(name) for name in list_sensors())
    found = sorted((sensor for sensor in known if sensor.bus.kind == "i2c"), key=lambda sensor: sensor.rank)
    return [
        _entry(board, _Wished(sensor, {}), {"address": address}, list(sensor.quantities))
        for sensor in found
        if (sensor.bus.freq_max or 0) >= (board.i2c.freq if board.i2c else 0)
        for address in sensor.bus.addresses or ()
        if address not in free.addresses
        and all(setting.default is not None for setting in sensor.calibration.settings.values())
    ]


# --- wishes -----------------------------------------------------------------------------------------------------------


def _parse(wish: Wish) -> _Wished:
    if isinstance(wish, Sensor):
        return _Wished(wish, {})
    if isinstance(wish, str):
        name, _, text = wish.partition(":")
        options: dict[str, Any] = dict(_option(wish, part) for part in text.split(",") if part.strip())
    else:
        options = {str(key): value for key, value in wish.items()}
        name = str(options.pop("sensor", ""))
    sensor = load_sensor(name.strip())
    allowed = (*sensor.calibration.settings, "every_s", "quantities", *_WHERE[sensor.bus.kind])
    for key in options:
        if key not in allowed:
            raise UserError(
                tr("{sensor} has no option {key}.", sensor=sensor.title, key=key),
                tr("Its options: {names}.", names=", ".join(allowed)),
            )
    if missing := [key for key in ("tx", "rx") if key not in options and {"tx", "rx"} & set(options)]:
        raise UserError(
            tr("{sensor} is given one pin of its serial line, not {key}.", sensor=sensor.title, key=missing[0]),
            tr("Say both tx and rx, or neither."),
        )
    return _Wished(sensor, options)


def _option(wish: str, part: str) -> tuple[str, Any]:
    key, equals, text = (piece.strip() for piece in part.partition("="))
    if not (key and equals and text):
        raise UserError(
            tr('"{wish}" is no sensor with options.', wish=wish),
            tr("Write it like this: {example}", example="soil:dry_uv=2600000,wet_uv=1200000"),
        )
    if key == "quantities":
        return key, text.split("+")
    for kind in (int, float):
        try:
            return key, kind(text, 0) if kind is int else kind(text)  # type: ignore[operator]
        except ValueError:
            continue
    raise _wrong(key, text, tr("a number"))


def _wrong(key: str, value: object, wanted: str) -> UserError:
    return UserError(
        tr("The option {key} is {value}, expected {wanted}.", key=key, value=value, wanted=wanted),
        tr("Correct it, or leave it out."),
    )


def _number(key: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(key, value, tr("a whole number from {low} to {high}", low=low, high=high))
    return value


def _own(one: _Wished, given: dict[str, str]) -> list[str]:
    """What this sensor measures and none before it; at least one."""
    sensor = one.sensor
    wished = one.options.get("quantities", sensor.quantities)
    known = [*sensor.quantities, *sensor.instead]
    if not isinstance(wished, list) or not wished or not set(wished) <= set(known) or len(set(wished)) < len(wished):
        text = "+".join(map(str, wished)) if isinstance(wished, list) else wished
        raise _wrong("quantities", text, tr("some of {names}, with + between them", names=", ".join(known)))
    if len(wished) > len(sensor.quantities):
        raise _wrong("quantities", "+".join(wished), tr("at most {limit} of them", limit=len(sensor.quantities)))
    own = [quantity for quantity in wished if quantity not in given]
    if not own:
        raise UserError(
            tr(
                "{first} and {second} both measure {quantity}; a node sends each quantity once.",
                first=given[wished[0]],
                second=sensor.name,
                quantity=wished[0],
            ),
            tr("Leave one of the two sensors out."),
        )
    given.update(dict.fromkeys(own, sensor.name))
    return own


# --- where it hangs ---------------------------------------------------------------------------------------------------


def _where(one: _Wished) -> tuple[str, ...]:
    return _WHERE[one.sensor.bus.kind]


def _place(free: _Free, one: _Wished) -> dict[str, Any]:
    """The fields of the entry that say where the sensor hangs."""
    kind = one.sensor.bus.kind
    if kind == "i2c":
        return {"address": _address(free, one)}
    if kind == "uart":
        uart = _uart(free, one)
        for gpio in (uart.tx, uart.rx):
            free.take(gpio, one.sensor)
        free.uarts.add(uart.id)
        return {"id": uart.id, "tx": uart.tx, "rx": uart.rx, "baud": one.sensor.bus.baud}
    pin = _pin(free, one, kind)
    if kind == "adc":
        return {"pin": pin, "atten_db": one.sensor.bus.atten_db}
    if kind == "pulse":
        if free.contact:
            raise UserError(
                tr("{first} and {second} cannot both wake the node.", first=free.contact, second=one.sensor.title),
                tr("Leave one of the two sensors out."),
            )
        free.contact = one.sensor.title
        pull = pin not in CHIPS[free.board.module.chip].input_only
        return {"pin": pin, "debounce_ms": one.sensor.bus.debounce_ms, "pull": pull}
    return {"pin": pin}


def _check_i2c(board: Board, sensor: Sensor | None) -> None:
    title = sensor.title if sensor else tr("sensors that are found by themselves")
    if board.i2c is None:
        raise UserError(
            tr("{board} has no I2C bus for {sensor}.", board=board.title, sensor=title),
            tr("Choose another board, or add its [i2c] pins to boards/{name}.toml.", name=board.name),
        )
    if sensor and board.i2c.freq > (sensor.bus.freq_max or 0):
        raise UserError(
            tr("{sensor} is too slow for the I2C bus of {board}.", sensor=title, board=board.title),
            tr("Lower freq under [i2c] in boards/{name}.toml.", name=board.name),
        )


def _address(free: _Free, one: _Wished) -> int:
    """The address that was wished for, or the first one that is free."""
    _check_i2c(free.board, one.sensor)
    known = one.sensor.bus.addresses or []
    wished = one.options.get("address")
    if wished is not None and wished not in known:
        raise _wrong("address", wished, tr("one of {values}", values=", ".join(hex(address) for address in known)))
    left = [address for address in known if address not in free.addresses and wished in (None, address)]
    if not left:
        raise UserError(
            tr("{sensor} has no free address on the I2C bus.", sensor=one.sensor.title),
            tr("Leave one of the two sensors out."),
        )
    free.addresses[left[0]] = one.sensor.title
    return left[0]


def _uart(free: _Free, one: _Wished) -> Uart:
    known = free.board.ports.uart if free.board.ports else []
    if "tx" in one.options:
        tx, rx = (_wished_pin(free, key, one.options[key], use) for key, use in (("tx", "output"), ("rx", "input")))
        if tx == rx:
            raise _wrong("rx", rx, tr("another GPIO than tx"))
        left = [number for number in (1, 2) if number not in free.uarts]
        if not left:
            raise _no_place(free.board, one.sensor, (port.tx for port in known))
        return Uart(id=left[0], tx=tx, rx=rx)
    for port in known:
        if port.id not in free.uarts and not {port.tx, port.rx} & set(free.pins):
            return port
    raise _no_place(free.board, one.sensor, (port.tx for port in known))


def _pin(free: _Free, one: _Wished, kind: str) -> int:
    if "pin" in one.options:
        use = {"onewire": "output"}.get(kind, kind)
        return free.take(_wished_pin(free, "pin", one.options["pin"], use), one.sensor)
    known: list[int] = getattr(free.board.ports, kind, [])
    left = [gpio for gpio in known if gpio not in free.pins]
    if not left:
        raise _no_place(free.board, one.sensor, known)
    return free.take(left[0], one.sensor)


def _wished_pin(free: _Free, key: str, value: object, use: str) -> int:
    gpio = _number(key, value, 0, 127)
    if wanted := wrong_port(free.board, gpio, use):
        raise _wrong(key, gpio, wanted)
    if gpio in free.pins:
        raise _wrong(key, gpio, tr("a GPIO that is free; {key} has it already", key=free.pins[gpio]))
    return gpio


def _no_place(board: Board, sensor: Sensor, known: Iterable[int]) -> UserError:
    kind = sensor.bus.kind
    message = tr("{board} has no pins left for {sensor}.", board=board.title, sensor=sensor.title)
    if not list(known):
        return UserError(
            message, tr("Choose another board, or add ports.{kind} to boards/{name}.toml.", kind=kind, name=board.name)
        )
    return UserError(message, tr("Leave a sensor out, or say other pins: {names}.", names=", ".join(_WHERE[kind])))


# --- the entry --------------------------------------------------------------------------------------------------------


def _entry(board: Board, one: _Wished, place: Mapping[str, Any], quantities: list[str]) -> dict[str, Any]:
    """What the firmware reads of this sensor (node/measure.py)."""
    sensor = one.sensor
    entry: dict[str, Any] = {"driver": sensor.driver, "bus": sensor.bus.kind, **place, "quantities": quantities}
    every_s = one.options.get("every_s", sensor.rhythm.every_s)
    if _number("every_s", every_s, *EVERY_S) or sensor.rhythm.every_s:
        entry["every_s"] = every_s or 1  # at every wake; its turns are kept note of, as it has a rhythm of its own
    if sensor.power.warm_up_ms:
        entry["warm_up_ms"] = sensor.power.warm_up_ms
    if board.vext and sensor.power.startup_ms > board.vext.settle_ms:
        entry["startup_ms"] = sensor.power.startup_ms - board.vext.settle_ms
    for key, setting in sensor.calibration.settings.items():
        value = one.options.get(key, setting.default)
        if value is None:
            raise UserError(
                tr("{sensor} needs its {key}, which nobody else can know.", sensor=sensor.title, key=key),
                tr("Write it like this: {example}", example=f"{sensor.name}:{key}=…"),
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _wrong(key, value, tr("a number"))
        if wanted := outside(setting, value):
            raise _wrong(key, value, wanted)
        entry[key] = int(value) if float(value).is_integer() else value
    for key, setting in sensor.calibration.settings.items():
        if setting.above in entry and entry[key] <= entry[setting.above]:
            wanted = tr("more than {key}, which is {value}", key=setting.above, value=entry[setting.above])
            raise _wrong(key, entry[key], wanted)
    return entry
