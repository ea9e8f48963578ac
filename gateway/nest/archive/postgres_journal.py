"""The journal's connection to PostgreSQL, with the words that it uses for SQLite.

Its statements are SQLite's (`postgres_sql`). BEGIN IMMEDIATE takes the writers' lock. A connection that is lost makes
the transaction fail; the next one connects anew. Many rows go as one COPY or one UPDATE.

**When the connection is lost while COMMIT is on its way**, nobody knows whether the transaction stands. Its number is
kept then (`uncertain`), and `was_committed` asks the server later.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader
from sqlalchemy import Engine

from nest.archive import postgres
from nest.archive.postgres_sql import array, translate

_IDLE, _FAILED = pq.TransactionStatus.IDLE, pq.TransactionStatus.INERROR
_PAUSE = 5  # times as long as a connection took to fail it is not tried again
_PATIENCE_MS, _LATER_MS = 3000, 100  # for the lock of the nest that runs: at the start, and in the event loop


class LostError(psycopg.OperationalError):
    """There is no connection, or the one in which the transaction began is gone."""


class PostgresConnection:
    """See above. Made and used as `sqlite3.Connection` is, in the journal's two threads."""

    def __init__(self, engine: Engine, patience_ms: int, *, alone: bool = False) -> None:
        """`alone`: this is the nest's own, and there may be no other nest's."""
        self._engine, self._alone, self._first = engine, alone, True
        self._begin = f"BEGIN; {postgres.locking(patience_ms)}".encode()
        self._begun = False
        self._number = ""  # of the transaction that is open
        self._not_before = 0.0  # on the steady clock: when it may be tried again to connect
        self.uncertain: str | None = None
        self._connection = self._connect()

    @property
    def in_transaction(self) -> bool:
        return self._begun

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """One statement. Raises psycopg.Error."""
        if sql in _CONTROL:
            return _CONTROL[sql](self)
        if self._connection.closed and not self._begun:
            self._connection = self._connect()
        return self._cursor().execute(translate(sql).text.encode(), tuple(parameters) if parameters else None)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> psycopg.Cursor[Any]:
        """The same for every row; `rowcount` of all of them."""
        statement, cursor = translate(sql), self._cursor()
        if len(rows) > 1:
            if statement.copy:
                with cursor.copy(statement.copy.encode()) as copy:
                    for row in rows:
                        copy.write_row(row)
                return cursor
            if statement.many and _differ(rows, statement.keys):
                return cursor.execute(statement.many.encode(), [array(column) for column in zip(*rows, strict=True)])
        cursor.executemany(statement.text.encode(), [tuple(row) for row in rows])
        return cursor

    def changes(self) -> int:
        """A number that others' transactions raise, and ours do not."""
        row = self.execute(postgres.ASK_CHANGES).fetchone()
        return 0 if row is None else int(row[0])

    def was_committed(self) -> bool:
        """Whether the transaction whose end was not seen stands. Ask it under the writers' lock."""
        number, self.uncertain = self.uncertain, None
        row = self._cursor().execute("SELECT pg_xact_status($1::text::xid8)", (number,)).fetchone()
        return row is not None and row[0] == "committed"

    def refusal(self, error: BaseException) -> str | None:
        """Why the database refuses, in plain words; None: one effect is to blame, or it is no error of the database."""
        if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.IntegrityError | psycopg.DataError):
            return None
        state = error.sqlstate or ""
        if isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError | psycopg.InterfaceError) and (
            not state or state in _OF_ONE_EFFECT
        ):
            return None
        if self._connection.closed and state not in _REASONS:
            return f"the connection to the server is lost ({postgres.first_line(error)})"
        return _REASONS.get(state, "{error}").format(error=postgres.first_line(error))

    def close(self) -> None:
        self._connection.close()

    # -- transactions

    def _begin_immediate(self) -> psycopg.Cursor[Any]:
        if self._connection.closed:
            self._connection = self._connect()
        self._begun = True
        try:
            cursor = self._cursor().execute(self._begin)
            while cursor.nextset():
                pass
            found = cursor.fetchone()
            self._number = "" if found is None else found[1]
        except BaseException:
            self._roll_back()
            raise
        return cursor

    def _commit(self) -> psycopg.Cursor[Any]:
        """PostgreSQL says COMMIT to a transaction that has failed, too, and rolls it back."""
        connection, cursor = self._connection, self._cursor()
        if connection.info.transaction_status == _FAILED:
            raise psycopg.OperationalError("the transaction has failed before")
        try:
            cursor.execute("COMMIT")
        except psycopg.Error:
            if connection.closed:
                self.uncertain = self._number
            raise
        if cursor.statusmessage != "COMMIT":
            raise psycopg.OperationalError(f"COMMIT was answered by {cursor.statusmessage}")
        self._begun = False
        return cursor

    def _roll_back(self) -> psycopg.Cursor[Any]:
        self._begun = False
        cursor = psycopg.RawCursor(self._connection)
        if not self._connection.closed and self._connection.info.transaction_status != _IDLE:
            cursor.execute("ROLLBACK")
        return cursor

    def _savepoint(self, words: str) -> psycopg.Cursor[Any]:
        return self._cursor().execute(words.encode())

    # -- the connection

    def _cursor(self) -> psycopg.Cursor[Any]:
        if self._connection.closed:
            raise LostError("the transaction is gone with it")
        return psycopg.RawCursor(self._connection)

    def _connect(self) -> psycopg.Connection[Any]:
        started = time.monotonic()
        if started < self._not_before:
            raise LostError("it is tried again soon")
        try:
            fairy = self._engine.raw_connection()
        except Exception as error:
            self._not_before = time.monotonic() + _PAUSE * (time.monotonic() - started)
            if isinstance(getattr(error, "orig", None), psycopg.Error):
                raise error.orig from error  # type: ignore[attr-defined]
            raise
        connection = fairy.driver_connection
        fairy.detach()
        assert isinstance(connection, psycopg.Connection)  # noqa: S101  for the type checker
        connection.autocommit = True
        connection.adapters.register_dumper(int, Int8Dumper)  # one plan per statement, not one per size of a number
        connection.adapters.register_loader("json", TextLoader)  # as it stands there
        if self._alone:
            self._be_alone(connection)
        return connection

    def _be_alone(self, connection: psycopg.Connection[Any]) -> None:
        """Take the lock that ends with this connection. At the start it waits a little: the server may not have
        noticed yet that the nest before us has ended."""
        patience_ms = _PATIENCE_MS if self._first else _LATER_MS
        try:
            connection.execute(f"SET lock_timeout = {patience_ms:d}".encode())
            connection.execute(f"SELECT pg_advisory_lock({postgres.RUNNING:d})".encode())
            connection.execute("SET lock_timeout = 0")
        except psycopg.errors.LockNotAvailable as error:
            connection.close()
            raise AnotherNestError("another nest runs on this database") from error
        self._first = False


def _differ(rows: Sequence[Sequence[Any]], keys: Sequence[int]) -> bool:
    """Whether no two rows agree in these columns; true where there are none."""
    return not keys or len({tuple([row[key] for key in keys]) for row in rows}) == len(rows)


class AnotherNestError(psycopg.OperationalError):
    """Two nests on one database would use the same downlink counters twice."""


_CONTROL: dict[str, Any] = {
    "BEGIN IMMEDIATE": PostgresConnection._begin_immediate,
    "COMMIT": PostgresConnection._commit,
    "ROLLBACK": PostgresConnection._roll_back,
    **{
        words: lambda self, words=words: self._savepoint(words)
        for words in ("SAVEPOINT one", "ROLLBACK TO one", "RELEASE one")
    },
}

# SQLSTATEs (PostgreSQL's Appendix A) for which the effect is to blame and not the database
_OF_ONE_EFFECT = frozenset({"42804", "42846", "42P18", "0A000", "21000"})
_REASONS = {
    "55P03": "in use by another program",
    "40P01": "in use by another program",
    "53100": "the disk is full",
    "53300": "the server has no connection left",
    "58030": "the disk cannot be written or read ({error})",
    "25006": "the server may not be written",
    "42501": "the user may not write ({error})",
    "XX001": "the database is damaged ({error})",
    "XX002": "the database is damaged ({error})",
    "57P01": "the server is being stopped",
    "57P02": "the server has crashed",
    "57P03": "the server is starting",
}
