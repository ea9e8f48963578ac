"""What becomes of the network server's wishes when the database refuses or a gateway cannot be reached."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import pytest
from nest import lorawan
from nest.archive import Archive, open_database
from nest.archive.downlinks import DownlinkQueue
from nest.live import Live
from nest.model import Downlink, RadioFrame
from nest.network import Network
from nest.registry import Registry
from sqlalchemy.exc import OperationalError

from .lorawan.device import EndDevice


class Town:
    """A network without sockets and with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        engine = open_database(folder / "nest.db")
        self.registry, self.archive, self.queue = Registry(engine), Archive(engine), DownlinkQueue(engine)
        self.live = Live()
        self.sent: list[Downlink] = []
        self.reachable = True
        self.now = 100.0
        self.counters: Counter[str] = Counter()
        self.network = Network(
            lorawan.Settings(),
            self.registry,
            self.archive,
            self.queue,
            self.live,
            self.send,
            self.counters,
            lambda: self.now,
        )

    def send(self, downlink: Downlink) -> bool:
        if self.reachable:
            self.sent.append(downlink)
        return self.reachable

    def hear(self, phy: bytes) -> None:
        self.network.receive(RadioFrame(phy, "aa" * 8, 1e9 + self.now, 868_100_000, 7, 125_000, -80.0, 7.0, 1_000_000))
        self.now += 1.0
        while self.network.seconds_to_wait() == 0.0:
            self.network.poll()


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.fixture
def device(town: Town) -> EndDevice:
    device = EndDevice()
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.hear(device.join_request())
    device.join_accept(town.sent.pop().phy)
    return device


def full_disk(*_: object, **__: object) -> None:
    raise OperationalError("insert", {}, Exception("database or disk is full"))


def test_what_cannot_be_stored_is_neither_answered_nor_published(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(town.archive, "store_uplink", full_disk)
        with town.live.subscribe() as events:
            town.hear(device.uplink(b"\x01\x4b\x00"))
            assert events.empty()
    assert town.counters["not_stored"] == 1
    town.hear(device.uplink(b"\x01\x4b\x00"))  # there is room again
    assert town.archive.series("amsel", "temperature", 0, 2e9) == [(1e9 + town.now - 1.0, 0.0)]


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_frame_that_was_not_stored_is_not_acknowledged_and_may_come_again(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch, confirmed: bool
) -> None:
    phy = device.uplink(b"\x01\x4b\x00", confirmed=confirmed)
    with monkeypatch.context() as broken:
        broken.setattr(town.archive, "store_uplink", full_disk)
        town.hear(phy)
    assert town.sent == []
    assert town.counters["no_reading"] == 0
    town.hear(phy)
    assert len(town.sent) == confirmed
    assert town.counters["readings"] == 1
    town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 2


def test_a_join_that_was_not_stored_is_not_answered(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(town.archive, "store_join", full_disk)
        town.hear(device.join_request())
    assert town.sent == []
    town.hear(device.join_request())
    device.join_accept(town.sent.pop().phy)
    town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 1


def test_a_node_whose_first_frame_was_not_stored_keeps_both_sessions(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.hear(device.uplink(b"\x00"))
    old = copy.copy(device)
    town.hear(device.join_request())
    device.join_accept(town.sent.pop().phy)
    with monkeypatch.context() as broken:
        broken.setattr(town.archive, "store_uplink", full_disk)
        town.hear(device.uplink(b"\x00"))
    before = town.counters["accepted"]
    town.hear(old.uplink(b"\x00"))
    town.hear(device.uplink(b"\x00"))
    assert town.counters["accepted"] == before + 2
    assert [session.join_nonce for session in town.archive.sessions()] == [2]


def test_a_stored_frame_that_cannot_be_decoded_now_is_decoded_later(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(town.archive, "decode", full_disk)
        town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 0
    with town.live.subscribe() as events:
        town.network.decode_stored()
        assert events.get_nowait().values == {"temperature": 0.0}
    assert len(town.archive.series("amsel", "temperature", 0, 2e9)) == 1


def test_a_reading_does_not_wait_for_its_acknowledgement(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = town.registry.get("amsel")
    assert node
    town.queue.add(node.id, 10, b"hello")
    with monkeypatch.context() as broken:
        broken.setattr(town.archive, "store_session", full_disk)
        town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 1
    assert town.sent == []
    town.hear(device.uplink(b"\x00"))  # and the downlink is not lost
    assert device.downlink(town.sent.pop().phy).payload == b"hello"


def test_a_queue_that_cannot_be_read_costs_no_reading(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(town.queue, "waiting", full_disk)
    town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 1


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_node_that_was_removed_and_added_again_must_join_again(
    town: Town, device: EndDevice, confirmed: bool
) -> None:
    town.hear(device.uplink(b"\xff"))
    town.registry.remove("amsel")
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.hear(device.uplink(b"\x01\x4b\x00", confirmed=confirmed))  # before the nest has looked
    assert (town.counters["unknown_session"], town.counters["readings"]) == (1, 0)
    assert town.sent == []
    assert town.archive.sessions() == []
    assert town.network.forget_removed(0) == []
    town.hear(device.join_request())
    device.join_accept(town.sent.pop().phy)
    town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 1


def test_a_removed_node_is_told_of_once_even_when_it_asks_to_join(town: Town, device: EndDevice) -> None:
    town.registry.remove("amsel")
    town.hear(device.join_request())
    assert town.sent == []
    assert town.network.forget_removed(0) == ["amsel"]
    assert town.network.forget_removed(0) == []


def test_a_downlink_counter_that_cannot_be_stored_is_not_used(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(town.archive, "store_session", full_disk)
    town.hear(device.uplink(b"\x00", confirmed=True))
    assert town.sent == []
    assert town.counters["not_stored"] == 1


def test_a_registry_that_cannot_be_read_stops_nothing(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(town.registry, "device", full_disk)
    town.hear(device.join_request())
    assert town.sent == []
    assert town.counters["not_stored"] == 1


def test_an_ordered_downlink_waits_while_no_gateway_can_be_reached(town: Town, device: EndDevice) -> None:
    node = town.registry.get("amsel")
    assert node
    number = town.queue.add(node.id, 10, b"hello")
    town.reachable = False
    town.hear(device.uplink(b"\x00"))
    assert town.queue.count() == 1
    town.reachable = True
    town.hear(device.uplink(b"\x00"))
    assert device.downlink(town.sent[-1].phy).payload == b"hello"
    found = town.queue.get(number)
    assert found
    assert found.state == "sent"


def test_a_node_with_a_new_key_joins_with_it_while_the_nest_runs(town: Town, device: EndDevice) -> None:
    town.registry.remove("amsel")
    device.app_key = bytes(range(16))
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.hear(device.join_request())
    device.join_accept(town.sent.pop().phy)
    town.hear(device.uplink(b"\x01\x4b\x00"))
    assert town.counters["readings"] == 1


def test_the_downlinks_of_a_removed_node_wait_for_nobody(town: Town, device: EndDevice) -> None:
    node = town.registry.get("amsel")
    assert node
    town.queue.add(node.id, 10, b"hello")
    town.registry.remove("amsel")
    assert town.queue.count() == 0
