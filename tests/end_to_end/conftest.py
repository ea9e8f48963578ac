"""A whole small town for each test: the real nest in a process, the real firmware in MicroPython, one air between."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gateway.running import RunningNest, free_port
from nest import town
from spatz.sim.air import Transmission
from spatz.sim.simulate import register, register_gateways
from spatz.sim.simulation import Plan, Simulation
from spatz.sim.supervisor import Event

LIMIT_S = 60.0  # for everything that is waited for; a healthy town needs a fraction of it


@dataclass
class SmallTown:
    """The nest, the simulation, and what was seen of both. What blocks goes through `asyncio.to_thread`."""

    folder: Path
    nest: RunningNest
    simulation: Simulation
    events: list[Event] = field(default_factory=list)
    downlinks: list[Transmission] = field(default_factory=list)

    def seen(self, kind: str, node: str = "amsel") -> list[Event]:
        return [event for event in self.events if (event.kind, event.node) == (kind, node)]

    def said(self, text: str, node: str = "amsel") -> int:
        """How many lines the node has printed that begin so."""
        return sum(event.detail.startswith(text) for event in self.seen("line", node))

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until `condition` is true; fail when it does not become so."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"{what} did not come"
            await asyncio.sleep(0.05)

    async def api(self, path: str) -> Any:
        return await asyncio.to_thread(self.nest.api, path)

    async def readings(self, quantity: str = "temperature", node: str = "amsel") -> list[list[float]]:
        return (await self.api(f"/api/v1/nodes/{node}/readings?quantity={quantity}"))["readings"]

    async def until_readings(self, count: int, node: str = "amsel") -> list[list[float]]:
        """The temperatures of a node, once there are at least `count`."""
        end = time.monotonic() + LIMIT_S
        while len(found := await self.readings(node=node)) < count:
            assert time.monotonic() < end, f"reading {count} of {node} did not come"
            await asyncio.sleep(0.1)
        return found


def observed_downlinks(small: SmallTown) -> None:
    """From now on every downlink that goes on the air is noted."""
    for gateway in small.simulation.gateways:
        put_on_air = gateway._transmit

        def observed(transmission: Transmission, put_on_air: Callable[[Transmission], None] = put_on_air) -> None:
            small.downlinks.append(transmission)
            put_on_air(transmission)

        gateway._transmit = observed


@pytest.fixture
async def small_town(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SmallTown]:
    """One node and two gateways, unless a test's `plan` parameter says otherwise; everything ends with the test."""
    plan: Plan = getattr(request, "param", Plan(nodes=1, gateways=2, interval_s=6, seed=11))
    udp_port = free_port(socket.SOCK_DGRAM)
    made = town.create(
        tmp_path / "town", "Brandis", udp_host="127.0.0.1", udp_port=udp_port, web_host="127.0.0.1", web_port=0,
        mqtt_port=0, station_host="127.0.0.1",
    )  # fmt: skip
    register(made.path, plan.flock())
    register_gateways(made.path, plan.gateway_stations())
    nest = RunningNest(made.path)
    await asyncio.to_thread(nest.start)
    simulation = Simulation(plan, ("127.0.0.1", udp_port), tmp_path / "nodes")
    small = SmallTown(made.path, nest, simulation)
    simulation._on_event = small.events.append
    observed_downlinks(small)
    try:
        await simulation.start()
        yield small
    finally:
        await simulation.stop()
        nest.__exit__()
