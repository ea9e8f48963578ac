"""From bytes to a reading: the nest's side of `boards/payload.md`, without I/O."""

from __future__ import annotations

import dataclasses
import functools
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from nest.quantities import Quantity, by_bit

FPORT_READING = 1
_MORE = 0x80  # bit 7 of a bitmap byte: another one follows
_BITS_PER_BITMAP_BYTE = 7


class PayloadError(ValueError):
    """These bytes are not a reading; the message says why, in English, for the log and the archive."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """One reading. A quantity that the node did not measure appears nowhere: missing is not zero."""

    values: dict[str, float]  # quantity -> value in its unit
    failed: set[str]  # the sensor did not deliver
    out_of_range: set[str]  # measured, but outside what the sensor or the code can say
    trailing: int  # bytes behind the reading: room for earlier readings, not read here


def decode(fport: int | None, payload: bytes) -> Decoded:
    """Decode one FRMPayload (boards/payload.md, "fPort 1").

    Raises PayloadError: another fPort, or bytes that no encoder of this format sends.
    """
    if fport != FPORT_READING:
        raise PayloadError(f"fPort {fport} carries no reading")
    bitmap_size = 1
    for byte in payload:
        if byte < _MORE:
            break
        bitmap_size += 1
    layout = _layout(payload[:bitmap_size])
    size = bitmap_size + layout.size
    if size > len(payload):
        raise PayloadError(f"{len(payload)} bytes, but the presence bitmap promises {size}")
    number = int.from_bytes(payload[bitmap_size:size], "big")
    if number & layout.padding:
        raise PayloadError("the padding behind the values is not zero")
    decoded = Decoded({}, set(), set(), trailing=len(payload) - size)
    values = decoded.values
    for name, shift, mask, table in layout.places:
        code = number >> shift & mask
        if code < mask - 1:
            values[name] = table[code]
        elif code == mask:
            decoded.failed.add(name)
        else:
            decoded.out_of_range.add(name)
    return decoded


class _Layout(NamedTuple):
    """Where the values of one presence bitmap stand."""

    size: int  # bytes behind the bitmap
    padding: int  # the bits that must be zero
    # name, shift, mask (all ones: failed; one less: out of range), value of each code
    places: tuple[tuple[str, int, int, Sequence[float]], ...]


@functools.lru_cache(maxsize=1024)  # a town's nodes have a few; a strange one costs only itself
def _layout(bitmap: bytes) -> _Layout:
    present = _presence(bitmap)
    size = (sum(quantity.bits for quantity in present) + 7) // 8
    left, places = size * 8, []
    for quantity in present:
        left -= quantity.bits
        mask = (1 << quantity.bits) - 1
        places.append((quantity.name, left, mask, _values(quantity)))
    return _Layout(size, (1 << left) - 1, tuple(places))


@functools.cache
def _values(quantity: Quantity) -> Sequence[float]:
    """The value of each code: rounding takes longer than all the rest. 17 bits, the widest, are 1 MB."""
    return array("d", [quantity.value(code) for code in range(quantity.code_out_of_range)])


def _presence(bitmap: bytes) -> list[Quantity]:
    """The present quantities in the order of their bits."""
    table = by_bit()
    present: list[Quantity] = []
    for index, byte in enumerate(bitmap):
        for place in range(_BITS_PER_BITMAP_BYTE):
            if byte >> place & 1:
                bit = index * _BITS_PER_BITMAP_BYTE + place
                if bit not in table:
                    raise PayloadError(f"presence bit {bit} is not in the table of quantities")
                present.append(table[bit])
    if not bitmap or bitmap[-1] & _MORE:
        raise PayloadError("the presence bitmap does not end" if bitmap else "empty")
    return present
