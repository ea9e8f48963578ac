"""What people wish of one node: its board, its sensors, how often it measures. `config.json` is compiled from it.

It is kept twice: in the town's registry, so that an interrupted board is mended without a question, and in the node's
own `spatz.json`, so that a node can be updated by somebody who does not have the town. Nothing secret is in it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.catalogue import ANTENNA_GAIN_DBI
from spatz.config import FAIR_USE_S, INTERVAL_S, JOIN_DR, PARITY, SAFE_WINDOW_S, compile_config

LONGEST_TEXT = 1 << 16  # characters of what is read
LONGEST_NAME = 200  # characters, of a sensor with its options
MOST_SENSORS = 20


@dataclass(frozen=True, slots=True)
class Wishes:
    """As in `spatz.config.compile_config`; sensors as there, by name."""

    name: str
    board: str
    sensors: tuple[str, ...] = ("auto",)
    interval_s: int = 600
    safe_window_s: int = 60
    confirmed: bool = False
    region: str = "EU868"
    antenna_gain_dbi: float | None = None
    fair_use_s: int = 0
    join_dr: int | None = None
    parity: int = 1

    def config(self) -> dict[str, Any]:
        """The node's `config.json`. Raises UserError: a wish cannot be, or the board cannot carry the sensors."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return compile_config(values.pop("board"), values.pop("sensors"), values.pop("name"), **values)

    def to_json(self) -> str:
        """One line; what is as always is left out."""
        always = {field.name: field.default for field in dataclasses.fields(self)}
        return json.dumps({k: v for k, v in dataclasses.asdict(self).items() if v != always[k]}, ensure_ascii=False)


def wishes_of(text: str) -> Wishes:
    """The other way, whoever has written it: each value is of its type and within its limits; which names there are
    is seen by `config`. Raises UserError: it was written by a newer Funkspatz, or is damaged."""
    return _wishes(_loaded(text))


def wishes_in(manifest: str | bytes) -> Wishes:
    """The same, of a node's `spatz.json`. Raises UserError, as there."""
    said = _loaded(manifest)
    return _wishes(said.get("wishes") if isinstance(said, dict) else None)


def _loaded(text: object) -> object:
    if not isinstance(text, str | bytes) or len(text) > LONGEST_TEXT:
        raise _unreadable()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _unreadable() from None


def _wishes(values: object) -> Wishes:
    if not isinstance(values, dict) or not {"name", "board"} <= {*values} <= {*_GOOD}:
        raise _unreadable()
    if not all(_GOOD[name](value) for name, value in values.items()):
        raise _unreadable()
    return Wishes(**{**values, "sensors": tuple(values.get("sensors", ("auto",)))})


def _unreadable() -> UserError:
    return UserError(
        tr("What was wished of this node cannot be read."), tr("Say it again: spatz flash --board … --sensor …")
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and value.isprintable()


def _are_sensors(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MOST_SENSORS and all(map(_is_text, value))


def _whole(limits: tuple[int, int]) -> Callable[[object], bool]:
    return lambda value: type(value) is int and limits[0] <= value <= limits[1]  # True is no number


def _is_gain(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and ANTENNA_GAIN_DBI[0] <= value <= ANTENNA_GAIN_DBI[1])


_GOOD: dict[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "board": _is_text,
    "sensors": _are_sensors,
    "interval_s": _whole(INTERVAL_S),
    "safe_window_s": _whole(SAFE_WINDOW_S),
    "confirmed": lambda value: type(value) is bool,
    "region": _is_text,
    "antenna_gain_dbi": _is_gain,
    "fair_use_s": _whole(FAIR_USE_S),
    "join_dr": lambda value: value is None or _whole(JOIN_DR)(value),
    "parity": _whole(PARITY),
}
