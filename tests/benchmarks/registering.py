"""500 nodes with keys and decoder in ChirpStack: once, then again without a difference."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

NODES = 500
ASKED_S = 60


def rows() -> Iterator[tuple[str, str, str]]:
    """Against a server in this process, which is made from chirpstack-api's servicer classes and has its rules."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from spatz.servers.access import access
    from spatz.servers.chirpstack import Where, register
    from tools.servers.chirpstack_server import ChirpStack
    from tools.servers.world import flock

    nodes, where = flock(NODES), Where("Brandis", "Spatzen")
    with ChirpStack() as server:
        at = access(server.url, server.store.key)
        for name in ("first", "again"):
            server.store.calls.clear()
            begun = time.perf_counter()
            report = register(at, where, nodes)
            seconds = time.perf_counter() - begun
            found = report.nodes()
            assert found["unchanged" if name == "again" else "created"] == NODES, found
            yield f"{NODES} nodes in ChirpStack, {name}", f"<= {ASKED_S} s", f"{seconds:.1f} s"
            differences, writes = len(report.differences), len(server.store.writes())
            if name == "again":
                yield "differences and writes then", "0", f"{differences} and {writes}"
