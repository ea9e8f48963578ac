"""The real main.py on every board of the catalogue, and with a weak supply, boot after boot in virtual time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from spatz.boards import list_boards, load_board
from spatz.catalogue import Board
from spatz.config import compile_config
from spatz.sim import nodes
from spatz.sim.micropython import command

ROOT = Path(__file__).parents[3]
SEARCH = [ROOT / "tools/spatz/sim/device", ROOT / "firmware", ROOT / "tests/firmware/common"]


def run(tmp_path: Path, boots: int, board_name: str, seed: int = 1, **world: Any) -> dict[str, Any]:
    """What boots.py saw of a node on this board."""
    board = load_board(board_name)
    config = compile_config(board, ["bme280"], "amsel", interval_s=600, safe_window_s=0)
    (tmp_path / "config.json").write_text(json.dumps(config))
    chips = nodes.chips(board, seed=seed)
    plan = {"boots": boots, "world": {"clock": "virtual", "module": board.module.chip, "chips": chips, **world}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = subprocess.run(
        [*command(), str(ROOT / "tests/firmware/node/boots.py"), str(ROOT / "firmware")],
        cwd=tmp_path,
        env={**os.environ, "MICROPYPATH": ":".join([*map(str, SEARCH), ".frozen"])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    text, _, result = done.stdout.rpartition("RESULT ")
    assert result, done.stdout + done.stderr
    assert "Traceback" not in text, text
    return json.loads(result)


def variants(board: Board) -> list[int]:
    """Seeds by which nodes.chips() gives each radio and each power chip once."""
    radios = 2 if board.radio.chip == "probe" else 1
    powers = len(board.pmu.chips) if board.pmu else 1
    return [radio + 2 * power for radio in range(radios) for power in range(powers)]


@pytest.mark.parametrize(
    ("board", "seed"),
    [pytest.param(b.name, seed, id=f"{b.name}-{seed}") for b in list_boards() for seed in variants(b)],
)
def test_a_node_joins_sends_and_sleeps(tmp_path: Path, board: str, seed: int) -> None:
    seen = run(tmp_path, 2, board, seed=seed)
    assert [end["event"] for end in seen["ends"]] == ["deepsleep"] * 2
    assert [frame["join"] for frame in seen["sent"]].count(True) == 1
    assert [frame["fcnt"] for frame in seen["sent"] if not frame["join"]] == [0, 1]
    assert all(frame["flaws"] == [] and frame["eirp"] <= 16 for frame in seen["sent"])


@pytest.mark.parametrize("board", ["lora32-v2-1-6", "heltec-v2", "t3-s3"])
def test_a_node_with_an_sx1276_joins_sends_and_sleeps(tmp_path: Path, board: str) -> None:
    seen = run(tmp_path, 4, board)
    assert [end["event"] for end in seen["ends"]] == ["deepsleep"] * 4
    assert [frame["join"] for frame in seen["sent"]].count(True) == 1
    readings = [frame for frame in seen["sent"] if not frame["join"]]
    assert [frame["fcnt"] for frame in readings] == list(range(len(readings)))
    assert len(readings) >= 3
    assert all(frame["flaws"] == [] and frame["eirp"] <= 16 for frame in seen["sent"])


@pytest.mark.parametrize("board", ["heltec-v3", "lora32-v2-1-6"])
@pytest.mark.parametrize("after_us", [0, 20_000])
def test_a_brown_out_loop_when_the_transmitter_switches_on(tmp_path: Path, board: str, after_us: int) -> None:
    """The supply breaks down with every transmission, at its very start or when some of it is on the air."""
    seen = run(tmp_path, 8, board, brown_out_at={"mode": "tx", "after_us": after_us})
    events = [end["event"] for end in seen["ends"]]
    assert events.count("brown_out") >= 2
    assert set(events) <= {"brown_out", "deepsleep"}
    assert bool(seen["sent"]) == bool(after_us)
    assert len(set(seen["nonces"])) == len(seen["nonces"])
