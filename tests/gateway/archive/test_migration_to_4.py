"""From version 3 of the schema to 4, on a filled database (v3.sql, made by that version): what provisioning needs."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from gateway.archive.postgres_server import PostgresServer, needs_postgres
from gateway.archive.test_migrations import assert_same_rows, definitions, tables
from nest import keys
from nest.archive import Archive, migrations, open_database, schema
from nest.archive.database import writing
from nest.database_url import DatabaseServer
from nest.registry import Registry
from sqlalchemy import Engine, delete, insert, select, text

NEW = ("wishes", "key_mark", "nonce_floor", "retired_at")
REMOVED = "dohle"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "nest.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name("v3.sql").read_text())
    return path


def test_every_row_is_there_afterwards_and_each_key_has_its_mark(path: Path) -> None:
    old = tables(path)
    assert all(old.values())  # there is something in every table
    open_database(path, check=True).dispose()
    new = tables(path)
    versions = schema.schema_version.name
    assert_same_rows({name: rows for name, rows in old.items() if name != versions}, new)
    for name in ("readings", "outbox"):
        assert old[name] == new[name]
    for row in new["nodes"]:
        key, mark = row["app_key"], row["key_mark"]
        assert mark == (key and keys.mark(bytes.fromhex(row["dev_eui"]), key))
        assert (row["wishes"], row["nonce_floor"], row["retired_at"]) == (None, 0, None)
    assert [row["version"] for row in new[versions]][-2:] == [3, 4]


def test_a_converted_database_is_as_a_new_one(path: Path) -> None:
    open_database(path).dispose()
    open_database(path.with_name("new.db")).dispose()
    assert definitions(path) == definitions(path.with_name("new.db"))


def test_counts_go_on_where_they_were(path: Path) -> None:
    engine = open_database(path)
    keys_are_known(engine)
    back = Registry(engine).add(REMOVED, "70b3d57ed0000003", app_key=bytes(16))
    assert back.slug == REMOVED
    nonces = {record.dev_nonce for record in Archive(engine).joins(bytes.fromhex("70b3d57ed0000003"))}
    assert nonces == {1}  # nobody knows whether it is the same key
    engine.dispose()


def keys_are_known(engine: Engine) -> None:
    registry = Registry(engine)
    star = registry.find(bytes.fromhex("70b3d57ed0000002"))
    assert star
    assert (star.slug, star.dev_nonce, star.join_nonce, star.app_key) == ("star", 8, 1025, b"\2" * 16)
    registry.remove("star")
    registry.add("star", star.dev_eui, app_key=star.app_key)
    same = registry.find(star.dev_eui)
    assert same
    assert same.dev_nonce == 8
    registry.remove("star")
    registry.add("star", star.dev_eui, app_key=bytes(16))
    other = registry.find(star.dev_eui)
    assert other
    assert (other.dev_nonce, other.join_nonce) == (0, 1025)


@needs_postgres
@pytest.mark.xdist_group("postgresql")
def test_on_postgresql_too(postgres: PostgresServer, server: DatabaseServer, path: Path) -> None:
    """A database as version 3 left it: the new columns away, the rows of the other one copied in."""
    engine = open_database(server)
    with contextlib.closing(sqlite3.connect(path)) as old, writing(engine) as connection:
        for name in NEW:
            connection.execute(text(f"ALTER TABLE nodes DROP COLUMN {name}"))
        for table in (schema.nodes, schema.joins):
            columns = [column.name for column in table.columns if column.name not in NEW]
            for row in old.execute(f"SELECT {', '.join(columns)} FROM {table.name}"):  # noqa: S608
                names = ", ".join(columns)
                values = dict(zip(columns, row, strict=True))
                marks = ", ".join(f":{name}" for name in columns)
                connection.execute(text(f"INSERT INTO {table.name} ({names}) VALUES ({marks})"), values)  # noqa: S608
        connection.execute(delete(schema.schema_version))
        connection.execute(insert(schema.schema_version).values(version=3, applied_at=0))
    engine.dispose()
    engine = open_database(server)
    with engine.begin() as connection:
        assert connection.scalars(select(schema.schema_version.c.version)).all() == [3, 4]
        for row in connection.execute(select(schema.nodes)):
            assert row.key_mark == (row.app_key and keys.mark(bytes.fromhex(row.dev_eui), row.app_key))
    keys_are_known(engine)
    engine.dispose()


def test_each_version_has_its_way_to_the_next() -> None:
    assert set(migrations.MIGRATIONS) == set(range(1, schema.VERSION))
