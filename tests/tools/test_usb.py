"""How a board is followed by a process that was not there when it was plugged in: its worker."""

from __future__ import annotations

import io
import json
import queue
from typing import Any

import pytest
from spatz import usb
from spatz.flash.link import Link
from spatz.flash.worker import Worker
from spatz.usb import Port

ONE = Port("/dev/ttyUSB0", 0x10C4, 0xEA60, "5678ABCD", location="1-1")
TWIN = Port("/dev/ttyUSB1", 0x10C4, 0xEA60, "5678ABCD", location="1-2")


class Process:
    """A worker's process. first: the line that its parent begins with."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.stdin = io.StringIO()
        self.stdout = None


def test_a_worker_finds_its_board_though_one_with_the_same_number_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatz.flash.link.subprocess.Popen", Process)
    monkeypatch.setattr(usb, "_as_they_say", lambda: [ONE])
    link: Any = Link(usb.list_ports()[0], lambda _: None)
    monkeypatch.setattr(usb, "_seen_at", {})  # another process
    monkeypatch.setattr(usb, "_as_they_say", lambda: [TWIN, ONE])
    found: queue.Queue[str] = queue.Queue()

    def connect(worker: Worker, _: float) -> None:
        found.put(worker._device())
        raise OSError

    monkeypatch.setattr(Worker, "_connect", connect)
    worker = Worker(io.StringIO())
    worker._asked.put(json.loads(link._worker.stdin.getvalue()))
    worker.run()
    assert found.get_nowait() == "/dev/ttyUSB0"
