"""`make bench`: the figures, each with what was asked. Wall-clock figures depend on the machine; counts do not:
one that is a gate (see work) makes the whole fail.

    python -m tests.benchmarks            all
    python -m tests.benchmarks demo       only those whose name begins so
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from tests.benchmarks import (
    archive_size,
    backfill,
    core_cost,
    crashes,
    cuts,
    energy,
    first_reading,
    fleet,
    flock,
    fuzz_gateways,
    healing,
    images,
    ingest,
    journal_cost,
    law,
    month,
    mqtt_cost,
    mutants,
    node_log,
    parser,
    postgres_cost,
    power_cuts,
    redecode,
    registering,
    size,
    storm,
    udp_cost,
    update,
    windows,
    work,
)

Row = tuple[str, str, str]  # figure, asked, measured

BENCHMARKS: dict[str, Callable[[], Iterator[Row]]] = {
    "demo": first_reading.rows,
    "flock": flock.rows,
    "load": ingest.load_rows,
    "backlog": ingest.backlog_rows,
    "growth": ingest.growth_rows,
    "crashes": crashes.rows,
    "storm": storm.rows,
    "fuzz": fuzz_gateways.rows,
    "cost core": core_cost.rows,
    "cost journal": journal_cost.rows,
    "cost postgresql": postgres_cost.rows,
    "cost udp": udp_cost.rows,
    "cost mqtt": mqtt_cost.rows,
    "healing": healing.rows,
    "backfill": backfill.rows,
    "month": month.rows,
    "size": size.rows,
    "work": work.rows,
    "energy": energy.rows,
    "windows": windows.rows,
    "parser": parser.rows,
    "power cuts": power_cuts.rows,
    "law": law.rows,
    "mutants": mutants.rows,
    "node log": node_log.rows,
    "redecode": redecode.rows,
    "registering": registering.rows,
    "archive": archive_size.rows,
    "fleet": fleet.rows,
    "cuts flashing": cuts.flashing_rows,
    "images": images.rows,
    "update": update.rows,
    "cuts updating": cuts.updating_rows,
}


def main(asked: list[str]) -> int:
    missed = False
    for name, benchmark in BENCHMARKS.items():
        if asked and not any(name.startswith(word) for word in asked):
            continue
        print(f"{name}: {benchmark.__module__}", flush=True)
        for figure, wanted, measured in benchmark():
            print(f"  {figure:<58} asked {wanted:<14} measured {measured}", flush=True)
            missed = missed or measured.endswith(work.MISSED)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
