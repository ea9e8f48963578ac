"""ADR as a person sees it in the demo: which node, from which data rate to which, after how many uplinks."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from spatz.sim import demo, nodes
from spatz.sim.air import Missed, Reception, Transmission
from spatz.sim.progress import Progress
from spatz.sim.simulation import Plan, Simulation
from spatz.sim.supervisor import Event

PLAN = Plan(nodes=3, near_join_dr=2)


def watched(tmp_path: Path) -> tuple[Simulation, list[Event]]:
    events: list[Event] = []
    return Simulation(PLAN, ("127.0.0.1", 9), tmp_path, on_event=events.append), events


def on_air(simulation: Simulation, sf: int, first_byte: int = 0x40, sender: str = "amsel") -> None:
    outcome: dict[str, Reception | Missed] = {"gateway-1": Reception(-100, 5.0)}
    data = bytes((first_byte,)) + bytes(19)
    transmission = Transmission(sender, 0, 100_000, 868_100_000, sf, 125_000, 16.0, data, False, True)
    simulation._on_transmission(transmission, outcome)


def test_the_node_that_is_heard_best_joins_slowly_and_no_other() -> None:
    plan = Plan(nodes=5, seed=3, near_join_dr=2)
    slow = [node for node in plan.flock() if node.join_dr is not None]
    assert [(node.name, node.join_dr) for node in slow] == [("buchfink", 2)]  # 37 dB, where the others have 30 and less
    assert [node.mac_address for node in plan.flock()] == [node.mac_address for node in Plan(nodes=5, seed=3).flock()]


def test_its_configuration_says_so(tmp_path: Path) -> None:
    for node in PLAN.flock():
        folder = nodes.make(node, tmp_path / node.name, interval_s=10, safe_window_s=0)
        config = json.loads((folder.fs / "config.json").read_text())
        assert config.get("lorawan") == (None if node.join_dr is None else {"join_dr": 2})


def test_a_faster_data_rate_is_told_once_and_counted(tmp_path: Path) -> None:
    simulation, events = watched(tmp_path)
    report = simulation.reports["amsel"]
    on_air(simulation, 10, 0x00)
    for _ in range(6):
        on_air(simulation, 10)
    assert (report.sf_first, report.sf_now, report.adr_after_uplinks) == (10, 10, None)
    on_air(simulation, 7)
    on_air(simulation, 7)
    assert (report.sf_first, report.sf_now, report.adr_after_uplinks) == (10, 7, 6)
    assert [event.detail for event in events if event.kind == "faster"] == ["SF10 SF7"]
    assert asdict(report)["adr_after_uplinks"] == 6


def test_what_a_node_chooses_when_it_joins_again_is_not_the_nests_doing(tmp_path: Path) -> None:
    simulation, events = watched(tmp_path)
    on_air(simulation, 10)
    on_air(simulation, 7, 0x00)
    on_air(simulation, 7)
    report = simulation.reports["amsel"]
    assert (report.sf_first, report.sf_now, report.adr_after_uplinks) == (7, 7, None)
    assert not [event for event in events if event.kind == "faster"]


def test_it_is_said_in_one_sentence_and_stands_in_the_table(tmp_path: Path) -> None:
    simulation, events = watched(tmp_path)
    on_air(simulation, 10)
    on_air(simulation, 7)
    on_air(simulation, 7, sender="blaumeise")
    screen = io.StringIO()
    progress = Progress(Console(file=screen, width=120), list(simulation.reports))
    for event in events:
        progress.note(event)
    progress.table(simulation.reports)
    lines = screen.getvalue().splitlines()
    assert "amsel now sends at SF7 instead of SF10: the nest has told it so (ADR)." in lines
    rows = {line.split()[0]: line for line in lines if line.split()}
    assert "SF10 → SF7" in rows["amsel"]
    assert "SF7" in rows["blaumeise"]
    assert "→" not in rows["blaumeise"]
    assert "–" in rows["buchfink"]


def test_the_demo_has_such_a_node() -> None:
    assert demo.NEAR_JOIN_DR == 2
