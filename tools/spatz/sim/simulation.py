"""A flock, its air and its gateways, running together against a network server: what `simulate` and `demo` share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from spatz.boards import load_board
from spatz.sim import energy, nodes
from spatz.sim.air import Air, Missed, Propagation, Reception, Station, Transmission
from spatz.sim.airserver import AirServer, monotonic_us
from spatz.sim.gateway import VirtualGateway
from spatz.sim.station import StationServer, VirtualStation
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
    near_join_dr: int | None = None
    """The node heard best joins no faster than this: it has something to gain by ADR."""
    bad_place_loss: float = 0.0
    """So many of the data frames from and to one node are lost, the last that is not the one heard best."""
    boards: tuple[str, ...] = ()
    """Of which boards of the catalogue the nodes are, in turn; none: all are as `nodes.BOARD`."""

    @property
    def propagation(self) -> Propagation:
        """The air of this seed."""
        return Propagation(self.seed)

    def gateway_stations(self) -> list[tuple[bytes, Station]]:
        """EUI and station of each gateway."""
        return nodes.gateways(self.gateways, self.seed)

    def flock(self) -> list[nodes.VirtualNode]:
        """The nodes, without their folders."""
        spread_s = default_spread_s(self.nodes) if self.spread_s is None else self.spread_s
        heard_by = [station for _, station in self.gateway_stations()]
        flock = nodes.flock(self.nodes, self.seed, heard_by, self.propagation, spread_s=spread_s)
        if self.boards:
            flock = [replace(node, board=self.boards[at % len(self.boards)]) for at, node in enumerate(flock)]
        if self.near_join_dr is None:
            return flock
        near = nodes.best_heard(flock, heard_by, self.propagation)
        return [replace(node, join_dr=self.near_join_dr) if node is near else node for node in flock]

    @property
    def bad_place(self) -> str | None:
        """The name of the node that loses `bad_place_loss` of its frames."""
        if not self.bad_place_loss:
            return None
        flock, heard_by = self.flock(), [station for _, station in self.gateway_stations()]
        near = nodes.best_heard(flock, heard_by, self.propagation)
        return next((node.name for node in reversed(flock) if node.name != near.name), None)


def default_spread_s(count: int) -> float:
    """Seconds over which a flock is switched on: 0.8 s per node, 2 s per node in a large flock.

    A gateway sends one JoinAccept at a time and hears nothing meanwhile. Closer together, answers are refused in RX1,
    go out in RX2 at SF12 (1.5 s), and most of the joins that come in that time are lost. [packet_forwarder issue 143]
    """
    return count * (0.8 if count <= 10 else 2.0)


@dataclass(slots=True)
class NodeReport:
    """What became of one node so far; times in seconds since the start of the simulation.

    `sf_first`, `sf_now`: spreading factors of its first and latest data frame on the air; `adr_after_uplinks`: how many
    it had sent when it began to send faster than at first, without joining anew.
    """

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
    sf_first: int | None = None
    sf_now: int | None = None
    adr_after_uplinks: int | None = None


class Simulation:
    """Create it, `start` it, `stop` it; in between `reports` tells what happens.

    `server` is where the gateways send to: host and port for Semtech UDP, or for LoRa Basics Station what each of them
    is told of its server. `folder` takes one folder per node. `on_event` hears everything the nodes do, after the
    report was brought up to date.
    Joining is seen on the air: a node that sends data has a session.
    """

    def __init__(
        self,
        plan: Plan,
        server: tuple[str, int] | Sequence[StationServer],
        folder: Path,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.plan = plan
        self.flock = plan.flock()
        self.reports = {node.name: NodeReport(node.name, node.dev_eui.hex()) for node in self.flock}
        self._on_event = on_event
        losses = {plan.bad_place: plan.bad_place_loss} if plan.bad_place else {}
        self.air = AirServer(
            Air(plan.propagation, loss=plan.loss, losses=losses), on_transmission=self._on_transmission
        )
        self.gateways = _gateways(plan.gateway_stations(), server, self.air.transmit)
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
            if report.adr_after_uplinks is None:
                report.sf_first = None  # whatever it sends at next is of its own choice
            return
        if kind not in (UNCONFIRMED_UP, CONFIRMED_UP):
            return
        report.sf_now = transmission.sf
        if report.sf_first is None:
            report.sf_first = transmission.sf
        elif report.adr_after_uplinks is None and transmission.sf < report.sf_first:
            report.adr_after_uplinks = report.uplinks
            detail = f"SF{report.sf_first} SF{transmission.sf}"
            self._on_event(Event(report.name, "faster", monotonic_us(), detail))
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


def _gateways(
    stations: Sequence[tuple[bytes, Station]],
    server: tuple[str, int] | Sequence[StationServer],
    transmit: Callable[[Transmission], None],
) -> Sequence[VirtualGateway | VirtualStation]:
    match server:
        case (str() as host, int() as port):
            return [VirtualGateway(eui, station, (host, port), transmit) for eui, station in stations]
        case _:
            return [
                VirtualStation(eui, station, told, transmit)
                for (eui, station), told in zip(stations, cast("Sequence[StationServer]", server), strict=True)
            ]
