"""The checks on the emulated chip see every erratum fix and every step of the start-up: each mutation of the driver in
a list of mutations makes the check fail that is named there, and the driver as it is passes all of them.

`python tests/firmware/radio/test_mutations.py` prints the table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from spatz.sim.micropython import command

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FIRMWARE = ROOT / "firmware"
DEVICE = ROOT / "tools/spatz/sim/device"
COMMON = HERE.parent / "common"
LISTS = {"mutations.toml": "radio_chip.py", "mutations_sx127x.toml": "radio_sx127x.py"}  # and the checks they name
MUTATIONS: list[dict[str, str]] = [
    {**mutation, "checks": checks}
    for name, checks in LISTS.items()
    for mutation in tomllib.loads((HERE / name).read_text(encoding="utf-8"))["mutation"]
]


def run_checks(firmware: Path, file: str, *checks: str) -> dict[str, str]:
    """Run checks of a file in dual/ on a firmware: name -> '' or what went wrong."""
    done = subprocess.run(
        [*command(), str(HERE / "one_check.py"), str(HERE.parent / "dual" / file), *checks],
        env={**os.environ, "MICROPYPATH": f"{DEVICE}:{firmware}:{COMMON}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def trouble_with(mutation: dict[str, str]) -> str:
    """What the check `seen_by` says of a copy of the firmware with this mutation; '' when it sees nothing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "firmware"
        shutil.copytree(FIRMWARE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / mutation["file"]
        text = path.read_text(encoding="utf-8")
        assert text.count(mutation["old"]) == 1, f"“{mutation['name']}” no longer fits {mutation['file']}"
        path.write_text(text.replace(mutation["old"], mutation["new"]), encoding="utf-8")
        return run_checks(copy, mutation["checks"], mutation["seen_by"])[mutation["seen_by"]]


@pytest.mark.parametrize("file", LISTS.values())
def test_the_driver_as_it_is_passes(file: str) -> None:
    checks = sorted({mutation["seen_by"] for mutation in MUTATIONS if mutation["checks"] == file})
    assert run_checks(FIRMWARE, file, *checks) == dict.fromkeys(checks, "")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation["name"] for mutation in MUTATIONS])
def test_the_checks_see_it(mutation: dict[str, str]) -> None:
    trouble = trouble_with(mutation)
    assert trouble, f"“{mutation['name']}” is not seen: {mutation['why']}"
    # a check that breaks down for another reason has not seen it
    assert trouble.strip().splitlines()[-1].startswith(("AssertionError", "RadioError")), trouble


def main() -> int:
    """Print the table; 1 when a mutation is not seen."""
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        troubles = list(pool.map(trouble_with, MUTATIONS))
    for mutation, trouble in zip(MUTATIONS, troubles, strict=True):
        said = trouble.strip().splitlines()[-1] if trouble else "NOT SEEN"
        print(f"{mutation['name']:53} {mutation['seen_by']:45} {said}")
    return 0 if all(troubles) else 1


if __name__ == "__main__":
    sys.exit(main())
