"""A node's log, while its filesystem is written: the newer readings win, a full folder is no board's fault."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.flash.keeping import KeptLogs, together

DEV_EUI = bytes.fromhex("f412fafffe0b1c2d")


def file(number: int, rest: bytes = b"") -> bytes:
    return struct.pack(">3sII", b"FL\x01", number, 0) + b"cc" + rest


def test_only_what_may_be_gone_from_the_board_counts(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path / "interrupted")
    logs.keep(DEV_EUI, {"log/0": b"old"})
    assert logs.kept(DEV_EUI) == {}  # the board has it still, and may write on
    logs.drop(DEV_EUI)
    logs.begun(DEV_EUI)
    assert logs.kept(DEV_EUI) == {}
    logs.keep(DEV_EUI, {"log/0": b"old"})
    logs.begun(DEV_EUI)
    assert logs.kept(DEV_EUI) == {"log/0": b"old"}
    logs.forget(DEV_EUI)
    logs.close()
    assert not (tmp_path / "interrupted").exists()


def test_two_at_once_do_not_take_the_folder_from_each_other(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path / "interrupted")
    logs.keep(DEV_EUI, {"log/0": b"1"})
    logs.forget(DEV_EUI)
    assert (tmp_path / "interrupted").exists()  # another one may be about to write into it


def test_what_found_no_room_is_for_people_and_not_written_again(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path)
    for number in (1, 2):
        logs.keep(DEV_EUI, {"log/0": b"1"})
        logs.begun(DEV_EUI)
        aside = logs.put_aside(DEV_EUI)
        assert aside
        assert aside.exists()
        assert logs.kept(DEV_EUI) == {}
        assert len(list(tmp_path.iterdir())) == number


def test_the_newer_file_wins() -> None:
    kept = {"log/0": file(17), "log/1": file(2, b"abc"), "log/2": file(3, b"abc")}
    own = {"log/0": file(1), "log/1": file(2, b"abcdef"), "log/2": file(3, b"a\xff\xff"), "log/3": file(4)}
    assert together(kept, own) == {**kept, "log/1": own["log/1"], "log/3": own["log/3"]}
    assert together(kept, {"log/0": file(33)})["log/0"] == file(33)


@pytest.mark.parametrize("damage", [slice(0, 10), slice(40, 44), slice(-30, -1)])
def test_a_damaged_copy_is_none(tmp_path: Path, damage: slice) -> None:
    logs = KeptLogs(tmp_path)
    logs.keep(DEV_EUI, {"log/0": bytes(range(256)) * 16})
    logs.begun(DEV_EUI)
    (zip_,) = tmp_path.iterdir()
    data = bytearray(zip_.read_bytes())
    data[damage] = b"\xff" * len(data[damage])
    zip_.write_bytes(data)
    assert logs.kept(DEV_EUI) in ({}, {"log/0": bytes(range(256)) * 16})


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "interrupted").write_text("a file")
    with pytest.raises(UserError, match="interrupted"):
        KeptLogs(tmp_path / "interrupted").keep(DEV_EUI, {"log/0": b"1"})
