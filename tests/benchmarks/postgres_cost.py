"""What it costs to keep an uplink on PostgreSQL beside SQLite: the journal alone, both on this machine's disk and
waiting for it, 4 values, bursts of 256, in turn, so that a busy machine troubles both."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.journal_cost import ROUNDS, SMALL, Town, in_turn
from tests.gateway.archive.postgres_server import PostgresServer, why_not


def measure(rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds for an uplink in each round, by the kind of database."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as parts:
        server = PostgresServer(durable=True)
        parts.callback(server.close)
        towns = {"SQLite": Town(Path(name), SMALL), "PostgreSQL": Town(Path(name), SMALL, server.database())}
        for town in towns.values():
            parts.callback(town.close)
        return in_turn(towns, rounds)


def rows() -> Iterator[tuple[str, str, str]]:
    if reason := why_not():
        yield "uplinks kept per second, PostgreSQL", "–", reason
        return
    for kind, found in measure().items():
        middle = 1 / statistics.median(found)
        yield f"uplinks kept per second, {kind}", "–", f"{middle:.0f} (best round {1 / min(found):.0f})"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
