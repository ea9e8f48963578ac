"""`spatz update` on a virtual board, through the real mpremote: only what changed, never half of it, nothing lost."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.attached import update, updating
from spatz.attached.update import There
from spatz.attached.updating import Request
from spatz.images.filesystem import short_hash
from spatz.images.nvs_image import identity_of, read_nvs
from spatz.sim.board.bench import VirtualBoard
from spatz.troubles import Trouble
from tools.attached.flashed import KEY, board_with, files_on, good_files, layout, wishes
from typer.testing import CliRunner


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {path: short_hash(data) for path, data in files.items()}


# --- what is to be done, without a board ------------------------------------------------------------------------------


def test_only_what_differs_is_sent_and_only_ours_is_removed() -> None:
    wanted = {"main.py": b"m", "node/app.mpy": b"a", "sensors/bme280.mpy": b"b", "spatz.json": b"{}"}
    there = hashes({**wanted, "node/app.mpy": b"other"}) | dict.fromkeys(
        (
            *("node/old.mpy", "gone.py", "node/app.py", "main.py.new", "node/cut.mpy.new"),  # ours
            *("boot.py", "notes.txt", "mine.py.new", "data/week.csv", "log/3.bin"),  # people's
            *("sensors/mine.py", "sensors/x.new"),
        ),
        "0",
    )
    plan = update.plan(wanted, There(there, manifest={"gone.py": "0", "log/3.bin": "0", "boot.py": "0"}))
    assert [(change.path, change.why) for change in plan.send] == [("node/app.mpy", "changed")]
    assert set(plan.remove) == {"node/old.mpy", "gone.py", "node/app.py", "main.py.new", "node/cut.mpy.new"}


def test_compiled_files_for_another_micropython_are_refused() -> None:
    with pytest.raises(Trouble, match="spatz flash") as raised:
        update.check({"node/app.mpy": b"M\x06\x00"}, There({}, micropython="1.16.0", mpy=5))
    assert raised.value.kind == "old_micropython"


# --- on a board -------------------------------------------------------------------------------------------------------


def test_an_update_sends_what_changed_and_leaves_the_rest(tmp_path: Path, registry: Path) -> None:
    damaged = {**good_files(), "node/app.mpy": b"", "node/left.mpy": b"x", "mine.py": b"print(1)", "main.py.new": b"im"}
    del damaged["lorawan/mac.mpy"]
    with board_with(tmp_path / "board", registry, damaged) as board:
        board.wait_for("line", text="tries again in")  # the program cannot run, the node can be reached
        result = updating.update_board(board.port, Request({"interval_s": 900}))
        assert {(change.path, change.why) for change in result.plan.send} == {
            ("node/app.mpy", "changed"),
            ("lorawan/mac.mpy", "new"),
            ("config.json", "changed"),
            ("spatz.json", "changed"),
        }
        assert set(result.plan.remove) == {"main.py.new", "node/left.mpy"}
        assert result.running
        assert files_on(board) == {**good_files(interval_s=900), "mine.py": b"print(1)"}
        nvs = layout().nvs
        identity = identity_of(read_nvs(board.flash()[nvs.offset : nvs.offset + nvs.size]))
        assert identity is not None
        assert identity.app_key == KEY
        again = updating.update_board(board.port, Request({}))
        assert not again.plan
        assert again.wishes.interval_s == 900


def test_a_dry_run_changes_nothing_and_says_so(tmp_path: Path, registry: Path) -> None:
    from spatz.cli import app

    with board_with(tmp_path / "board", registry, good_files()) as board:
        board.wait_for("line", text="Funkspatz node amsel")
        told = CliRunner().invoke(app, ["update", "--parity", "2", "--dry-run", "--json"])
        assert told.exit_code == 0, told.output
        said = json.loads(told.stdout)
        assert [row["path"] for row in said["sent"]] == ["config.json", "spatz.json"]
        assert not said["changed"]
        assert files_on(board) == good_files()


def test_a_cut_in_the_middle_is_mended_by_the_next_update(tmp_path: Path, registry: Path) -> None:
    before = {**good_files(), "node/old.mpy": b"x" * 3000}
    for path in [path for path in before if path.startswith("lorawan/")]:
        before[path] = b"older " + before[path]
    with board_with(tmp_path / "board", registry, before) as board:
        board.wait_for("line", text="tries again in")
        board.do("cut_after", bytes=40_000, where="flash")
        with pytest.raises(UserError):
            updating.update_board(board.port, Request({}), wait_s=0)
        on_it = files_on(board)
        assert on_it["main.py"] == good_files()["main.py"]
        whole = {path for path in good_files() if on_it.get(path) in (good_files()[path], before[path])}
        assert whole == set(good_files())  # each is the old one or the new one
        board.do("power_on")
        board.wait_for("boot")
        assert updating.update_board(board.port, Request({})).running
        assert files_on(board) == good_files()


def test_an_unreadable_file_is_written_anew(tmp_path: Path, registry: Path) -> None:
    files = good_files()
    longest = max((path for path in files if path.startswith("node/")), key=lambda path: len(files[path]))
    board = board_with(tmp_path / "board", registry, files)
    flash = tmp_path / "board" / "flash.bin"
    data = bytearray(flash.read_bytes())
    second = data.find(files[longest][4096:4296], layout().vfs.offset)
    assert second > 0
    data[second - 4 : second] = b"\xfe\xff\xff\x7f"  # a block begins with where the one before it is: nowhere
    flash.write_bytes(data)
    with board:
        board.wait_for("line", text="tries again in")
        result = updating.update_board(board.port, Request({}))
        assert [change.path for change in result.plan.send] == [longest]
        assert result.running
        assert files_on(board) == files


def test_the_town_says_what_is_wished_and_keeps_what_is_changed(tmp_path: Path, registry: Path) -> None:
    from nest.cli_common import database
    from nest.registry import Registry

    town = make_town(tmp_path)
    with board_with(tmp_path / "board", registry, good_files()) as board:
        with database(town) as engine:
            Registry(engine).provision(
                board.dev_eui, bytes(8), slug="amsel", wishes=dataclasses.replace(wishes(), interval_s=1200).to_json()
            )
        board.wait_for("line", text="Funkspatz node amsel")
        result = updating.update_board(board.port, Request({"parity": 3}, town))
        assert (result.in_town, result.wishes.interval_s, result.wishes.parity) == (True, 1200, 3)
        assert files_on(board)["config.json"] == good_files(interval_s=1200, parity=3)["config.json"]
        with database(town) as engine:
            assert json.loads(Registry(engine).wishes("amsel") or "") == json.loads(result.wishes.to_json())


def test_a_node_that_sleeps_is_waited_for_until_somebody_presses_reset(tmp_path: Path, registry: Path) -> None:
    files = good_files(safe_window_s=1)
    asked = threading.Event()
    said: list[str] = []

    def press(board: VirtualBoard) -> None:
        if asked.wait(30):
            board.do("press_reset")

    def say(text: str) -> None:
        said.append(text)
        asked.set()

    with board_with(tmp_path / "board", registry, files) as board:
        board.do("usb_power", on=False)
        board.wait_for("sleep", within_s=30)
        presser = threading.Thread(target=press, args=(board,))
        presser.start()
        result = updating.update_board(board.port, Request({"interval_s": 60}), say=say)
        presser.join()
    assert len(said) == 1
    assert "Press RST once" in said[0]
    assert result.running


def make_town(folder: Path) -> Path:
    """A town's folder."""
    from nest.cli import app

    made = CliRunner().invoke(app, ["init", str(folder / "town"), "--name", "Amselfeld"])
    assert made.exit_code == 0, made.output
    return folder / "town"
