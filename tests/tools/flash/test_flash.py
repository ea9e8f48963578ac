"""`spatz flash` on virtual boards: the real esptool writes, the real MicroPython starts what was written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from spatz.flash.one import Event
from spatz.flash.town import FlashTown
from spatz.images.filesystem import filesystem_image, read_filesystem
from spatz.images.nvs_image import Identity, identity_of, read_nvs
from spatz.sim.board.bench import VirtualBoard

from tests.tools.flash.conftest import Rig

NVS = slice(0x9000, 0xF000)
VFS = slice(0x200000, 0x800000)


def identity_on(board: VirtualBoard) -> Identity | None:
    return identity_of(read_nvs(board.flash()[NVS]))


def key_in(town: Path, board: VirtualBoard) -> bytes:
    registry = FlashTown(town)
    try:
        known = registry.find(board.dev_eui)
        assert known
        return known.app_key
    finally:
        registry.close()


def last(events: list[Event]) -> tuple[str, str]:
    """What it ended with, and the kind of trouble or what became of the keys."""
    return events[-1].what, events[-1].fields.get("keys") or events[-1].fields.get("kind", "")


def test_a_new_board_becomes_a_node_and_keeps_its_keys_ever_after(rig: Rig) -> None:
    with rig.board() as board:
        first = rig.flash(board)
        assert last(first) == ("done", "new")
        assert first[-1].fields["wiring"] == ["I2C: SDA to GPIO 41, SCL to GPIO 42, power to Ve (3.3 V), GND to GND"]
        key = key_in(rig.town, board)
        identity = identity_on(board)
        assert identity
        assert identity.app_key == key
        assert identity.dev_eui == board.dev_eui

        board.do("power_cut")
        board.wait_for("cut")
        flash = bytearray(board.flash())
        files = read_filesystem(bytes(flash[VFS]), 0x600000)
        config = json.loads(files["config.json"])
        flash[VFS] = filesystem_image({**files, "log/9.bin": b"a reading"}, 0x600000)
        (board.folder / "flash.bin").write_bytes(flash)
        board.do("power_on")
        board.wait_for("registered")

        nvs = []

        def look(event: Event) -> None:
            if event.what in ("node", "step"):  # the chip is in its boot loader: the node does not write NVS itself
                nvs.append(board.flash()[NVS])

        again = rig.flash(board, then=look, changes={"interval_s": 1234}, firmware=rig.image("esp32s3", seed=2))
        assert last(again) == ("done", "kept")
        assert again[-1].fields["node"] == first[-1].fields["node"] == config["name"]
        assert len(nvs) == 2
        assert nvs[0] == nvs[1]
        files = read_filesystem(board.flash()[VFS], 0x600000)
        assert json.loads(files["config.json"]) == {**config, "interval_s": 1234}
        assert files["log/9.bin"] == b"a reading"
        for event in (*first, *again):
            assert key.hex() not in event.to_json()


def test_what_a_node_has_written_down_outlives_a_cut_in_the_middle(rig: Rig) -> None:
    with rig.board() as board:
        assert last(rig.flash(board)) == ("done", "new")
        board.do("power_cut")
        board.wait_for("cut")
        flash = bytearray(board.flash())
        files = read_filesystem(bytes(flash[VFS]), 0x600000)
        flash[VFS] = filesystem_image({**files, "log/9.bin": b"a reading"}, 0x600000)
        (board.folder / "flash.bin").write_bytes(flash)
        board.do("power_on")
        board.wait_for("registered")

        cuts = []

        def cut(event: Event) -> None:
            if event.what == "progress" and event.fields["done"] > event.fields["total"] * 0.6 and not cuts:
                cuts.append(event)
                board.do("power_cut")
                board.do("power_on")

        # other sensors: a larger config.json, so that much of the filesystem is another one
        interrupted = rig.flash(board, then=cut, changes={"sensors": ("bme280",)}, wait_s=2)
        assert cuts
        if last(interrupted)[0] == "trouble":
            assert list((rig.town / "interrupted").iterdir()), "the log is kept by the town"
        assert last(rig.flash(board)) == ("done", "kept")
        files = read_filesystem(board.flash()[VFS], 0x600000)
        assert files["log/9.bin"] == b"a reading"
        assert not (rig.town / "interrupted").exists()


def press_buttons(board: VirtualBoard) -> Callable[[Event], None]:
    def then(event: Event) -> None:
        if event.what == "waiting" and event.fields["kind"] == "boot_mode":
            assert "PRG" in event.fields["next_step"]
            board.do("hold_boot")
            board.do("press_reset")
            board.do("release_boot")

    return then


def press_reset(board: VirtualBoard) -> Callable[[Event], None]:
    def then(event: Event) -> None:
        if event.what == "waiting" and event.fields["kind"] == "no_restart":
            assert "RST" in event.fields["next_step"]
            board.do("press_reset")

    return then


def nothing(board: VirtualBoard) -> Callable[[Event], None]:
    return lambda event: None


@pytest.mark.parametrize(
    ("faults", "person", "told"),
    [
        ({"no_auto_reset": True}, press_buttons, ["boot_mode"]),
        ({"stays_in_boot": True}, press_reset, ["no_restart"]),
        ({"renames_port": True}, nothing, []),
        ({"stale_stub": True}, nothing, None),
        ({"max_baud": 115200}, nothing, []),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_difficult_boards_are_flashed_all_the_same(
    rig: Rig,
    faults: dict[str, object],
    person: Callable[[VirtualBoard], Callable[[Event], None]],
    told: list[str] | None,
) -> None:
    with rig.board(faults=faults) as board:
        events = rig.flash(board, then=person(board))
    assert last(events) == ("done", "new"), events[-1].fields
    waiting = list(dict.fromkeys(event.fields["kind"] for event in events if event.what == "waiting"))
    assert told is None or waiting == told


def test_a_wire_that_led_into_the_boot_loader_is_taken_off_before_reset_helps(rig: Rig) -> None:
    """The RAK11200: as long as BOOT0 is at GND, every start leads there again."""
    steps: list[str] = []

    def then(event: Event) -> None:
        if event.what == "waiting" and event.fields["next_step"] not in steps:
            steps.append(event.fields["next_step"])
            if event.fields["kind"] == "boot_mode":
                board.do("hold_boot")
            elif "Take the wire off" in event.fields["next_step"]:
                board.do("release_boot")
            board.do("press_reset")

    with rig.board(board="rak11200", faults={"no_auto_reset": True}) as board:
        events = rig.flash(board, then=then, board="rak11200", firmware=rig.image("esp32"))
    assert last(events) == ("done", "new"), events[-1].fields
    assert steps == [
        "Connect BOOT0 to GND with a wire, then press the reset button.",
        "Take the wire off BOOT0, then press RESET once.",
    ]


def test_a_board_that_starts_again_and_again_is_told_of(rig: Rig) -> None:
    with rig.board(faults={"boot_loop": True}) as board:
        assert last(rig.flash(board)) == ("trouble", "boot_loop")


def test_the_wrong_file_is_refused_before_anything_is_written(rig: Rig) -> None:
    with rig.board() as board:
        before = board.flash()
        events = rig.flash(board, firmware=rig.image("esp32"))
        assert last(events) == ("trouble", "wrong_chip")
        assert board.flash() == before


def test_another_towns_board_is_taken_over_only_when_said(rig: Rig) -> None:
    other = rig.found("Anderswo")
    with rig.board() as board:
        assert last(rig.flash(board)) == ("done", "new")
        assert last(rig.flash(board, town=other)) == ("trouble", "other_town")
        identity = identity_on(board)
        assert identity
        assert identity.app_key == key_in(rig.town, board)
        assert last(rig.flash(board, town=other, take_over=True)) == ("done", "taken over")
        identity = identity_on(board)
        assert identity
        assert identity.app_key == key_in(other, board)
        assert identity.app_key != key_in(rig.town, board)


def test_erased_it_has_a_new_key_and_its_name(rig: Rig) -> None:
    with rig.board() as board:
        first = rig.flash(board)
        key = key_in(rig.town, board)
        erased = rig.flash(board, erase=True)
        assert last(erased) == ("done", "erased")
        assert erased[-1].fields["node"] == first[-1].fields["node"]
        identity = identity_on(board)
        assert identity
        assert identity.app_key == key_in(rig.town, board) != key


def test_one_that_fails_does_not_stop_another(rig: Rig) -> None:
    from spatz.flash.fleet import Fleet
    from spatz.flash.one import Request

    with rig.board("good") as good, rig.board("bad", seed=2, faults={"no_auto_reset": True}) as bad:
        registry = FlashTown(rig.town)
        try:
            with Fleet(registry, Request(firmware=rig.firmware, wait_s=1)) as fleet:
                fleet.start(bad.port)
                fleet.start(good.port)
                ends = [event for event in fleet.events() if event.what in ("done", "trouble")]
        finally:
            registry.close()
    assert {event.port.location: event.what for event in ends} == {
        good.settings.usb.location: "done",
        bad.settings.usb.location: "trouble",
    }


def spatz(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from spatz.cli import main; main()", "flash", "--town", str(rig.town), *arguments],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "SPATZ_LANG": "de", "COLUMNS": "120"},
    )  # fmt: skip


def test_the_command_speaks_json_and_german(rig: Rig) -> None:
    with rig.board() as board:
        asked = spatz(rig, "--json", "--firmware", str(rig.firmware))
        assert asked.returncode == 0, asked.stdout
        events = [json.loads(line) for line in asked.stdout.splitlines()]
        assert events[0]["event"] == "found"
        assert events[-1]["event"] == "done"
        plain = spatz(rig, "--firmware", str(rig.firmware), "--interval", "900")
        assert plain.returncode == 0
        assert "erneuert, Schlüssel behalten" in plain.stdout
        refused = spatz(rig, "--firmware", str(rig.firmware), "--erase")
        assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
        assert key_in(rig.town, board).hex() not in asked.stdout + plain.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_is_answered_calmly_and_leaves_no_worker(rig: Rig) -> None:
    with rig.board(baud_limit_bytes_per_s=20_000) as board:
        process = subprocess.Popen(
            [
                sys.executable, "-c", "from spatz.cli import main; main()", "flash", "--town", str(rig.town), "--json",
                "--firmware", str(rig.firmware),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            env={**os.environ, "SPATZ_LANG": "de"}, start_new_session=True,
        )  # fmt: skip
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if '"progress"' in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "keinen ganzen Schlüssel" in told  # the town has it, the board perhaps not
        assert "Traceback" not in told
        board.do("press_reset")
        events = rig.flash(board)
        assert last(events)[0] == "done"


def test_a_worker_ends_with_its_parent(rig: Rig) -> None:
    with rig.board() as board:
        worker = subprocess.Popen(
            [sys.executable, "-m", "spatz.flash.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps({"device": board.port.device, "key": board.port.key, "wait_s": 20}) + "\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline())["t"] in ("chip", "waiting")
        worker.stdin.close()
        assert worker.wait(10) != 0
        worker.stdout.close()


def test_watching_each_board_that_is_plugged_in_is_flashed_once(rig: Rig) -> None:
    from spatz.flash.fleet import Fleet
    from spatz.flash.one import Request

    registry = FlashTown(rig.town)
    ended = []
    try:
        with rig.board("one") as one, rig.board("two", seed=2) as two:
            two.do("unplug")
            two.wait_for("cut")
            with Fleet(registry, Request(firmware=rig.firmware)) as fleet:
                for event in fleet.watch():
                    if event.what in ("done", "trouble", "again"):
                        ended.append((event.port.location, event.what))
                    if ended == [(one.settings.usb.location, "done")] and event.what == "done":
                        two.do("plug")
                        one.do("unplug")
                    if len(ended) == 2 and event.what == "done":
                        one.do("plug")
                    if len(ended) == 3:
                        break
    finally:
        registry.close()
    first, second = one.settings.usb.location, two.settings.usb.location
    assert ended == [(first, "done"), (second, "done"), (first, "again")]
