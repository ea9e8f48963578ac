"""A flock, its air and its gateways, running together against a network server: what `simulate` and `demo` share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spatz.boards import load_board
from spatz.sim import energy, nodes
from spatz.sim.air import Air, Missed, Propagation, Reception, Transmission
from spatz.sim.airserver import AirServer, monotonic_us
from spatz.sim.gateway import VirtualGateway
from spatz.sim.supervisor import Event, Supervisor

JOIN_REQUEST, UNCONFIRMED_UP, CONFIRMED_UP = 0b000, 0b010, 0b100
"""Message types: the three highest bits of a frame. [TS001-1.0.4, 4.2.1]"""

SAFE_WINDOW_S = 5
"""Virtual nodes stay awake only this long after power-on, so that a short run shows deep sleep as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be simulated. The same plan gives the same flock; `loss` is a fraction, 0..1."""

    nodes: int = 5
    seed: int = 1
    interval_s: int = 10
    gateways: int = 1
    loss: float = 0.0
    confirmed: bool = False
    spread_s: float | None = None
    """Within how many seconds the nodes are switched on; None: as `default_spread_s` says."""

    @property
    def propagation(self) -> Propagation:
        """The air of this seed."""
        return Propagation(self.seed)

    def gateway_stations(self) -> list[tuple[bytes, Any]]:
        """EUI and station of each gateway."""
        return nodes.gateways(self.gateways, self.seed)

    def flock(self) -> list[nodes.VirtualNode]:
        """The nodes, without their folders."""
        spread_s = default_spread_s(self.nodes) if self.spread_s is None else self.spread_s
        heard_by = [station for _, station in self.gateway_stations()]
        return nodes.flock(self.nodes, self.seed, heard_by, self.propagation, spread_s=spread_s)


def default_spread_s(count: int) -> float:
    """Seconds over which a flock is switched on: 0.4 s per node, 2 s per node in a large flock.

    A gateway sends one JoinAccept at a time and hears nothing meanwhile. Closer together, answers are refused in RX1,
    go out in RX2 at SF12 (1.5 s), and most of the joins that come in that time are lost. [packet_forwarder issue 143]
    """
    return count * (0.4 if count <= 10 else 2.0)


@dataclass(slots=True)
class NodeReport:
    """What became of one node so far; times in seconds since the start of the simulation."""

    name: str
    dev_eui: str
    joined_s: float | None = None
    join_requests: int = 0
    uplinks: int = 0
    heard: int = 0
    downlinks: int = 0
    boots: int = 0
    sleeps: int = 0
    crashes: int = 0
    faults: int = 0


class Simulation:
    """Create it, `start` it, `stop` it; in between `reports` tells what happens.

    `folder` takes one folder per node. `on_event` hears everything the nodes do, after the report was brought up to
    date.
    Joining is seen on the air: a node that sends data has a session.
    """

    def __init__(
        self,
        plan: Plan,
        server: tuple[str, int],
        folder: Path,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.plan = plan
        self.flock = plan.flock()
        self.reports = {node.name: NodeReport(node.name, node.dev_eui.hex()) for node in self.flock}
        self._on_event = on_event
        self.air = AirServer(Air(plan.propagation, loss=plan.loss), on_transmission=self._on_transmission)
        self.gateways = [
            VirtualGateway(eui, station, server, self.air.transmit) for eui, station in plan.gateway_stations()
        ]
        for gateway in self.gateways:
            self.air.attach(gateway)
        for node in self.flock:
            self.air.add_node(node.station)
        self._folder = folder
        self._started_us = 0
        self.supervisor: Supervisor | None = None

    async def start(self) -> None:
        """Start air, gateways and nodes. UserError when MicroPython is missing or the server has no address."""
        air = ("127.0.0.1", await self.air.start())
        for gateway in self.gateways:
            await gateway.start()
        made = [(node, await asyncio.to_thread(self._make, node)) for node in self.flock]
        self.supervisor = Supervisor(made, air, on_event=self._note, weather_seed=self.plan.seed)
        self._started_us = monotonic_us()
        await self.supervisor.start()

    async def stop(self) -> None:
        """End every process, close every socket."""
        if self.supervisor:
            await self.supervisor.stop()
        for gateway in self.gateways:
            await gateway.stop()
        await self.air.stop()

    def summary(self) -> dict[str, Any]:
        """Everything counted, ready for JSON."""
        return {
            "seed": self.plan.seed,
            "nodes": [asdict(report) for report in self.reports.values()],
            "gateways": [{"eui": gateway.eui.hex(), **asdict(gateway.counters)} for gateway in self.gateways],
            "air": dict(sorted(self.air.counts.items())),
        }

    def uplink_costs(self) -> dict[str, energy.Uplink | None]:
        """What an uplink of each node cost, by its usual rounds so far; None for a node that had none."""
        states = self.supervisor.states if self.supervisor else {}
        result: dict[str, energy.Uplink | None] = dict.fromkeys(self.reports)
        for name, state in states.items():
            board = load_board(state.node.board)
            radio = nodes.chips(board, state.node.seed)["radio"]["chip"]
            result[name] = energy.per_uplink([state.usual], energy.Model.of(board, radio))
        return result

    def _make(self, node: nodes.VirtualNode) -> nodes.Folder:
        return nodes.make(
            node,
            self._folder / node.name,
            interval_s=self.plan.interval_s,
            safe_window_s=SAFE_WINDOW_S,
            confirmed=self.plan.confirmed,
        )

    def _on_transmission(self, transmission: Transmission, outcomes: dict[str, Reception | Missed]) -> None:
        report = self.reports[transmission.sender]
        kind = transmission.data[0] >> 5
        if kind == JOIN_REQUEST:
            report.join_requests += 1
            return
        if kind not in (UNCONFIRMED_UP, CONFIRMED_UP):
            return
        report.uplinks += 1
        report.heard += any(isinstance(outcome, Reception) for outcome in outcomes.values())
        if report.joined_s is None:
            now_us = monotonic_us()
            report.joined_s = round((now_us - self._started_us) / 1e6, 2)
            self._on_event(Event(report.name, "joined", now_us))

    def _note(self, event: Event) -> None:
        report = self.reports[event.node]
        counter = {
            "boot": "boots",
            "deepsleep": "sleeps",
            "crashed": "crashes",
            "fault": "faults",
            "downlink": "downlinks",
        }.get(event.kind)
        if counter:
            setattr(report, counter, getattr(report, counter) + 1)
        if event.kind != "joined":  # told when the air shows it
            self._on_event(event)
