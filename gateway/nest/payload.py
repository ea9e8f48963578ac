"""From bytes to a reading: the nest's side of `boards/payload.md`, without I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

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
    present, bitmap_size = _presence(payload)
    size = bitmap_size + (sum(quantity.bits for quantity in present) + 7) // 8
    if size > len(payload):
        raise PayloadError(f"{len(payload)} bytes, but the presence bitmap promises {size}")
    decoded = Decoded({}, set(), set(), trailing=len(payload) - size)
    for quantity, code in _codes(present, payload[bitmap_size:size]):
        if code == quantity.code_failed:
            decoded.failed.add(quantity.name)
        elif code == quantity.code_out_of_range:
            decoded.out_of_range.add(quantity.name)
        else:
            decoded.values[quantity.name] = quantity.value(code)
    return decoded


def _presence(payload: bytes) -> tuple[list[Quantity], int]:
    """The present quantities in the order of their bits, and how many bytes the bitmap takes."""
    table = by_bit()
    present: list[Quantity] = []
    for index, byte in enumerate(payload):
        for place in range(_BITS_PER_BITMAP_BYTE):
            if byte >> place & 1:
                bit = index * _BITS_PER_BITMAP_BYTE + place
                if bit not in table:
                    raise PayloadError(f"presence bit {bit} is not in the table of quantities")
                present.append(table[bit])
        if not byte & _MORE:
            return present, index + 1
    raise PayloadError("the presence bitmap does not end" if payload else "empty")


def _codes(present: Sequence[Quantity], packed: bytes) -> Iterator[tuple[Quantity, int]]:
    """Each quantity's code, from bits packed most significant first; PayloadError when the padding is not zero."""
    left = len(packed) * 8
    number = int.from_bytes(packed, "big")
    for quantity in present:
        left -= quantity.bits
        yield quantity, number >> left & (1 << quantity.bits) - 1
    if number & (1 << left) - 1:
        raise PayloadError("the padding behind the values is not zero")
