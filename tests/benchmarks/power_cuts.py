"""Ten thousand power cuts, at any flash write and in any state of the MAC; and what a day costs in flash writes.

PROOF_SEED sets the seed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

import proof_drive

SEED = int(os.environ.get("PROOF_SEED", "2026"))
CUTS = 10000
NODES = 100  # that are cut off while they try to join, in each of two processes
SHARES = 8  # processes, two at a time; half of them with a damaged slot now and then
WITHIN_US = 75 * 60 * 1_000_000
DAYS = 8 * 7
MOODS = ("normal", "lossy", "chatty", "gone")


def rows() -> Iterator[tuple[str, str, str]]:
    began = time.monotonic()
    each = CUTS // SHARES
    with ThreadPoolExecutor(2) as pool:
        judges = list(
            pool.map(lambda at: proof_drive.cuts(each, SEED + at, 10 * (at % 2), bound_us=WITHIN_US), range(SHARES))
        )
        tries = list(pool.map(lambda at: proof_drive.joins(1 + at * NODES, NODES, CUTS // NODES // 4, SEED), range(2)))
        quiet = dict(zip(MOODS, pool.map(lambda mood: proof_drive.quiet(DAYS, SEED, mood), MOODS), strict=True))
    joining = [judge for each in tries for judge in each]
    findings = [finding for judge in (*judges, *joining) for finding in judge.findings]
    for finding in findings[:10]:
        print(f"    {finding}", flush=True)

    def total(name: str) -> int:
        return sum(getattr(judge, name) for judge in judges)

    took = f"in {time.monotonic() - began:.0f} s, seed {SEED}"
    yield "cuts (power, reset, brown-out)", f">= {CUTS}", f"{total('cuts')} {took}"
    where = f"{total('cut_writes')} / {total('cut_frames')} / {total('rots')}"
    yield "  in a flash write / in a transmission / rotten slots", "", where
    yield "counters twice, sessions or identities lost, late restarts", "0", str(len(findings))
    yield "frames / JoinRequests judged", "", f"{total('frames')} / {sum(len(judge.nonces) for judge in judges)}"
    joins = f"{sum(judge.cuts for judge in joining)} / {sum(len(judge.nonces) for judge in joining)}"
    yield f"cuts of {len(joining)} nodes that try to join / their DevNonces", "", joins
    yield "  joined when they were let", "all", str(sum(judge.session is not None for judge in joining))
    slowest = max(judge.slowest_us for judge in judges) / 60e6
    yield "minutes of power from a start to its first frame, at most", f"<= {WITHIN_US // 60_000_000}", f"{slowest:.0f}"
    yield "largest jump of FCntUp, over several starts", "", str(max(judge.jump for judge in judges))
    for mood, judge in quiet.items():
        asked = "<= 4" if mood == "normal" else ""
        writes = f"{judge.writes / DAYS:.1f} (at {judge.frames / DAYS:.0f} frames)"
        yield f"flash writes a day, network: {mood}", asked, writes
