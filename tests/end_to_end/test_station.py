"""A town whose gateways speak LoRa Basics Station: the real nest, the real firmware, tokens, and both windows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from gateway.forwarders.stations import certificate
from gateway.running import RunningNest, nest_command
from nest import town
from nest.tokens import new_token
from spatz.sim.simulate import register, register_gateways
from spatz.sim.simulation import Plan, Simulation
from spatz.sim.station import StationServer, VirtualStation

from .conftest import LIMIT_S, SmallTown, observed_downlinks

RX2_HZ = 869_525_000


@pytest.fixture(params=["ws", "wss"])
async def station_town(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SmallTown]:
    """One node and two Basics Stations, with TLS or without."""
    plan = Plan(nodes=1, gateways=2, interval_s=6, seed=11)
    made = town.create(
        tmp_path / "town", "Brandis", udp_host="127.0.0.1", udp_port=0, web_host="127.0.0.1", web_port=0, mqtt_port=0,
        station_host="127.0.0.1", station_port=0,
    )  # fmt: skip
    ca_file = None
    if request.param == "wss":
        ca_file, key = certificate(made.path)
        settings = made.path / "town.toml"
        text = settings.read_text()
        text = text.replace('certificate = ""', f'certificate = "{ca_file.name}"').replace(
            'key = ""', f'key = "{key.name}"'
        )
        settings.write_text(text)
    tokens = [new_token() for _ in range(plan.gateways)]
    register(made.path, plan.flock())
    register_gateways(made.path, plan.gateway_stations(), tokens)
    nest = RunningNest(made.path)
    await asyncio.to_thread(nest.start)
    uri = f"{request.param}://127.0.0.1:{nest.ports['basics_station']}"
    servers = [StationServer(uri, token, ca_file) for token in tokens]
    small = SmallTown(made.path, nest, Simulation(plan, servers, tmp_path / "nodes"))
    small.simulation._on_event = small.events.append
    observed_downlinks(small)
    try:
        await small.simulation.start()
        yield small
    finally:
        await small.simulation.stop()
        nest.__exit__()
    for token in tokens:
        assert token not in nest.log()


def stations(small: SmallTown) -> list[VirtualStation]:
    return [gateway for gateway in small.simulation.gateways if isinstance(gateway, VirtualStation)]


async def test_a_node_joins_sends_and_receives_in_each_window(station_town: SmallTown) -> None:
    small = station_town
    await small.until_readings(2)
    report = small.simulation.reports["amsel"]
    assert (report.join_requests, report.crashes, report.faults) == (1, 0, 0)
    for window, content in ((1, "c0ffee01"), (2, "c0ffee02")):
        for station in stations(small):
            station._closed_until_us.clear()  # as if the sub-bands had had their rest
        options = ["--port", 10, "--hex", content, "--window", window]
        sent = await asyncio.to_thread(nest_command, "send", small.folder, "amsel", *options)
        assert sent.returncode == 0, sent.stderr
        line = f"downlink port=10 payload={content}"
        await small.until(partial(small.said, line), line)
        assert (small.downlinks[-1].freq_hz == RX2_HZ) == (window == 2)
    counted = await counters_with(small, "dntxed", 3)
    assert counted.get("dntxed_missing", 0) == 0
    assert counted["station_connected"] == 2
    assert counted["duplicate"] >= 2, "both stations heard it"
    for station in stations(small):
        assert station.counters.malformed == []
    assert {station.counters.configured for station in stations(small)} == {1}


async def counters_with(small: SmallTown, kind: str, least: int) -> dict[str, int]:
    """The nest's counters, once it has told of `least` of `kind`: it does every two seconds."""
    end = time.monotonic() + LIMIT_S
    while (counted := (await asyncio.to_thread(small.nest.status))["counters"]).get(kind, 0) < least:
        assert time.monotonic() < end, counted
    return counted


@pytest.mark.parametrize("station_town", ["ws"], indirect=True)
async def test_rx2_is_used_when_rx1_is_closed_and_the_nest_knows_it(station_town: SmallTown) -> None:
    small = station_town
    await small.until_readings(1)
    for station in stations(small):
        station._closed_until_us.update(centi=1 << 62, milli=1 << 62)
    sent = await asyncio.to_thread(
        nest_command, "send", small.folder, "amsel", "--port", 10, "--hex", "c0ffee01", "--window", 1
    )
    assert sent.returncode == 0, sent.stderr
    await small.until(partial(small.said, "downlink port=10 payload=c0ffee01"), "the downlink")
    assert small.downlinks[-1].freq_hz == RX2_HZ
    assert small.said("downlink") == 1


@pytest.mark.parametrize("station_town", ["ws"], indirect=True)
async def test_readings_go_on_after_the_connection_broke(station_town: SmallTown) -> None:
    small = station_town
    await small.until_readings(1)
    for station in stations(small):
        station.break_connection()
    await small.until_readings(3)
    assert small.simulation.reports["amsel"].join_requests == 1
    assert all(station.counters.connections >= 2 for station in stations(small))
