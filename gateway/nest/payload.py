"""From bytes to a reading: the nest's side of `boards/payload.md`, without I/O. What stands behind the current reading
is for `nest.extras` and `nest.healing`.
"""

from __future__ import annotations

import dataclasses
import functools
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nest.quantities import Quantity, by_bit, by_name

FPORT_READING = 1
FAILED, OUT_OF_RANGE = -1, -2  # in the place of a code: the sensor did not deliver; it could not say it
_MORE = 0x80  # bit 7 of a bitmap byte: another one follows
_BITS_PER_BITMAP_BYTE = 7


class PayloadError(ValueError):
    """These bytes are not a reading; the message says why, in English, for the log and the archive."""


@dataclasses.dataclass(slots=True)
class Decoded:
    """One reading. A quantity that the node did not measure appears nowhere: missing is not zero.

    A value, though not frozen: thousands a second are made.
    """

    codes: dict[str, int]  # quantity -> its code, FAILED or OUT_OF_RANGE; in the order of the table
    rest: bytes  # what stands behind the reading

    @property
    def values(self) -> dict[str, float]:
        """quantity -> value in its unit."""
        return values(self.codes)

    @property
    def failed(self) -> set[str]:
        """The sensor did not deliver."""
        return {name for name, code in self.codes.items() if code == FAILED}

    @property
    def out_of_range(self) -> set[str]:
        """Measured, but outside what the sensor or the code can say."""
        return {name for name, code in self.codes.items() if code == OUT_OF_RANGE}

    @property
    def trailing(self) -> int:
        """Bytes behind the reading."""
        return len(self.rest)


def decode(fport: int | None, payload: bytes) -> Decoded:
    """Decode the current reading of one FRMPayload (boards/payload.md, "fPort 1").

    Raises PayloadError: another fPort, or bytes that no encoder of this format sends.
    """
    if fport != FPORT_READING:
        raise PayloadError(f"fPort {fport} carries no reading")
    bitmap_size = 1
    for byte in payload:
        if byte < _MORE:
            break
        bitmap_size += 1
    layout = layout_of(payload[:bitmap_size])
    size = bitmap_size + layout.size
    if size > len(payload):
        raise PayloadError(f"{len(payload)} bytes, but the presence bitmap promises {size}")
    codes = unpack(layout, payload[bitmap_size:size])
    return Decoded(codes, payload[size:])


class Layout(NamedTuple):
    """Where the values of one presence bitmap stand."""

    size: int  # bytes behind the bitmap
    padding: int  # the bits that must be zero
    places: tuple[tuple[str, int, int], ...]  # name, shift, mask (all ones: failed; one less: out of range)


@functools.lru_cache(maxsize=1024)  # a town's nodes have a few; a strange one costs only itself
def layout_of(bitmap: bytes) -> Layout:
    """The layout of the values behind `bitmap`. Raises PayloadError: it is none."""
    present = presence(bitmap)
    size = (sum(quantity.bits for quantity in present) + 7) // 8
    left, places = size * 8, []
    for quantity in present:
        left -= quantity.bits
        places.append((quantity.name, left, (1 << quantity.bits) - 1))
    return Layout(size, (1 << left) - 1, tuple(places))


def unpack(layout: Layout, packed: bytes) -> dict[str, int]:
    """The codes in `layout.size` bytes. Raises PayloadError: the padding is not zero."""
    number = int.from_bytes(packed, "big")
    if number & layout.padding:
        raise PayloadError("the padding behind the values is not zero")
    codes: dict[str, int] = {}
    for name, shift, mask in layout.places:
        code = number >> shift & mask
        codes[name] = code if code < mask - 1 else FAILED if code == mask else OUT_OF_RANGE
    return codes


def values(codes: Mapping[str, int]) -> dict[str, float]:
    """quantity -> value in its unit, of those that have one."""
    return {name: _values(name)[code] for name, code in codes.items() if code >= 0}


def raw_code(quantity: Quantity, code: int) -> int:
    """The code as it stands in a frame: FAILED and OUT_OF_RANGE are the two highest."""
    return code if code >= 0 else (1 << quantity.bits) + code


def from_raw(quantity: Quantity, raw: int) -> int:
    """The other way."""
    return raw if raw < quantity.code_out_of_range else raw - (1 << quantity.bits)


def code_of(quantity: Quantity, value: float) -> int:
    """The code of a value that came another way than by a frame: the nearest step, or OUT_OF_RANGE; FAILED for what is
    not a number."""
    if value != value:
        return FAILED
    scaled = (value - quantity.minimum) / quantity.resolution + 0.5
    return int(scaled) if 0 <= scaled < quantity.code_out_of_range else OUT_OF_RANGE


@functools.cache
def _values(name: str) -> Sequence[float]:
    """The value of each code: rounding takes longer than all the rest. 17 bits, the widest, are 1 MB."""
    quantity = by_name()[name]
    return array("d", [quantity.value(code) for code in range(quantity.code_out_of_range)])


def presence(bitmap: bytes) -> list[Quantity]:
    """The present quantities in the order of their bits. Raises PayloadError: a bit that is not in the table."""
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


def bitmap_of(names: Iterable[str]) -> bytes:
    """The presence bitmap of these quantities, as an encoder writes it."""
    present = 0
    for name in names:
        present |= 1 << by_name()[name].bit
    result = bytearray()
    while True:
        result.append(present & 0x7F | (_MORE if present > 0x7F else 0))
        present >>= _BITS_PER_BITMAP_BYTE
        if not present:
            return bytes(result)
