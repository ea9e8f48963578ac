"""How long a newcomer waits: from the servers' start to the page, and to a reading of each of the five nodes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

RUNS = 3


def rows() -> Iterator[tuple[str, str, str]]:
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, "-c", "from spatz.cli import main; main()", "demo", "--json", "--no-browser"]
        runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    for figure, asked, key in (
        ("seconds until the page answers", "<= 5", "page_ready_s"),
        ("seconds until all five nodes have a reading in the archive", "<= 30", "all_delivered_s"),
    ):
        values = [run[key] for run in runs]
        yield figure, asked, f"{statistics.median(values):.1f} (median of {RUNS}; worst {max(values):.1f})"
