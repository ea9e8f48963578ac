"""Airtime against Semtech's calculator (tests/vectors/lorawan.json, sources there)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nest.lorawan.airtime import airtime_s, airtime_us

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "lorawan.json").read_text())
TABLE = [
    (int(size), int(name.split("SF")[1]), ms)
    for size, row in VECTORS["airtime_eu868_reference"]["phyPayloadBytes"].items()
    for name, ms in row.items()
]


# An SX127x has a preamble of its own at SF5, which LoRaWAN does not send with it.
ROWS = [row for row in VECTORS["airtime"] if not (row["chip"] == "sx127x" and row["sf"] < 7)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_values_of_the_calculator(row: dict[str, Any]) -> None:
    got = airtime_us(
        row["sf"],
        row["bwHz"],
        row["payload"],
        crc=row["crc"],
        preamble=row["preamble"],
        cr=row["cr"] - 4,
        implicit_header=row["implicitHeader"],
        optimised=row["ldro"],
    )
    assert got == round(row["ms"] * 1000)


@pytest.mark.parametrize(("size", "sf", "ms"), TABLE)
def test_the_table_of_eu868(size: int, sf: int, ms: float) -> None:
    assert airtime_us(sf, 125_000, size, crc=True) == round(ms * 1000)
    assert airtime_s(sf, 125_000, size, crc=True) == pytest.approx(ms / 1000)
    assert airtime_us(sf, 250_000, size, crc=True, optimised=sf > 10) * 2 == round(ms * 1000)


@pytest.mark.parametrize("row", VECTORS["airtime_payload_symbols"])
def test_payload_symbols(row: dict[str, Any]) -> None:
    symbol_us = (1 << row["sf"]) * 8
    got = airtime_us(
        row["sf"],
        125_000,
        row["payload"],
        crc=row.get("crc", True),
        cr=row["cr"] - 4,
        implicit_header=row["implicitHeader"],
        optimised=row["ldro"],
    )
    assert (got * 4 - 49 * symbol_us) // (4 * symbol_us) == row["payloadSymbols"]


def test_a_downlink_has_no_checksum_of_the_radio() -> None:
    assert airtime_us(12, 125_000, 33, crc=False) == 1_810_432
    assert airtime_us(7, 125_000, 13, crc=False) < airtime_us(7, 125_000, 13, crc=True)


@pytest.mark.parametrize("sf", [4, 13])
def test_no_such_spreading_factor(sf: int) -> None:
    with pytest.raises(ValueError, match=str(sf)):
        airtime_us(sf, 125_000, 1, crc=True)
