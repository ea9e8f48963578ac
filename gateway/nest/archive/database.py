"""Opening a town's database: created private, checked, brought to the schema's version."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, select, text, update
from sqlalchemy.exc import DatabaseError

from nest import quantities
from nest.archive import migrations, schema, snapshots
from nest.errors import UserError
from nest.i18n import tr
from nest.moments import now_ms

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


def open_database(path: Path, *, check: bool = False) -> Engine:
    """The engine for the SQLite database at `path`, created with mode 0600 where there is none.

    `check` reads every page for damage first (`PRAGMA quick_check`), unless that would take long (`CHECK_MOST`): it is
    for the start of a server, not for each command.

    Raises UserError: the file is damaged, is somebody else's database, is from a newer version, or cannot be opened.
    """
    with database_errors(path):
        _make_private(path)
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            max_overflow=-1,  # however many readers the web side has, the event loop never waits for a connection
            hide_parameters=True,  # they may say whose garden a node stands in, and errors are printed
        )
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        try:
            with engine.connect() as connection:
                if check and path.stat().st_size <= CHECK_MOST:
                    _check_pages(connection, path)
                _check_owner(connection, path)
                current = _is_current(connection)
            if not current:  # else nothing is written, so `nest status` answers while another program has the database
                with writing(engine) as connection:
                    _bring_up_to_date(connection, path)
        except BaseException:
            engine.dispose()
            raise
    return engine


def journal_connection(engine: Engine, patience_ms: int) -> sqlite3.Connection:
    """A connection outside the pool, for the one that writes what is heard; plain SQLite, for speed.

    It waits for locks no longer than `patience_ms`. It does not look after foreign keys, for it takes every number from
    the database itself in the transaction that uses it, and nothing there is ever deleted.
    """
    connection = sqlite3.connect(str(engine.url.database), isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {patience_ms:d}")
    for pragma in (*_PRAGMAS, *_JOURNAL_PRAGMAS):
        connection.execute(pragma)
    return connection


def writing(engine: Engine, *, patience_ms: int | None = None) -> contextlib.AbstractContextManager[Connection]:
    """A transaction that will write: SQLite takes its write lock at the start, so nothing read in it can change.

    `patience_ms`: how long to wait for another program's lock, where the usual 5 s are not worth it.
    """
    return engine.execution_options(nest_writing=True, nest_patience_ms=patience_ms).begin()


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say about `path` into a UserError."""
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


def _check_owner(connection: Connection, path: Path) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and schema.schema_version.name not in tables:
        raise UserError(
            tr("The database {path} belongs to another program: it has no table {table}.", path=path,
               table=schema.schema_version.name),
            tr("Move that file away, or choose another folder for the town."),
        )


def _is_current(connection: Connection) -> bool:
    versions = schema.schema_version
    if not inspect(connection).has_table(versions.name):
        return False
    version = connection.execute(select(func.max(versions.c.version))).scalar_one()
    return version == schema.VERSION and _known_quantities(connection).items() >= _quantity_names().items()


def _bring_up_to_date(connection: Connection, path: Path) -> None:
    versions = schema.schema_version
    if not inspect(connection).has_table(versions.name):
        schema.metadata.create_all(connection)
        connection.execute(insert(versions).values(version=schema.VERSION, applied_at=now_ms()))
        migrations.first_rows(connection)
    version = connection.execute(select(func.max(versions.c.version))).scalar_one() or 0
    if version > schema.VERSION:
        raise UserError(
            tr("The database {path} was made by a newer Funkspatz (version {found}, this one knows {known}).",
               path=path, found=version, known=schema.VERSION),
            tr("Install the newer Funkspatz again: pip install --upgrade funkspatz"),
        )
    if version < schema.VERSION:
        snapshots.before_migration(path, version)
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
