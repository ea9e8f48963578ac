"""PostgreSQL in SQLite's place, on a real server: opening, what can go wrong, and what the journal may rely on."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gateway.archive.bursts import CLIMATE, EUI, FAR, NEAR, OTHER, heard, join, rows, session, store, uplink
from gateway.archive.postgres_server import PostgresServer, needs_postgres
from nest import quantities, status, town
from nest.archive import Archive, migrations, open_database, schema
from nest.archive.database import database_errors, writing
from nest.archive.journal import Journal, RefusedError
from nest.archive.outbox import Outbox
from nest.archive.postgres_sql import array, translate
from nest.archive.statements import Sql
from nest.database_url import DatabaseServer
from nest.errors import UserError
from nest.lorawan.effects import MergeCopy, StoreSession
from nest.model import SessionState
from nest.registry import Registry
from sqlalchemy import BigInteger, Column, Connection, Engine, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import OperationalError

pytestmark = [needs_postgres, pytest.mark.xdist_group("postgresql"), pytest.mark.usefixtures("english")]
SECRET = "Geheim: 'ß\\"


@pytest.fixture
def where(server: DatabaseServer) -> DatabaseServer:
    """The fixtures of `conftest`, on this server only."""
    return server


# opening


def test_tables_are_made_once_and_everything_is_there_when_it_is_opened_again(server: DatabaseServer) -> None:
    opened: list[Engine] = []
    threads = [threading.Thread(target=lambda: opened.append(open_database(server, check=True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    Registry(opened[0]).add("amsel", EUI, latitude=51.25, longitude=12.5)
    for engine in opened:
        assert [node.slug for node in Registry(engine).list()] == ["amsel"]
        engine.dispose()
    engine = open_database(server)
    known = {(row.id, row.name, row.unit) for row in rows(engine, "quantities")}
    assert known == {(quantity.bit, quantity.name, quantity.unit) for quantity in quantities.all_quantities()}
    assert [row.version for row in rows(engine, schema.schema_version.name)] == [schema.VERSION]
    engine.dispose()


def test_a_database_of_another_program_or_of_a_newer_version_is_left_alone(
    postgres: PostgresServer, server: DatabaseServer
) -> None:
    name = server.url.partition("@/")[2].partition("?")[0]
    postgres.sql("CREATE TABLE recipes (title text)", name)
    with pytest.raises(UserError, match="another program") as refused:
        open_database(server)
    assert "createdb" in refused.value.next_step
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [(1,)]
    postgres.sql("DROP TABLE recipes", name)
    with writing(open_database(server)) as connection:
        connection.execute(insert(schema.schema_version).values(version=schema.VERSION + 1, applied_at=0))
    with pytest.raises(UserError, match="newer Funkspatz"):
        open_database(server)


def test_an_older_database_is_brought_up_to_date_once_or_not_at_all(
    server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(open_database(server)).add("amsel", EUI)
    fails = [True]
    column: Column[Any] = Column("later", BigInteger, server_default="7")

    def to_next(connection: Connection) -> None:
        Table("half", MetaData(), Column("id", Integer)).create(connection)
        if fails.pop():
            raise RuntimeError("power cut")
        migrations._add_column(connection, schema.nodes, column)

    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(migrations, "MIGRATIONS", {schema.VERSION - 1: to_next})
    with pytest.raises(RuntimeError):
        open_database(server)
    fails.append(False)
    for _ in range(2):
        engine = open_database(server)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT slug, later FROM nodes")).all() == [("amsel", 7)]
            assert connection.execute(text("SELECT count(*) FROM half")).scalar_one() == 0
        engine.dispose()


def test_a_database_that_cannot_hold_every_letter_is_refused(postgres: PostgresServer) -> None:
    postgres.sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(UserError, match="LATIN1, not in UTF8"):
        open_database(postgres.at("latin"))


@pytest.fixture
def guarded(postgres: PostgresServer, server: DatabaseServer) -> Iterator[str]:
    """The address of that database for a user with a password, over TCP."""
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("host all spatz 127.0.0.1/32 scram-sha-256\nhost all stranger 127.0.0.1/32 reject\n" + before)
    name = server.url.partition("@/")[2].partition("?")[0]
    postgres.sql("SELECT pg_reload_conf()")
    quoted = SECRET.replace("'", "''")
    postgres.sql(f"CREATE ROLE spatz LOGIN PASSWORD '{quoted}'")
    postgres.sql(f"ALTER DATABASE {name} OWNER TO spatz")
    yield f"postgresql://spatz@127.0.0.1:{postgres.port}/{name}"
    postgres.sql(f"ALTER DATABASE {name} OWNER TO postgres")
    postgres.sql("REASSIGN OWNED BY spatz TO postgres; DROP OWNED BY spatz", name)
    postgres.sql("DROP ROLE spatz")
    rules.write_text(before)
    postgres.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize("way", ["PGPASSWORD", "pgpass", "file"])
def test_a_password_comes_from_the_environment_or_a_file(
    guarded: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    escaped = SECRET.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"*:*:*:spatz:{escaped}\n" if way == "pgpass" else f"{SECRET}\nsecond line\n")
    file.chmod(0o600)
    if way == "PGPASSWORD":
        monkeypatch.setenv("PGPASSWORD", SECRET)
    elif way == "pgpass":
        monkeypatch.setenv("PGPASSFILE", str(file))
    engine = open_database(DatabaseServer(guarded, file if way == "file" else None))
    with contextlib.closing(Journal(engine)) as journal:
        assert journal.commit([]).failed == []
    engine.dispose()


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("wrong", ["none", "wrong", "open", "missing", "empty"])
def test_without_the_right_password_a_person_is_told_where_it_belongs(
    guarded: str, wrong: str, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nest.i18n.language_of_locale", lambda: language)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    file = tmp_path / "secret"
    if wrong != "missing":
        file.write_text({"wrong": "falsch", "open": SECRET, "none": "", "empty": "\n"}[wrong])
        file.chmod(0o644 if wrong == "open" else 0o600)
    with pytest.raises(UserError) as refused:
        open_database(DatabaseServer(guarded, None if wrong == "none" else file))
    said = f"{refused.value.message} {refused.value.next_step}"
    assert {"none": "password_file", "wrong": "password_file", "open": "chmod 600"}.get(wrong, str(file)) in said
    assert ("Passwort" in said) == (language == "de")
    assert "falsch" not in said
    assert SECRET not in said


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_server_that_is_not_there_and_a_database_that_is_not_there(
    postgres: PostgresServer, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nest.i18n.language_of_locale", lambda: language)
    with pytest.raises(UserError) as refused:
        open_database(DatabaseServer("postgresql://spatz@127.0.0.1:1/town"))
    assert "postgresql://spatz@127.0.0.1:1/town" in refused.value.message
    assert "psql" in refused.value.next_step
    with pytest.raises(UserError) as refused:
        open_database(postgres.at("nowhere"))
    assert "nowhere" in refused.value.message
    assert "createdb" in refused.value.next_step


def test_a_user_without_rights_is_told_which_are_missing(guarded: str, postgres: PostgresServer) -> None:
    name = guarded.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} OWNER TO postgres")
    server = postgres.at(name, "spatz")
    with pytest.raises(UserError, match="permission denied") as refused:
        open_database(server)
    assert "ALTER DATABASE" in refused.value.next_step


# the town


def test_a_town_is_made_on_a_server_and_nothing_of_it_is_a_file(server: DatabaseServer, tmp_path: Path) -> None:
    made = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    assert made.database == server
    assert [path.name for path in made.path.iterdir()] == ["town.toml"]
    engine = open_database(made.database)
    assert Registry(engine).add("amsel", EUI).id == 1
    engine.dispose()
    assert town.load(made.path).database == server


def test_a_town_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be reached"):
        town.create(tmp_path / "town", "Brandis", database_url="postgresql://spatz@127.0.0.1:1/town")
    assert list((tmp_path / "town").iterdir()) == []


# the journal


def test_one_writer_at_a_time(engine: Engine, journal: Journal, state: SessionState) -> None:
    effects = [store(state, 0), MergeCopy(EUI, 1, 0, FAR)]
    with writing(engine):
        for _ in range(2):
            with pytest.raises(RefusedError, match="in use by another program"):
                journal.commit(effects)
    done = journal.begin(effects)
    with (
        pytest.raises(OperationalError) as busy,
        writing(engine, patience_ms=50),
    ):
        pass
    with pytest.raises(UserError, match="in use by another program"), database_errors(DatabaseServer("postgresql://x")):
        raise busy.value
    journal.finish()
    assert [event.fcnt for _, event in done.readings] == [0]
    assert heard(engine) == (NEAR, FAR)
    Registry(engine).add("meise", OTHER)


def test_who_reads_sees_one_moment_and_keeps_nobody_waiting(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    with engine.begin() as connection:
        assert connection.execute(select(schema.frames.c.id)).all() == []
        journal.commit([store(state, 0)])
        assert connection.execute(select(schema.frames.c.id)).all() == []
    assert len(rows(engine, "frames")) == 1


def test_a_connection_that_is_lost_refuses_and_comes_back(
    engine: Engine, journal: Journal, state: SessionState, server: DatabaseServer, postgres: PostgresServer
) -> None:
    journal.commit([store(state, 0)])
    name = server.url.partition("@/")[2].partition("?")[0]
    everybody = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
    for when in ("between", "within"):
        effects = [store(state, state.fcnt_up + 1), MergeCopy(EUI, 1, 0, FAR)]
        if when == "within":
            journal.begin(effects)
        postgres.sql(everybody)
        with pytest.raises(RefusedError):
            journal.finish() if when == "within" else journal.begin(effects)
        assert journal.commit(effects).failed == []
        assert not journal.changed_elsewhere() or when == "between"
    postgres.sql(everybody)
    with pytest.raises(RefusedError):
        journal.changed_elsewhere()
    assert not journal.changed_elsewhere()
    assert [row.fcnt for row in rows(engine, "frames")] == [0, 1, 2]
    assert [seq for seq, _ in Outbox(engine).after(0)] == [1, 2, 3]


@pytest.mark.parametrize("stands", [True, False])
def test_when_the_end_of_a_transaction_is_not_seen_nothing_is_lost_or_written_twice(
    engine: Engine, journal: Journal, state: SessionState, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.commit([store(state, 0)])
    execute = psycopg.RawCursor.execute

    def lost(self: Any, query: Any, *more: Any, **options: Any) -> Any:
        if query != "COMMIT":
            return execute(self, query, *more, **options)
        if stands:
            execute(self, query)
        self.connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    first, later = [store(state, 1), join(session(nonce=2), 1), store(state, 2)], [store(state, 3)]
    with monkeypatch.context() as cut:
        cut.setattr(psycopg.RawCursor, "execute", lost)
        with pytest.raises(RefusedError, match="lost"):
            journal.commit(first)
    with writing(engine), pytest.raises(RefusedError, match="in use"):
        journal.commit([*first, *later])
    done = journal.commit([*first, *later])
    assert done.failed == []
    assert [event.fcnt for _, event in done.readings] == [1, 2, 3]
    assert [row.fcnt for row in rows(engine, "frames")] == [0, 1, 2, 3]
    assert Outbox(engine).after(1) == done.readings
    assert len(Archive(engine).joins()) == 2
    assert journal.commit([store(state, 4)]).failed == []


def test_the_server_is_gone_and_comes_back(postgres: PostgresServer, engine: Engine, journal: Journal) -> None:
    state = session()
    journal.commit([join(state)])
    journal.begin([effect := store(state, 0)])
    postgres.stop()
    try:
        for refused in (journal.finish, lambda: journal.commit([effect]), lambda: journal.commit([effect])):
            with pytest.raises(RefusedError):
                refused()
    finally:
        postgres.start()
    while True:
        try:
            done = journal.commit([effect, store(state, 1)])
            break
        except RefusedError:
            continue
    assert ([event.fcnt for _, event in done.readings], done.failed) == ([0, 1], [])
    assert [row.fcnt for row in rows(engine, "frames")] == [0, 1]
    assert Archive(engine).sessions()[0].fcnt_up == 1


def test_there_is_one_nest_on_a_database(engine: Engine, server: DatabaseServer, monkeypatch: Any) -> None:
    monkeypatch.setattr("nest.archive.postgres_journal._PATIENCE_MS", 50)
    with contextlib.closing(Journal(engine, alone=True)):
        with pytest.raises(UserError, match="Another nest runs"), database_errors(server):
            Journal(engine, alone=True)
        Journal(engine).close()  # commands of the same town are no nests
    monkeypatch.undo()
    Journal(engine, alone=True).close()  # the lock has ended with the connection


@pytest.mark.parametrize("many", [0, 1])
def test_an_error_that_no_effect_is_to_blame_for_is_a_refusal(journal: Journal, state: SessionState, many: int) -> None:
    effects = [store(state, 0)][:many]
    with pytest.raises(RefusedError, match="out of range"):
        journal.commit(effects, mark=1 << 70)
    assert len(journal.commit(effects).readings) == many


def test_a_table_that_is_gone_is_a_refusal_and_no_effect_s_fault(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE frames RENAME TO away"))
    with pytest.raises(RefusedError, match="does not exist"):
        journal.commit([store(state, 0)])
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO frames"))
    assert len(journal.commit([store(state, 0)]).readings) == 1


def test_readings_from_elsewhere_and_from_frames_share_their_numbers(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    journal.commit([store(state, 0), store(state, 1)])
    Archive(engine).add_reading("amsel", 2000.0, {"temperature": 21.5})
    done = journal.commit([store(state, 2)], mark=3)
    Archive(engine).add_reading("amsel", 2001.0, {"temperature": 21.5})
    assert [seq for seq, _ in done.readings] == [4]
    assert [seq for seq, _ in Outbox(engine).after(0)] == [4, 5]
    assert Archive(engine).series("amsel", "temperature", 1999, 2002) == [(2000.0, 21.5), (2001.0, 21.5)]


def test_numbers_that_are_none_do_not_keep_the_status_from_being_saved(engine: Engine) -> None:
    full: dict[str, Any] = {"gateways": [], "pid": 1, "running": False, "x": [float("nan"), {"y": float("inf")}, 1.5]}
    status.save(engine, full)
    found = status.load(engine)
    assert found is not None
    assert found["x"] == [None, {"y": None}, 1.5]


def test_a_text_with_a_nul_is_not_found_and_no_error(engine: Engine) -> None:
    archive = Archive(engine)
    assert archive.nodes("amsel\0") == []
    assert archive.series("\0", "temperature", 0, 1) == []
    Registry(engine).add("meise", OTHER)
    status.save(engine, {"gateways": [], "pid": 1, "running": False, "x": "a\0b"})
    assert (status.load(engine) or {})["x"] == "a\0b"  # escaped, so it may stand in JSON


AWKWARD = ['a"b', "{}", "a,b", "NULL", "\\", "", " ", "ß€😀", "'; DROP TABLE nodes; --"]


def test_awkward_words_stand_as_they_were_told(engine: Engine, journal: Journal) -> None:
    registry, states = Registry(engine), []
    for number, word in enumerate(AWKWARD):
        eui = (1 << 32 | number).to_bytes(8, "big")
        registry.add(f"spatz-{number}", eui)
        states.append(session(eui, heard_by=word, heard_tmst=None if number % 2 else number))
    journal.commit([join(state) for state in states])
    for state in states:
        state.fcnt_down = 7
    assert journal.commit([StoreSession(state) for state in states]).failed == []
    assert Archive(engine).sessions() == states


def test_arrays_are_written_as_the_server_reads_them(postgres: PostgresServer) -> None:
    where = f"host={postgres.folder} port={postgres.port} user=postgres dbname=postgres"
    for kind, values in (
        ("text", [*AWKWARD, None]),
        ("bytea", [b"", b"\x00\\\"'", None]),
        ("bigint", [0, -1, 2**62, None]),
        ("double precision", [0.1, -1e300, 1e-300, float("inf"), None]),
        ("boolean", [True, False, None]),
        ("json", ['{"a": "\\"}"}', "[]", None]),
    ):
        with psycopg.connect(where) as connection:
            as_text = "::text" if kind == "json" else ""
            ask = f"SELECT v{as_text} FROM unnest(%s::{kind}[]) AS t(v)"  # noqa: S608
            found = [row[0] for row in connection.execute(ask.encode(), (array(values),))]
        assert found == values


def test_statements_by_hand_are_told_in_the_server_s_words() -> None:
    said = translate("INSERT OR IGNORE INTO joins (node_id, join_nonce) VALUES (?, '?')").text
    assert said == "INSERT INTO joins (node_id, join_nonce) VALUES ($1, '?') ON CONFLICT DO NOTHING"
    said = translate("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?), (?, ?)").text
    assert said.endswith("VALUES ($1, $2), ($3, $4) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
    every = [value for name, value in vars(Sql).items() if isinstance(value, str) and not name.startswith("__")]
    assert not [said for said in map(translate, every) if "?" in said.text or "sqlite" in said.text]
    assert translate(Sql.insert_frame).copy
    assert translate(Sql.update_session).many


def test_all_of_a_burst_is_in_few_questions(
    engine: Engine, journal: Journal, state: SessionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the way to the server takes, it is not taken for each frame."""
    asked: list[object] = []
    journal.commit([store(state, fcnt, CLIMATE) for fcnt in range(2)])
    for name in ("execute", "executemany", "copy"):
        usual: Callable[..., Any] = getattr(psycopg.RawCursor, name)
        monkeypatch.setattr(
            psycopg.RawCursor, name, lambda *args, usual=usual, **more: asked.append(args[1]) or usual(*args, **more)
        )
    journal.commit([store(state, fcnt, CLIMATE) for fcnt in range(2, 202)])
    assert len(asked) < 20, asked


def test_a_frame_of_another_session_is_not_mixed_in(engine: Engine, journal: Journal, state: SessionState) -> None:
    assert journal.commit([store(state, 0), replace(store(state, 1), uplink=uplink(0, at=5.0))]).failed
    assert len(rows(engine, "frames")) == 1
