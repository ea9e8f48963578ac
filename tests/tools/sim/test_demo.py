"""`spatz demo` as a user runs it: a whole town, with the real nest and the real firmware."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from nest.errors import UserError
from spatz.sim import demo
from spatz.sim.simulation import Plan


def spatz(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from spatz.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_every_node_delivers_and_the_summary_says_so(tmp_path: Path) -> None:
    before = {process.pid for process in psutil.process_iter()}
    ended = spatz("demo", "--nodes", "3", "--json", "--no-browser", "--port", "0", "--keep", str(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")
    summary: dict[str, Any] = json.loads(ended.stdout)
    assert summary["ok"] is True
    assert summary["page"].startswith("http://127.0.0.1:")
    assert 0 < summary["page_ready_s"] < summary["all_delivered_s"]
    for node in summary["nodes"]:
        assert node["joined"] is True
        assert node["readings"] >= 1
        assert node["first_reading_s"] <= summary["all_delivered_s"]
        assert (node["faults"], node["crashes"]) == (0, 0)
    slow = [node["name"] for node in summary["nodes"] if node["sf_first"] == 10]
    assert len(slow) == 1, "one near node has something to gain by ADR"
    left = [process.cmdline() for process in psutil.process_iter() if process.pid not in before]
    assert not [command for command in left if str(tmp_path) in " ".join(command)]
    secrets = [node.app_key.hex() for node in Plan(nodes=3).flock()]
    log = (tmp_path / "town" / "nest.log").read_text()
    assert not [key for key in secrets if key in log or key in ended.stdout]


def test_a_node_that_loses_30_percent_of_its_frames_has_its_readings_healed() -> None:
    plan = Plan(nodes=2, near_join_dr=demo.NEAR_JOIN_DR, bad_place_loss=demo.BAD_PLACE_LOSS)
    ended = spatz("demo", "--nodes", "2", "--interval", "5", "--seconds", "75", "--json", "--port", "0")
    assert (ended.returncode, ended.stderr) == (0, "")
    nodes = {node["name"]: node for node in json.loads(ended.stdout)["nodes"]}
    lossy = nodes[str(plan.bad_place)]
    came = lossy["last_day"]
    assert lossy["heard"] < lossy["uplinks"]
    assert came["recovered"] >= 1
    assert lossy["readings"] == came["heard"] + came["recovered"]
    assert came["missing"] <= 3, "only what was lost a moment ago"


def test_a_run_too_short_for_a_join_says_that_nobody_delivered() -> None:
    ended = spatz("demo", "--nodes", "1", "--seconds", "3", "--json", "--port", "0")
    assert ended.returncode == 1
    summary = json.loads(ended.stdout)
    assert (summary["ok"], summary["all_delivered_s"]) == (False, None)
    assert summary["nodes"][0]["readings"] == 0


def test_an_occupied_port_is_one_sentence_and_the_next_step() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        ended = spatz("demo", "--port", str(port), "--no-browser")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        f"Port {port} is in use already.",
        "→ Choose another with --port, or leave --port out: the demo then finds a free one.",
    ]


def test_without_port_and_with_8080_taken_it_is_any_free_one() -> None:
    with socket.socket() as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it: just as well
            here.bind(("127.0.0.1", demo.PAGE_PORT))
            here.listen()
        assert demo.page_port(None) == 0
    assert demo.page_port(0) == 0


def test_a_nest_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "nest.log").write_text("town.toml, line 3: broken.\n→ Correct that line and start again.\n")
    error = demo._nest_ended(tmp_path)
    assert isinstance(error, UserError)
    assert error.message == "The nest ended: town.toml, line 3: broken."
    assert error.next_step == "Correct that line and start again."


def test_the_map_has_a_ground() -> None:
    ground = demo.outlines()
    assert ground["type"] == "FeatureCollection"
    assert [feature["geometry"]["type"] for feature in ground["features"]] == ["Polygon", "Polygon", "LineString"]
    for feature in ground["features"][:2]:
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1]


@pytest.mark.parametrize("existing", ["town.toml", "nest.db"])
def test_a_kept_folder_that_holds_a_town_is_not_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / "town").mkdir()
    (tmp_path / "town" / existing).write_text("mine")
    ended = spatz("demo", "--keep", str(tmp_path), "--no-browser", "--port", "0")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "town" / existing).read_text() == "mine"


def test_readings_are_spoken_with_their_digits_and_failures_as_nothing() -> None:
    values = {
        "temperature": {"value": 16.0, "unit": "°C"},
        "humidity": {"value": None, "unit": "%"},
        "battery": {"value": 4, "unit": "V"},
    }
    assert demo._spoken(values) in ("16.0 °C, –, 4.00 V", "16,0 °C, –, 4,00 V")


def test_a_port_that_was_taken_since_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Two demos started together both find 8080 free; the slower one takes another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(demo, "PAGE_PORT", port)
        looks = iter([port, 0])
        monkeypatch.setattr(demo, "page_port", lambda asked: next(looks))
        assert demo.run(demo.Request(Plan(nodes=1), seconds=4, browser=False, as_json=True)) == 1
    assert f":{port}/" not in json.loads(capsys.readouterr().out)["page"]
