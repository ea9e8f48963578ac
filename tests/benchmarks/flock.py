"""Fifty nodes on this machine, each a process with the real firmware, sending every 10 seconds to a real nest."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from nest import town
from spatz.sim.simulate import register
from spatz.sim.simulation import Plan, Simulation

from tests.gateway.running import RunningNest

NODES = 50
INTERVAL_S = 10
SETTLE_S = 130.0  # until all are switched on, one after another, and have joined
MEASURE_S = 60.0
SAMPLE_S = 1.0


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[tuple[str, str, str]]:
    plan = Plan(nodes=NODES, seed=5, interval_s=INTERVAL_S)
    made = town.create(
        folder / "town", "Bench", udp_host="127.0.0.1", udp_port=0, web_host="127.0.0.1", web_port=0, mqtt_port=0
    )
    register(made.path, plan.flock())
    nest = RunningNest(made.path)
    await asyncio.to_thread(nest.start)
    simulation = Simulation(plan, ("127.0.0.1", nest.ports["semtech_udp"]), folder / "nodes")
    resident, proportional, busy = [0], [0], []
    try:
        await simulation.start()
        await asyncio.sleep(SETTLE_S)
        before = {name: (report.uplinks, report.heard) for name, report in simulation.reports.items()}
        psutil.cpu_percent()
        end = time.monotonic() + MEASURE_S
        while time.monotonic() < end:
            await asyncio.sleep(SAMPLE_S)
            busy.append(psutil.cpu_percent())
            for state in (simulation.supervisor.states if simulation.supervisor else {}).values():
                if state.pid:
                    _sample(state.pid, resident, proportional)
        sent = sum(report.uplinks - before[name][0] for name, report in simulation.reports.items())
        heard = sum(report.heard - before[name][1] for name, report in simulation.reports.items())
        reports = list(simulation.reports.values())
        joined = sum(report.joined_s is not None for report in reports)
        trouble = sum(report.crashes + report.faults for report in reports)
    finally:
        await simulation.stop()
        with sqlite3.connect(made.path / "nest.db") as database:
            delivered = database.execute("select count(distinct node_id) from readings").fetchone()[0]
            frames = database.execute("select count(*) from frames").fetchone()[0]
        nest.__exit__()
    expected = NODES * MEASURE_S / INTERVAL_S
    return [
        ("MB of memory of a virtual node, resident, most of all seen", "<= 25", f"{max(resident) / 1e6:.1f}"),
        ("MB of it that no other process shares", "", f"{max(proportional) / 1e6:.1f}"),
        ("nodes joined / with a reading", f"{NODES} / {NODES}", f"{joined} / {delivered}"),
        (f"uplinks in {MEASURE_S:.0f} s", f"about {expected:.0f}", f"{sent}, {heard} heard by the gateway"),
        ("frames in the archive / heard by the gateway, whole run", "equal", f"{frames} / {_all_heard(reports)}"),
        ("crashes and faults", "0", str(trouble)),
        ("processor, mean of all cores", "", f"{sum(busy) / len(busy):.0f} % of {os.cpu_count()} cores"),
    ]


def _all_heard(reports: list) -> int:
    return sum(report.heard for report in reports)


def _sample(pid: int, resident: list[int], proportional: list[int]) -> None:
    try:
        memory = psutil.Process(pid).memory_full_info()
    except psutil.Error:  # it went to sleep meanwhile
        return
    resident.append(memory.rss)
    proportional.append(getattr(memory, "uss", 0))
