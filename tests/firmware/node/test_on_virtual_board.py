"""The real firmware on the virtual board: every register, pin and millisecond of it, and a network at the other end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nest.payload import decode
from nest.quantities import by_name
from node.memory import Memory
from node_fakes import Rtc
from on_board import BATTERY, FIRMWARE, Run, run_node
from spatz.config import compile_config

NodeRunner = Callable[..., Run]


@pytest.fixture
def node(tmp_path: Path) -> NodeRunner:
    return partial(run_node, tmp_path)


def assert_values(frame: dict[str, Any]) -> None:
    """The payload says what the weather was, within the resolution."""
    decoded = decode(1, bytes.fromhex(frame["payload"]))
    assert not decoded.failed
    assert not decoded.out_of_range
    for name, truth in zip(("temperature", "humidity", "pressure", "battery"), frame["weather"], strict=True):
        assert decoded.values[name] == pytest.approx(truth, abs=by_name()[name].resolution), name


def test_joins_sends_sleeps_and_wakes_with_its_session(node: NodeRunner) -> None:
    run = node(4)
    assert run.events == ["deepsleep"] * 4
    assert [frame["join"] for frame in run.sent] == [True, False, False, False, False]
    assert [frame["fcnt"] for frame in run.readings] == [0, 1, 2, 3]
    for frame in run.readings:
        assert_values(frame)
    assert all(not frame["flaws"] for frame in run.sent)
    assert all(frame["eirp"] <= 16 for frame in run.sent)


def test_a_wake_is_short_and_mostly_light_sleep(node: NodeRunner) -> None:
    wake = node(2).ends[1]
    assert wake["awake_ms"] < 3000
    assert wake["light_ms"] > wake["awake_ms"] * 0.8


def test_rhythm_is_even_and_its_phase_random(node: NodeRunner) -> None:
    starts = [end["start"] / 1e6 for end in node(40).ends][1:]
    for index, start in enumerate(starts):
        assert start - starts[0] == pytest.approx(index * 600, abs=10.5)
    gaps = {round(later - earlier) for earlier, later in pairwise(starts)}
    assert len(gaps) > 5


@pytest.mark.parametrize("window", [1, 2])
def test_downlink_reaches_the_node(node: NodeRunner, window: int) -> None:
    run = node(2, downlinks={"1": [7, "68616c6c6f", window]})
    assert "downlink port=7 payload=68616c6c6f" in run.text


@pytest.mark.parametrize("ppm", [-900, 900])
def test_windows_are_found_with_the_worst_clock(node: NodeRunner, ppm: int) -> None:
    run = node(2, downlinks={"1": [7, "01", 2]}, world={"clock_error_ppm": ppm, "sleep_jitter_us": 1000})
    assert len(run.nonces) == 1
    assert "downlink port=7 payload=01" in run.text


@pytest.mark.parametrize("accident", ["power_cut", "damage_rtc"])
def test_session_outlives_the_rtc_memory(node: NodeRunner, accident: str) -> None:
    """It goes on where flash has reserved to: a number is skipped, none comes twice."""
    run = node(3, between={"2": accident})
    assert run.nonces == [0]
    first, second, third = [frame["fcnt"] for frame in run.readings]
    assert (first, second) == (0, 1)
    assert 2 <= third <= 2 + 128
    assert run.events == ["deepsleep"] * 3


def test_join_is_tried_again_later_and_at_other_data_rates(node: NodeRunner) -> None:
    run = node(6, deaf=5)
    joins = [frame for frame in run.sent if frame["join"]]
    assert [frame["sf"] for frame in joins] == [7, 7, 8, 9, 10, 11]
    waits = [(later["at"] - earlier["at"]) / 1e6 for earlier, later in pairwise(joins)]
    assert all(wait > 3.75 * 2**number for number, wait in enumerate(waits)), "joins become rarer"
    assert max(waits) < 150
    assert len(run.readings) == 1


def test_safe_window_is_awake_and_goes_on_sending(node: NodeRunner) -> None:
    run = node(1, interval_s=10, safe_window_s=60)
    assert run.events == ["deepsleep"]
    assert 60_000 <= run.ends[0]["awake_ms"] < 75_000
    assert run.ends[0]["light_ms"] < 3500, "at most the last cycle, which begins when the window is over"
    assert 5 <= len(run.readings) <= 8
    assert "awake, because it was just switched on" in run.text


def test_first_reading_comes_at_once(node: NodeRunner) -> None:
    run = node(1, safe_window_s=60)
    assert (run.readings[0]["at"] - run.ends[0]["start"]) / 1e6 < 11


def test_ctrl_c_in_the_window_gives_the_prompt(node: NodeRunner) -> None:
    run = node(1, safe_window_s=60, ctrl_c_s=30)
    assert run.events == ["returned"]
    assert "Stopped by Ctrl-C" in run.text


def test_computer_at_the_socket_keeps_the_node_awake_until_it_is_gone(node: NodeRunner) -> None:
    run = node(1, interval_s=60, world={"usb": True}, unplug_s=300)
    assert run.events == ["deepsleep"]
    assert 300_000 <= run.ends[0]["awake_ms"] < 320_000
    assert "a computer is attached" in run.text


def test_a_computer_at_the_chip_s_own_socket_keeps_the_node_awake(node: NodeRunner) -> None:
    """Found by the frames that it begins, not by the battery; as long as it is there, and no longer."""
    config = compile_config("heltec-v3", ["bme280"], "amsel", interval_s=60, safe_window_s=0)
    config["usb"] = {"sense": "usb-frames"}
    run = node(1, config=json.dumps(config), world={"usb": True}, unplug_s=300)
    assert run.events == ["deepsleep"]
    assert 300_000 <= run.ends[0]["awake_ms"] < 320_000
    assert "a computer is attached" in run.text


def test_a_computer_that_comes_while_the_node_sends_is_seen_before_it_sleeps(node: NodeRunner) -> None:
    config = compile_config("heltec-v3", ["bme280"], "amsel", interval_s=60, safe_window_s=0)
    config["usb"] = {"sense": "usb-frames"}
    run = node(1, config=json.dumps(config), plug_s=2, unplug_s=100)
    assert run.events == ["deepsleep"]
    assert 100_000 <= run.ends[0]["awake_ms"] < 120_000


def test_held_button_keeps_the_node_awake(node: NodeRunner) -> None:
    run = node(1, safe_window_s=20, press_s=5, limit_s=200)
    assert run.events == ["still awake"]
    assert "awake, because the button is held" in run.text or len(run.readings) == 1


@pytest.mark.parametrize("enable_level", [0, 1])
def test_battery_is_measured_on_every_revision(node: NodeRunner, enable_level: int) -> None:
    run = node(1, chips={"battery": {**BATTERY, "enable_level": enable_level}})
    assert_values(run.readings[0])


def test_missing_sensor_is_failed_not_zero(node: NodeRunner) -> None:
    run = node(1, chips={"sensors": []})
    decoded = decode(1, bytes.fromhex(run.readings[0]["payload"]))
    assert decoded.failed == {"temperature", "humidity", "pressure"}
    assert set(decoded.values) == {"battery"}
    assert "sensor bme280 failed: it does not answer" in run.text


UNUSABLE = {
    "missing": ("", "This node has no config.json yet."),
    "damaged": ("{ this is not JSON", "config.json on this node is damaged."),
    "empty": ("[]", "is not of format 1"),
    "pin": (
        json.dumps({**compile_config("heltec-v3", [], "amsel"), "radio": {"cs": 99}}),
        "does not fit this board",
    ),
}


@pytest.mark.parametrize("case", list(UNUSABLE))
def test_unusable_config_is_said_and_the_node_stays_reachable(node: NodeRunner, case: str) -> None:
    config, words = UNUSABLE[case]
    run = node(1, config=config, limit_s=300)
    assert run.events == ["still awake"]
    assert run.text.count(words) >= 5
    assert run.sent == []


def test_missing_identity_is_said_and_the_node_stays_reachable(node: NodeRunner) -> None:
    run = node(1, provision=False, limit_s=300)
    assert run.events == ["still awake"]
    assert run.text.count("it has no identity") >= 5
    assert run.sent == []


@pytest.mark.parametrize("damage", ["syntax", "name", "empty", "import"])
@pytest.mark.parametrize("module", ["node/app.py", "node/cycle.py", "lorawan/device.py"])
def test_a_damaged_program_leaves_the_node_reachable(tmp_path: Path, module: str, damage: str) -> None:
    """It stays awake for ten minutes, says why, and starts afresh: never deep sleep, in which nobody reaches it."""
    firmware = tmp_path / "firmware"
    shutil.copytree(FIRMWARE, firmware)
    damages = {"syntax": "def broken(:\n", "name": "no_such_name\n", "empty": "", "import": "import no_such_module\n"}
    (firmware / module).write_text(damages[damage])
    run = run_node(tmp_path, 1, firmware=firmware)
    assert run.events == ["reset"]
    assert run.ends[0]["awake_ms"] >= 600_000
    assert "The program cannot run. It stays awake and tries again in 10 minutes." in run.text
    assert run.sent == []


def test_nothing_secret_is_printed(node: NodeRunner) -> None:
    text = node(2).text.lower()
    key = bytes(range(16))
    assert key.hex() not in text
    assert str(key).lower() not in text


def test_rtc_record_is_small(node: NodeRunner) -> None:
    rtc = node(2).rtc
    assert len(rtc) < 2048
    assert len(rtc) - len(Memory(Rtc(rtc)).read()) <= 700
