"""Many boards at once, without boards: which is which, and what a run with --all may not do to a known node."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from nest.errors import UserError
from nest.i18n import language_of_locale
from nest.keys import mark
from nest.town import create
from spatz import usb
from spatz.boards import list_boards, load_board
from spatz.flash import worker
from spatz.flash.fleet import Fleet
from spatz.flash.one import OneBoard, Request, _half_keyed
from spatz.flash.plan import Keys
from spatz.flash.town import FlashTown, KeyChanged
from spatz.troubles import trouble
from spatz.usb import Port, at_key, told_apart
from spatz.wishes import Wishes

DEV_EUI = bytes.fromhex("f412fafffe0b1c2d")
ONE = Port("/dev/ttyUSB0", 0x10C4, 0xEA60, "5A5B", location="1-1")
TWIN = Port("/dev/ttyUSB1", 0x10C4, 0xEA60, "5A5B", location="1-2")


def plugged(monkeypatch: pytest.MonkeyPatch, *ports: Port) -> None:
    monkeypatch.setattr(usb, "_as_they_say", lambda: list(ports))


def test_two_boards_with_the_same_serial_number_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [port.key for port in told_apart([ONE, TWIN])] == ["socket 1-1", "socket 1-2"]
    plugged(monkeypatch, ONE)
    assert [port.key for port in usb.list_ports()] == ["serial 5A5B"]
    plugged(monkeypatch, ONE, TWIN)  # a second one comes: the first is followed on
    assert [port.device for port in at_key("serial 5A5B")] == ["/dev/ttyUSB0"]
    plugged(monkeypatch, TWIN)  # and the other way: it is alone again
    assert [port.device for port in at_key("socket 1-2")] == ["/dev/ttyUSB1"]
    assert at_key("socket 1-1") == []


@pytest.fixture
def town(tmp_path: Path):
    create(tmp_path / "town", name="Teststadt")
    town = FlashTown(tmp_path / "town")
    yield town
    town.close()


def one(town: FlashTown, port: Port = ONE, **asked: Any) -> OneBoard:
    return OneBoard(port, Request(**asked), town, lambda *_, **__: None, cast("Any", None), cast("Any", None))


def test_many_at_once_never_become_another_kind_of_board(town: FlashTown) -> None:
    v3, was = load_board("heltec-v3"), Wishes("amsel", "heltec-v4")
    with pytest.raises(UserError, match="amsel is a heltec-v4"):
        one(town, board="heltec-v3", strict=True)._compare_boards(v3, was, "esp32s3")
    alone = one(town, board="heltec-v3")
    alone._compare_boards(v3, was, "esp32s3")
    assert alone.was_board == "heltec-v4"  # and it is told
    other = Port("COM1", 0x303A, 0x1001, "f412fa0b1c2d")
    with pytest.raises(UserError, match="COM1 is a"):
        one(town, other, board="heltec-v3", strict=True)._compare_boards(v3, None, "esp32s3")
    with pytest.raises(UserError, match="heltec-v2") as told:
        one(town, board="rak11200", strict=True)._compare_boards(load_board("rak11200"), None, "esp32")
    assert "heltec-v3" not in told.value.message  # that one has another chip
    one(town, other, board="heltec-v3", strict=True)._compare_boards(v3, Wishes("amsel", "heltec-v3"), "esp32s3")
    one(town, board="heltec-v3", strict=True)._compare_boards(v3, Wishes("amsel", "heltec-v3"), "esp32s3")


def test_many_at_once_never_become_a_board_whose_flash_is_another(town: FlashTown) -> None:
    native = Port("COM1", 0x303A, 0x1001, "f412fa0b1c2d")

    def compare(name: str, chip: str, flash_mb: int | None, port: Port = native, **asked: Any) -> None:
        asking = one(town, port, **{"board": name, "strict": True, **asked})
        asking._compare_boards(load_board(name), None, chip, flash_mb)

    with pytest.raises(UserError, match=r"COM1 is a t3-s3\.") as told:
        compare("heltec-v4", "esp32s3", 4)
    assert len(str(told.value).split()) <= 25
    with pytest.raises(UserError, match="heltec-v4"):
        compare("t3-s3", "esp32s3", 16)
    compare("heltec-v4", "esp32s3", 4, strict=False)  # alone, it is what its owner says
    with pytest.raises(UserError, match="t3-s3"):
        compare("heltec-v4", "esp32s3", 4, Port("COM3", None, None))  # nothing known of its USB
    one(town, native, board="heltec-v4", strict=True)._compare_boards(
        load_board("heltec-v4"), Wishes("amsel", "heltec-v4"), "esp32s3", 4
    )  # known as such
    for board in list_boards():  # none is refused as what it is, nor with a module of more flash than any has
        usb_ids = [tuple(int(part, 16) for part in usb_id.split(":")) for usb_id in board.usb.ids]
        for vid, pid in usb_ids:
            for flash_mb in (None, board.module.flash_mb, *board.module.other_flash_mb, 32):
                compare(board.name, board.module.chip, flash_mb, Port("COM1", vid, pid))
    assert load_board("esp32-rfm95w").module.other_flash_mb == [8, 16]  # any DevKit


def test_a_key_that_changes_meanwhile_is_judged_again(town: FlashTown) -> None:
    wishes = Wishes("amsel", "heltec-v3")
    town.keys(Keys.NEW, DEV_EUI, "amsel", wishes)
    judged = town.find(DEV_EUI)
    assert town.keys(Keys.KEPT, DEV_EUI, None, wishes, judged)[1] is None
    town._registry.rotate("amsel")
    with pytest.raises(KeyChanged):
        town.keys(Keys.KEPT, DEV_EUI, None, wishes, judged)


def test_boards_at_once_are_promised_different_names_and_nothing_is_registered(town: FlashTown) -> None:
    names = {town.name(bytes([at]) * 8, None) for at in range(20)}
    assert len(names) == 20
    assert town.name(bytes([3]) * 8, None) in names
    assert town.find(bytes([3]) * 8) is None


def test_a_locked_database_is_told_as_such(town: FlashTown, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    def locked(_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(town._registry, "find", locked)
    with pytest.raises(UserError, match="in use by another program"):
        town.find(DEV_EUI)


def test_what_a_board_says_does_not_rule_the_terminal_and_mended_boards_do_not_count(town: FlashTown) -> None:
    fleet = Fleet(town, Request())
    here, there = told_apart([ONE, TWIN])
    failed, other = one(town, here), one(town, there)
    fleet._fail(failed, UserError('There is no board "\x1b[2J".', "Next"))
    assert "\x1b" not in fleet._events.get().fields["message"]
    fleet._fail(other, UserError("It failed", "Next"))
    assert len(fleet.failed) == 2

    class Works(OneBoard):
        def run(self) -> Any:
            from spatz.flash.one import Done

            return Done("amsel", DEV_EUI, "heltec-v3", Keys.NEW, 1.0)

    again = Works(here, Request(), town, failed.tell, failed.ask, failed.image_for)
    fleet._flash(again)
    assert [port for port, _ in fleet.failed] == [there]


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("kind", ["port_gone", "unknown", "stale", "bad_cable", "boot_mode"])
def test_with_half_a_key_nobody_says_that_nothing_is_lost(
    kind: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPATZ_LANG", language)
    language_of_locale.cache_clear()
    how = getattr(load_board("heltec-v3").bootloader, f"how_{language}")
    told = _half_keyed(trouble(kind, why="one two three four five six seven eight", how=how))
    language_of_locale.cache_clear()
    assert "nothing is lost" not in str(told)
    assert "nichts ist verloren" not in str(told)
    assert "lash" in told.next_step
    assert len(str(told).split()) <= 25


@pytest.mark.parametrize("last", ['{"do": "wri', ""])
def test_a_worker_whose_parent_was_killed_ends(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    worker.Worker(io.StringIO()).listen(io.StringIO('{"do": "read"}\n' + last))
    assert ended == [3]
    worker.Worker(io.StringIO()).listen(io.StringIO('{"do": "end"}\n'))
    assert ended == [3]


def test_a_board_that_is_swapped_for_another_is_waited_for_no_longer(
    town: FlashTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bridges without serial numbers: the next one in the same socket looks like the one before it."""

    class Waits(OneBoard):
        def run(self) -> Any:
            while not self.gone:
                time.sleep(0.01)
            raise trouble("port_gone")

    monkeypatch.setattr("spatz.flash.fleet.OneBoard", Waits)
    monkeypatch.setattr("spatz.flash.fleet._LOOK_EVERY_S", 0.01)
    port = Port("/dev/ttyUSB0", 0x1A86, 0x7523, location="1-1")
    pulled = threading.Event()
    heard: list[str] = []
    with Fleet(town, Request()) as fleet:
        until = time.monotonic() + 20
        for event in fleet.watch(lambda: [] if pulled.is_set() else [port]):
            heard.append(event.what)
            assert time.monotonic() < until
            if event.what == "found" and len(heard) == 1:
                pulled.set()
            if event.what == "trouble":
                pulled.clear()
            if len(heard) == 3:
                break
        for board in fleet._running.values():
            board.end()
    assert heard == ["found", "trouble", "found"]


def test_a_node_whose_own_wishes_cannot_be_is_asked_about(town: FlashTown, monkeypatch: pytest.MonkeyPatch) -> None:
    from spatz.flash import one as one_module

    said = {"name": "amsel", "board": "heltec-v3", "interval_s": -7, "sensors": ["no such"]}
    manifest = json.dumps({"wishes": said}).encode()
    monkeypatch.setattr(one_module, "layout_on", lambda probe: type("L", (), {"vfs": type("R", (), {"size": 1})})())
    monkeypatch.setattr(
        "spatz.images.filesystem.read_filesystem", lambda *_, **__: {"spatz.json": manifest, "log/1.bin": b"1"}
    )
    own = one(town)._own_files(cast("Any", None), cast("Any", None))
    assert own == (None, {"log/1.bin": b"1"})


def test_one_that_was_retired_is_told_so_and_not_that_it_is_another_towns(town: FlashTown) -> None:
    wishes = Wishes("amsel", "heltec-v3")
    _, identity = town.keys(Keys.NEW, DEV_EUI, "amsel", wishes)
    assert identity
    town._registry.retire("amsel")
    former = town.former(DEV_EUI)
    assert former
    assert former.key_mark == mark(DEV_EUI, identity.app_key)
    with pytest.raises(UserError, match="amsel"):
        town.keys(Keys.NEW, DEV_EUI, None, wishes)
    town._registry.reinstate("amsel")
    assert town.keys(Keys.NEW, DEV_EUI, None, wishes)[0].name == "amsel"
