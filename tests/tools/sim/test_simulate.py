"""`spatz simulate` as a user runs it, against a strict network of our own; the firmware is the real one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from nest.errors import UserError
from nest.payload import decode
from spatz.sim.simulate import parse_server, register, write_keys
from spatz.sim.simulation import Plan, Simulation
from tools.sim.fake_network import FakeNetwork, Member
from tools.sim.fake_server import FakeServer, fake_server


async def start_spatz(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from spatz.cli import main; main()",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LANGUAGE": "en", **environment},
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Wait for the end; exit status, stdout, stderr."""
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    return process.returncode, out.decode(), err.decode()


def a_network(server: FakeServer, keys: Path) -> FakeNetwork:
    members = {
        bytes.fromhex(node["dev_eui"]): Member(
            node["name"], bytes.fromhex(node["join_eui"]), bytes.fromhex(node["app_key"])
        )
        for node in json.loads(keys.read_text())
    }
    network = FakeNetwork(server, members)
    server.on_rxpk = network.take
    return network


async def test_nodes_join_and_send_readings_to_any_network_server(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    plan = Plan(nodes=2, seed=3)
    write_keys(keys, plan.flock())
    async with fake_server() as server:
        network = a_network(server, keys)
        host, port = server.address
        process = await start_spatz(
            *("simulate", "--nodes", "2", "--seed", "3", "--interval", "5", "--json", "--energy"),
            *("--server", f"{host}:{port}", "--keys", str(tmp_path / "again.json"), "--keep", str(tmp_path / "keep")),
        )
        try:
            await server.until(lambda: all(len(member.uplinks) >= 3 for member in network.members.values()), 90)
        finally:
            process.send_signal(signal.SIGINT)  # Ctrl-C
            status, out, err = await ended(process)
    assert (status, err) == (0, "")
    assert server.violations == []
    assert network.wrong == []
    assert (tmp_path / "again.json").read_text() == keys.read_text()
    summary: dict[str, Any] = json.loads(out)
    assert summary["seed"] == 3
    for node, member in zip(summary["nodes"], network.members.values(), strict=True):
        assert node["name"] == member.name
        assert node["joined_s"] >= 5  # a JoinAccept comes 5 s after the request
        assert node["sleeps"] >= 1
        assert (node["crashes"], node["faults"]) == (0, 0)
        assert node["energy"]["modelled"] is True
        assert node["energy"]["sf"] == 7
        assert node["energy"]["mj"]["transmit"] > 5
        assert node["energy"]["uplink_mj"] < 400
        counters = [fcnt for fcnt, _, _ in member.uplinks]
        assert counters == list(range(counters[0], counters[0] + len(counters)))  # none lost, none twice
        for _, fport, payload in member.uplinks:
            reading = decode(fport, payload)
            assert reading.values.keys() == {"temperature", "humidity", "pressure", "battery"}
            assert -20 < reading.values["temperature"] < 45
    gateway = summary["gateways"][0]
    assert gateway["rxfw"] <= sum(node["uplinks"] + node["join_requests"] for node in summary["nodes"])


async def test_after_a_power_cut_a_node_goes_on_and_uses_no_number_twice(tmp_path: Path) -> None:
    plan = Plan(nodes=1, seed=4, interval_s=5)
    keys = tmp_path / "keys.json"
    write_keys(keys, plan.flock())
    async with fake_server() as server:
        network = a_network(server, keys)
        member = next(iter(network.members.values()))
        simulation = Simulation(plan, server.address, tmp_path)
        await simulation.start()
        try:
            await server.until(lambda: member.uplinks, 60)
            assert simulation.supervisor is not None
            simulation.supervisor.power_cut("amsel")
            before = len(member.uplinks)
            await server.until(lambda: len(member.uplinks) > before + 1, 60)
        finally:
            await simulation.stop()
    assert network.wrong == []  # among them: a DevNonce not above the last, a MIC under an old key
    assert len(member.nonces) == 1
    counters = [uplink[0] for uplink in member.uplinks]
    assert counters == sorted(set(counters))
    assert simulation.reports["amsel"].faults == 0


async def test_a_server_that_does_not_answer_is_told_and_the_status_says_that_nobody_joined() -> None:
    async with fake_server(answers=False) as server:
        host, port = server.address
        status, out, err = await ended(
            await start_spatz("simulate", "--nodes", "1", "--seconds", "6", "--server", f"{host}:{port}")
        )
    assert status == 1
    assert f"{host}:{port} does not answer" in err
    assert out == ""
    assert "Traceback" not in err


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("old")
    path.chmod(0o644)
    flock = Plan(nodes=3).flock()
    write_keys(path, flock)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = json.loads(path.read_text())
    assert [entry["app_key"] for entry in content] == [node.app_key.hex() for node in flock]
    assert content[0].keys() == {"name", "dev_eui", "join_eui", "app_key", "latitude", "longitude"}


def test_keys_that_cannot_be_written_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_keys(tmp_path / "nowhere" / "keys.json", [])


def test_nodes_are_registered_in_our_own_nest_once(tmp_path: Path) -> None:
    from nest.archive.database import open_database
    from nest.registry import Registry
    from nest.town import create

    town = create(tmp_path / "town", "Town")
    flock = Plan(nodes=2).flock()
    register(town.path, flock)
    register(town.path, Plan(nodes=3).flock())
    engine = open_database(town.database)
    registered = Registry(engine).list()
    engine.dispose()
    assert [node.slug for node in registered] == ["amsel", "blaumeise", "buchfink"]
    assert registered[0].dev_eui == flock[0].dev_eui.hex()
    with pytest.raises(UserError):
        register(town.path, Plan(nodes=2, seed=99).flock())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1700", ("127.0.0.1", 1700)),
        ("nest.local", ("nest.local", 1700)),
        ("[::1]:1680", ("::1", 1680)),
        ("[::1]", ("::1", 1700)),
    ],
)
def test_addresses_of_servers(text: str, address: tuple[str, int]) -> None:
    assert parse_server(text) == address


@pytest.mark.parametrize(
    "text", ["", ":1700", "host:", "host:x", "host:0", "host:65536", "a b:1700", "http://x:1", "::1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UserError, match="not an address"):
        parse_server(text)
