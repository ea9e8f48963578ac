"""PostgreSQL in SQLite's place: how it is reached, how its transactions begin, and what it is asked for beside tables.

**One writer at a time**, as with SQLite: whoever writes takes `WRITERS`, an advisory lock that ends with the
transaction. What was read under it stays true; READ COMMITTED then sees everything that was committed before. Whoever
only reads sees one moment (REPEATABLE READ) and waits for nobody.

**Who has changed something** is a count in `meta`, raised by every transaction but the journal's, in the transaction
itself. The journal asks for that one row instead of SQLite's `PRAGMA data_version`.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from nest.archive import schema
from nest.errors import UserError
from nest.i18n import tr

if TYPE_CHECKING:
    from nest.database_url import DatabaseServer

OLDEST = 13  # of its versions, the first with pg_current_xact_id
OF_THE_JOURNAL = {"frames", "readings", "last_measured", "outbox", "gaps", "days", "aggregates", "flags"}
WRITERS, RUNNING = 0x46756E6B, 0x53706174  # keys of advisory locks: who writes, which nest runs

_PATIENCE_MS = 5000
CHANGES = "changes"  # under this name `meta` counts what others have written
ASK_CHANGES = f"SELECT value FROM meta WHERE key = '{CHANGES}'"  # noqa: S608  nothing of it comes from outside
# a number of the outbox is never given twice: its row goes only when every sink has noted that it is behind it
LAST_SEQ = "SELECT greatest((SELECT max(seq) FROM outbox), (SELECT max(done) FROM sinks), 0)"
_COUNT = f"UPDATE meta SET value = (value::bigint + 1)::text WHERE key = '{CHANGES}'"  # noqa: S608
_CONNECTING: dict[str, Any] = {
    "application_name": "funkspatz",
    "client_encoding": "utf8",
    "connect_timeout": 3,  # s; the event loop waits with us
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # ms
}


def open_engine(server: DatabaseServer) -> Engine:
    """The engine for the database at `server`; nothing is asked of it yet.

    Raises UserError: the driver is not installed, or the password's file cannot be used.
    """
    try:
        import psycopg  # noqa: F401  here: a town on SQLite needs no driver
    except ImportError as error:
        raise UserError(
            tr("A town on PostgreSQL needs the package psycopg, which is not installed ({reason}).", reason=error),
            tr('Install it: pip install "funkspatz[postgresql]"'),
        ) from error
    try:
        url = make_url(server.url).set(drivername="postgresql+psycopg")
    except ArgumentError as error:
        raise UserError(
            tr("{url} is no address of a PostgreSQL database.", url=server),
            tr("Write it as postgresql://user@host/database, in town.toml under [database]."),
        ) from error
    connecting = {key: value for key, value in _CONNECTING.items() if key not in url.query}
    if server.password_file is not None:
        connecting["password"] = _password(server.password_file)
    engine = create_engine(
        url,
        connect_args=connecting,
        isolation_level="REPEATABLE READ",
        max_overflow=-1,  # however many readers the web side has, the event loop never waits for a connection
        pool_pre_ping=True,  # a server that was started again costs nobody an error
        hide_parameters=True,  # they may say whose garden a node stands in, and errors are printed
        json_serializer=plain_json,
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _password(file: Path) -> str:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise UserError(
                tr("Others may read the password in {file}.", file=file),
                tr("Make it private: chmod 600 {file}", file=file),
            )
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            tr(
                "The password of the database cannot be read from {file}: {reason}.",
                file=file,
                reason=getattr(error, "strerror", None) or error,
            ),
            tr("Put it on the first line of that file, in the town's folder."),
        ) from error
    if not lines or not lines[0]:
        raise UserError(
            tr("There is no password in {file}.", file=file),
            tr("Put it on the first line of that file, in the town's folder."),
        )
    return lines[0]


def plain_json(value: Any) -> str:
    """JSON as its standard has it: a number that is none becomes null. SQLite takes NaN, PostgreSQL does not."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _configure(connection: Any, _record: object) -> None:
    """What was acknowledged is on the disk, whatever is usual there; and the server, too, notices soon that we are
    gone, and gives our locks to the nest that comes after. No text there has a NUL in it: what is asked for with one is
    not found, and what comes with one is kept with a sign in its place."""
    from psycopg.types.string import StrDumperUnknown

    class Text(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    connection.adapters.register_dumper(str, Text)
    connection.execute(
        "SET synchronous_commit = on; SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 5;"
        " SET tcp_keepalives_count = 3"
    )
    connection.commit()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("nest_writing", False):
        return
    patience_ms = options.get("nest_patience_ms")
    connection.exec_driver_sql(locking(_PATIENCE_MS if patience_ms is None else patience_ms))
    if not options.get("nest_making", False):
        connection.exec_driver_sql(_COUNT)


def locking(patience_ms: int) -> str:
    """What makes a transaction that has just begun the only one that writes."""
    return (
        f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {patience_ms:d};"
        f" SELECT pg_advisory_xact_lock({WRITERS:d}), pg_current_xact_id()::text"
    )


def check_server(connection: Connection, server: DatabaseServer) -> None:
    """Raises UserError: a server that is too old, or a database that cannot hold every letter."""
    found = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    if found < OLDEST:
        raise UserError(
            tr(
                "The server of {url} is PostgreSQL {found}; Funkspatz needs {oldest} or newer.",
                url=server,
                found=found,
                oldest=OLDEST,
            ),
            tr("Update the server, or choose another one in town.toml under [database]."),
        )
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise UserError(
            tr("The database {url} keeps its texts in {encoding}, not in UTF8.", url=server, encoding=encoding),
            tr("Make it anew: createdb --encoding UTF8 --template template0 NAME"),
        )


def leave_out_checks() -> None:
    """Where the journal writes, this server looks after no foreign keys, as SQLite does not either: each row would
    cost it a look at the row that is meant, and a lock on it. The journal takes every number from the database itself,
    in the transaction that uses it, and nothing there is ever deleted."""
    for name in OF_THE_JOURNAL & schema.metadata.tables.keys():
        for constraint in schema.metadata.tables[name].foreign_key_constraints:
            constraint.ddl_if(dialect="sqlite")


def finish_tables(connection: Connection) -> None:
    """What the tables need here that SQLite has by itself; after they were made."""
    connection.execute(insert(schema.meta).values(key=CHANGES, value="0"))
    connection.execute(
        text(
            "CREATE FUNCTION funkspatz_next_seq() RETURNS bigint LANGUAGE sql VOLATILE AS"
            f" $$ {LAST_SEQ.replace('SELECT ', 'SELECT 1 + ', 1)} $$"
        )
    )
    connection.execute(text("ALTER TABLE outbox ALTER COLUMN seq SET DEFAULT funkspatz_next_seq()"))


@contextmanager
def server_errors(server: DatabaseServer) -> Iterator[None]:
    """Turn what the driver and the server say into a UserError."""
    try:
        yield
    except DBAPIError as error:
        raise said(server, error.orig or error) from error
    except Exception as error:
        if is_of_driver(error):
            raise said(server, error) from error
        raise


def is_of_driver(error: BaseException) -> bool:
    """Whether the driver has raised it."""
    return any(kind.__module__.partition(".")[0] == "psycopg" for kind in type(error).__mro__)


def said(server: DatabaseServer, error: BaseException) -> UserError:
    """An error of the driver as a sentence, with the next step."""
    reason = first_line(error)
    state = getattr(error, "sqlstate", None) or ""
    if state == "55P03":  # lock_not_available
        return UserError(
            tr("The database {path} is in use by another program.", path=server),
            tr("Close the program that holds it open, then try again."),
        )
    if type(error).__name__ == "AnotherNestError":
        return UserError(
            tr("Another nest runs on the database {url}.", url=server),
            tr("End that one first: two would use the same counters twice."),
        )
    if state == "53100":  # disk_full
        return UserError(
            tr("The disk of the database {path} is full.", path=server), tr("Make room on it, then try again.")
        )
    if state == "42501":  # insufficient_privilege
        return UserError(
            tr("In the database {url} this user may not do what the nest needs: {reason}.", url=server, reason=reason),
            tr("Make the database belong to that user: ALTER DATABASE name OWNER TO user;"),
        )
    if "password" in reason:  # while a connection is made there is no other sign than the text
        return UserError(
            tr("The server does not let us into the database {url}: {reason}.", url=server, reason=reason),
            tr("Put the password into ~/.pgpass, PGPASSWORD or password_file (town.toml, [database])."),
        )
    if state or "does not exist" in reason:
        return UserError(
            tr("The database {path} cannot be opened: {reason}.", path=server, reason=reason),
            tr("Make it on the server, for example: createdb --owner USER NAME"),
        )
    return UserError(
        tr("The server of the database {url} cannot be reached: {reason}.", url=server, reason=reason),
        tr("Check that it runs, and the url in town.toml under [database]. Try: psql {url}", url=server),
    )


def first_line(error: BaseException) -> str:
    """What the driver says, without its hints and without the end of the sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
