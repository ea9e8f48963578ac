"""The whole nest on PostgreSQL: frames over UDP, SIGKILL, a server that crashes. What was acknowledged is there."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway.archive.postgres_server import PostgresServer, needs_postgres
from gateway.commands import Here, check_said
from gateway.lorawan.device import EndDevice
from gateway.running import LIMIT_S, RunningNest, UdpGateway, nest_command
from nest import town
from nest.archive import open_database
from nest.archive.outbox import Outbox
from nest.database_url import DatabaseServer
from nest.gateways import GatewayRegistry
from nest.registry import Registry
from sqlalchemy import text

pytestmark = [needs_postgres, pytest.mark.xdist_group("postgresql"), pytest.mark.usefixtures("english")]

CLIMATE = bytes.fromhex("0f65ce39a776")  # 21.4 °C, 56.5 %, 1008.3 hPa, 3.87 V
EUIS = [f"{number:02x}" * 8 for number in (0xAA, 0xBB, 0xCC)]


@pytest.fixture
def devices() -> list[EndDevice]:
    return [EndDevice(number + 1) for number in range(len(EUIS))]


@pytest.fixture
def folder(tmp_path: Path, server: DatabaseServer, devices: list[EndDevice]) -> Path:
    made = town.create(
        tmp_path / "town", "Brandis", udp_port=0, web_port=0, mqtt_port=0, udp_host="127.0.0.1", web_host="127.0.0.1",
        station_host="127.0.0.1", database_url=server.url,
    )  # fmt: skip
    engine = open_database(made.database)
    for number, (eui, device) in enumerate(zip(EUIS, devices, strict=True)):
        GatewayRegistry(engine).add(eui)
        Registry(engine).add(f"spatz-{number}", device.dev_eui, device.join_eui, device.app_key)
    engine.dispose()
    return made.path


@pytest.fixture
def nest(folder: Path) -> Iterator[RunningNest]:
    with RunningNest(folder) as running:
        yield running


class Sender(threading.Thread):
    """A gateway with one node in its reach, that sends until it is told to stop or nobody answers any more."""

    def __init__(self, port: int, eui: str, device: EndDevice) -> None:
        super().__init__(daemon=True)
        self._gateway, self._device = UdpGateway(port, eui), device
        self.acknowledged: list[int] = []
        self.stop = False

    def join_network(self) -> None:
        self._gateway.pull()
        self._gateway.hear(self._device.join_request())
        answer = self._gateway.downlink()
        assert answer, "no JoinAccept"
        self._device.join_accept(answer[0])

    def leave(self) -> None:
        """Whatever it waits for, it is not coming."""
        self._gateway.close()
        self.join()

    def run(self) -> None:
        while not self.stop:
            try:
                self.send()
            except (AssertionError, OSError):
                return

    def send(self) -> None:
        """One frame, repeated until it is acknowledged."""
        self._gateway.hear(self._device.uplink(CLIMATE))
        self.acknowledged.append(self._device.fcnt_up)


def kept(folder: Path) -> dict[str, set[int]]:
    """The counters of the frames of each node; each frame once, with its reading and its place in the outbox."""
    engine = open_database(town.load(folder).database)
    with engine.begin() as connection:
        found = connection.execute(
            text("SELECT slug, fcnt FROM frames JOIN nodes ON nodes.id = frames.node_id ORDER BY frames.id")
        ).all()
        done = connection.execute(text("SELECT done FROM sinks")).scalar_one()
        waiting = [row.seq for row in connection.execute(text("SELECT seq FROM outbox ORDER BY seq"))]
    assert len(found) == len({tuple(row) for row in found})
    assert waiting == list(range(done + 1, len(found) + 1))
    assert all(len(event.values) == 4 for _, event in Outbox(engine).after(done))
    engine.dispose()
    return {slug: {row.fcnt for row in found if row.slug == slug} for slug in {row.slug for row in found}}


def senders(nest: RunningNest, devices: list[EndDevice]) -> list[Sender]:
    return [Sender(nest.ports["semtech_udp"], eui, device) for eui, device in zip(EUIS, devices, strict=True)]


def test_killed_at_any_moment_nothing_that_was_acknowledged_is_lost(
    nest: RunningNest, folder: Path, devices: list[EndDevice]
) -> None:
    acknowledged: dict[str, set[int]] = {f"spatz-{number}": set() for number in range(len(devices))}
    for attempt in range(3):
        if attempt:
            nest.start()
        at_work = senders(nest, devices)
        for sender in at_work:
            if not attempt:
                sender.join_network()
            sender.start()
        end = time.monotonic() + LIMIT_S
        while sum(len(sender.acknowledged) for sender in at_work) < 30 * (attempt + 1):
            assert time.monotonic() < end
            time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  into the middle of a burst, wherever that is
        for sender in at_work:
            sender.stop = True
        nest.kill()
        for number, sender in enumerate(at_work):
            acknowledged[f"spatz-{number}"] |= {*sender.acknowledged}
        stored = kept(folder)
        for slug, counters in acknowledged.items():
            assert counters <= stored.get(slug, set())
        for sender in at_work:
            sender.leave()
    nest.start()  # and goes on where it was
    last = senders(nest, devices)[0]
    before = len(kept(folder)["spatz-0"])
    last.send()
    assert len(kept(folder)["spatz-0"]) == before + 1
    assert "21.4" in json.dumps(nest.api("/api/v1/nodes/spatz-0"))
    assert nest.status()["archive"]["frames"] == sum(map(len, kept(folder).values()))
    assert nest.terminate()[0] == 0


def test_a_server_that_crashes_and_comes_back_is_waited_for(
    nest: RunningNest, folder: Path, devices: list[EndDevice], postgres: PostgresServer
) -> None:
    at_work = senders(nest, devices)
    for sender in at_work:
        sender.join_network()
        sender.start()
    for _ in range(2):
        reached = sum(len(sender.acknowledged) for sender in at_work)
        end = time.monotonic() + LIMIT_S
        while sum(len(sender.acknowledged) for sender in at_work) < reached + 20:
            assert time.monotonic() < end, nest.log()
            time.sleep(0.01)
        postgres.stop()
        time.sleep(0.3)
        postgres.start()
    reached = sum(len(sender.acknowledged) for sender in at_work)
    end = time.monotonic() + LIMIT_S
    while sum(len(sender.acknowledged) for sender in at_work) < reached + 5:
        assert time.monotonic() < end, nest.log()
        time.sleep(0.01)
    for sender in at_work:
        sender.stop = True
    for sender in at_work:
        sender.join()
    status, _ = nest.terminate()
    assert status == 0
    stored = kept(folder)
    for number, sender in enumerate(at_work):
        assert {*sender.acknowledged} == stored.get(f"spatz-{number}", set())
    assert "the database refuses" in nest.log()
    assert "Traceback" not in nest.log()


@pytest.mark.usefixtures("nest")
def test_there_is_one_nest_on_a_database_wherever_its_folder_is(tmp_path: Path, server: DatabaseServer) -> None:
    other = town.create(tmp_path / "other", "Belzig", udp_port=0, web_port=0, mqtt_port=0, database_url=server.url)
    done = nest_command("run", other.path)
    assert done.returncode == 2
    assert "Another nest runs" in done.stderr


def test_the_commands_of_an_operator(folder: Path, tmp_path: Path, server: DatabaseServer, here: Here) -> None:
    done = here("check", folder)
    assert (done.status, done.stderr) == (0, "")
    assert "spatz-1" in here("nodes", "list", folder).stdout
    assert "3 nodes" in here("status", folder).stdout
    check_said(
        here("init", tmp_path / "other", "--name", "Belzig", "--database-url", "postgresql://a:b@c/d"),
        "without a password",
    )
    done = here("init", tmp_path / "other", "--name", "Belzig", "--database-url", server.url)
    assert done.status == 0, done.stderr
    assert server.url in (tmp_path / "other" / "town.toml").read_text()
    assert here("backup", folder, tmp_path / "town.nest.tar.gz").status == 0
    check_said(here("restore", tmp_path / "town.nest.tar.gz", tmp_path / "new"), "a town is there already")
