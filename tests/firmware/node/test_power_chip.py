"""The real main.py on boards whose radio hangs on a power chip: what it switches, what it measures, what it says when
the chip does not do its part."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from spatz.boards import load_board
from spatz.config import compile_config
from spatz.sim import nodes
from spatz.sim.micropython import command

ROOT = Path(__file__).parents[3]
SEARCH = [ROOT / "tools/spatz/sim/device", ROOT / "firmware", ROOT / "tests/firmware/common"]
BOTH = [("t-beam", 0), ("t-beam", 1), ("t-beam", 2), ("t-beam", 3), ("t-beam-supreme", 0)]


def lived(
    tmp_path: Path, board_name: str, seed: int, *, boots: int = 1, config: Any = None, chips: Any = None, **plan: Any
) -> tuple[str, dict[str, Any]]:
    """What a node printed, and what boots.py saw of it. config, chips: functions that change them before the start."""
    board = load_board(board_name)
    sensors = plan.pop("sensors", ["bme280"])
    made = compile_config(board, sensors, "amsel", interval_s=600, safe_window_s=0)
    world = {
        "clock": "virtual",
        "module": board.module.chip,
        "chips": nodes.chips(board, seed, sensors),
        **plan.pop("world", {}),
    }
    if config:
        config(made)
    if chips:
        chips(world["chips"])
    (tmp_path / "config.json").write_text(json.dumps(made))
    (tmp_path / "plan.json").write_text(json.dumps({"boots": boots, "world": world, **plan}))
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
    return text, json.loads(result)


@pytest.mark.parametrize(("board", "seed"), BOTH)
def test_measures_its_cell_by_the_power_chip(tmp_path: Path, board: str, seed: int) -> None:
    _, seen = lived(tmp_path, board, seed)
    frame = seen["sent"][-1]
    assert seen["measured"][0][1]["battery"] == pytest.approx(frame["weather"][3], abs=0.01)


@pytest.mark.parametrize(("board", "seed"), [("t-beam", 0), ("t-beam", 2)])
def test_without_a_cell_no_voltage_is_made_up(tmp_path: Path, board: str, seed: int) -> None:
    _, seen = lived(tmp_path, board, seed, chips=lambda chips: chips["pmu"].update(cell=False))
    assert "battery" not in seen["measured"][0][1]
    assert [frame["join"] for frame in seen["sent"]] == [True, False]


@pytest.mark.parametrize(("board", "seed"), [("t-beam", 0), ("t-beam", 2)])
def test_stays_awake_while_its_socket_is_fed(tmp_path: Path, board: str, seed: int) -> None:
    text, seen = lived(tmp_path, board, seed, world={"usb": True}, unplug_s=300)
    assert "awake, because a computer is attached" in text
    assert seen["ends"][0]["event"] == "deepsleep"
    assert seen["ends"][0]["awake_ms"] > 290_000


@pytest.mark.parametrize(("board", "awake_s"), [("t-beam", 3600), ("t-beam-supreme", 6000)])
def test_only_power_counts_for_an_hour_but_a_computer_for_as_long_as_it_is_there(
    tmp_path: Path, board: str, awake_s: int
) -> None:
    """The chip's own socket would vanish from the computer with the sleep."""
    _, seen = lived(tmp_path, board, 0, world={"usb": True}, unplug_s=6000)
    assert seen["ends"][0]["event"] == "deepsleep"
    assert 0 <= seen["ends"][0]["awake_ms"] / 1000 - awake_s < 30


@pytest.mark.parametrize(("board", "seed"), [("t-beam", 1), ("t-beam", 2), ("t-beam-supreme", 0)])
def test_a_radio_whose_rail_is_off_is_said(tmp_path: Path, board: str, seed: int) -> None:
    """As with a board file that names another rail."""

    def other_rail(config: dict[str, Any]) -> None:
        for name, rail in (("axp192", "ldo3"), ("axp2101", "bldo2")):
            if name in config["pmu"]:
                config["pmu"][name] = {"radio": rail}

    text, seen = lived(tmp_path, board, seed, config=other_rail)
    assert "RadioError: " in text
    assert "This did not work" in text
    assert seen["sent"] == []


@pytest.mark.parametrize("seed", [0, 2])
def test_a_power_chip_of_another_kind_is_said(tmp_path: Path, seed: int) -> None:
    def other(config: dict[str, Any]) -> None:
        config["pmu"].pop("axp192" if seed == 0 else "axp2101")

    text, seen = lived(tmp_path, "t-beam", seed, config=other)
    assert "this board has no power chip of the kind" in text
    assert seen["ends"][0]["event"] == "deepsleep", "and the cell is not emptied by it"
    assert seen["sent"] == []


def test_no_power_chip_at_all_is_said(tmp_path: Path) -> None:
    text, seen = lived(tmp_path, "t-beam", 0, chips=lambda chips: chips["pmu"].update(broken=True))
    assert "the power chip does not answer, so the radio has no power" in text
    assert seen["sent"] == []


@pytest.mark.parametrize(("board", "seed"), [("t-beam", 0), ("t-beam", 3), ("rak11200", 0), ("rak3312", 0)])
def test_a_tip_of_the_rain_gauge_leaves_the_radio_without_power(tmp_path: Path, board: str, seed: int) -> None:
    def tip(chips: dict[str, Any]) -> None:  # half a second long: a wake when it closes, one when it opens
        chips["sensors"][0]["chatter"] = [300_000_000, 301_000_000, 1_000_000]

    _, seen = lived(tmp_path, board, seed, boots=4, sensors=["rain"], chips=tip)
    assert [end["event"] for end in seen["ends"]] == ["deepsleep"] * 4
    assert [end["start"] // 1_000_000 for end in seen["ends"][1:3]] == [300, 300]
    assert [end["awake_ms"] < 1000 for end in seen["ends"]] == [False, True, True, False]
    assert [frame["join"] for frame in seen["sent"]] == [True, False, False]
    assert all(frame["flaws"] == [] for frame in seen["sent"])


def test_deep_sleep_costs_no_radio(tmp_path: Path) -> None:
    """What the board books for the sleep: no µs of a radio asleep, because it has no power."""
    _, seen = lived(tmp_path, "t-beam", 0, boots=3)
    slept = seen["ends"][1]["energy"]["us"]
    assert slept["cpu deep"] > 500_000_000
    assert sum(us for key, us in slept.items() if key.startswith("radio ")) < 10_000_000


def test_an_antenna_switch_is_turned_for_sending_and_for_receiving(tmp_path: Path) -> None:
    """The XIAO's receive path: the emulated radio hears nothing without it, and refuses to send with it."""
    _, seen = lived(tmp_path, "xiao-s3-wio", 0)
    assert [frame["join"] for frame in seen["sent"]] == [True, False]
    assert seen["ends"][0]["event"] == "deepsleep"
