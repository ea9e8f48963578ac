"""The one table of quantities (`boards/quantities.toml`), as the host reads it."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from typing import Any

from nest.resources import boards_dir


@dataclasses.dataclass(frozen=True, slots=True)
class Doubt:
    """When a value is doubtful (nest.archive.days_flags); 0: never."""

    spike: float = 0.0  # a jump and a return of more than this, in the quantity's unit
    stuck_h: float = 0.0  # the same code for so many hours
    apart: float = 0.0  # further than this from what nodes nearby measure, in the quantity's unit
    apart_km: float = 0.0  # that is nearby


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity: how its value is coded in a payload, and what it is called where."""

    bit: int  # presence bit in the payload, and its number in the archive; never moves
    name: str
    unit: str  # for people, "°C"
    ucum: str  # for machines, "Cel"
    minimum: float  # value of code 0, in `unit`
    resolution: float  # value of one step
    bits: int  # width of the code
    residue: int  # width of what parity carries of it
    decimals: int  # shown to people
    label_en: str
    label_de: str
    meaning_en: str  # what the number means, one plain sentence
    meaning_de: str
    sensorthings: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)  # name, definition
    homeassistant: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)  # device_class, state_class
    doubt: Doubt = Doubt()

    @property
    def code_failed(self) -> int:
        """The code that says: the sensor failed."""
        return (1 << self.bits) - 1

    @property
    def code_out_of_range(self) -> int:
        """The code that says: measured, but outside minimum..maximum."""
        return (1 << self.bits) - 2

    @property
    def maximum(self) -> float:
        """The greatest value a code can carry, in `unit`."""
        return self.value(self.code_out_of_range - 1)

    def value(self, code: int) -> float:
        """The value of `code`, in `unit`, rounded to `decimals` (21.4, not 21.400000000000006)."""
        return round(self.minimum + code * self.resolution, self.decimals)

    def label(self, language: str) -> str:
        return self.label_de if language == "de" else self.label_en

    def meaning(self, language: str) -> str:
        return self.meaning_de if language == "de" else self.meaning_en


@functools.cache
def all_quantities() -> tuple[Quantity, ...]:
    """Every quantity, in the order of its presence bit."""
    with (boards_dir() / "quantities.toml").open("rb") as file:
        tables: list[dict[str, Any]] = tomllib.load(file)["quantity"]
    fields = {field.name for field in dataclasses.fields(Quantity)}
    found = [
        Quantity(
            **{key: value for key, value in table.items() if key in fields and key != "doubt"},
            doubt=Doubt(**table.get("doubt", {})),
        )
        for table in tables
    ]
    return tuple(sorted(found, key=lambda quantity: quantity.bit))


@functools.cache
def by_name() -> Mapping[str, Quantity]:
    """Name -> Quantity, in the order of the presence bit."""
    return {quantity.name: quantity for quantity in all_quantities()}


@functools.cache
def by_bit() -> Mapping[int, Quantity]:
    """Presence bit -> Quantity."""
    return {quantity.bit: quantity for quantity in all_quantities()}
