"""The energy model: its constants, its arithmetic, and the figure that the firmware has to reach."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks import energy as figures
from nest.errors import UserError
from spatz.boards import load_board
from spatz.sim import energy, lifetime
from spatz.sim.energy import Cell, Model, States, per_uplink

UNITS = ("_ma", "_ua", "_mc", "_ms", "_mah", "_percent", "_per_year", "_years", "_dbm", "volts")

# A round made up by hand: 10 ms busy, 100 ms asleep, 50 ms sending, 20 ms listening, an hour of deep sleep.
ROUND = States(
    {
        "cpu deep": 3_600_000_000,
        "cpu boot": 250_000,
        "cpu busy/240": 10_000,
        "cpu light": 100_000,
        "radio tx/14/22": 50_000,
        "radio rx/dcdc/boosted": 20_000,
        "radio sleep_cold": 3_600_000_000,
        "sensor measuring": 9_300,
        "vext on": 30_000,
        "divider on": 12_000,
    },
    {"boot deepsleep": 1, "tx 9": 1},
)


def tables(content: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in content.items():
        if isinstance(value, dict) and f"{path}{key}" != "sources":
            if "sources" in value:
                yield f"{path}{key}", value
            yield from tables(value, f"{path}{key}.")


def test_every_constant_has_a_unit_and_a_source() -> None:
    content = energy.load()
    found = dict(tables(content))
    assert {"supply", "board", "radio.sx1262", "radio.sx1276", "processor.esp32s3", "cells.aa"} <= found.keys()
    for name, table in found.items():
        assert table["sources"], name
        assert set(table["sources"]) <= content["sources"].keys(), name
        for key, value in table.items():
            if key in ("sources", "title") or (isinstance(value, dict) and "sources" in value):
                continue
            assert key.endswith(UNITS), f"{name}.{key}"
    used = {source for table in found.values() for source in table["sources"]}
    assert used == content["sources"].keys()
    assert all(":" in text or "assumption" in text or "notes" in text for text in content["sources"].values())


def test_a_round_is_priced_as_by_hand() -> None:
    spent = Model().cost(ROUND)
    volts = 3.3
    assert spent["transmit"] == pytest.approx(0.050 * (45 + 1.5) * volts)
    assert spent["receive"] == pytest.approx(0.020 * (5.3 + 1.5) * volts)
    assert spent["light_sleep"] == pytest.approx(0.100 * (0.24 + 0.002) * volts)
    assert spent["awake"] == pytest.approx((0.010 * (51.2 + 0.002) + 0.012 * 51.2) * volts)
    assert spent["deep_sleep"] == pytest.approx(3600 * 0.010 * volts)
    assert spent["radio"] == pytest.approx(3600 * 0.00016 * volts)
    assert spent["sensors"] == pytest.approx((0.0093 * 0.714 + 0.030 * 0.05 + 0.012 * 0.01) * volts)
    assert spent["boot"] == pytest.approx((27.7 + 0.150 * 51.2) * volts)
    assert Model(boot="frozen").cost(ROUND)["boot"] == pytest.approx((1.82 + 0.005 * 51.2) * volts)


def test_a_lower_power_takes_less_current_and_a_stronger_setting_more() -> None:
    def sending(state: str, radio: str = "sx1262") -> float:
        return Model(radio=radio, tcxo=False).cost(States({"radio " + state: 1_000_000}))["transmit"] / 3.3

    assert sending("tx/14/22") == pytest.approx(45)
    assert sending("tx/22/22") == pytest.approx(118)
    assert sending("tx/22/14") == pytest.approx(89.3, abs=0.2)
    by_power = [sending(f"tx/14/{power}") for power in range(-9, 23)]
    assert by_power == sorted(by_power)
    assert sending("tx/boost/17", "sx1276") == pytest.approx(87)
    assert sending("tx/boost20/20", "sx1276") == pytest.approx(120)
    assert sending("tx/boost/14", "sx1276") < 87


def test_a_state_without_a_current_is_no_zero() -> None:
    with pytest.raises(KeyError):
        Model().cost(States({"radio dreaming": 1}))


def test_only_usual_rounds_count() -> None:
    joining = States(ROUND.us, {"boot deepsleep": 1, "tx 7": 2, "join 7": 1})
    first = States(ROUND.us, {"boot power_on": 1, "tx 7": 1})
    idle = States(ROUND.us, {"boot deepsleep": 1})
    assert per_uplink([joining, first, idle], Model()) is None
    found = per_uplink([joining, ROUND, first, ROUND], Model())
    assert found
    assert (found.rounds, found.frames, found.sf) == (2, 2, 9)
    assert found == per_uplink([ROUND + ROUND], Model())


def test_deep_sleep_fills_the_interval_asked_for() -> None:
    hour, day = (per_uplink([ROUND], Model(), interval_s) for interval_s in (3600, 86400))
    assert hour
    assert day
    assert hour.active_mj == pytest.approx(day.active_mj)
    assert day.mj["deep_sleep"] == pytest.approx(24 * hour.mj["deep_sleep"], rel=1e-3)
    assert hour.mean_ma == pytest.approx(hour.total_mj / 3600 / 3.3)
    as_it_did = per_uplink([ROUND], Model())
    assert as_it_did
    assert as_it_did.interval_s == pytest.approx(3600.36)


def test_cells_last_by_their_charge_and_not_for_ever() -> None:
    aa = energy.cells()["aa"]
    ideal = Cell("x", "x", 2500, 80, 1e-9, 10)
    assert ideal.years(2000 / 8766) == pytest.approx(1.0, rel=1e-6)
    assert aa.years(2000 / 8766) < 1.0
    assert aa.years(1e-3) > aa.shelf_years
    assert not aa.keeps(aa.years(1e-3))
    # dQ/dt = -load - rate Q, solved for the load that empties the cell after exactly ten years
    left = 1 - aa.self_discharge_per_year
    rate = -math.log(left)
    load_ma = 2000 * rate / (left**-10 - 1) / 8766
    assert aa.years(load_ma) == pytest.approx(10)


def test_what_the_device_says_is_not_believed_blindly() -> None:
    for said in (None, [], {}, {"us": 1, "counts": {}}, {"us": {}}):
        assert States.of(said) == States()


def test_a_board_without_currents_is_a_clear_error() -> None:
    board = load_board("heltec-v3")
    with pytest.raises(UserError, match="lr1110"):
        Model.of(board, "lr1110")
    assert Model.of(board, "sx1262").cost(ROUND) == Model().cost(ROUND)


def test_an_uplink_stays_within_its_energy() -> None:
    """Modelled, 11 bytes, empty windows, boot apart: the figures of performance.md 5."""
    assert figures.mj(7) <= figures.SF7_MJ, figures.parts(7)
    assert figures.mj(12) <= figures.SF12_RATIO * figures.parts(12)["transmit"], figures.parts(12)
    assert figures.parts(7)["transmit"] > 9  # 61.7 ms at 45 mA and its TCXO: nothing was forgotten
    assert figures.naive_mj(7) > 400


def spatz(*arguments: str, language: str = "en") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from spatz.cli import main; main()", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env={"LANGUAGE": language, "COLUMNS": "100"},
    )  # fmt: skip


def test_spatz_energy_prints_a_day_of_the_real_firmware() -> None:
    done = spatz("energy", "--sf", "7", "--sf", "12", "--interval", "3600")
    assert (done.returncode, done.stderr.replace("The virtual node lives through its day …", "").strip()) == (0, "")
    assert "modelled, not measured" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("7 ", "12 "))]
    assert [row[0] for row in rows] == ["7", "12"]
    cheap, dear = (float(row[8]) for row in rows)
    assert cheap < dear


def test_spatz_energy_speaks_german_and_json() -> None:
    assert "berechnet, nicht gemessen" in spatz("energy", "--sf", "7", language="de").stdout
    done = spatz("energy", "--sf", "7", "--boot", "frozen", "--json")
    content = json.loads(done.stdout)
    assert (content["modelled"], content["board"], content["boot"]) == (True, "heltec-v3", "frozen")
    (one,) = content["uplinks"]
    assert one["rounds"] == lifetime.MOST_ROUNDS
    assert one["sf"] == 7
    assert one["interval_s"] == pytest.approx(900, rel=0.05)
    assert one["uplink_mj"] == pytest.approx(sum(one["mj"].values()), abs=0.01)
    assert one["mj"].keys() == set(energy.PARTS)
    assert one["cells"]["aa"]["years"] > 1


def test_spatz_energy_refuses_what_is_no_spreading_factor() -> None:
    done = spatz("energy", "--sf", "13")
    assert done.returncode != 0
    assert "--sf is 13" in done.stderr


def test_what_others_measured_of_a_board_asleep_goes_before_the_model() -> None:
    """A T-Beam takes 0.9 mA in deep sleep, whatever its firmware does: cells last months, not years."""
    beam = energy.Model.of(load_board("t-beam"), "sx1276")
    heltec = energy.Model.of(load_board("heltec-v3"), "sx1262")
    assert beam.sleep_mj_per_s == pytest.approx(0.9 * beam.volts, rel=0.01)
    assert heltec.sleep_mj_per_s < 0.02 * heltec.volts
