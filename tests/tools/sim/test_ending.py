"""However a demo or a simulation is ended, no process and no temporary folder stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

DEMO = ("demo", "--nodes", "1", "--no-browser", "--port", "0")
SIMULATE = ("simulate", "--nodes", "1", "--server", "127.0.0.1:9")
LIMIT_S = 30


def start(arguments: tuple[str, ...], folder: Path, before: Callable[[], object] = lambda: None) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", "from spatz.cli import main; main()", *arguments],
        env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=before,
    )  # fmt: skip


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def family(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_gone(children: list[psutil.Process]) -> bool:
    return not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize(("arguments", "children"), [(DEMO, 2), (SIMULATE, 1)], ids=["demo", "simulate"])
def test_while_nodes_run(arguments: tuple[str, ...], children: int, number: int, tmp_path: Path) -> None:
    """SIGHUP is what a closed terminal window sends."""
    process = start(arguments, tmp_path)
    until(lambda: len(family(process)) >= children, "nest and node run")
    running = family(process)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=LIMIT_S)
    assert process.returncode >= 0, "it ended by itself, not by the signal"
    assert "Traceback" not in complaint
    assert all_gone(running)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_before_anything_runs(number: int, tmp_path: Path) -> None:
    process = start(DEMO, tmp_path)
    until(lambda: list(tmp_path.glob("*/town/town.toml")), "the town is being made")
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode >= 0
    assert list(tmp_path.iterdir()) == []


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    process = start(DEMO, tmp_path)
    until(lambda: len(family(process)) >= 2, "nest and node run")
    running = family(process)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    until(lambda: all_gone(running), "nest and node have ended")


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    process = start(SIMULATE, tmp_path, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until(lambda: family(process), "the node runs")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert list(tmp_path.iterdir()) == []
