"""The engine: what becomes of the network server's wishes when the database refuses or a gateway cannot be reached."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from nest import lorawan
from nest.archive import Archive, open_database
from nest.archive.changes import StoreRecovered
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal, RefusedError, ReplacedError
from nest.archive.meta import put
from nest.live import Live, ReadingEvent
from nest.model import Downlink, RadioFrame, Uplink
from nest.network import MOST_WAITING, RETRY_S, Network
from nest.registry import Registry
from sqlalchemy.exc import OperationalError

from .lorawan.device import EndDevice

READING = b"\x01\x4b\x00"  # 0 °C


class Published:
    """What was given to be published."""

    def __init__(self) -> None:
        self.done = 0
        self.readings: list[tuple[int, ReadingEvent]] = []
        self.uplinks: list[Uplink] = []
        self.forgotten: list[str] = []

    def offer(self, items: Sequence[tuple[int, ReadingEvent]]) -> None:
        self.readings += items

    def heard(self, uplink: Uplink) -> None:
        self.uplinks.append(uplink)

    def forget(self, slug: str) -> None:
        self.forgotten.append(slug)


class Town:
    """A network without sockets and with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_database(folder / "nest.db")
        self.registry, self.archive = Registry(self.engine), Archive(self.engine)
        self.queue = DownlinkQueue(self.engine)
        self.journal = Journal(self.engine)
        self.live, self.published = Live(), Published()
        self.sent: list[Downlink] = []
        self.reachable = True
        self.replaced = 0
        self.now = 100.0
        self.counters: Counter[str] = Counter()
        self.start()

    def start(self, executor: Executor | None = None) -> None:
        self.network = Network(
            lorawan.Settings(),
            self.registry,
            self.archive,
            self.journal,
            self.queue,
            self.published,
            self.live,
            self.send,
            self.was_replaced,
            self.counters,
            lambda: self.now,
            executor,
        )

    def was_replaced(self) -> None:
        self.replaced += 1

    def send(self, downlink: Downlink) -> bool:
        if self.reachable:
            self.sent.append(downlink)
        return self.reachable

    def receive(self, phy: bytes) -> list[str]:
        """One reception, alone in its burst; grows by "stored" when it is acknowledged."""
        acknowledged: list[str] = []
        frame = RadioFrame(phy, "aa" * 8, 1e9 + self.now, 868_100_000, 7, 125_000, -80.0, 7.0, int(self.now * 1e6))
        taken = self.network.receive([frame], lambda: acknowledged.append("stored"))
        if taken is None:
            acknowledged.append("not taken")
        self.network.drained()
        return acknowledged

    def after(self, seconds: float) -> None:
        """Let time pass; the engine is woken when it asked for it."""
        end = self.now + seconds
        while (due := self.network.due()) is not None and due <= end:
            self.now = max(due, self.now)
            self.network.poll()
        self.now = end

    def hear(self, phy: bytes, seconds: float = 8.0) -> list[str]:
        acknowledged = self.receive(phy)
        self.after(seconds)
        return acknowledged

    def join(self, device: EndDevice) -> None:
        self.hear(device.join_request())
        device.join_accept(self.sent.pop().phy)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.fixture
def device(town: Town) -> EndDevice:
    device = EndDevice()
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.join(device)
    return device


class FullDisk:
    """A database that refuses until the `with` block ends."""

    def __init__(self, town: Town, error: type[Exception] = RefusedError) -> None:
        self._town, self._error = town, error

    def __enter__(self) -> None:
        self._begin = self._town.journal.begin

        def refuse(*_: object) -> None:
            raise self._error("database or disk is full")

        self._town.journal.begin = refuse  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        self._town.journal.begin = self._begin  # type: ignore[method-assign]


def full_disk(*_: object, **__: object) -> None:
    raise OperationalError("select", {}, Exception("disk I/O error"))


def test_what_waits_for_the_database_is_neither_acknowledged_nor_answered_nor_published_and_then_all_of_it(
    town: Town, device: EndDevice
) -> None:
    with FullDisk(town), town.live.subscribe() as events:
        acknowledged = town.hear(device.uplink(READING, confirmed=True), 0.5)
        assert (acknowledged, town.sent, town.published.readings, events.empty()) == ([], [], [], True)
        assert town.network.trouble == "database or disk is full"
        assert town.counters["not_stored"] >= 1
    town.after(RETRY_S + 0.001)
    assert acknowledged == ["stored"]
    assert town.network.trouble is None
    assert [event.values for _, event in town.published.readings] == [{"temperature": 0.0}]
    assert device.downlink(town.sent[-1].phy).ack
    assert len(town.archive.series("amsel", "temperature", 0, 2e9)) == 1


def test_while_the_database_refuses_frames_of_many_nodes_wait_in_their_order(town: Town, device: EndDevice) -> None:
    with FullDisk(town):
        acknowledged = [town.hear(device.uplink(READING), 3.0) for _ in range(5)]
    town.after(RETRY_S + 0.001)
    assert acknowledged == [["stored"]] * 5
    assert [event.fcnt for _, event in town.published.readings] == [0, 1, 2, 3, 4]
    assert town.counters["accepted"] == 5


def test_a_frame_that_comes_again_while_it_waits_is_stored_once(town: Town, device: EndDevice) -> None:
    phy = device.uplink(READING)
    with FullDisk(town):
        acknowledged = [*town.receive(phy), *town.receive(phy)]
        assert acknowledged == []
    town.after(1.0)
    assert town.archive.counts()["frames"] == 1
    assert town.counters["duplicate"] == 1


def test_a_join_waits_for_the_database_and_its_answer_with_it(town: Town) -> None:
    device = EndDevice(7)
    town.registry.add("meise", device.dev_eui, device.join_eui, device.app_key)
    with FullDisk(town):
        town.hear(device.join_request(), 1.0)
        assert town.sent == []
        assert town.archive.joins() == []
    town.after(7.0)
    device.join_accept(town.sent.pop().phy)
    assert [record.dev_nonce for record in town.archive.joins()] == [device.dev_nonce]
    town.hear(device.uplink(READING))
    assert town.counters["readings"] == 1


def test_when_too_much_waits_frames_are_not_taken_and_not_acknowledged(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nest.network.MOST_WAITING", 3)
    with FullDisk(town):
        acknowledged = [town.hear(device.uplink(READING), 3.0) for _ in range(6)]
    assert MOST_WAITING > 3
    town.after(1.0)
    assert acknowledged[0] == ["stored"]
    assert acknowledged[-1] == ["not taken"]
    stored = acknowledged.count(["stored"])
    assert town.counters["not_taken"] == 6 - stored
    assert town.archive.counts()["frames"] == stored


def test_after_a_restore_nothing_of_before_is_written_or_acknowledged(town: Town, device: EndDevice) -> None:
    acknowledged = town.receive(device.uplink(READING, confirmed=True))
    put(town.engine, "generation", "another")
    town.after(3.0)
    assert town.replaced == 1
    assert (acknowledged, town.sent, town.published.readings) == ([], [], [])
    assert town.receive(device.uplink(READING)) == ["not taken"]
    assert town.archive.counts()["frames"] == 0


def test_a_burst_is_one_transaction(town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = []
    begin = town.journal.begin

    def counted(batch: Sequence[object], mark: int | None = None) -> object:
        commits.append(len(batch))
        return begin(batch, mark)  # type: ignore[arg-type]

    monkeypatch.setattr(town.journal, "begin", counted)
    frames = [
        RadioFrame(device.uplink(READING), "aa" * 8, 1e9 + n, 868_100_000, 7, 125_000, -80.0, 7.0, n) for n in range(40)
    ]
    acknowledged: list[str] = []
    for frame in frames:
        town.network.receive([frame], lambda: acknowledged.append("stored"))
    town.network.drained()
    assert acknowledged == []
    town.after(0.02)
    assert len(acknowledged) == 40
    assert len(commits) == 1


def test_a_frame_of_nobody_is_acknowledged_at_once_and_of_no_use(town: Town, device: EndDevice) -> None:
    stranger = EndDevice(9)
    stranger.dev_addr = 0x01020304
    frame = RadioFrame(stranger.uplink(b"x"), "aa" * 8, 1e9, 868_100_000, 7, 125_000, -80.0, 7.0, 1)
    acknowledged: list[str] = []
    assert town.network.receive([frame], lambda: acknowledged.append("stored")) == 0
    assert acknowledged == ["stored"]
    ours = RadioFrame(device.uplink(READING), "aa" * 8, 1e9, 868_100_000, 7, 125_000, -80.0, 7.0, 1)
    assert town.network.receive([ours, ours]) == 2


def test_how_far_publishing_has_come_is_noted_with_the_next_transaction_or_when_idle(
    town: Town, device: EndDevice
) -> None:
    from nest.archive.outbox import Outbox

    town.hear(device.uplink(READING))
    town.hear(device.uplink(READING))
    outbox = Outbox(town.engine)
    assert [number for number, _ in outbox.after(0)] == [1, 2]
    town.published.done = 1
    town.hear(device.uplink(READING))
    assert outbox.mark() == 1
    town.published.done = 3
    town.network.keep_house()
    assert (outbox.mark(), outbox.waiting()) == (3, 0)


def test_everybody_who_heard_an_uplink_is_told_when_its_window_has_closed(town: Town, device: EndDevice) -> None:
    phy = device.uplink(READING)
    for gateway, snr in (("aa" * 8, 3.0), ("bb" * 8, 9.0)):
        town.network.receive([RadioFrame(phy, gateway, 1e9, 868_100_000, 7, 125_000, -80.0, snr, 1)])
    town.after(1.0)
    assert [heard.gateway for heard in town.published.uplinks[-1].heard] == ["bb" * 8, "aa" * 8]


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_node_that_was_removed_and_added_again_must_join_again(
    town: Town, device: EndDevice, confirmed: bool
) -> None:
    town.hear(device.uplink(b"\xff"))
    town.registry.remove("amsel")
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.hear(device.uplink(READING, confirmed=confirmed))
    assert town.counters["readings"] == 0
    assert town.counters["unknown_session"] == 1
    assert town.sent == []
    assert town.archive.sessions() == []
    town.join(device)
    town.hear(device.uplink(READING))
    assert town.counters["readings"] == 1


def test_a_removed_node_is_forgotten_by_the_publisher(town: Town, device: EndDevice) -> None:
    town.registry.remove("amsel")
    town.hear(device.join_request())
    assert town.sent == []
    assert town.published.forgotten == ["amsel"]
    town.network.keep_house()
    assert town.published.forgotten == ["amsel"]


def test_a_registry_that_cannot_be_read_stops_nothing(
    town: Town, device: EndDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.registry.add("meise", EndDevice(3).dev_eui)
    with monkeypatch.context() as broken:
        broken.setattr(town.registry, "changed_since", full_disk)
        town.hear(device.uplink(READING))
    assert town.counters["readings"] == 1


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


def test_an_ordered_downlink_outlives_a_restart(town: Town, device: EndDevice) -> None:
    node = town.registry.get("amsel")
    assert node
    town.queue.add(node.id, 10, b"hello")
    town.network.keep_house()
    town.start()
    town.hear(device.uplink(b"\x00"))
    assert device.downlink(town.sent[-1].phy).payload == b"hello"


def test_a_node_with_a_new_key_joins_with_it_while_the_nest_runs(town: Town, device: EndDevice) -> None:
    town.registry.remove("amsel")
    device.app_key = bytes(range(16))
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.join(device)
    town.hear(device.uplink(READING))
    assert town.counters["readings"] == 1


def test_the_downlinks_of_a_removed_node_wait_for_nobody(town: Town, device: EndDevice) -> None:
    node = town.registry.get("amsel")
    assert node
    town.queue.add(node.id, 10, b"hello")
    town.registry.remove("amsel")
    assert town.queue.count() == 0


def test_errors_of_the_journal_that_mean_a_replaced_database_are_not_tried_again(town: Town, device: EndDevice) -> None:
    with FullDisk(town, ReplacedError):
        town.hear(device.uplink(READING))
    assert town.replaced == 1


def test_a_mark_that_is_refused_is_tried_again_and_not_all_the_time(town: Town) -> None:
    town.published.done = 1
    with FullDisk(town):
        town.network.keep_house()
    polls = 0
    while (due := town.network.due()) is not None and due <= town.now + 5 and polls < 100:
        town.now = max(due, town.now)
        town.network.poll()
        polls += 1
    assert 0 < polls < 10
    assert town.network.trouble is None


def test_frames_of_no_use_are_acknowledged_while_others_wait(town: Town, device: EndDevice) -> None:
    with FullDisk(town):
        assert town.receive(device.uplink(READING)) == []
        for _ in range(50):
            assert town.receive(b"\x40" + bytes(20)) == ["stored"]


def test_a_node_removed_and_added_again_between_two_looks_is_known(town: Town, device: EndDevice) -> None:
    town.hear(device.uplink(READING))
    town.registry.remove("amsel")
    town.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    town.network.keep_house()
    town.network._registered._synced_ms += 10_000  # time goes on
    town.hear(device.uplink(READING))  # its session has ended
    town.join(device)
    town.hear(device.uplink(READING))
    assert town.counters["readings"] == 2


def test_a_downlink_goes_out_once_though_its_state_could_not_be_written(town: Town, device: EndDevice) -> None:
    node = town.registry.get("amsel")
    assert node
    town.queue.add(node.id, 10, b"\x01")
    with contextlib.closing(sqlite3.connect(str(town.engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        town.network.keep_house()
        other.execute("ROLLBACK")
    town.registry.add("meise", "70b3d57ed00000aa")
    town.network.keep_house()
    assert town.network.core.queued(device.dev_eui) == 1


def test_a_clock_that_was_set_back_hides_nobody(town: Town, device: EndDevice) -> None:
    town.network._registered._synced_ms += 3_600_000  # it was an hour ahead
    town.registry.add("meise", "70b3d57ed00000aa")
    town.network.keep_house()
    assert town.network.nodes == 2


def test_an_error_in_one_acknowledgement_keeps_no_other_back(town: Town, device: EndDevice) -> None:
    acknowledged: list[str] = []

    def broken() -> None:
        raise RuntimeError

    for stored in (broken, lambda: acknowledged.append("stored")):
        frame = RadioFrame(device.uplink(READING), "aa" * 8, 1e9, 868_100_000, 7, 125_000, -80.0, 7.0, 1)
        town.network.receive([frame], stored)
    town.after(1.0)
    assert acknowledged == ["stored"]
    assert len(town.published.uplinks) >= 2


class SlowDisk(Executor):
    """What waits for the disk is done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], /, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, work))
        return future

    def done(self, error: Exception | None = None) -> None:
        future, work = self.waiting.pop(0)
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(work())


@pytest.fixture
def disk(town: Town, device: EndDevice) -> SlowDisk:
    """From here on the town's disk is slow; its one node has joined."""
    disk = SlowDisk()
    town.start(disk)
    return disk


def test_while_the_disk_is_waited_for_frames_are_taken_and_none_is_acknowledged(
    town: Town, device: EndDevice, disk: SlowDisk
) -> None:
    first = town.hear(device.uplink(READING), 3.0)
    second = town.hear(device.uplink(READING, confirmed=True), 0.1)
    third = town.receive(device.uplink(READING))
    assert (first, second, third, len(disk.waiting)) == ([], [], [], 1)
    assert town.network.waiting == 3
    disk.done()
    town.network.finish()
    assert (first, second, third) == (["stored"], [], [])
    assert [event.fcnt for _, event in town.published.readings] == [0]
    disk.done()
    town.network.finish()
    assert (second, third) == (["stored"], ["stored"])
    assert [event.fcnt for _, event in town.published.readings] == [0, 1, 2]


def test_a_copy_of_what_waits_for_the_disk_is_acknowledged_with_it(
    town: Town, device: EndDevice, disk: SlowDisk
) -> None:
    phy = device.uplink(READING)
    first = town.hear(phy, 0.1)
    again = town.receive(phy)
    assert (first, again) == ([], [])
    disk.done()
    town.network.finish()
    assert (first, again) == (["stored"], ["stored"])


def test_a_downlink_is_not_sent_before_its_counter_is_on_the_disk(
    town: Town, device: EndDevice, disk: SlowDisk
) -> None:
    town.hear(device.uplink(READING, confirmed=True), 0.1)
    disk.done()
    town.network.finish()
    town.after(0.5)
    assert town.sent == []
    disk.done()
    town.network.finish()
    town.after(1.0)
    assert device.downlink(town.sent.pop().phy).ack


def test_what_the_disk_refuses_at_the_last_moment_waits_before_what_came_since(
    town: Town, device: EndDevice, disk: SlowDisk
) -> None:
    first = town.hear(device.uplink(READING), 0.1)
    second = town.receive(device.uplink(READING))
    town.journal._roll_back()
    disk.done(RefusedError("the disk is full"))
    town.network.finish()
    assert (first, second, town.network.trouble) == ([], [], "the disk is full")
    town.after(RETRY_S + 0.001)
    disk.done()
    town.network.finish()
    assert (first, second, town.network.trouble) == (["stored"], ["stored"], None)
    assert [event.fcnt for _, event in town.published.readings] == [0, 1]


def test_at_the_end_everything_is_on_the_disk(town: Town, device: EndDevice) -> None:
    with ThreadPoolExecutor(1) as executor:
        town.start(executor)
        acknowledged = [town.receive(device.uplink(READING)) for _ in range(3)]
        town.network.end()
    assert acknowledged == [["stored"]] * 3
    town.published.done = 7
    town.network._batch.append(StoreRecovered(device.dev_eui, 1, 0, {}))  # healing found something at the last moment
    town.after(3600)  # timers fire while the other parts close
    town.network.keep_house()
    assert town.receive(device.uplink(READING)) == ["not taken"]
    assert town.archive.counts()["frames"] == 3
