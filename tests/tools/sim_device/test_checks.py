"""The check_ functions of checks_*.py, run in one MicroPython process per file on the emulated board."""

import ast
import functools
import json
import os
import subprocess
from pathlib import Path

import pytest
from spatz.sim.micropython import command

HERE = Path(__file__).parent
DEVICE = Path(__file__).parents[3] / "tools" / "spatz" / "sim" / "device"


def _checks():
    for path in sorted(HERE.glob("checks_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
                yield pytest.param(path.name, node.name, id=f"{path.stem}::{node.name}")


@functools.cache
def _results(file):
    done = subprocess.run(
        [*command(), str(HERE / "harness.py"), str(HERE / file)],
        env={**os.environ, "MICROPYPATH": f"{DEVICE}:{HERE}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"'):
            result = json.loads(line)
            results[result["check"]] = result["error"]
    return results, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "check"), list(_checks()))
def test_device(file, check):
    results, output = _results(file)
    assert check in results, output
    assert not results[check], results[check]
