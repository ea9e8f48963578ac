"""No board of the catalogue radiates more than the law allows, whatever its radio is asked for: from the board file
through config.json and the driver to the bytes that set the amplifier, which are read as the data sheets say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nest.errors import UserError
from radio import RadioError
from radio_wire import Wire
from registers_wire import Registers
from spatz.boards import board_names, least_eirp_dbm, load_board
from spatz.config import compile_config

LIMIT_DBM = 16  # RP002-1.0.4 2.4.3
WISHES = (*range(-50, 41), 15.9, float("inf"), float("nan"), 10**9, True)
ANTENNAS = (None, -5, 0, 2.15, 3, 5.8, 9.2, 13.9, 14.1, 15)
SX1262_AT_22 = {(2, 2): 14, (2, 3): 17, (3, 5): 20, (4, 7): 22}  # paDutyCycle, hpMax: dBm (data sheet table 13-21)


def sx1262_dbm(wire: Wire) -> int:
    sent = wire.take()
    amplifier = [bytes.fromhex(one) for one in sent if one.startswith("95")]
    power = [bytes.fromhex(one) for one in sent if one.startswith("8e")]
    assert len(amplifier) == len(power) == 1
    signed = (power[0][1] ^ 0x80) - 0x80
    return SX1262_AT_22[amplifier[0][1], amplifier[0][2]] - (22 - signed)


def sx1276_dbm(wire: Registers) -> int:
    wire.take()
    config, dac = wire.bank[0x09], wire.bank[0x4D]
    assert config & 0x80, "PA_BOOST"
    return (20 if dac == 0x87 else 17) - (15 - (config & 15))


def chips(board: str) -> list[str]:
    chip = load_board(board).radio.chip
    return ["sx1262", "sx1276"] if chip == "probe" else [chip]


def gain_db(config: dict[str, Any], dbm: float) -> float:
    rows = config.get("amplifier")
    if not rows:
        return 0
    fitting = [gain for up_to, gain in rows if dbm <= up_to]
    assert fitting, "a power at which nobody knows the gain"
    return fitting[0]


@pytest.mark.parametrize(("board", "chip"), [(board, chip) for board in board_names() for chip in chips(board)])
@pytest.mark.parametrize("antenna_dbi", ANTENNAS)
def test_nothing_unlawful_comes_out(board: str, chip: str, antenna_dbi: float | None) -> None:
    try:
        config = json.loads(json.dumps(compile_config(board, [], "amsel", antenna_gain_dbi=antenna_dbi)))["radio"]
    except UserError:
        assert antenna_dbi is not None
        assert least_eirp_dbm(load_board(board), antenna_dbi) > LIMIT_DBM, "refused what is lawful"
        return
    wire: Any = Wire() if chip == "sx1262" else Registers()
    driver = wire.driver(config)
    driver.start()
    wire.take()
    most = -100.0
    for eirp_dbm in WISHES:
        driver.transmit(b"\x00", 868_100_000, 7, 125_000, eirp_dbm)
        dbm = sx1262_dbm(wire) if chip == "sx1262" else sx1276_dbm(wire)
        radiated = dbm + gain_db(config, dbm) + config["antenna_gain_dbi"]
        assert radiated <= LIMIT_DBM, eirp_dbm
        most = max(most, radiated)
    strongest = max(up_to for up_to, _ in config["amplifier"]) if "amplifier" in config else 20
    possible = strongest + gain_db(config, strongest) + config["antenna_gain_dbi"]
    assert most > min(LIMIT_DBM, possible) - 1.01, "and no more is given away than a decibel"


@pytest.mark.parametrize(("board", "chip"), [(board, chip) for board in board_names() for chip in chips(board)])
def test_what_the_config_claims_changes_nothing(board: str, chip: str) -> None:
    config = compile_config(board, [], "amsel")["radio"]
    config["max_eirp_dbm"] = 30
    wire: Any = Wire() if chip == "sx1262" else Registers()
    driver = wire.driver(config)
    driver.transmit(b"\x00", 868_100_000, 7, 125_000, 40)
    dbm = sx1262_dbm(wire) if chip == "sx1262" else sx1276_dbm(wire)
    assert dbm + gain_db(config, dbm) + config["antenna_gain_dbi"] <= LIMIT_DBM
    config["antenna_gain_dbi"] = 30
    driver = wire.driver(config)
    with pytest.raises(RadioError):
        driver.transmit(b"\x00", 868_100_000, 7, 125_000, 0)
