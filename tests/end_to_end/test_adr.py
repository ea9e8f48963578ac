"""ADR over the whole way: a node that joined slower than it need is told so by the real nest, and obeys."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest
from spatz.sim import supervisor
from spatz.sim.air import noise_floor_dbm
from spatz.sim.simulation import Plan

from .conftest import SmallTown

NEAR = Plan(nodes=1, interval_s=5, seed=2, near_join_dr=2)
IS_TOLD_AFTER = 5  # uplinks that were heard well


@pytest.fixture(autouse=True)
def hurried_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The firmware, but for one number: at SF10 the node keeps its distance of 40 s between uplinks by itself, and what
    the law allows in an hour is enough for this test without it."""
    firmware = tmp_path / "firmware"
    shutil.copytree(supervisor.firmware_dir(), firmware, ignore=shutil.ignore_patterns("__pycache__"))
    schedule = firmware / "node/schedule.py"
    patient = schedule.read_text(encoding="utf-8")
    hurried = patient.replace("_DUTY = const(100)", "_DUTY = const(1)")
    assert hurried != patient
    schedule.write_text(hurried, encoding="utf-8")
    monkeypatch.setattr(supervisor, "firmware_dir", lambda: firmware)


@pytest.mark.parametrize("small_town", [NEAR], indirect=True)
async def test_a_near_node_is_told_to_send_faster_and_loses_nothing_by_it(small_town: SmallTown) -> None:
    (node,), ((_, gateway),) = NEAR.flock(), NEAR.gateway_stations()
    loss_db = NEAR.propagation.path_loss_db(node.station, gateway)
    assert 16 - loss_db + gateway.gain_dbi - noise_floor_dbm(125_000) > 8, "the nest has reason to"

    report = small_town.simulation.reports["amsel"]
    await small_town.until(lambda: report.uplinks >= 1, "the first uplink")
    assert report.sf_first == 10
    await small_town.until(lambda: report.uplinks > IS_TOLD_AFTER, "the uplink after it was told")
    count = len(await small_town.readings())
    await small_town.until_readings(count + 1)

    assert (report.sf_first, report.sf_now) == (10, 7)
    assert report.adr_after_uplinks == IS_TOLD_AFTER
    assert report.join_requests == 1
    status = await asyncio.to_thread(small_town.nest.status)
    assert status["counters"]["adr_request"] == 1
    assert status["counters"].get("adr_refused", 0) == 0
    with sqlite3.connect(small_town.folder / "nest.db") as database:
        fcnts = [fcnt for (fcnt,) in database.execute("select fcnt from frames order by id")]
        tries = database.execute("select adr_tries from sessions where active").fetchall()
    assert fcnts == list(range(len(fcnts)))
    assert tries == [(0,)], "the node has said yes"
