"""The codes of a reading as the archive keeps them: as a node sends them (boards/payload.md, bitmap and values), in the
one way in which an encoder writes them. Equal readings are equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nest import payload
from nest.quantities import by_name

GOOD = "good"
QUALITY_NAMES = {payload.FAILED: "failed", payload.OUT_OF_RANGE: "out_of_range"}  # of a code that is no value
QUALITY_CODES = {name: code for code, name in QUALITY_NAMES.items()}


def pack(codes: Mapping[str, int]) -> bytes:
    """quantity -> code >= 0, payload.FAILED or payload.OUT_OF_RANGE, as bytes.

    Raises KeyError: no such quantity. ValueError: no such code.
    """
    number = width = 0
    for name, quantity in by_name().items():
        if name in codes:
            code = codes[name]
            if not payload.OUT_OF_RANGE <= code < quantity.code_out_of_range:
                raise ValueError(f"{name} has no code {code}")
            number = number << quantity.bits | payload.raw_code(quantity, code)
            width += quantity.bits
    size = (width + 7) // 8
    return payload.bitmap_of(codes) + (number << size * 8 - width).to_bytes(size, "big")


def unpack(packed: bytes) -> dict[str, int]:
    """The other way, in the order of the table of quantities. Raises payload.PayloadError: no reading."""
    return payload.decode(payload.FPORT_READING, packed).codes


def bitmap(packed: bytes) -> bytes:
    """The presence bitmap at the beginning of `packed`."""
    size = 1
    while size < len(packed) and packed[size - 1] & 0x80:
        size += 1
    return packed[:size]


def qualities(codes: Mapping[str, int]) -> dict[str, str]:
    """quantity -> "good", "failed" or "out_of_range"."""
    return {name: GOOD if code >= 0 else QUALITY_NAMES[code] for name, code in codes.items()}


def values(codes: Mapping[str, int]) -> dict[str, float | None]:
    """quantity -> value in its unit, None where the sensor failed or it was out of range."""
    good = payload.values(codes)
    return {name: good.get(name) for name in codes}


def from_values(
    values: Mapping[str, float], failed: Iterable[str] = (), out_of_range: Iterable[str] = ()
) -> dict[str, int]:
    """The codes of a reading that no frame brought. A value is rounded to the resolution of its quantity (halves up);
    one that no code can carry is out of range, one that is not a number has failed.

    Raises LookupError: no such quantity.
    """
    table = by_name()
    given = {name: payload.code_of(table[name], value) for name, value in values.items()}
    given |= dict.fromkeys(failed, payload.FAILED)
    given |= dict.fromkeys(out_of_range, payload.OUT_OF_RANGE)
    for name in given:
        if name not in table:
            raise LookupError(f"no quantity {name}")
    return {name: given[name] for name in table if name in given}
