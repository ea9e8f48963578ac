"""A town in one file and back: while others write, from hostile files, and with counters that are safe afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import io
import os
import sqlite3
import stat
import tarfile
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway.archive.bursts import EUI, join, session, store
from gateway.archive.living import Living
from nest import town
from nest.archive import Archive, carrying, copies, meta, open_database, packing
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal, ReplacedError
from nest.errors import UserError
from nest.locks import locked
from nest.lorawan.effects import StoreSession
from nest.model import JoinRecord, SessionState
from nest.registry import Registry

V1 = Path(__file__).with_name("v1.sql")


pytestmark = pytest.mark.usefixtures("english")


def sessions(folder: Path) -> list[SessionState]:
    engine = open_database(folder / town.DATABASE_FILE, check=True)
    try:
        return Archive(engine).sessions()
    finally:
        engine.dispose()


def test_a_backup_is_one_private_file_with_everything_in_it(file: Path, living: Living) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        assert sorted(tar.getnames()) == ["nest.db", "outlines.geojson", "tls/key.pem", "town.toml"]
    assert [path.name for path in file.parent.iterdir() if path.name != "town"] == [file.name]


def test_nothing_is_ever_overwritten(file: Path, living: Living) -> None:
    before = file.read_bytes()
    with pytest.raises(UserError, match="is there already"):
        copies.backup(living.town, file)
    assert file.read_bytes() == before
    with pytest.raises(UserError, match="cannot be copied"):
        copies.backup(living.town, file.parent / "nowhere" / "b")


def test_a_backup_that_was_written_badly_is_none(
    tmp_path: Path, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_read_back", lambda *_: (_ for _ in ()).throw(OSError(5, "bad sector")))
    with pytest.raises(UserError, match="bad sector"):
        copies.backup(living.town, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_backup_while_others_write_is_of_one_moment(tmp_path: Path, living: Living) -> None:
    living.journal.commit([store(living.state, fcnt, at=2000.0 + fcnt) for fcnt in range(1, 3000)])
    stop, copied = threading.Event(), []

    def copy() -> None:
        copies.backup(living.town, tmp_path / "b", lambda done, whole: copied.append((done, whole)))
        stop.set()

    thread = threading.Thread(target=copy)
    thread.start()
    written = 3000
    while not stop.is_set():
        burst = [store(living.state, fcnt, at=9000.0 + fcnt) for fcnt in range(written, written + 5)]
        assert not living.journal.commit(burst).failed
        written += 5
    thread.join()
    assert written > 3000
    assert copied[-1][0] == copied[-1][1]
    copies.restore(tmp_path / "b", tmp_path / "new")
    [state] = sessions(tmp_path / "new")
    engine = open_database(tmp_path / "new" / "nest.db")
    counts = Archive(engine).counts()
    engine.dispose()
    assert 2999 <= state.fcnt_up < written
    assert counts == {"frames": state.fcnt_up + 1, "undecodable": 0, "readings": state.fcnt_up + 1}


def test_a_new_folder_gets_the_whole_town_with_safe_numbers(tmp_path: Path, file: Path, living: Living) -> None:
    new = copies.restore(file, tmp_path / "new")
    assert (new.name, new.settings) == (living.town.name, living.town.settings)
    for name in ("outlines.geojson", "tls/key.pem", "town.toml"):
        assert (new.path / name).read_bytes() == (living.town.path / name).read_bytes()
        assert stat.S_IMODE((new.path / name).stat().st_mode) == 0o600
    [state] = sessions(new.path)
    assert state.fcnt_down == 7 + carrying.COUNTER_MARGIN
    assert (state.fcnt_up, state.app_skey) == (0, living.state.app_skey)
    engine = open_database(new.database)
    assert max(record.join_nonce for record in Archive(engine).joins(EUI)) == 1 + carrying.NONCE_MARGIN
    assert meta.get(engine, meta.GENERATION) != meta.get(living.engine, meta.GENERATION)
    assert Archive(engine).counts() == living.archive.counts()
    engine.dispose()
    assert [*(new.path / "backups").iterdir()] == []


def test_a_running_town_is_replaced_and_notices(file: Path, living: Living) -> None:
    Registry(living.engine).add("meise", "70b3d57ed0000002")
    second = session(nonce=2)
    living.state.fcnt_down = 50
    living.journal.commit([StoreSession(living.state), store(living.state, 9), join(second, 77)])
    copies.restore(file, living.town.path)
    with pytest.raises(ReplacedError):
        living.journal.commit([store(living.state, 10)])
    assert [node.slug for node in Registry(living.engine).list()] == ["amsel"]
    [state] = living.archive.sessions()
    assert (state.join_nonce, state.fcnt_up, state.fcnt_down) == (1, 9, 50 + carrying.COUNTER_MARGIN)
    joins = living.archive.joins(EUI)
    assert JoinRecord(EUI, 77, 2) in joins  # heard again, it would be a replay
    assert max(record.join_nonce for record in joins) == 2 + carrying.NONCE_MARGIN
    with contextlib.closing(Journal(living.engine)) as journal:
        assert journal.commit([store(state, 10)]).failed == []
    [kept] = (living.town.path / "backups").iterdir()
    assert kept.name.startswith("before-restore-")
    copies.restore(kept, living.town.path)
    assert [node.slug for node in Registry(living.engine).list()] == ["amsel", "meise"]


def test_a_backup_of_an_older_version_is_converted(tmp_path: Path, living: Living) -> None:
    database = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(V1.read_text())
    packed = pack(tmp_path / "old", {"town.toml": settings(living), "nest.db": database.read_bytes()})
    copies.restore(packed, living.town.path)
    assert [node.slug for node in Registry(living.engine).list()] == ["amsel", "fink", "meise", "star"]
    assert len(DownlinkQueue(living.engine).waiting()) == 2


def test_over_a_damaged_database(file: Path, living: Living) -> None:
    living.close()
    database_file(living).write_bytes(b"nonsense" * 4096)
    copies.restore(file, living.town.path)
    assert len(sessions(living.town.path)) == 1
    assert any(path.name.startswith("damaged-") for path in (living.town.path / "backups").iterdir())


@pytest.mark.parametrize("emptied", [False, True])
def test_what_is_left_of_a_database_that_is_gone_is_not_played_into_the_restored_one(
    file: Path, living: Living, emptied: bool
) -> None:
    Registry(living.engine).add("zaunkoenig", "70b3d57ed00000aa")
    left = database_file(living).with_name("nest.db-wal").read_bytes()
    assert left
    living.close()
    database_file(living).write_bytes(b"")
    if not emptied:
        database_file(living).unlink()
    database_file(living).with_name("nest.db-wal").write_bytes(left)
    copies.restore(file, living.town.path)
    engine = open_database(living.town.database, check=True)
    assert "zaunkoenig" not in [node.slug for node in Registry(engine).list()]
    engine.dispose()


def test_a_database_that_is_gone_is_not_replaced_below_a_running_nest(file: Path, living: Living) -> None:
    database_file(living).unlink()
    handle = os.open(living.town.path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(UserError, match="a nest runs on it"):
        copies.restore(file, living.town.path)
    os.close(handle)


def test_no_nest_begins_on_a_database_that_is_about_to_be_replaced(
    file: Path, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    living.close()
    database_file(living).write_bytes(b"nonsense" * 4096)
    replace, free = Path.replace, []

    def seen(self: Path, target: Path) -> Path:
        if target == database_file(living):
            with locked(living.town.path) as mine:
                free.append(mine)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", seen)
    copies.restore(file, living.town.path)
    assert free == [False]


def test_when_a_file_beside_the_restored_database_is_not_replaced_that_is_said(file: Path, living: Living) -> None:
    """And not that everything is as it was; the other files are."""
    Registry(living.engine).add("meise", "70b3d57ed0000002")
    outlines, key = living.town.path / "outlines.geojson", living.town.path / "tls" / "key.pem"
    outlines.unlink()
    (outlines / "mine").mkdir(parents=True)
    key.write_text("another")
    with pytest.raises(UserError, match=r"these files are not: outlines.geojson \(") as refused:
        copies.restore(file, living.town.path)
    assert "as it was" not in str(refused.value)
    assert [node.slug for node in Registry(living.engine).list()] == ["amsel"]
    assert key.read_text() == "key"
    assert not [*living.town.path.rglob("*.part")]
    outlines.joinpath("mine").rmdir()
    outlines.rmdir()
    copies.restore(file, living.town.path)
    assert outlines.is_file()


def test_a_backup_inside_the_town_s_folder_is_one_like_any_other(tmp_path: Path, living: Living) -> None:
    (living.town.path / ".hidden").mkdir()
    (living.town.path / ".hidden" / "mine.txt").write_text("mine")
    file = living.town.path / "b.nest.tar.gz"
    copies.backup(living.town, file)
    with tarfile.open(file) as packed:
        assert not [name for name in packed.getnames() if name.startswith(".")]
    copies.restore(file, tmp_path / "new")


def test_nothing_is_backed_up_that_could_not_be_restored(
    tmp_path: Path, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    (living.town.path / "two\nlines").write_text("x")
    (living.town.path / "back\\slash").write_text("x")
    file = tmp_path / "b.nest.tar.gz"
    copies.backup(living.town, file)
    with tarfile.open(file) as packed:
        files = len(packed.getnames())
    monkeypatch.setattr(packing, "MOST_FILES", files)
    copies.restore(file, tmp_path / "new")
    copies.backup(living.town, tmp_path / "again.nest.tar.gz")
    monkeypatch.setattr(packing, "MOST_FILES", files - 1)
    with pytest.raises(UserError, match="too many files"):
        copies.backup(living.town, tmp_path / "c.nest.tar.gz")
    assert not (tmp_path / "c.nest.tar.gz").exists()


def test_what_a_power_cut_left_of_a_backup_is_cleared_away_and_nothing_else(tmp_path: Path, living: Living) -> None:
    names = (".nest-part-left", ".nest-part-in-use", ".nest-part-new", ".part-mine")
    folders = {name: tmp_path / name for name in names}
    for name, folder in folders.items():
        folder.mkdir()
        (folder / "nest.db").write_bytes(b"keys")
        if name != ".nest-part-new":
            os.utime(folder, (1.0, 1.0))
    handle = os.open(folders[".nest-part-in-use"], os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    copies.backup(living.town, tmp_path / "b.nest.tar.gz")
    os.close(handle)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == {*folders} - {".nest-part-left"}


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for there in (tmp_path / "mine", tmp_path / "mine" / "letter.txt"):
        with pytest.raises(UserError, match="no town"):
            copies.restore(file, there)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


# files that are no backups, or hostile


def pack(target: Path, files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> Path:
    with tarfile.open(target, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            change(member)
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return target


def settings(living: Living) -> bytes:
    return (living.town.path / "town.toml").read_bytes()


def database_file(living: Living) -> Path:
    return living.town.path / town.DATABASE_FILE


def database(living: Living) -> bytes:
    with contextlib.closing(sqlite3.connect(database_file(living))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database_file(living).read_bytes()


def refuse(packed: Path, living: Living, match: str = "no backup") -> None:
    new = packed.parent / "new"

    def there() -> tuple[dict[str, int], list[str]]:
        names = sorted(str(path) for path in living.town.path.rglob("*") if path.name != "backups")
        return living.archive.counts(), names

    before = there()
    for folder in (new, living.town.path):
        with pytest.raises(UserError, match=match) as refused:
            copies.restore(packed, folder)
        assert str(refused.value).isprintable() or "\n" in str(refused.value)
        assert str(refused.value).isascii()
    assert not new.exists()
    assert there() == before
    assert not any(path.name.startswith("evil") for path in packed.parent.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/evil",
        "a/../../evil",
        "backups/x",
        ".ssh",
        "nest.db-wal",
        "a/b/c/d/e",
        "x\x1b[31m",
        "a\\..\\b",
        "./t",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, living: Living, name: str) -> None:
    refuse(pack(tmp_path / "b", {name: b"evil", "town.toml": settings(living), "nest.db": database(living)}), living)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, living: Living, kind: bytes) -> None:
    def change(member: tarfile.TarInfo) -> None:
        if member.name == "link":
            member.type, member.linkname, member.size = kind, "../evil", 0

    files = {"link": b"", "town.toml": settings(living), "nest.db": database(living)}
    refuse(pack(tmp_path / "b", files, change), living)


def test_too_much_is_refused(tmp_path: Path, living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"town.toml": settings(living), "nest.db": database(living)}
    refuse(pack(tmp_path / "a", {"big": bytes(packing.LARGEST_FILE + 1), **good}), living)
    refuse(pack(tmp_path / "b", {f"f{n}": b"" for n in range(packing.MOST_FILES + 1)} | good), living)
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=1000))
    refuse(pack(tmp_path / "c", good), living, "cannot be restored")


def test_what_is_damaged_or_incomplete_is_refused(tmp_path: Path, living: Living, file: Path) -> None:
    good = {"town.toml": settings(living), "nest.db": database(living)}
    whole = file.read_bytes()
    cut = tmp_path / "cut"
    spoilt = whole[:200] + b"\x00" * 50 + whole[250:]
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-4], gzip.compress(b"x" * 2000), spoilt):
        cut.write_bytes(content)
        refuse(cut, living)
    refuse(pack(tmp_path / "d", {"town.toml": settings(living)}), living)
    refuse(pack(tmp_path / "e", {**good, "nest.db": b"nonsense" * 500}), living)
    refuse(pack(tmp_path / "f", {**good, "town.toml": b"[town"}), living, "TOML")
    refuse(tmp_path / "nowhere", living, "cannot be restored")


def test_a_database_that_would_act_by_itself_is_refused(tmp_path: Path, living: Living) -> None:
    evil = tmp_path / "t.db"
    evil.write_bytes(database(living))
    with contextlib.closing(sqlite3.connect(evil)) as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON sessions BEGIN UPDATE sessions SET fcnt_down = 0; END")
        connection.commit()
        connection.execute("PRAGMA journal_mode = DELETE")
    refuse(pack(tmp_path / "b", {"town.toml": settings(living), "nest.db": evil.read_bytes()}), living)
