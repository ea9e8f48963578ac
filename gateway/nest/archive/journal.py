"""Everything that comes of a burst of frames, in one transaction: what the network server wants remembered, the
readings decoded from it, and their places in the outbox.

What has been committed is on the disk, whole; what has not was never there. Raw frames stand before their readings, and
a decoder's error loses neither. Nothing in a burst can hold up the rest: an effect that breaks a constraint is left
out, logged and reported, and an effect of a node that was removed beside the running nest is skipped.

Written for speed, for a gateway that comes back delivers a night in seconds: the statements come from the tables of
`schema`, but run as text with tuples on a connection of the journal's own; numbers are counted up here instead of asked
for; and what a frame needs to know of its node and its session is remembered. Nobody else writes frames and sessions,
so what is remembered stays true, with two exceptions that are asked for in each transaction: sessions that have ended,
and a database that is another one (a backup was restored).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import operator
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from nest.archive.burst import Burst
from nest.archive.changes import Change
from nest.archive.database import journal_connection
from nest.archive.memory import Memory
from nest.archive.statements import Sql
from nest.live import ReadingEvent
from nest.lorawan.effects import Stored

_log = logging.getLogger(__name__)

SINK = "mqtt"
PATIENCE_MS = 100  # for another program's lock: the event loop waits with us, and gateways with it


class RefusedError(Exception):
    """The database is busy, full or broken: nothing was written, try again. The text is the reason."""


class ReplacedError(Exception):
    """Another database stands in this one's place: what was loaded from the old one is worth nothing."""


@dataclasses.dataclass(slots=True)
class Committed:
    """What became of a burst."""

    readings: list[tuple[int, ReadingEvent]] = dataclasses.field(
        default_factory=list
    )  # with their numbers in the outbox, rising
    ended: list[bytes] = dataclasses.field(
        default_factory=list
    )  # DevEUIs that have no session any more: removed beside us
    failed: list[Stored | Change] = dataclasses.field(
        default_factory=list
    )  # left out: the database will never take them
    # of the frames that were stored, for the healer: (DevEUI, JoinNonce), FCnt, FRMPayload, FPort
    decoded: list[tuple[tuple[bytes, int], int, bytes, int | None]] = dataclasses.field(default_factory=list)
    late: int = 0  # frames of StoreLate that were new
    undecodable: int = 0
    no_reading: int = 0
    recovered: int = 0  # readings, of those above
    backfilled: int = 0  # readings, of those above
    healing_wrong: int = 0  # readings that had been recovered as other ones than their frames carried

    def copy(self) -> Committed:
        """The same, with lists of its own."""
        lists = {name: list(value) for name, value in self._fields() if isinstance(value, list)}
        return dataclasses.replace(self, **lists)

    def add(self, more: Committed) -> None:
        """What came of a further part."""
        for name, value in more._fields():
            setattr(self, name, getattr(self, name) + value)

    def _fields(self) -> list[tuple[str, Any]]:
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]


class Journal:
    """The one that writes what was heard. Everything but `finish` belongs to the thread that made it."""

    def __init__(self, engine: Engine, *, alone: bool = False) -> None:
        """`alone`: a nest's; on a database server there may be no other nest's beside it."""
        self._connection = journal_connection(engine, PATIENCE_MS, alone=alone)
        self._generation = self._ask_generation()
        self._memory = Memory()
        self._changes = self._connection.changes()
        self._begun: tuple[Sequence[Stored | Change], Committed] | None = None
        self._doubtful: tuple[Sequence[Stored | Change], Committed] | None = (
            None  # the end of their transaction was not seen
        )
        self._standing: tuple[Sequence[Stored | Change], Committed] | None = (
            None  # they were doubtful, and are on the disk
        )

    def commit(self, effects: Sequence[Stored | Change], mark: int | None = None) -> Committed:
        """Carry out `effects` in their order; `mark`: everything up to that number in the outbox is published.

        When it returns, all of it is on the disk.
        Raises RefusedError: nothing was written, the same may be asked again. ReplacedError: see there.
        """
        done = self.begin(effects, mark)
        self.finish()
        return done

    def begin(self, effects: Sequence[Stored | Change], mark: int | None = None) -> Committed:
        """As `commit`, but for the disk: that is `finish`, which must follow and takes most of the time that is waited.

        Raises as `commit`; then there is nothing to finish.
        """
        try:
            return self._transaction(effects, mark, one_by_one=False)
        except (RefusedError, ReplacedError):
            raise
        except Exception as error:  # one of them is to blame: find it, and keep the others
            _log.warning("a burst of %d is written one by one: %s", len(effects), error)
        try:
            return self._transaction(effects, mark, one_by_one=True)
        except (RefusedError, ReplacedError):
            raise
        except Exception as error:  # none of them is to blame; whoever asked keeps them
            raise RefusedError(str(error) or type(error).__name__) from error

    def finish(self) -> None:
        """Put what was begun on the disk. May be called in another thread, while nothing else is asked of the journal
        but `changed_elsewhere`, which waits for it.

        Raises RefusedError: nothing was written, all of it may be begun again.
        """
        try:
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.uncertain is not None:
                self._doubtful = self._begun
            self._roll_back()
            if (reason := self._connection.refusal(error)) is not None:
                raise RefusedError(reason) from error
            raise
        self._begun = self._standing = None
        self._memory.committed()

    def changed_elsewhere(self) -> bool:
        """Whether another connection, of this process or another, has written since the last time this was asked.

        Raises RefusedError.
        """
        try:
            changes = self._connection.changes()
        except Exception as error:
            raise RefusedError(self._connection.refusal(error) or str(error)) from error
        changed, self._changes = changes != self._changes, changes
        return changed

    def close(self) -> None:
        """Give the connection back; nothing was left open."""
        self._connection.close()

    def _transaction(self, effects: Sequence[Stored | Change], mark: int | None, *, one_by_one: bool) -> Committed:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if self._ask_generation() != self._generation:
                raise ReplacedError
            done, todo = self._what_stands(effects)
            if one_by_one:
                self._one_by_one(todo, done)
            elif todo:
                Burst(connection, self._memory, done).carry_out(todo)
            if mark is not None:
                connection.execute(Sql.set_mark, (SINK, mark))
                connection.execute(Sql.forget_published)
        except BaseException as error:
            self._roll_back()
            if (reason := connection.refusal(error)) is not None:
                raise RefusedError(reason) from error
            raise
        self._begun = effects, done
        return done

    def _what_stands(self, effects: Sequence[Stored | Change]) -> tuple[Committed, Sequence[Stored | Change]]:
        """What came of those `effects` that are on the disk though nobody could say so, and the others."""
        if self._doubtful is not None:
            if self._connection.was_committed():
                self._standing = self._doubtful
            self._doubtful = None
        if self._standing is not None:
            written, done = self._standing
            if len(written) <= len(effects) and all(map(operator.is_, written, effects)):
                return done.copy(), effects[len(written) :]
        return Committed(), effects

    def _one_by_one(self, effects: Sequence[Stored | Change], done: Committed) -> None:
        connection = self._connection
        for effect in effects:
            connection.execute("SAVEPOINT one")
            alone = Committed()
            try:
                Burst(connection, self._memory, alone).carry_out([effect])
            except Exception as error:
                if connection.refusal(error) is not None:
                    raise
                _log.error("%s is left out, the database does not take it: %s", type(effect).__name__, error)
                self._memory.clear()  # it may know of rows that are not there
                connection.execute("ROLLBACK TO one")
                done.failed.append(effect)
            else:
                alone.ended = [dev_eui for dev_eui in alone.ended if dev_eui not in done.ended]
                done.add(alone)
            connection.execute("RELEASE one")

    def _roll_back(self) -> None:
        self._memory.clear()
        with contextlib.suppress(Exception):  # the database has rolled back already, or never began, or is gone
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _ask_generation(self) -> str:
        row = self._connection.execute(Sql.generation).fetchone()
        return "" if row is None else row[0]
