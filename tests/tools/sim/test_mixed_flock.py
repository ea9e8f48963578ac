"""Nodes with either radio in one simulation: real firmware on boards with an SX1262 and with an SX1276."""

from __future__ import annotations

from pathlib import Path

from spatz.boards import load_board
from spatz.sim import nodes
from spatz.sim.simulate import write_keys
from spatz.sim.simulation import Plan, Simulation
from tools.sim.fake_server import fake_server
from tools.sim.test_simulate import a_network

BOARDS = ("heltec-v3", "lora32-v2-1-6", "heltec-v4", "t-beam")


async def test_every_board_of_a_mixed_flock_joins_and_sends(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    plan = Plan(nodes=len(BOARDS), seed=4, interval_s=6, boards=BOARDS)
    write_keys(keys, plan.flock())
    lines: list[str] = []
    async with fake_server() as server:
        network = a_network(server, keys)
        simulation = Simulation(
            plan, server.address, tmp_path / "nodes", on_event=lambda event: lines.append(f"{event}")
        )
        assert [node.board for node in simulation.flock] == list(BOARDS)
        chips = [nodes.chips(load_board(node.board), node.seed)["radio"]["chip"] for node in simulation.flock]
        assert chips == ["sx1262", "sx1276", "sx1262", "sx1276"]
        try:
            await simulation.start()
            await server.until(lambda: all(member.uplinks for member in network.members.values()), 60)
        except TimeoutError:
            raise AssertionError("\n".join(lines)) from None
        finally:
            await simulation.stop()
    assert network.wrong == []
    for report in simulation.reports.values():
        assert (report.crashes, report.faults) == (0, 0), "\n".join(lines)
