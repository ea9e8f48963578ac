"""A year of fifty nodes with weak batteries, deaf networks and networks that ask for too much, judged in true time.

PROOF_SEED sets the seed, PROOF_DAYS the days, PROOF_NODES the nodes. Two processes at a time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

import proof_drive
from proof_judge import BANDS, MAX_EIRP_DBM

SEED = int(os.environ.get("PROOF_SEED", "2026"))
NODES = int(os.environ.get("PROOF_NODES", "50"))
DAYS = int(os.environ.get("PROOF_DAYS", "365"))


def rows() -> Iterator[tuple[str, str, str]]:
    began = time.monotonic()
    judges = []
    with ThreadPoolExecutor(2) as pool:
        adrift = pool.submit(proof_drive.law, 1, NODES, 14, SEED, "adrift")
        for done in as_completed([pool.submit(proof_drive.law, node, 1, DAYS, SEED) for node in range(1, NODES + 1)]):
            fresh = done.result()
            judges += fresh
            for finding in [finding for judge in fresh for finding in judge.findings][:3]:
                print(f"    {finding}", flush=True)
            if len(judges) % 5 == 0:
                spent = time.monotonic() - began
                left = spent / len(judges) * (NODES - len(judges))
                print(f"    {len(judges)} of {NODES} nodes, {spent / 60:.1f} min, {left / 60:.1f} min left", flush=True)
        alone = adrift.result()
    findings = [finding for judge in [*judges, *alone] for finding in judge.findings]

    def total(name: str) -> int:
        return sum(getattr(judge, name) for judge in judges)

    minutes = (time.monotonic() - began) / 60
    yield f"nodes and days, seed {SEED}", "50 and 365", f"{len(judges)} and {DAYS} in {minutes:.1f} min"
    yield "transmissions / joins / cuts", "", f"{total('frames')} / {total('joins')} / {total('cuts')}"
    yield "hours on air", "", f"{total('airtime_us') / 3.6e9:.0f}"
    yield "breaches of the law", "0", str(len(findings))
    for band, (low, high, limit) in enumerate(BANDS):
        worst = max(judge.worst[band] for judge in judges)
        figure = f"{low / 1e6:g} to {high / 1e6:g} MHz, fullest hour of {limit / 1e6:g} s"
        yield figure, "<= 100 %", f"{100 * worst:.1f} %"
    worst = max(judge.worst_join for judge in [*judges, *alone])
    yield "fullest budget of JoinRequests", "<= 100 %", f"{100 * worst:.1f} %"
    yield "EIRP in dBm, most", f"<= {MAX_EIRP_DBM}", str(max(judge.max_eirp for judge in judges))
