"""What a board that comes from elsewhere brings with it, and what does not come into the town with it: the whole of
`OneBoard`, on a flash in memory in the place of cable and worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nest.town import create
from spatz.flash import one as one_module
from spatz.flash.keeping import LOG_FILES
from spatz.flash.one import Event, OneBoard, Request
from spatz.flash.plan import Plan, Probe, layout_on
from spatz.flash.show import sentence
from spatz.flash.town import FlashTown
from spatz.images.filesystem import read_filesystem
from spatz.images.micropython_image import image_of
from spatz.sim.board.made_image import made_image
from spatz.troubles import trouble
from spatz.usb import Port

from tests.tools.flash.test_keeping import ring
from tests.tools.images.planted import planted

MIB = 1 << 20
PORT = Port("/dev/ttyUSB0", 0x10C4, 0xEA60, "5A5B", location="1-1")
EVIL = b"the attacker's"


class Board:
    """A Heltec V3's flash. cut: after how many parts of a plan the power goes; the filesystem is from the fifth on."""

    def __init__(self) -> None:
        self.flash = bytearray(b"\xff") * (8 * MIB)
        self.mac = bytes.fromhex("f412fa0b1c2d")
        self.cut = 99

    def probe(self) -> Probe:
        return Probe("esp32s3", self.mac, len(self.flash), head=bytes(self.flash[0x8000:0x10000]))

    def vfs(self) -> slice:
        layout = layout_on(self.probe())
        assert layout
        return slice(layout.vfs.offset, layout.vfs.offset + layout.vfs.size)

    def files(self) -> dict[str, bytes]:
        at = self.vfs()
        return read_filesystem(bytes(self.flash[at]), at.stop - at.start)

    def log(self) -> dict[str, bytes]:
        return {path: data for path, data in self.files().items() if path.startswith("log")}

    def put(self, files: dict[str, bytes], renamed: dict[bytes, bytes] | None = None) -> None:
        """Somebody writes it another filesystem."""
        at = self.vfs()
        self.flash[at] = planted(files, at.stop - at.start, renamed or {})


class Cable:
    """Stands for `link.Link`."""

    board: Board

    def __init__(self, *_: object, **__: object) -> None:
        self.probe = self.board.probe

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.board.flash[at : at + size])

    def write(self, plan: Plan, before_files: Callable[[], None]) -> None:
        if plan.erase_all:
            self.board.flash[:] = b"\xff" * len(self.board.flash)
        for number, (at, data) in enumerate(plan.parts):
            if number == plan.first_of_files:
                before_files()
            if number == self.board.cut:
                raise trouble("port_gone")
            self.board.flash[at : at + len(data)] = data

    def end(self) -> None: ...

    def close(self) -> None: ...


class Lab:
    """Towns, and one board."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.board = Cable.board = Board()
        self.image = image_of(made_image("esp32s3", 20_000, 1), "made")

    def flash(self, town: str, **asked: Any) -> list[Event]:
        """Raises UserError, as `OneBoard.run`."""
        if not (self.root / town).exists():
            create(self.root / town, name=town)
        registry = FlashTown(self.root / town)
        told: list[Event] = []
        try:
            OneBoard(
                PORT,
                Request("heltec-v3", **asked),
                registry,
                lambda what, **fields: told.append(Event(PORT, what, fields)),
                lambda boards: boards[0].name,
                lambda board, firmware: self.image,
            ).run()
        finally:
            registry.close()
        return told


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("SPATZ_LANG", "en")
    monkeypatch.setattr(one_module, "Link", Cable)
    monkeypatch.setattr(one_module, "wait_for_life", lambda *_, **__: None)
    return Lab(tmp_path)


def aside(told: list[Event]) -> list[Event]:
    return [event for event in told if event.what == "log_aside"]


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("log/XXYboot.py", b"XXYboot.py", b"../boot.py"),
        ("log/XXYnode_own.mpy", b"XXYnode_own.mpy", b"../node/own.mpy"),
        ("log/boot.py", b"no such name", b"no such name"),
        ("log/1.bin/boot.py", b"no such name", b"no such name"),
    ],
)
@pytest.mark.parametrize("take_over", [False, True])
def test_no_file_of_a_hostile_board_outlives_its_flashing(
    lab: Lab, take_over: bool, path: str, old: bytes, new: bytes
) -> None:
    lab.flash("Elsewhere")
    theirs = {"boot.py": EVIL, "node/own.mpy": EVIL, path: b"planted", "log/2.bin": b"readings"}
    lab.board.put({**lab.board.files(), **theirs}, {old: new})
    lab.flash("Here" if take_over else "Elsewhere", take_over=take_over)
    there = lab.board.files()
    assert EVIL not in there.values()
    assert {*there} - {*LOG_FILES} == {*json.loads(there["spatz.json"])["files"], "spatz.json"}
    assert ("log/2.bin" in there) is not take_over


def test_another_towns_log_does_not_come_along_but_is_not_lost(lab: Lab) -> None:
    """Its sessions and frame counts mean other frames here: the node would answer for its own lost ones with them."""
    lab.flash("Elsewhere")
    log = ring(1, 2, 3)
    lab.board.put({**lab.board.files(), **log})
    assert aside(lab.flash("Elsewhere")) == []
    assert lab.board.log() == log
    (told,) = aside(lab.flash("Here", take_over=True))
    assert lab.board.log() == {}
    logs = FlashTown(lab.root / "Here").logs
    assert logs.asides(lab.board.probe().dev_eui) == [log]
    assert told.fields["file"] in sentence(told)
    assert Path(told.fields["file"]).exists()
    assert "no room" not in sentence(told)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 5])
def test_nor_does_it_after_a_cut_in_the_middle(lab: Lab, cut: int) -> None:
    lab.flash("Elsewhere")
    log = ring(1, 2, 3)
    lab.board.put({**lab.board.files(), **log})
    lab.board.cut = cut
    with pytest.raises(Exception, match="gone"):
        lab.flash("Here", take_over=True)
    lab.board.cut = 99
    told = lab.flash("Here")
    assert aside(told) == []  # that was told before
    assert lab.board.log() == {}
    assert FlashTown(lab.root / "Here").logs.asides(lab.board.probe().dev_eui) == [log]
    # what it writes down as a node of this town is its own, though its files have the same numbers
    own = ring(1, 2, town=b"anew")
    lab.board.put({**lab.board.files(), **own})
    assert aside(lab.flash("Here")) == []
    assert lab.board.log() == own


def test_a_log_that_was_begun_anew_loses_to_an_old_copy_but_is_put_aside(lab: Lab) -> None:
    lab.flash("Here")
    logs, dev_eui = FlashTown(lab.root / "Here").logs, lab.board.probe().dev_eui
    kept, own = ring(*range(41, 57)), ring(*range(1, 13), town=b"anew")
    logs.keep(dev_eui, kept)
    logs.begun(dev_eui)
    lab.board.put({**lab.board.files(), **own})
    assert len(aside(lab.flash("Here"))) == 1
    assert lab.board.log() == kept
    assert logs.asides(dev_eui) == [own]


def test_a_name_that_no_one_can_read_costs_no_readings(lab: Lab) -> None:
    lab.flash("Here")
    lab.board.put({**lab.board.files(), **ring(1), "XXname.txt": b"1"}, {b"XXname": b"\xff\xfename"})
    lab.flash("Here")
    assert lab.board.log() == ring(1)
