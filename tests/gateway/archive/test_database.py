"""Opening a database: private, durable, checked, and never somebody else's."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nest import quantities
from nest.archive import database, migrations, open_database, schema
from nest.archive.database import database_errors, writing
from nest.errors import UserError
from nest.registry import Registry
from sqlalchemy import Column, Connection, Integer, Table, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

EUI = "70b3d57ed0000001"


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nest.db"


def test_every_file_of_the_database_is_its_owners_alone(path: Path) -> None:
    engine = open_database(path)
    Registry(engine).add("amsel", EUI)
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == dict.fromkeys(("nest.db", "nest.db-wal", "nest.db-shm"), 0o600)


def test_a_database_that_others_could_read_is_closed_to_them(path: Path) -> None:
    open_database(path).dispose()
    path.chmod(0o644)
    open_database(path).dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_crash_or_a_backup_left_is_closed_too(path: Path) -> None:
    engine = open_database(path)
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).chmod(0o644)
    open_database(path)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    engine.dispose()


SHARED_BYTES = (0x40000002, 510)  # where SQLite's shared lock lies (sqlite.org/fileformat2.html, "lock-byte page")
IS_LOCKED = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, int(sys.argv[3]), int(sys.argv[2]))
    except OSError:
        sys.exit(7)
"""


def test_opening_again_leaves_the_locks_of_this_process(path: Path) -> None:
    def locked() -> bool:
        command = [sys.executable, "-c", IS_LOCKED, str(path), *map(str, SHARED_BYTES)]
        return subprocess.run(command, timeout=20, check=False).returncode == 7

    engine = open_database(path)
    with engine.connect() as connection:
        connection.execute(text("select count(*) from nodes")).scalar_one()
        assert locked()
        open_database(path).dispose()
        assert locked()


def test_many_readers_keep_no_writer_waiting(path: Path) -> None:
    engine = open_database(path)
    with contextlib.ExitStack() as readers:
        for _ in range(40):  # as many as the web side has threads
            readers.enter_context(engine.connect()).execute(text("select 1"))
        started = time.monotonic()
        Registry(engine).add("amsel", EUI)
        assert time.monotonic() - started < 5


def test_neither_key_nor_garden_stands_in_an_error(path: Path) -> None:
    engine = open_database(path)
    with writing(engine) as connection:
        connection.execute(text("create trigger no before insert on nodes begin select raise(abort, 'no'); end"))
    with pytest.raises(IntegrityError) as refused:
        Registry(engine).add("amsel", EUI, app_key=b"sixteen secrets!", latitude=51.123456, longitude=12.1)
    assert "secret" not in str(refused.value)
    assert "51.123456" not in str(refused.value)


def test_every_connection_is_durable_and_keeps_references(path: Path) -> None:
    engine = open_database(path)
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            settings = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_the_database_names_its_quantities(path: Path) -> None:
    open_database(path).dispose()
    rows = sqlite3.connect(path).execute("select id, name, unit from quantities order by id").fetchall()
    assert rows == [(quantity.bit, quantity.name, quantity.unit) for quantity in quantities.all_quantities()]


def test_opening_again_changes_nothing(path: Path) -> None:
    engine = open_database(path)
    Registry(engine).add("amsel", EUI)
    engine.dispose()
    assert [node.slug for node in Registry(open_database(path, check=True)).list()] == ["amsel"]


def filled(path: Path) -> Path:
    engine = open_database(path)
    registry = Registry(engine)
    for number in range(200):
        registry.add(f"spatz-{number}", f"{number:016x}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return path


@pytest.mark.parametrize("at", ["header", "pages", "short"])
def test_a_damaged_database_is_named(path: Path, at: str) -> None:
    content = bytearray(filled(path).read_bytes())
    if at == "header":
        content[:16] = b"not a database!!"
    elif at == "pages":
        content[4096 * 3 : 4096 * 12] = b"\xa5" * (4096 * 9)
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged") as refused:
        open_database(path, check=True)
    assert str(path) in refused.value.message
    assert "backup" in refused.value.next_step


def test_what_would_take_long_to_check_is_not_checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A town of some years must be back as fast as a new one."""
    asked: list[object] = []
    monkeypatch.setattr(database, "_check_pages", lambda *arguments: asked.append(arguments))
    filled(path)
    monkeypatch.setattr(database, "CHECK_MOST", path.stat().st_size)
    open_database(path, check=True).dispose()
    assert len(asked) == 1
    monkeypatch.setattr(database, "CHECK_MOST", path.stat().st_size - 1)
    open_database(path, check=True).dispose()
    assert len(asked) == 1


def test_what_the_journal_says_about_the_file_is_told_in_words_too(path: Path) -> None:
    with pytest.raises(UserError, match="in use by another program"), database_errors(path):
        raise sqlite3.OperationalError("database is locked")


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("create table recipes (title text)")
    other.commit()
    other.close()
    with pytest.raises(UserError, match="another program") as refused:
        open_database(path)
    assert str(path) in refused.value.message
    tables = sqlite3.connect(path).execute("select name from sqlite_master").fetchall()
    assert tables == [("recipes",)]


def test_a_database_of_a_newer_version_is_left_alone(path: Path) -> None:
    with writing(open_database(path)) as connection:
        connection.execute(insert(schema.schema_version).values(version=schema.VERSION + 1, applied_at=0))
    with pytest.raises(UserError, match="newer Funkspatz") as refused:
        open_database(path)
    assert str(path) in refused.value.message


def test_a_folder_in_the_place_of_the_database(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UserError, match="cannot be opened"):
        open_database(path)


def test_a_missing_folder(path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        open_database(path.parent / "nowhere" / "nest.db")


def test_an_older_database_is_brought_up_to_date_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry(open_database(path)).add("amsel", EUI)
    calls = []

    def to_next(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("create table later (id integer)"))

    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(migrations, "MIGRATIONS", {schema.VERSION - 1: to_next})
    for _ in range(2):
        engine = open_database(path)
        assert inspect(engine).has_table("later")
        assert len(Registry(engine).list()) == 1
        engine.dispose()
    assert calls == [1]


def test_a_migration_that_fails_leaves_the_database_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(path).dispose()

    def half(connection: Connection) -> None:
        Table("half", schema.MetaData(), Column("id", Integer)).create(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(migrations, "MIGRATIONS", {schema.VERSION - 1: half})
    with pytest.raises(RuntimeError):
        open_database(path)
    monkeypatch.undo()
    engine = open_database(path)
    assert not inspect(engine).has_table("half")
    with engine.begin() as connection:
        assert connection.execute(select(schema.schema_version.c.version)).scalars().all() == [schema.VERSION]


def test_a_program_that_holds_the_database_is_waited_for_and_then_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(path).dispose()
    monkeypatch.setattr("nest.archive.database._PATIENCE_MS", 50)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("delete from quantities")  # so there is something to be written
    other.execute("begin immediate")
    with pytest.raises(UserError, match="in use"):
        open_database(path)
    other.close()


def test_who_only_reads_does_not_wait_for_a_program_that_holds_the_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nest status` must say what is wrong just then."""
    open_database(path).dispose()
    monkeypatch.setattr("nest.archive.database._PATIENCE_MS", 50)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert Registry(open_database(path, check=True)).list() == []


def test_what_is_not_worth_it_waits_shortly_and_leaves_the_others_their_patience(path: Path) -> None:
    engine = open_database(path)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin immediate")
        started = time.monotonic()
        with pytest.raises(OperationalError, match="locked"), writing(engine, patience_ms=50):
            pass
        assert time.monotonic() - started < 4.5  # the others' patience is 5 s
    with engine.begin() as connection:
        assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 5000
