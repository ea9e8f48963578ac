"""What a town notices: readings stand in the API, downlinks arrive, nothing is counted twice and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from functools import partial

import pytest
from gateway.running import nest_command
from nest.quantities import all_quantities
from spatz.sim import nodes
from spatz.sim.device.weather import Weather
from spatz.sim.simulation import Plan

from .conftest import SmallTown

RX2_HZ = 869_525_000


def rows(small_town: SmallTown, query: str) -> list[tuple]:
    with sqlite3.connect(small_town.folder / "nest.db") as database:
        return database.execute(query).fetchall()


async def test_a_node_joins_sends_sleeps_and_wakes_heard_by_two_gateways(small_town: SmallTown) -> None:
    series = await small_town.until_readings(4)
    report = small_town.simulation.reports["amsel"]
    assert report.join_requests == 1
    assert report.sleeps >= 2, "deep sleep between readings once the safe window is over"
    assert [event.detail for event in small_town.seen("boot")][:3] == ["power_on", "deepsleep", "deepsleep"]
    assert (report.crashes, report.faults) == (0, 0)
    assert [fcnt for (fcnt,) in rows(small_town, "select fcnt from frames order by id")][:4] == [0, 1, 2, 3]

    # both gateways heard every frame, and each became one reading
    first = rows(small_town, "select time, heard from frames where fcnt < 4 order by id")
    assert [len(json.loads(heard)) for _, heard in first] == [2] * 4
    # measured before it was heard: the first one waited for the join, the others for their time on air
    waits_s = [heard / 1000 - when for (when, _), (heard, _) in zip(series, first, strict=False)]
    assert 4 < waits_s[0] < 30
    assert all(0 < wait_s < 0.5 for wait_s in waits_s[1:])
    received = await asyncio.to_thread(small_town.nest.status)
    assert received["counters"]["duplicate"] >= 3

    weather = nodes._weather(small_town.simulation.flock[0], small_town.simulation.plan.seed)
    resolution = {quantity.name: quantity.resolution for quantity in all_quantities()}
    truth = Weather(weather["seed"])
    humidity, pressure = await small_town.readings("humidity"), await small_town.readings("pressure")
    for index, (when, temperature) in enumerate(series):
        expected = truth.at(when + weather["offset_s"])
        assert temperature == pytest.approx(expected[0], abs=resolution["temperature"])
        assert humidity[index] == [when, pytest.approx(expected[1], abs=resolution["humidity"])]
        assert pressure[index] == [when, pytest.approx(expected[2] / 100, abs=resolution["pressure"])]


async def test_a_downlink_reaches_the_node_in_each_window(small_town: SmallTown) -> None:
    await small_town.until_readings(1)
    for window, content in ((1, "c0ffee01"), (2, "c0ffee02")):
        options = ["--port", 10, "--hex", content, "--window", window]
        sent = await asyncio.to_thread(nest_command, "send", small_town.folder, "amsel", *options)
        assert sent.returncode == 0, sent.stderr
        line = f"downlink port=10 payload={content}"
        await small_town.until(partial(small_town.said, line), line)
        assert (small_town.downlinks[-1].freq_hz == RX2_HZ) == (window == 2)
    assert small_town.said("downlink") == 2


@pytest.mark.parametrize("small_town", [Plan(nodes=1, interval_s=6, seed=12)], indirect=True)
async def test_a_nest_that_was_killed_goes_on_without_join_and_without_gap(small_town: SmallTown) -> None:
    before = await small_town.until_readings(2)
    await asyncio.to_thread(small_town.nest.kill)
    await asyncio.to_thread(small_town.nest.start)
    after = await small_town.until_readings(5)
    assert after[: len(before)] == before
    assert small_town.simulation.reports["amsel"].join_requests == 1
    fcnts = [fcnt for (fcnt,) in rows(small_town, "select fcnt from frames order by id")]
    assert fcnts == list(range(len(fcnts)))


@pytest.mark.parametrize("small_town", [Plan(nodes=1, interval_s=6, seed=13, confirmed=True)], indirect=True)
async def test_after_a_power_cut_a_node_goes_on_with_its_session_and_uses_no_number_twice(
    small_town: SmallTown,
) -> None:
    await small_town.until_readings(2)
    assert small_town.said("sent and acknowledged") >= 1
    assert small_town.simulation.supervisor
    small_town.simulation.supervisor.power_cut("amsel", off_s=0.5)
    count = len(await small_town.readings())
    await small_town.until_readings(count + 2)
    assert small_town.simulation.reports["amsel"].join_requests == 1
    assert len(rows(small_town, "select dev_nonce from joins")) == 1
    used = [fcnt for (fcnt,) in rows(small_town, "select fcnt from frames order by id")]
    assert used == sorted(set(used))
    assert used[-1] >= 128, "it skips what it had reserved"
