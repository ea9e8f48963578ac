"""What the nest takes: a backlog as fast as it goes, a steady load with its latencies, and the cost in a large town.

The nest is the real `nest run` in a process of its own, with SQLite in WAL and synchronous=FULL, and mosquitto behind
it. Sender, nest and broker share the machine's cores. SPATZ_BENCH_S shortens the steady load for a try.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks import plain_pipeline, steady_load
from tests.benchmarks.broker import Mosquitto
from tests.benchmarks.town_load import LoadNode, backlog, make_town, pour
from tests.gateway.running import RunningNest, free_port

Row = tuple[str, str, str]
GATEWAY = "aa" * 8
UPLINKS, NODES = 60_000, 1_000
LOAD_S = float(os.environ.get("SPATZ_BENCH_S", "60"))
RUNS = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """One backlog: seconds until all was acknowledged and until all was published, CPU seconds of the nest."""

    acknowledged_s: float
    published_s: float
    cpu_s: float
    repeated: int
    rss_mb: float


Running = tuple[RunningNest, list[LoadNode], Mosquitto]


@contextmanager
def running(count: int, gateways: Sequence[str] = (GATEWAY,)) -> Iterator[Running]:
    """A nest with `count` joined nodes, behind it mosquitto."""
    with tempfile.TemporaryDirectory(prefix="funkspatz-bench-") as folder, Mosquitto() as broker:
        udp_port = free_port(socket.SOCK_DGRAM)
        path = Path(folder) / "town"
        nodes = make_town(path, count, gateways, udp_port=udp_port, mqtt_url=broker.url)
        with RunningNest(path) as nest:
            yield nest, nodes, broker


def query(nest: RunningNest, text: str) -> int:
    with sqlite3.connect(f"file:{nest.folder}/nest.db?mode=ro", uri=True) as database:
        return database.execute(text).fetchone()[0] or 0


def take_backlog(count: int, uplinks: int, per_datagram: int = 1) -> Taken:
    """Pour `uplinks` of `count` nodes into a nest and wait until all are published; check that none is lost."""
    with running(count) as (nest, nodes, _):
        datagrams = backlog(nodes, uplinks, GATEWAY, per_datagram)
        assert nest.process
        process = psutil.Process(nest.process.pid)
        before = sum(process.cpu_times()[:2])
        started = time.perf_counter()
        poured = pour(datagrams, nest.ports["semtech_udp"])
        while query(nest, "select done from sinks where name = 'mqtt'") < uplinks:
            if time.perf_counter() - started > 300:
                raise TimeoutError("the backlog is not published")
            time.sleep(0.02)
        published = time.perf_counter() - started
        cpu = sum(process.cpu_times()[:2]) - before
        for what, table, expected in (("frames", "frames", uplinks), ("readings", "readings", uplinks)):
            if (found := query(nest, f"select count(*) from {table}")) != expected:  # noqa: S608
                raise AssertionError(f"{found} of {expected} {what} are in the archive")
        return Taken(poured["seconds"], published, cpu, int(poured["repeated"]), process.memory_info().rss / 1e6)


def backlog_rows() -> Iterator[Row]:
    ours, ratios = [], []
    for _ in range(RUNS):
        peer = plain_pipeline.take(NODES, UPLINKS // 10)
        taken = take_backlog(NODES, UPLINKS)
        ours.append(UPLINKS / taken.published_s)
        ratios.append(ours[-1] / peer)
    yield "uplinks/s, 60 000 of 1 000 nodes, 1 a datagram", ">= 10 000", _spread(ours)
    yield "times a plain pipeline, same run", ">= 5", f"{statistics.median(ratios):.1f} (median of {RUNS})"
    several = take_backlog(NODES, UPLINKS, 8)
    yield "uplinks/s, 8 a datagram", "", f"{UPLINKS / several.published_s:,.0f}"


def growth_rows() -> Iterator[Row]:
    """CPU time of the nest per uplink; the uplinks come from all registered nodes in turn."""
    costs: dict[int, list[float]] = {500: [], 50_000: []}
    for _ in range(RUNS):
        for count, found in costs.items():
            found.append(take_backlog(count, 50_000).cpu_s / 50_000 * 1e6)
    small, large = (statistics.median(costs[count]) for count in (500, 50_000))
    measured = f"{large / small:.2f} ({large:.0f} / {small:.0f} us)"
    yield "CPU us per uplink, 50 000 nodes against 500", "<= 1.3 times", measured


def load_rows() -> Iterator[Row]:
    gateways = [f"{n:016x}" for n in (0xA1, 0xA2, 0xA3)]
    with running(2_000, gateways) as (nest, nodes, broker):
        assert nest.process
        process = psutil.Process(nest.process.pid)
        before, started = sum(process.cpu_times()[:2]), time.perf_counter()
        seen = steady_load.drive(nodes, gateways, nest.ports["semtech_udp"], broker.port, seconds=LOAD_S, rate=400)
        cpu = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - started)
        frames, copies = query(nest, "select count(*) from frames"), nest.status()["counters"].get("duplicate", 0)
        memory = process.memory_info().rss / 1e6
    load = f"{LOAD_S:.0f} s at 400/s, 3 gateways, {copies} copies"
    yield f"uplinks lost of {seen.sent} ({load})", "0", f"{seen.sent - frames}"
    yield "ms from uplink to PULL_RESP, 99 %", "<= 300", seen.answers
    yield "ms from UDP to MQTT, 99 %", "<= 250", seen.published
    yield "MB of memory", "<= 300", f"{memory:.0f} (CPU {cpu:.0%})"


def rows() -> Iterator[Row]:
    yield from load_rows()
    yield from backlog_rows()
    yield from growth_rows()


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} (median of {len(values)}; {min(values):,.0f} to {max(values):,.0f})"
