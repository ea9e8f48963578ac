"""A node's log, while its filesystem is written: the newer readings win, a full folder is no board's fault."""

from __future__ import annotations

import re
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.flash.keeping import LOG_FILE_BYTES, LOG_FILES, KeptLogs, log_in, parted, together
from spatz.resources import firmware_dir

DEV_EUI = bytes.fromhex("f412fafffe0b1c2d")


def file(number: int, rest: bytes = b"", town: bytes = b"here") -> bytes:
    """The first record begins differently in each town: another time."""
    head = struct.pack(">3sII", b"FL\x01", number, 0)
    return head + struct.pack(">H", zlib.crc32(head) & 0xFFFF) + town + b"8bytes__" + rest


def test_only_what_may_be_gone_from_the_board_counts(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path / "interrupted")
    logs.keep(DEV_EUI, {"log/0.bin": b"old"})
    assert logs.kept(DEV_EUI) == {}  # the board has it still, and may write on
    logs.drop(DEV_EUI)
    logs.begun(DEV_EUI)
    assert logs.kept(DEV_EUI) == {}
    logs.keep(DEV_EUI, {"log/0.bin": b"old"})
    logs.begun(DEV_EUI)
    assert logs.kept(DEV_EUI) == {"log/0.bin": b"old"}
    logs.forget(DEV_EUI)
    logs.close()
    assert not (tmp_path / "interrupted").exists()


def test_two_at_once_do_not_take_the_folder_from_each_other(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path / "interrupted")
    logs.keep(DEV_EUI, {"log/0.bin": b"1"})
    logs.forget(DEV_EUI)
    assert (tmp_path / "interrupted").exists()  # another one may be about to write into it


def test_what_found_no_room_is_for_people_and_not_written_again(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path)
    for number in (1, 2):
        logs.keep(DEV_EUI, {"log/0.bin": b"1"})
        logs.begun(DEV_EUI)
        aside = logs.put_aside(DEV_EUI)
        assert aside
        assert aside.exists()
        assert logs.kept(DEV_EUI) == {}
        assert len(list(tmp_path.iterdir())) == number


def ring(*numbers: int, town: bytes = b"here") -> dict[str, bytes]:
    return {f"log/{number % 16}.bin": file(number, b"r%d" % number, town) for number in numbers}


def test_the_newer_file_wins() -> None:
    kept = {**ring(16), "log/1.bin": file(1, b"abc"), "log/2.bin": file(2, b"abc")}
    own = {"log/0.bin": file(32), "log/1.bin": file(1, b"abcdef"), "log/2.bin": file(2, b"a\xff\xff"), **ring(3)}
    assert together(kept, own) == {**own, "log/2.bin": kept["log/2.bin"]}


@pytest.mark.parametrize(
    "own",
    [
        pytest.param(file(99)[:13] + b"\xff" * 20, id="of another place in the ring"),
        pytest.param(file(33)[:11] + b"\xff" * 20, id="its head is damaged"),
    ],
)
def test_what_is_no_whole_file_of_that_place_takes_none(own: bytes) -> None:
    kept = ring(17)
    assert parted(kept, {"log/1.bin": own}) == (kept, {})


def test_the_files_are_those_that_the_node_writes() -> None:
    source = (firmware_dir() / "node" / "log.py").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(FILES|FILE_SIZE) = const\((\d+)\)$", source, re.MULTILINE))
    assert said == {"FILES": str(len(LOG_FILES)), "FILE_SIZE": str(LOG_FILE_BYTES)}
    assert 'f"{self._folder}/{sequence % FILES}.bin"' in source
    assert LOG_FILES[11] == "log/11.bin"


BAD = ("log/../boot.py", "boot.py", "log/16.bin", "log/01.bin", "log/0.bin/x", "log/0", "/log/0.bin", "log/0.bin\n")


def test_only_a_nodes_own_files_are_a_log(tmp_path: Path) -> None:
    """Whoever wrote the flash gave them their names; what is taken for a log is written into the new filesystem."""
    full = {"log/15.bin": bytes(LOG_FILE_BYTES)}
    bad = {**dict.fromkeys(BAD, b"evil"), "log/3.bin": bytes(LOG_FILE_BYTES + 1)}
    assert log_in({**full, **bad}) == together(bad, {**full, **bad}) == together({**full, **bad}, bad) == full
    assert parted(bad, {**full, **bad}, is_ours=False) == ({}, full)
    with zipfile.ZipFile(tmp_path / f"{DEV_EUI.hex()}.zip", "w") as archive:
        for path, data in {**full, **bad}.items():
            archive.writestr(path, data)
    assert KeptLogs(tmp_path).kept(DEV_EUI) == full


def test_another_towns_log_is_put_aside_once_and_never_brought_back() -> None:
    theirs = ring(1, 2, 3, town=b"away")
    assert parted({}, theirs, is_ours=False) == ({}, theirs)
    # cut off: by its keys the board is ours now, its log is not yet; the old program has written on
    written_on = {**theirs, "log/3.bin": theirs["log/3.bin"] + b"more"}
    assert parted({}, theirs, [theirs]) == ({}, {})
    assert parted({}, written_on, [theirs]) == ({}, {"log/3.bin": written_on["log/3.bin"]})
    # its new log has the same numbers from 1 on
    assert parted({}, ring(1, 2), [theirs]) == (ring(1, 2), {})
    # and what this town has kept of it goes back
    assert parted(ring(5), theirs, is_ours=False) == (ring(5), theirs)


def test_of_two_counts_one_is_put_aside_and_none_lost() -> None:
    kept, own = ring(*range(41, 57)), ring(*range(1, 13), town=b"anew")
    assert parted(kept, own) == (kept, own)
    assert parted(kept, own, [own]) == (kept, {})
    same_number = {"log/1.bin": file(1, b"x", b"anew")}
    assert parted(ring(1), same_number) == (ring(1), same_number)
    # what is only an earlier or half-written copy of what goes back is none
    assert parted(ring(1), {"log/1.bin": ring(1)["log/1.bin"][:-1]}) == (ring(1), {})
    assert parted(ring(1), {"log/1.bin": ring(1)["log/1.bin"][:-1] + b"\xff"}) == (ring(1), {})


def test_what_is_put_aside_is_found_again(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path / "interrupted")
    assert logs.asides(DEV_EUI) == []
    for number in (1, 2):
        assert logs.write_aside(DEV_EUI, ring(number)) == tmp_path / "interrupted" / f"{DEV_EUI.hex()}-{number}.zip"
    assert sorted(map(str, logs.asides(DEV_EUI))) == sorted(map(str, (ring(1), ring(2))))
    assert logs.asides(bytes(8)) == []
    assert logs.kept(DEV_EUI) == {}


def test_a_program_that_ends_takes_no_folder_from_under_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = KeptLogs(tmp_path / "interrupted"), KeptLogs(tmp_path / "interrupted")
    made = Path.mkdir
    ended = threading.Event()

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        made(path, mode, parents, exist_ok)
        if not ended.is_set():
            ended.set()
            other.close()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    one.keep(DEV_EUI, ring(1))
    one.begun(DEV_EUI)
    assert ended.is_set()
    assert one.kept(DEV_EUI) == ring(1)


@pytest.mark.parametrize("damage", [slice(0, 10), slice(40, 44), slice(-30, -1)])
def test_a_damaged_copy_is_none(tmp_path: Path, damage: slice) -> None:
    logs = KeptLogs(tmp_path)
    logs.keep(DEV_EUI, {"log/0.bin": bytes(range(256)) * 16})
    logs.begun(DEV_EUI)
    (zip_,) = tmp_path.iterdir()
    data = bytearray(zip_.read_bytes())
    data[damage] = b"\xff" * len(data[damage])
    zip_.write_bytes(data)
    assert logs.kept(DEV_EUI) in ({}, {"log/0.bin": bytes(range(256)) * 16})


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "interrupted").write_text("a file")
    with pytest.raises(UserError, match="interrupted"):
        KeptLogs(tmp_path / "interrupted").keep(DEV_EUI, {"log/0.bin": b"1"})
