"""A node's month with everything that is ours in it: the firmware's own life and the nest's own core in virtual time
(tests/end_to_end/whole_town.py), 30 days at 15 min, 30 % of the frames lost both ways, the gateway silent for a day.
What the archive has in the end, compared reading by reading with the weather; and every downlink that went on the air:
those that were ordered (requests for readings, parity), and those of LoRaWAN itself (JoinAccept, ADR, time, battery).
One that a node misses goes out again when the node repeats its frame: a repetition.

Lost is a frame with all its repetitions; in the last rows each transmission for itself, so that the repetitions that
ADR asks for (NbTrans) help. Looked at two days after the days that count.

    python -m tests.benchmarks.month [SEED …]
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import work

DAYS = 30
LATER = 2
SEEDS = range(1, 5)
DAY_S = 86_400


@dataclass(frozen=True)
class Result:
    """Of one node. `made` readings, of which `missing` are not in the archive; `wrong`: rows that are no reading of the
    node, and readings missing without a gap. Downlinks: moments (s) of all, `ordered` of those for the application, of
    those `once` without repetitions; `kinds`: what they said."""

    told: str
    made: int
    missing: int
    wrong: int
    came: dict[str, int]
    errors_s: dict[str, list[float]]
    all: list[float]
    ordered: list[float]
    once: list[float]
    kinds: Counter[str]


def run(seed: int, *, each: bool = False) -> Result:
    """One node. `each`: every transmission is lost or not for itself."""
    from tests.end_to_end.compared import compare
    from tests.end_to_end.whole_town import Plan, Town

    dice = random.Random(seed)  # noqa: S311  a simulation
    began = dice.uniform(4, DAYS - 5) * DAY_S
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        town = Town(Path(folder), Plan(seed, DAYS + LATER, each=each, silent=(began, began + DAY_S)))
        town.run()
        found = compare(town, DAYS * DAY_S)
        town.engine.dispose()
    return Result(
        found.told(),
        found.made,
        len(found.missing),
        len(found.invented) + len(found.unknown) + town.counters["healing_wrong"],
        dict(found.came),
        found.errors_s,
        [sent.time for sent in town.downlinks],
        [sent.time for sent in town.downlinks if sent.kind == "application"],
        [sent.time for sent in town.downlinks if sent.kind == "application" and not sent.again],
        Counter(f"{sent.kind} {sent.says}".strip() for sent in town.downlinks),
    )


def most(moments: list[float]) -> int:
    """In any 24 h."""
    return max((sum(at - DAY_S < other <= at for other in moments) for at in moments), default=0)


def _memory() -> str | None:
    """A folder in memory: what a disk takes is not the question here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _case(case: tuple[int, bool]) -> Result:
    return run(case[0], each=case[1])


def rows() -> Iterator[tuple[str, str, str]]:
    """Four nodes for each kind of loss."""
    cases = [(seed, each) for each in (False, True) for seed in SEEDS]
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(_case, cases))
    yield from _rows("30 % of frames lost, a day silent", done[: len(SEEDS)], asked=True)
    yield from _rows("30 % of transmissions lost, a day silent", done[len(SEEDS) :], asked=False)


def _rows(name: str, results: list[Result], *, asked: bool) -> Iterator[tuple[str, str, str]]:
    def row(figure: str, wanted: str, measured: str, good: bool = True) -> tuple[str, str, str]:
        return figure, wanted if asked else "", measured if good or not asked else f"{measured} {work.MISSED}"

    made, missing = sum(one.made for one in results), sum(one.missing for one in results)
    share = 100 * (1 - missing / made)
    yield row(f"{name}: in the archive", ">= 99.99 %", f"{share:.4f} %", share >= 99.99)
    wrong = sum(one.wrong for one in results)
    yield row("  rows that are no reading, readings missing unknown", "0", str(wrong), not wrong)
    parts = [100 * sum(one.came.get(how, 0) for one in results) / made for how in ("heard", "recovered", "backfilled")]
    yield row("  heard, recovered, backfilled", "", ", ".join(f"{part:.2f} %" for part in parts))
    worst = [max((max(one.errors_s.get(how, [0])) for one in results), default=0.0) for how in ("heard", "backfilled")]
    yield row("  largest error of the time, heard and backfilled", "< 1 s", ", ".join(f"{at:.2f} s" for at in worst))
    for what, wanted, moments in (
        ("downlinks ordered", ("<= 2", "<= 10"), [one.once for one in results]),
        ("ordered, with repetitions", ("", ""), [one.ordered for one in results]),
        ("all downlinks, with repetitions", ("<= 2", "<= 10"), [one.all for one in results]),
    ):
        average = sum(map(len, moments)) / len(results) / (DAYS + LATER)
        yield row(f"  {what}, per node and day", wanted[0], f"{average:.2f}", average <= 2 or not wanted[0])
        peak = max(map(most, moments))
        yield row(f"  {what}, most in 24 h", wanted[1], str(peak), peak <= 10 or not wanted[1])
    kinds = sum((one.kinds for one in results), Counter())
    total = len(results) * (DAYS + LATER)
    yield row("  of them", "", ", ".join(f"{count / total:.2f} {kind}" for kind, count in kinds.most_common(5)))


if __name__ == "__main__":
    chosen = [int(word) for word in sys.argv[1:]]
    for seed in chosen:
        one = run(seed)
        counts = [(len(moments), most(moments)) for moments in (one.once, one.ordered, one.all)]
        print(seed, one.told, one.missing, one.wrong, counts, one.kinds)
    for figure, wanted, measured in () if chosen else rows():
        print(f"{figure:<58} asked {wanted:<14} measured {measured}")
