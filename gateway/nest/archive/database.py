"""Opening a town's database: created private, checked, brought to the schema's version."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, select, text, update
from sqlalchemy.exc import DatabaseError

from nest import quantities
from nest.archive import migrations, postgres, schema, snapshots
from nest.errors import UserError
from nest.i18n import tr
from nest.moments import now_ms

if TYPE_CHECKING:
    from nest.database_url import DatabaseServer

_PATIENCE_MS = 5000
CHECK_MOST = 256 << 20  # bytes that are looked through in a second; after a crash the nest is to be back in two
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk when it returns: what was acknowledged is never lost
    "PRAGMA fullfsync = ON",  # on a Mac a sync ends in the disk's own memory without it; elsewhere it means nothing
    "PRAGMA foreign_keys = ON",
)
_JOURNAL_PRAGMAS = (
    "PRAGMA foreign_keys = OFF",
    "PRAGMA cache_size = -32000",  # KB; the pages that a night of a thousand nodes touches
    # pages; a backlog writes many of them again and again, and brings them home once (12 % less time than with 1000);
    # in quiet times the other connections do that every 1000
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",  # bytes; a long backup lets the WAL grow, afterwards it is cut again
)


class Rows(Protocol):
    """What a statement of the journal's gives back."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class JournalConnection(Protocol):
    """The journal's own connection: `sqlite3.Connection`, or PostgreSQL in its words (`postgres_journal`)."""

    uncertain: str | None  # the transaction of which nobody knows whether it stands: the end of it was not seen

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> Rows: ...
    def close(self) -> None: ...
    def changes(self) -> int:
        """A number that others' transactions change, and ours do not."""
        ...

    def was_committed(self) -> bool:
        """Whether the uncertain transaction stands. To be asked inside a transaction."""
        ...

    def refusal(self, error: BaseException) -> str | None:
        """Why the database refuses, in plain words; None: one effect is to blame, or it is no error of the database."""
        ...


def open_database(at: Path | DatabaseServer, *, check: bool = False) -> Engine:
    """The engine for the database `at` a file (SQLite, created with mode 0600 where there is none) or on a server
    (PostgreSQL; the database must be there, its tables are made).

    `check` reads every page of a file for damage first (`PRAGMA quick_check`), unless that would take long
    (`CHECK_MOST`): it is for the start of a server, not for each command.

    Raises UserError: the database is damaged, is somebody else's, is from a newer version, or cannot be opened.
    """
    with database_errors(at):
        engine = _sqlite(at) if isinstance(at, Path) else postgres.open_engine(at)
        try:
            with engine.connect() as connection:
                if isinstance(at, Path):
                    if check and at.stat().st_size <= CHECK_MOST:
                        _check_pages(connection, at)
                else:
                    postgres.check_server(connection, at)
                _check_owner(connection, at)
                current = _is_current(connection)
            if not current:  # else nothing is written, so `nest status` answers while another program has the database
                with writing(engine, making=True) as connection:
                    _bring_up_to_date(connection, at)
        except BaseException:
            engine.dispose()
            raise
    return engine


def _sqlite(path: Path) -> Engine:
    _make_private(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        max_overflow=-1,  # however many readers the web side has, the event loop never waits for a connection
        hide_parameters=True,  # they may say whose garden a node stands in, and errors are printed
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def journal_connection(engine: Engine, patience_ms: int, *, alone: bool = False) -> JournalConnection:
    """A connection outside the pool, for the one that writes what is heard; plain, for speed.

    It waits for locks no longer than `patience_ms`. On SQLite it does not look after foreign keys, for it takes every
    number from the database itself in the transaction that uses it, and nothing there is ever deleted.
    `alone`: it is a nest's, and the only one; a server may be reached from several folders, a file's folder is locked.
    """
    if engine.dialect.name == "postgresql":
        from nest.archive.postgres_journal import PostgresConnection  # here: a town on SQLite needs no driver

        return PostgresConnection(engine, patience_ms, alone=alone)
    connection = sqlite3.connect(
        str(engine.url.database), isolation_level=None, check_same_thread=False, factory=_SqliteJournal
    )
    connection.execute(f"PRAGMA busy_timeout = {patience_ms:d}")
    for pragma in (*_PRAGMAS, *_JOURNAL_PRAGMAS):
        connection.execute(pragma)
    return connection


class _SqliteJournal(sqlite3.Connection):
    uncertain: str | None = None  # SQLite always knows

    def changes(self) -> int:
        return self.execute("PRAGMA data_version").fetchone()[0]

    def was_committed(self) -> bool:
        return False

    def refusal(self, error: BaseException) -> str | None:
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, _OF_ONE_EFFECT):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return _REASONS.get(code, "{error}").format(error=error)


# errors for which the effect is to blame and not the database
_OF_ONE_EFFECT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)
_REASONS = {
    sqlite3.SQLITE_BUSY: "in use by another program",
    sqlite3.SQLITE_LOCKED: "in use by another program",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk cannot be written or read ({error})",
    sqlite3.SQLITE_READONLY: "the file or its folder may not be written",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is damaged",
}


def writing(
    engine: Engine, *, patience_ms: int | None = None, making: bool = False
) -> contextlib.AbstractContextManager[Connection]:
    """A transaction that will write: it takes the one lock for that at its start, so nothing read in it can change.

    `patience_ms`: how long to wait for another program's lock, where the usual 5 s are not worth it.
    `making`: there may be no tables yet.
    """
    return engine.execution_options(nest_writing=True, nest_patience_ms=patience_ms, nest_making=making).begin()


def database_errors(at: Path | DatabaseServer) -> contextlib.AbstractContextManager[None]:
    """Turn what the database and the file system say into a UserError."""
    return _file_errors(at) if isinstance(at, Path) else postgres.server_errors(at)


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            tr("The database {path} cannot be opened: {reason}.", path=path, reason=error.strerror or error),
            tr("Check that the folder exists and belongs to you, then try again."),
        ) from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        reason = str(getattr(error, "orig", error))
        if "locked" in reason:
            raise UserError(
                tr("The database {path} is in use by another program.", path=path),
                tr("Close the program that holds it open, then try again."),
            ) from error
        if "is full" in reason:
            raise UserError(
                tr("The disk of the database {path} is full.", path=path),
                tr("Make room on it, then try again."),
            ) from error
        if "not a database" in reason or "malformed" in reason or "corrupt" in reason:
            raise _damaged(path, reason) from error
        raise UserError(
            tr("The database {path} cannot be opened: {reason}.", path=path, reason=reason),
            tr("Check that the folder exists and belongs to you, then try again."),
        ) from error


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        tr("The database {path} is damaged ({reason}).", path=path, reason=reason),
        tr("Move it away and put your latest backup there; without a backup, the next start makes an empty one."),
    )


def _make_private(path: Path) -> None:
    """Create `path` empty where it is missing, readable by its owner alone whatever the umask; SQLite gives new
    -wal and -shm files the mode of the database.

    A file that is there is never opened here: closing it would drop the locks of this process's other connections
    (sqlite.org/howtocorrupt.html section 2.2).
    """
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for file in (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(file.stat().st_mode) != 0o600:
                file.chmod(0o600)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin
    connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS:d}")
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    begin = "BEGIN IMMEDIATE" if options.get("nest_writing", False) else "BEGIN"
    patience_ms = options.get("nest_patience_ms")
    if patience_ms is None:
        connection.exec_driver_sql(begin)
        return
    usual_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience_ms:d}")
    try:
        connection.exec_driver_sql(begin)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual_ms:d}")


def _check_pages(connection: Connection, path: Path) -> None:
    found = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if found != "ok":
        raise _damaged(path, str(found).splitlines()[-1])


def _check_owner(connection: Connection, at: Path | DatabaseServer) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and schema.schema_version.name not in tables:
        raise UserError(
            tr("The database {path} belongs to another program: it has no table {table}.", path=at,
               table=schema.schema_version.name),
            tr("Move that file away, or choose another folder for the town.")
            if isinstance(at, Path)
            else tr("Make an empty database for the town, for example: createdb --owner USER NAME"),
        )


def _is_current(connection: Connection) -> bool:
    versions = schema.schema_version
    if not inspect(connection).has_table(versions.name):
        return False
    version = connection.execute(select(func.max(versions.c.version))).scalar_one()
    return version == schema.VERSION and _known_quantities(connection).items() >= _quantity_names().items()


def _bring_up_to_date(connection: Connection, at: Path | DatabaseServer) -> None:
    versions = schema.schema_version
    if connection.dialect.name == "postgresql":
        postgres.leave_out_checks()
    if not inspect(connection).has_table(versions.name):
        schema.metadata.create_all(connection)
        connection.execute(insert(versions).values(version=schema.VERSION, applied_at=now_ms()))
        migrations.first_rows(connection)
        if connection.dialect.name == "postgresql":
            postgres.finish_tables(connection)
    version = connection.execute(select(func.max(versions.c.version))).scalar_one() or 0
    if version > schema.VERSION:
        raise UserError(
            tr("The database {path} was made by a newer Funkspatz (version {found}, this one knows {known}).",
               path=at, found=version, known=schema.VERSION),
            tr("Install the newer Funkspatz again: pip install --upgrade funkspatz"),
        )
    if version < schema.VERSION and isinstance(at, Path):  # a server takes a migration back that fails, whole
        snapshots.before_migration(at, version)
    while version < schema.VERSION:
        migrations.MIGRATIONS[version](connection)
        version += 1
        connection.execute(insert(versions).values(version=version, applied_at=now_ms()))
    _name_quantities(connection)


def _name_quantities(connection: Connection) -> None:
    """Keep the names of `boards/quantities.toml` in the database, so that it explains itself to any SQL tool."""
    table, known = schema.quantities, _known_quantities(connection)
    for number, (name, unit) in _quantity_names().items():
        if number not in known:
            connection.execute(insert(table).values(id=number, name=name, unit=unit))
        elif known[number] != (name, unit):
            connection.execute(update(table).where(table.c.id == number).values(name=name, unit=unit))


def _known_quantities(connection: Connection) -> dict[int, tuple[str, str]]:
    return {row.id: (row.name, row.unit) for row in connection.execute(select(schema.quantities))}


def _quantity_names() -> dict[int, tuple[str, str]]:
    return {quantity.bit: (quantity.name, quantity.unit) for quantity in quantities.all_quantities()}
