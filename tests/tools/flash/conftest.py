"""A town, MicroPython to be flashed, and virtual boards at this computer's sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nest.town import create
from spatz.flash.fleet import Fleet
from spatz.flash.one import Event, Request
from spatz.flash.town import FlashTown
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import made_image
from spatz.usb import VIRTUAL_BOARDS

Then = Callable[[Event], None]


class Rig:
    """What a flashing test needs; `flash` gives what happened at the board."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = root / "usb"
        self.registry.mkdir()
        self.firmware = self.image("esp32s3")
        self.town = self.found("Teststadt")

    def image(self, chip: str, seed: int = 1, table: str = "4MiBplus") -> Path:
        file = self.root / f"{chip}-{seed}-{table}.bin"
        file.write_bytes(made_image(chip, 20_000, seed, table))
        return file

    def found(self, name: str) -> Path:
        create(self.root / name, name=name)
        return self.root / name

    def board(self, name: str = "board", **more: Any) -> VirtualBoard:
        return VirtualBoard(self.root / name, registry=self.registry, **{"sensors": (), **more})

    def flash(
        self, board: VirtualBoard, /, *, then: Then = lambda event: None, town: Path | None = None, **asked: Any
    ) -> list[Event]:
        """`then` is called with each event, before the next is waited for."""
        request = Request(**{"firmware": self.firmware, "wait_s": 20, "life_s": 8, **asked})
        registry = FlashTown(town or self.town)
        events = []
        try:
            with Fleet(registry, request) as fleet:
                fleet.start(board.port)
                for event in fleet.events():
                    events.append(event)
                    then(event)
        finally:
            registry.close()
        return events


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig = Rig(tmp_path)
    monkeypatch.setenv(VIRTUAL_BOARDS, str(rig.registry))
    monkeypatch.setenv("SPATZ_LANG", "en")
    return rig
