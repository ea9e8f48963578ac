"""A town whose gateways reach the nest through a channel with faults."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.running import RunningNest, free_port
from nest import town
from spatz.sim.gateway import PUSH_RETRY_S
from spatz.sim.simulate import register, register_gateways
from spatz.sim.simulation import Plan, Simulation

from .channels import Address, Channel, Witness

LIMIT_S = 150.0  # for everything that is waited for
QUIET_S = sum(PUSH_RETRY_S) + 5.0
"""After this time no gateway has anything left to repeat."""


@dataclass
class TownBehind:
    """The nest in a process, the simulated town, and the channel between."""

    folder: Path
    nest: RunningNest
    simulation: Simulation
    channel: Channel
    witness: Witness

    async def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"{what} did not come: {self.simulation.summary()}\n{self.nest.log()}"
            await asyncio.sleep(0.1)

    async def end_of_the_day(self) -> None:
        """Switch the nodes off, and wait until everything that was heard is archived, or nothing more can come."""
        assert self.simulation.supervisor
        await self.simulation.supervisor.stop()
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end and self.witness.missing(self.folder):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def town_behind(
    folder: Path,
    plan: Plan,
    make_channel: Callable[[Address], Channel],
    prepare: Callable[[Simulation], None] = lambda _: None,
) -> AsyncIterator[TownBehind]:
    """Nest, channel and simulated town, started; `prepare` may change the gateways before. Ends with the block."""
    udp_port = free_port(socket.SOCK_DGRAM)
    made = town.create(
        folder / "town", "Brandis", udp_host="127.0.0.1", udp_port=udp_port, web_host="127.0.0.1", web_port=0,
        mqtt_port=0, station_host="127.0.0.1",
    )  # fmt: skip
    register(made.path, plan.flock())
    register_gateways(made.path, plan.gateway_stations())
    nest = RunningNest(made.path)
    channel = make_channel(("127.0.0.1", udp_port))
    port = await channel.open()
    simulation = Simulation(plan, ("127.0.0.1", port), folder / "nodes")
    prepare(simulation)
    witness = Witness()
    witness.follow(simulation)
    try:
        await asyncio.to_thread(nest.start)
        await simulation.start()
        yield TownBehind(made.path, nest, simulation, channel, witness)
    finally:
        await simulation.stop()
        await channel.close()
        nest.__exit__()
