"""A town's database from a PostgreSQL server into an SQLite file, and back. A backup is the same whatever a town runs
on, so one of SQLite restored over a town on PostgreSQL moves it there, and the other way round.

The file is one moment of the database, taken while others write. The way back is one transaction: all of it or nothing.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Connection, Table, func, select, text

from nest import town
from nest.archive import postgres, schema, snapshots
from nest.archive.database import database_errors, open_database, writing
from nest.archive.snapshots import Progress
from nest.database_url import DatabaseServer
from nest.errors import UserError
from nest.i18n import tr

_PIECE = 5000  # rows fetched at once
_MINE = ("funkspatz_schema",)  # each database says itself which version it is


def server_of(folder: Path) -> DatabaseServer | None:
    """The server on which the town in `folder` has its database; None: it has none, or there is no town."""
    with contextlib.suppress(UserError):
        at = town.load(folder).database
        return at if isinstance(at, DatabaseServer) else None
    return None


def empty_server_of(folder: Path) -> DatabaseServer | None:
    """As `server_of`. Raises UserError: a town lives there, perhaps the one that a person has copied and wants to look
    at in another folder."""
    server = server_of(folder)
    if server is not None and holds_town(server):
        raise UserError(
            tr("The backup belongs to the database {url}, and a town is there already.", url=server),
            tr("Restore it over that town, in its own folder, or over an empty one made by: nest init"),
        )
    return server


def stay(folder: Path, staged: Path) -> None:
    """Have the settings in `staged` name the database that those in `folder` name."""
    import tomlkit  # here: only a restore needs it

    present = tomlkit.parse((folder / town.SETTINGS_FILE).read_text(encoding="utf-8"))
    settings = staged / town.SETTINGS_FILE
    restored = tomlkit.parse(settings.read_text(encoding="utf-8"))
    if (section := present.get("database")) is not None:
        restored["database"] = section
    else:
        restored.pop("database", None)
    settings.write_text(tomlkit.dumps(restored), encoding="utf-8")


def holds_town(server: DatabaseServer) -> bool:
    """Whether a node was ever registered there. Raises UserError."""
    engine = open_database(server)
    try:
        with database_errors(server), engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(schema.nodes)).scalar_one() > 0
    finally:
        engine.dispose()


def export(server: DatabaseServer, target: Path, progress: Progress | None = None) -> None:
    """Put the database into the new SQLite file `target`. Raises UserError, sqlite3.Error, OSError."""
    engine = open_database(server)
    try:
        open_database(target).dispose()
        with (
            database_errors(server),
            engine.connect() as source,
            contextlib.closing(snapshots.connect(target)) as new,
        ):
            new.execute("PRAGMA synchronous = OFF")  # one sync at the end is enough
            new.execute("BEGIN IMMEDIATE")
            total, done = sum(_count(source, table) for table in _tables()), 0
            for table in reversed(_tables()):
                new.execute(f'DELETE FROM "{table.name}"')  # noqa: S608  names from our own schema
            for table in _tables():
                for rows in _pieces(source, table):
                    new.executemany(_insert(table), rows)
                    done += len(rows)
                    if progress is not None:
                        progress(done, total)
            new.execute("DELETE FROM meta WHERE key = ?", (postgres.CHANGES,))
            last = source.execute(text(postgres.LAST_SEQ)).scalar_one()
            new.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
            new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", (last,))
            new.execute("COMMIT")
            new.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read from anywhere
            snapshots.check(new)
        snapshots.sync(target)
    finally:
        engine.dispose()


def bring_in(
    source: Path,
    server: DatabaseServer,
    progress: Progress | None = None,
    first: Callable[[], None] = lambda: None,
) -> None:
    """Put the SQLite file `source`, which has this version's tables, in the place of what the server has. `first` is
    called when nobody else can write there any more, and may change `source`.

    A nest that runs there notices by the other `generation`. Raises UserError, sqlite3.Error.
    """
    engine = open_database(server)
    try:
        with (
            database_errors(server),
            contextlib.closing(snapshots.connect(source)) as old,
            writing(engine) as connection,
        ):
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # `first` may take long
            first()
            total = sum(old.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0] for table in _tables())  # noqa: S608
            changes = connection.execute(text(postgres.ASK_CHANGES)).scalar_one()
            for table in reversed(_tables()):
                connection.execute(table.delete())
            done = 0
            for table in _tables():
                done = _copy_in(old, connection, table, done, total, progress)
                for column in table.primary_key:
                    _count_on(connection, table.name, column.name)
            connection.execute(text("DELETE FROM meta WHERE key = :key"), {"key": postgres.CHANGES})
            connection.execute(schema.meta.insert().values(key=postgres.CHANGES, value=changes))
    finally:
        engine.dispose()


def _tables() -> list[Table]:
    return [table for table in schema.metadata.sorted_tables if table.name not in _MINE]


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _insert(table: Table) -> str:
    places = ", ".join("?" * len(table.columns))
    return f'INSERT INTO "{table.name}" ({_names(table)}) VALUES ({places})'  # noqa: S608


def _pieces(connection: Connection, table: Table) -> Iterator[list[Any]]:
    from psycopg.types.string import TextLoader

    driver: Any = connection.connection.driver_connection
    with driver.cursor(name="funkspatz_copy") as cursor:  # it stays on the server: a town may be larger than memory
        cursor.adapters.register_loader("json", TextLoader)
        cursor.execute(f'SELECT {_names(table)} FROM "{table.name}"')  # noqa: S608
        while rows := cursor.fetchmany(_PIECE):
            yield rows


def _copy_in(
    old: sqlite3.Connection, connection: Connection, table: Table, done: int, total: int, progress: Progress | None
) -> int:
    driver: Any = connection.connection.driver_connection
    documents = [place for place, column in enumerate(table.columns) if isinstance(column.type, JSON)]
    found = old.execute(f'SELECT {_names(table)} FROM "{table.name}"')  # noqa: S608
    with driver.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({_names(table)}) FROM STDIN') as copy:
        while rows := found.fetchmany(_PIECE):
            for row in rows:
                copy.write_row(_without_nan(row, documents) if documents else row)
            done += len(rows)
            if progress is not None:
                progress(done, total)
    return done


def _without_nan(row: tuple[Any, ...], documents: list[int]) -> list[Any]:
    """SQLite keeps a NaN in JSON, PostgreSQL does not."""
    values = list(row)
    for place in documents:
        value = values[place]
        if isinstance(value, str) and ("NaN" in value or "Infinity" in value):
            values[place] = postgres.plain_json(json.loads(value))
    return values


def _count_on(connection: Connection, table: str, column: str) -> None:
    """Have the server count up from what stands there now."""
    sequence = connection.execute(
        text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table, "column": column}
    ).scalar_one()
    if sequence is not None:
        highest = f'SELECT setval(:sequence, greatest(max("{column}"), 1)) FROM "{table}"'  # noqa: S608
        connection.execute(text(highest), {"sequence": sequence})
