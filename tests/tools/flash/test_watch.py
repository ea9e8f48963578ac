"""`spatz flash --watch` without boards: whatever is plugged in after whatever else, each board is begun, and once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from spatz.flash.fleet import Fleet
from spatz.flash.one import AlreadyDone, Done, OneBoard, Request
from spatz.flash.plan import Keys
from spatz.troubles import trouble
from spatz.usb import Port, told_apart


def native(mac: str, device: str = "/dev/ttyACM0", location: str = "1-1:1.0") -> Port:
    return Port(device, 0x303A, 0x1001, mac, location=location)


def bridge(serial_number: str, device: str = "/dev/ttyUSB0", location: str = "1-1") -> Port:
    return Port(device, 0x10C4, 0xEA60, serial_number, location=location)


class _EndedError(Exception):
    """The test is over."""


class Bench:
    """The sockets of a computer. `plugged`: what is in them; `mac`: of the board that is plugged in last; a board is
    written as soon as its MAC is in `may_end`."""

    def __init__(self) -> None:
        self.plugged: list[Port] = []
        self.mac = "one"
        self.may_end: set[str] = set()
        self.ends = threading.Event()  # one that was pulled out notices it
        self.begun: list[str] = []
        self.looks = 0
        self._fleet: Fleet | None = None

    def look(self) -> list[Port]:
        self.looks += 1
        return told_apart(self.plugged)

    def run(self, board: OneBoard) -> Done:
        """In place of OneBoard.run."""
        mac = self.mac
        self.begun.append(mac)
        dev_eui = mac.encode().ljust(8, b"\0")
        if not board.unseen(dev_eui):
            raise AlreadyDone
        while mac not in self.may_end:
            if board.gone and self.ends.is_set():
                raise trouble("port_gone")
            time.sleep(0.002)
        return Done(mac, dev_eui, "heltec-v3", Keys.NEW, 1.0)

    def plug(self, mac: str, *ports: Port) -> None:
        self.mac, self.plugged = mac, list(ports)

    def unplug(self) -> None:
        self.plugged = []


class Watch:
    """`spatz flash --watch`, driven to where the test wants it."""

    def __init__(self, bench: Bench, fleet: Fleet) -> None:
        self.bench = bench
        self.fleet = fleet
        self.heard: list[str] = []
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(_EndedError):
            for event in self.fleet.watch(self._look):
                self.heard.append(event.what)

    def _look(self) -> list[Port]:
        if self._soon.is_set():
            raise _EndedError
        return self.bench.look()

    def until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < until, (self.heard, self.bench.begun)
            time.sleep(0.002)

    def looks(self, count: int = 8) -> None:
        """More than it takes to be sure that a board has gone."""
        wanted = self.bench.looks + count
        self.until(lambda: self.bench.looks >= wanted)

    def end(self) -> None:
        self.bench.ends.set()
        for board in list(self.fleet._running.values()):
            board.end()
        self._soon.set()
        self._thread.join(10)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    bench = Bench()
    monkeypatch.setattr(OneBoard, "run", lambda board: bench.run(board))
    monkeypatch.setattr("spatz.flash.fleet._LOOK_EVERY_S", 0.01)
    nothing: Any = None
    found = Watch(bench, Fleet(nothing, Request()))
    yield found
    found.end()


@pytest.mark.parametrize(
    "second",
    [
        native("F4:12:FA:00:00:02"),
        native("F4:12:FA:00:00:02", location="1-2:1.0"),  # Linux gives it the name that is free now
        Port("/dev/ttyACM0", 0x1A86, 0x55D4, location="1-1:1.0"),
    ],
)
def test_a_board_in_the_place_of_one_that_was_pulled_out_at_work_is_begun(second: Port, watch: Watch) -> None:
    bench = watch.bench
    bench.plug("one", native("F4:12:FA:00:00:01"))
    watch.until(lambda: bench.begun == ["one"])
    bench.unplug()
    watch.looks()
    bench.plug("two", second)
    watch.looks()
    bench.ends.set()  # as late as it may be
    bench.may_end |= {"one", "two"}
    watch.until(lambda: bench.begun == ["one", "two"])
    watch.until(lambda: "two" in [done.name for done in watch.fleet.done])


def test_one_that_waits_for_a_chip_waits_no_longer_when_another_is_in_its_socket(watch: Watch) -> None:
    bench = watch.bench
    bench.ends.set()
    bench.plug("one", native("F4:12:FA:00:00:01"))
    watch.until(lambda: bench.begun == ["one"])
    bench.unplug()
    watch.looks()
    assert "trouble" not in watch.heard  # it may just restart
    bench.plug("two", native("F4:12:FA:00:00:02"))
    watch.until(lambda: "trouble" in watch.heard)


@pytest.mark.parametrize("number", ["0001", "5678ABCD"])
def test_the_next_board_is_begun_though_the_one_that_was_pulled_out_has_not_ended_yet(
    number: str, watch: Watch
) -> None:
    bench = watch.bench
    bench.plug("one", bridge(number))
    watch.until(lambda: bench.begun == ["one"])
    bench.unplug()
    watch.looks()
    bench.plug("two", bridge(number))
    watch.looks()
    bench.ends.set()
    watch.until(lambda: bench.begun == ["one", "two"])


def test_boards_whose_bridges_have_the_same_number_are_flashed_one_after_the_other(watch: Watch) -> None:
    bench = watch.bench
    bench.may_end |= {"one", "two"}
    for mac, heard in (("one", "done"), ("two", "done"), ("two", "again")):  # nobody is left to wonder
        before = len(watch.heard)
        bench.plug(mac, bridge("5678ABCD"))
        watch.until(lambda before=before, heard=heard: watch.heard[before:] == ["found", heard])
        bench.unplug()
        watch.looks()
    assert bench.begun == ["one", "two", "two"]


def test_a_chip_that_comes_and_goes_as_it_sleeps_is_left_alone(watch: Watch) -> None:
    bench = watch.bench
    bench.may_end.add("one")
    for _ in range(3):
        bench.plug("one", native("F4:12:FA:00:00:01"))
        watch.looks(3)
        watch.until(lambda: "done" in watch.heard)
        bench.unplug()
        watch.looks(3)
    assert bench.begun == ["one"]


def test_a_board_is_not_begun_anew_because_one_with_its_number_came_meanwhile(watch: Watch) -> None:
    bench = watch.bench
    bench.plug("one", bridge("5678ABCD"))
    watch.until(lambda: bench.begun == ["one"])
    bench.plug("two", bridge("5678ABCD"), bridge("5678ABCD", "/dev/ttyUSB1", "1-2"))
    watch.until(lambda: bench.begun == ["one", "two"])
    bench.may_end |= {"one", "two"}
    watch.until(lambda: len(watch.fleet.done) == 2)
    watch.looks()
    assert bench.begun == ["one", "two"]
