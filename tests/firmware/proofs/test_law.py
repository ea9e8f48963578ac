"""A week of twenty nodes with weak batteries, deaf networks and networks that ask for too much: nothing unlawful.

Judged in true time, while the nodes' clocks are up to 2 % wrong. The seed is printed when it fails; PROOF_SEED sets it.
A year of fifty nodes is in `make bench` (tests/benchmarks/law.py).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import proof_drive

SEED = int(os.environ.get("PROOF_SEED", "1"))
NODES = 20
DAYS = 7


def test_a_week_of_bad_luck_stays_lawful() -> None:
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda first: proof_drive.law(first, NODES // 2, DAYS, SEED), (1, 1 + NODES // 2))
        judges = [judge for half in halves for judge in half]
    findings = [finding for judge in judges for finding in judge.findings]
    assert not findings, f"PROOF_SEED={SEED}\n" + "\n".join(findings[:10])
    # and it was worth judging: the budgets were used, nodes were cut off, networks were away
    assert len(judges) == NODES
    assert sum(judge.frames for judge in judges) > 100 * NODES * DAYS // 2
    assert sum(judge.cuts for judge in judges) > 10 * NODES
    assert sum(judge.joins for judge in judges) > 2 * NODES
    assert max(max(judge.worst) for judge in judges) > 0.9
    assert max(judge.max_eirp for judge in judges) == 16


def test_joins_stay_rare_when_nobody_answers_and_records_are_lost() -> None:
    """What is found in flash after a write that was cut off must not give a join budget back."""
    judges = proof_drive.law(1, 6, 8, SEED, "adrift")
    findings = [finding for judge in judges for finding in judge.findings]
    assert not findings, f"PROOF_SEED={SEED}\n" + "\n".join(findings[:10])
    assert len(judges) == 6
    assert min(judge.joins for judge in judges) > 20
    assert sum(judge.cuts for judge in judges) > 100
    assert max(judge.worst_join for judge in judges) > 0.9
