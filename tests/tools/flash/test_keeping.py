"""A node's log, while its filesystem is written: the newer readings win, a full folder is no board's fault."""

from __future__ import annotations

import re
import struct
import sys
import threading
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from nest.errors import UserError
from spatz.flash.keeping import LOG_FILE_BYTES, LOG_FILES, KeptLogs, log_in, parted, together
from spatz.resources import firmware_dir

for _folder in ("firmware", "tests/firmware/cpython", "tests/firmware/common"):
    sys.path.append(str(Path(__file__).resolve().parents[3] / _folder))

from node.log import FILES, Log, _bodies, _head  # noqa: E402
from node_fakes import Files  # noqa: E402

DEV_EUI = bytes.fromhex("f412fafffe0b1c2d")


def file(number: int, *bodies: bytes, before: int = 0) -> bytes:
    """A file of the node's log, as firmware/node/log.py describes it."""
    head = struct.pack(">3sII", b"FL\x01", number, before)
    data = head + struct.pack(">H", zlib.crc32(head) & 0xFFFF)
    for body in bodies:
        sealed = bytes((len(body),)) + body
        data += sealed + struct.pack(">H", zlib.crc32(sealed, number << 12 & 0xFFFFF000 | len(data)) & 0xFFFF)
    return data


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


def ring(*numbers: int, town: bytes = b"here", more: tuple[bytes, ...] = ()) -> dict[str, bytes]:
    """The files of these numbers, with one record each; more: records in the last."""
    rest = {numbers[-1]: more} if numbers else {}
    return {
        LOG_FILES[number % 16]: file(number, b"%s%d" % (town, number), *rest.get(number, ()), before=number - 1)
        for number in numbers
    }


TORN = b"\x20never whole"


def test_the_newer_file_wins() -> None:
    kept = {**ring(16), "log/1.bin": file(1, b"abc"), "log/2.bin": file(2, b"abc", b"def")}
    own = {"log/0.bin": file(32), "log/1.bin": file(1, b"abc", b"def"), "log/2.bin": file(2, b"abc") + TORN, **ring(3)}
    assert together(kept, own) == {**own, "log/2.bin": kept["log/2.bin"]}


def test_what_was_torn_hinders_no_newer_file() -> None:
    """The node writes on over it."""
    kept, own = {"log/1.bin": file(1, b"abc") + TORN}, {"log/1.bin": file(1, b"abc", b"def")}
    assert parted(kept, own) == (own, {})
    assert parted(own, kept) == (own, {})


@pytest.mark.parametrize(
    "own",
    [
        pytest.param(file(99, b"abc")[:13] + b"\xff" * 20, id="of another place in the ring"),
        pytest.param(file(33, b"abc")[:11] + b"\xff" * 20, id="its head is damaged"),
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
    written_on = ring(1, 2, 3, town=b"away", more=(b"more",))
    assert parted({}, theirs, [theirs]) == ({}, {})
    torn = {**theirs, "log/3.bin": theirs["log/3.bin"] + TORN}
    for aside in (theirs, torn):
        assert parted({}, written_on, [aside]) == ({}, {"log/3.bin": written_on["log/3.bin"]})
    # its new log has the same numbers from 1 on
    for aside in (theirs, {"log/1.bin": file(1)}):
        assert parted({}, ring(1, 2), [aside]) == (ring(1, 2), {})
    # and what this town has kept of it goes back
    assert parted(ring(5), theirs, is_ours=False) == (ring(5), theirs)


def test_of_two_counts_one_is_put_aside_and_none_lost() -> None:
    kept, own = ring(*range(41, 57)), ring(*range(1, 13), town=b"anew")
    assert parted(kept, own) == (kept, own)
    assert parted(kept, own, [own]) == (kept, {})
    same_number = ring(1, town=b"anew")
    assert parted(ring(1), same_number) == (ring(1), same_number)


def test_of_two_counts_the_kept_one_is_put_aside_where_it_gives_way() -> None:
    kept, own = ring(1, 2, 3), ring(*range(5, 21), town=b"anew")
    assert parted(kept, own) == (own, kept)
    assert parted(kept, own, [kept]) == (own, {})
    same_number = {"log/1.bin": file(17, b"here17", b"more", before=9)}
    assert parted(ring(17), same_number) == (ring(17), same_number)
    # a part of it stays
    kept, own = ring(3, 4), ring(4, 19, town=b"anew")
    assert parted(kept, own) == (ring(4) | ring(19, town=b"anew"), ring(3) | ring(4, town=b"anew"))


def test_an_earlier_or_half_written_copy_is_none() -> None:
    kept = {"log/1.bin": file(1, b"abc", b"def")}
    whole = len(file(1, b"abc"))
    for end in range(whole, len(kept["log/1.bin"])):
        for rest in (b"", b"\xff", b"\xff" * 99):
            assert parted(kept, {"log/1.bin": kept["log/1.bin"][:end] + rest}) == (kept, {})


@pytest.mark.parametrize("alike", [0, 1, 2])
def test_two_fresh_starts_that_begin_alike_are_two_counts(alike: int) -> None:
    """Before its first join and without the time a node counts from its start: slot, moment and value may be alike."""
    begun = [b"\xff\xff\xff\0\0\0\x08\x01 21 C", b"\xff\xff\xff\0\0\x09\x68\x01 21 C"][:alike]
    kept, own = (
        {"log/1.bin": file(1, *begun, *(b"\xff\xff\xff\0\0\x12\xc8\x01 %d C" % degrees for degrees in later))}
        for later in ((22, 23, 24), (19, 18))
    )
    assert parted(kept, own) == (kept, own)
    assert parted(own, kept) == (own, kept)
    if alike:
        assert parted(kept, {"log/1.bin": file(1, *begun)}) == (kept, {})


def test_what_the_node_itself_wrote_over_is_not_put_aside() -> None:
    kept = ring(*range(1, 11))
    for last in range(10, 26):
        own = ring(*range(max(1, last - 15), last + 1), town=b"here")
        assert parted(kept, own) == (own, {}), last
    own = ring(*range(11, 27))  # nothing is left in it that says so
    assert parted(kept, own) == (own, kept)


@pytest.mark.parametrize(
    ("kept", "own"),
    [
        pytest.param(ring(1) | ring(3), ring(*range(3, 18)), id="the kept one has a gap"),
        pytest.param(ring(1, 2, 3), ring(*range(3, 9), *range(10, 18)), id="the other one has a gap"),
        pytest.param(ring(1) | ring(2, 3, town=b"anew"), ring(*range(3, 18)), id="another one's end"),
        pytest.param(
            {"log/1.bin": file(1, b"a", b"b")} | ring(2, 3), ring(*range(3, 18)), id="another number of records"
        ),
        pytest.param(
            ring(1, 2) | {"log/3.bin": file(3, before=2) + TORN}, ring(*range(3, 18)), id="its end was never written"
        ),
        pytest.param(ring(1, 2, 3), ring(*range(3, 18)) | ring(2, town=b"anew"), id="alike only at the end"),
        pytest.param(
            ring(1, 2, 3),
            ring(*range(3, 18)) | {"log/9.bin": file(9, b"a", b"b", before=8)},
            id="an odd one among them",
        ),
    ],
)
def test_what_may_be_of_another_count_is_put_aside(kept: dict[str, bytes], own: dict[str, bytes]) -> None:
    aside = parted(kept, own)[1]
    assert aside["log/1.bin"] == kept["log/1.bin"]


class Life:
    """A node that writes down what it measures, with the firmware's own log."""

    def __init__(self, copied: Life | None = None) -> None:
        self._files = Files()
        if copied:
            self._files.data, self._files.folders = dict(copied._files.data), ["log"]
        self._log = Log(b"", "log", self._files.open, self._files.mkdir)  # type: ignore[arg-type]

    def go_on(self, times: int, value: bytes) -> Life:
        """The slot and the moment are those of a node that neither joined nor knows the time."""
        for number in range(times):
            self._log.append(255, 65535, 1200 * number, 1, value)
        return self

    def written(self) -> dict[str, bytes]:
        return dict(self._files.data)

    def newest(self) -> int:
        return max((one[0] for one in records(self.written())), default=0)


def records(log: dict[str, bytes]) -> set[tuple[int, int, int, bytes]]:
    """(number of the file, records before it, end, body) of each, as the node itself reads them."""
    heads = [(head, data) for data in log.values() if (head := _head(data))]
    return {(*head, end, body) for head, data in heads for body, end in _bodies(data, head[0])}


def torn(log: dict[str, bytes], index: int, cut: int) -> dict[str, bytes]:
    """A file of which the end was not written."""
    return {path: data[:-cut] + TORN[: cut - 1] if path == LOG_FILES[index] else data for path, data in log.items()}


TIMES = st.integers(0, 9) | st.integers(100, 500)
SIZES = st.sampled_from([230, 40, 1])
TEARS = st.none() | st.tuples(st.integers(0, FILES - 1), st.integers(1, 600))


@settings(max_examples=100, deadline=None)
@given(st.tuples(TIMES, TIMES, TIMES), st.tuples(SIZES, SIZES, SIZES), st.tuples(TEARS, TEARS), st.booleans())
def test_no_record_of_either_log_is_lost(
    times: tuple[int, int, int],
    sizes: tuple[int, int, int],
    tears: tuple[tuple[int, int] | None, tuple[int, int] | None],
    swapped: bool,
) -> None:
    """Two logs, alike in all, a part or nothing: one count or two. Whatever is in the one or the other is in what the
    board gets again, or put aside; only the node itself writes over what is old."""
    alike = Life().go_on(times[0], b"=" * sizes[0])
    one = Life(alike).go_on(times[1], b"<" * sizes[1])
    two = Life(alike).go_on(times[2], b">" * sizes[2])
    lives = (two, one) if swapped else (one, two)
    kept, own = (
        torn(life.written(), *tear) if tear else life.written() for life, tear in zip(lives, tears, strict=True)
    )
    log, aside = parted(kept, own)
    gone_on = records(kept) <= records(alike.written())
    over = lives[1].newest() - FILES if gone_on else 0
    lost = (records(kept) | records(own)) - records(log) - records(aside)
    assert [record for record in lost if record[0] > over] == []
    assert parted(kept, own, [aside]) == (log, {}), "it was cut off in between"
    if gone_on and tears == (None, None) and lives[0].newest() > over:
        event("gone on")
        assert (log, aside) == (own, {})
    if not gone_on and records(aside) & records(kept):
        event("the kept one gave way")


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
