"""The node's own copy of `boards/quantities.toml`: `python -m spatz.quantities` rewrites `firmware/payload/table.py`.

A node has no TOML reader and needs only six columns, so they are compiled; a test fails when the copy is stale.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from nest.i18n import tr
from nest.resources import boards_dir
from pydantic import Field

from spatz.resources import firmware_dir
from spatz.tomlfile import Problem, Table, dotted, line_of, read, shown, user_error, validate

MAX_BITS = 24  # an ESP32's float has 24 bits of mantissa: a wider code could not be computed on the node


class SensorThings(Table):
    """The observed property of OGC SensorThings 1.1, part 1, 8.2.6."""

    name: Annotated[str, Field(min_length=1)]
    definition: Annotated[str, Field(pattern=r"^https?://")]


class HomeAssistant(Table):
    """Keys of Home Assistant's MQTT discovery."""

    device_class: Annotated[str, Field(min_length=1)]
    state_class: Annotated[str, Field(pattern=r"^(measurement|total|total_increasing)$")]


class Doubt(Table):
    """When the nest flags a value; 0: never. `spike` and `apart` in the quantity's unit."""

    spike: Annotated[float, Field(ge=0)] = 0.0
    stuck_h: Annotated[float, Field(ge=0)] = 0.0
    apart: Annotated[float, Field(ge=0)] = 0.0
    apart_km: Annotated[float, Field(ge=0)] = 0.0


class Quantity(Table):
    """One `[[quantity]]`."""

    bit: Annotated[int, Field(ge=0, le=62)]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    unit: Annotated[str, Field(min_length=1)]
    ucum: Annotated[str, Field(min_length=1)]
    minimum: float
    resolution: Annotated[float, Field(gt=0)]
    bits: Annotated[int, Field(ge=2, le=MAX_BITS)]
    residue: Annotated[int, Field(ge=2, le=MAX_BITS)]
    decimals: Annotated[int, Field(ge=0, le=6)]
    label_en: Annotated[str, Field(min_length=1)]
    label_de: Annotated[str, Field(min_length=1)]
    meaning_en: Annotated[str, Field(min_length=1)]
    meaning_de: Annotated[str, Field(min_length=1)]
    sensorthings: SensorThings
    homeassistant: HomeAssistant
    doubt: Doubt = Doubt()

    @property
    def steps_per_unit(self) -> Fraction:
        """1 / resolution, exactly: 0.1 gives 10."""
        return 1 / Fraction(str(self.resolution))

    @property
    def maximum(self) -> float:
        """The value of the highest code that is a value, 2^bits - 3."""
        return round(self.minimum + ((1 << self.bits) - 3) * self.resolution, self.decimals)


class Quantities(Table):
    """The whole file."""

    quantity: Annotated[list[Quantity], Field(min_length=1)]


def load_quantities() -> list[Quantity]:
    """All quantities, in the order of their bits.

    Raises:
        UserError: the file is broken; a name or a bit is used twice; a resolution is not one part of a whole unit.
    """
    path = boards_dir() / "quantities.toml"
    data, lines = read(path)
    rows = validate(path, Quantities, data, lines).quantity
    problems: list[Problem] = []
    seen: set[object] = set()
    for index, row in enumerate(rows):
        for key in ("bit", "name"):
            value = getattr(row, key)
            if (key, value) in seen:
                at = ("quantity", index, key)
                problems.append(Problem(path, line_of(lines, at), dotted(at), shown(value), tr("a value of its own")))
            seen.add((key, value))
        if row.steps_per_unit.denominator != 1:
            at = ("quantity", index, "resolution")
            problems.append(
                Problem(
                    path, line_of(lines, at), dotted(at), shown(row.resolution), tr("1, or 1 divided by a whole number")
                )
            )
    if problems:
        raise user_error(problems)
    return sorted(rows, key=lambda row: row.bit)


def render_table(quantities: list[Quantity]) -> str:
    """The text of `firmware/payload/table.py`."""
    rows = "".join(
        f'    ({row.bit}, "{row.name}", {_number(row.minimum)}, {row.steps_per_unit.numerator}, {row.bits}, '
        f"{row.residue}),  # {row.unit}\n"
        for row in quantities
    )
    return (
        '"""The table of quantities, made from boards/quantities.toml by `python -m spatz.quantities`; edit it there.\n'
        "\n"
        "One row per quantity in the order of the presence bits: bit, name, minimum (in the unit of the comment),\n"
        "steps per unit (1 / resolution), bits of the code, bits of its residue (boards/payload.md, Parity).\n"
        '"""\n'
        "\n"
        f"QUANTITIES = (\n{rows})\n"
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def main() -> None:
    """Rewrite the node's table."""
    path = firmware_dir() / "payload" / "table.py"
    path.write_text(render_table(load_quantities()), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
