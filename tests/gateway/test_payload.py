"""The payload decoder against `boards/payload.md`'s vectors, and against bytes that nobody sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest import quantities
from nest.payload import FPORT_READING, PayloadError, decode

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "payload.json").read_text(encoding="utf-8")
)
QUANTITIES = quantities.all_quantities()


def each(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[group], ids=[case["name"] for case in VECTORS[group]])


@each("cases")
def test_a_reading_is_decoded(case: dict[str, Any]) -> None:
    decoded = decode(case["fport"], bytes.fromhex(case["payload"]))
    assert decoded.values == case["values"]
    assert decoded.failed == set(case["failed"])
    assert decoded.out_of_range == set(case["out_of_range"])
    assert decoded.trailing == case["trailing"]


@each("refused")
def test_what_is_no_reading_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(PayloadError):
        decode(case["fport"], bytes.fromhex(case["payload"]))


def check_plausible(payload: bytes) -> None:
    try:
        decoded = decode(FPORT_READING, payload)
    except PayloadError:
        return
    for name, value in decoded.values.items():
        quantity = quantities.by_name()[name]
        assert quantity.minimum <= value <= quantity.maximum
    assert not set(decoded.values) & decoded.failed
    assert not set(decoded.values) & decoded.out_of_range
    assert not decoded.failed & decoded.out_of_range
    assert 0 <= decoded.trailing < len(payload)


@given(st.binary(max_size=242))
def test_any_bytes_are_refused_or_within_range(payload: bytes) -> None:
    check_plausible(payload)


@given(st.binary(min_size=2, max_size=2), st.binary(max_size=40))
def test_any_values_behind_a_known_bitmap_are_refused_or_within_range(bitmap: bytes, rest: bytes) -> None:
    check_plausible(bytes([bitmap[0] | 0x80, bitmap[1] & 0x1F]) + rest)


@given(st.lists(st.sampled_from(QUANTITIES), unique=True), st.data())
def test_every_code_comes_back_as_itself(present: list[quantities.Quantity], data: st.DataObject) -> None:
    present.sort(key=lambda quantity: quantity.bit)
    codes = {quantity: data.draw(st.integers(0, (1 << quantity.bits) - 1)) for quantity in present}
    mask = sum(1 << quantity.bit for quantity in present)
    bitmap = [mask & 0x7F] if mask < 0x80 else [mask & 0x7F | 0x80, mask >> 7]
    bits = "".join(f"{codes[quantity]:0{quantity.bits}b}" for quantity in present)
    bits += "0" * (-len(bits) % 8)
    decoded = decode(1, bytes(bitmap) + bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)))
    for quantity, code in codes.items():
        if code == 2**quantity.bits - 1:
            assert quantity.name in decoded.failed
        elif code == 2**quantity.bits - 2:
            assert quantity.name in decoded.out_of_range
        else:
            assert decoded.values[quantity.name] == pytest.approx(quantity.minimum + code * quantity.resolution)
    assert len(decoded.values) + len(decoded.failed) + len(decoded.out_of_range) == len(present)
