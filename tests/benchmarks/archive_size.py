"""Ten million readings of 290 nodes, four quantities each, a reading every 15 minutes for a year, on SQLite: written in
the order in which a nest hears them, node after node, moment after moment. How large the file is, and how long one day
of one datastream takes (`Archive.series`), with the pages dropped from SQLite's own cache each time.

Takes about a minute and a half, and 350 MB of disk.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nest.archive import Archive, codes, open_database
from nest.registry import Registry

NODES, READINGS = 290, 10_000_000
INTERVAL_MS, START_MS = 900_000, 1_700_000_000_000
BURST = 58_000  # rows in a transaction: 200 moments
ASKED = 400  # days
QUANTITIES = ("temperature", "humidity", "pressure", "battery")


def make(path: Path) -> float:
    """Fill a database; seconds."""
    engine = open_database(path)
    registry = Registry(engine)
    ids = [registry.add(f"n{number}", f"70b3d57ed000{number:04x}").id for number in range(NODES)]
    engine.dispose()
    rng = random.Random(1)  # noqa: S311  to be repeated
    packed = [
        codes.pack({"temperature": rng.randrange(500, 900), "humidity": rng.randrange(60, 200),
                    "pressure": rng.randrange(2900, 3500), "battery": rng.randrange(120, 220)})
        for _ in range(4096)
    ]  # fmt: skip
    phases = [rng.randrange(INTERVAL_MS) for _ in ids]
    in_order = sorted(zip(phases, ids, strict=True))
    rounds = -(-READINGS // NODES)

    def rows() -> Iterator[tuple[int, int, int, int, bytes]]:
        for moment in range(rounds):
            at = START_MS + moment * INTERVAL_MS
            for number, (phase, node) in enumerate(in_order):
                # clocks drift, and one in ten readings is recovered or fetched
                origin = 0 if (moment * 7 + number) % 10 else 1
                yield node, at + phase + moment % 977, origin, 62, packed[moment * 31 + number * 17 & 4095]

    began = time.monotonic()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -32000")  # as the journal
        coming = rows()
        while burst := [*itertools.islice(coming, BURST)]:
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO readings (node_id, time, origin, delay_ms, codes) VALUES (?, ?, ?, ?, ?)", burst
            )
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return time.monotonic() - began


def ask(path: Path) -> tuple[list[float], int]:
    """Milliseconds of each day of one datastream; how many values they had."""
    rng = random.Random(2)  # noqa: S311  to be repeated
    times: list[float] = []
    values = 0
    last = START_MS / 1000 + READINGS / NODES * INTERVAL_MS / 1000 - 86_400
    for _ in range(ASKED):
        engine = open_database(path)  # nothing in its cache
        archive = Archive(engine)
        slug, quantity, start = f"n{rng.randrange(NODES)}", rng.choice(QUANTITIES), rng.uniform(START_MS / 1000, last)
        began = time.perf_counter()
        values += len(archive.series(slug, quantity, start, start + 86_400))
        times.append((time.perf_counter() - began) * 1000)
        engine.dispose()
    return times, values


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nest.db"
        took = make(path)
        size = path.stat().st_size
        with contextlib.closing(sqlite3.connect(path)) as connection:
            count = connection.execute("SELECT count(*) FROM readings").fetchone()[0]
        times, values = ask(path)
    yield "readings in the database", f">= {READINGS}", f"{count} (written in {took:.0f} s)"
    yield "bytes of a reading on the disk, without its frame", "<= 40", f"{size / count:.1f}"
    p95 = statistics.quantiles(times, n=20)[18]
    yield "one day of one datastream, 95th percentile", "<= 50 ms", f"{p95:.1f} ms ({values / ASKED:.0f} values)"


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
