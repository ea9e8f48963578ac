"""What it costs to keep an uplink: the journal alone, on the disk (WAL, synchronous=FULL), 4 values, bursts of 256.

The frames are made before the clock starts. Both sizes of town run in turn, so that a busy machine troubles both.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from nest.archive import open_database, schema
from nest.archive.journal import Journal
from nest.database_url import DatabaseServer
from nest.lorawan.effects import Stored, StoreUplink
from nest.model import Heard, SessionState, Uplink
from sqlalchemy import insert

BURST = 256
BURSTS = 40  # in one round
ROUNDS = 7
SMALL, LARGE = 500, 50_000
CLIMATE = bytes.fromhex("0f65ce39a776")  # 21.4 °C, 56.5 %, 1008.3 hPa, 3.87 V
START = 1_780_000_000.0

Kind = TypeVar("Kind")


class Town:
    """A database with `count` joined nodes, each of which may be heard."""

    def __init__(self, folder: Path, count: int, server: DatabaseServer | None = None) -> None:
        """A file in `folder`, or an empty database on a server."""
        self._random = random.Random(2026)  # noqa: S311  not for keys
        self.states = [
            SessionState(
                (0x70B3D57ED0000000 + n).to_bytes(8, "big"), 1, 0x02000000 + n, bytes(16), bytes(16), active=True
            )
            for n in range(count)
        ]
        self._engine = engine = open_database(server or folder / f"{count}.db")
        with engine.begin() as connection:
            connection.execute(
                insert(schema.nodes),
                [
                    {
                        "id": n + 1, "slug": f"n{n}", "name": f"n{n}", "dev_eui": state.dev_eui.hex(),
                        "join_eui": "0" * 16, "precision": 3, "added_at": 0, "changed_at": 0,
                    }
                    for n, state in enumerate(self.states)
                ],
            )  # fmt: skip
            own = ("id", "node_id", "ended_at")
            names = [column.name for column in schema.sessions.columns if column.name not in own]
            connection.execute(
                insert(schema.sessions),
                [
                    {"node_id": n + 1, **{name: getattr(state, name) for name in names}}
                    for n, state in enumerate(self.states)
                ],
            )
        self._journal = Journal(engine)
        self._at = START

    def bursts(self, count: int) -> list[list[Stored]]:
        """Frames of nodes drawn at random."""
        return [[self._uplink(self._random.choice(self.states)) for _ in range(BURST)] for _ in range(count)]

    def commit(self, bursts: list[list[Stored]]) -> float:
        """Seconds for an uplink."""
        began = time.perf_counter()
        for burst in bursts:
            self._journal.commit(burst)
        return (time.perf_counter() - began) / (len(bursts) * BURST)

    def close(self) -> None:
        self._journal.close()
        self._engine.dispose()

    def _uplink(self, state: SessionState) -> StoreUplink:
        self._at += 0.001
        state.fcnt_up += 1
        state.heard_at = self._at
        heard = Heard("0016c001f1500812", -97.0, 7.5, 868_100_000, self._at)
        phy = b"\x40" + state.dev_addr.to_bytes(4, "little") + bytes(8) + CLIMATE + bytes(4)
        uplink = Uplink(
            "", state.dev_eui, self._at, state.fcnt_up, 1, CLIMATE, False, (heard,), 7, 125_000, 868_100_000, phy
        )
        return StoreUplink(uplink, state)


def measure(folder: Path, sizes: tuple[int, ...], rounds: int = ROUNDS) -> dict[int, list[float]]:
    """Seconds for an uplink in each round, by the number of nodes."""
    with contextlib.ExitStack() as open_towns:
        towns = {size: Town(folder, size) for size in sizes}
        for town in towns.values():
            open_towns.callback(town.close)
        return in_turn(towns, rounds)


def in_turn(towns: dict[Kind, Town], rounds: int) -> dict[Kind, list[float]]:
    """Seconds for an uplink in each round, by the town."""
    for town in towns.values():
        town.commit(town.bursts(BURSTS))  # what is asked once of each node is not what an uplink costs
    costs: dict[Kind, list[float]] = {kind: [] for kind in towns}
    for _ in range(rounds):
        for kind, town in towns.items():
            costs[kind].append(town.commit(town.bursts(BURSTS)))
    return costs


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        costs = measure(Path(name), (SMALL, LARGE))
    middle = {size: statistics.median(found) for size, found in costs.items()}
    for size, cost in middle.items():
        best = 1 / min(costs[size])
        yield f"uplinks kept per second, {size} nodes", ">= 25000", f"{1 / cost:.0f} (best round {best:.0f})"
    yield f"cost per uplink, {LARGE} nodes / {SMALL}", "<= 1.3", f"{middle[LARGE] / middle[SMALL]:.2f}"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
