"""The worker that closes days: about once a minute it looks at every day of every node that has changed, computes its
aggregates, flags what is doubtful and, when the UTC day is over, writes its file. A reading that comes late makes its
day dirty again, and the file is written anew.

It works with the database alone, in any thread beside the journal, and takes the writers' lock for a few milliseconds
at a time. A day is read and rendered first, without the lock; under the lock it is read again, and if a reading has
come meanwhile, the day stays dirty for the next time. `days.dirty`, the sums and the file change in one transaction;
the file is put in its place just before it ends, so no file is ever older than the row that tells of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, Row, select

from nest.archive import adding, day_files, days_database, schema
from nest.archive.database import writing
from nest.archive.day_files import Day
from nest.archive.day_files_folder import DataFolder
from nest.archive.days_database import Neighbours
from nest.moments import now_ms

_log = logging.getLogger(__name__)

EVERY_S = 60.0  # how often `work` is called
GRACE_MS = 60 * 60_000  # after its end a day is still waited for: its last reading is judged by the one behind it
MOST_S = 30.0  # of one call; what is left is done by the next


@dataclasses.dataclass(slots=True)
class Done:
    """What a call of `work` has done. `waiting`: days that are left for the next one."""

    days: int = 0
    files: int = 0
    waiting: int = 0


class DayWorker:
    """See above. One at a time for a town. `pause`: sleeps so many seconds; after every write for as long as that took,
    so that the journal never waits for more than one."""

    def __init__(self, engine: Engine, folder: DataFolder, pause: Callable[[float], None] = time.sleep) -> None:
        self._engine, self._folder, self._pause = engine, folder, pause
        self._looked_for_files = self._stopped = False
        self._undescribed = False
        self._seen: dict[tuple[int, int], tuple] = {}  # (node, day not over yet) -> its state when it was worked on
        self._looking: dict[tuple[int, int], tuple] = {}  # the same, of what is being worked on
        self._hopeless: set[tuple[int, int]] = set()  # of which it was logged that there can be no file

    def work(self, now: int | None = None) -> Done:
        """Everything that is due at `now` (Unix ms). Raises SQLAlchemyError when the database refuses, OSError when the
        folder does; then what is not done yet is done by a later call."""
        now = now_ms() if now is None else now
        done, until = Done(), time.monotonic() + MOST_S
        if not self._looked_for_files:
            self._look_for_files()
            self._looked_for_files = True
        due = self._due(now)
        self._seen = {key: state for key, state in self._seen.items() if not _is_over(key[1], now)}
        with self._engine.begin() as connection:
            near = days_database.neighbours(connection)
        # nodes are compared with one another: the sums of all of them come first, as far as the time allows
        ready: list[Row] = []
        for row in due:
            if self._stopped or (time.monotonic() > until - MOST_S / 2 and ready):
                break
            self._sum_up(row)
            ready.append(row)
        for row in ready:
            if self._stopped or (time.monotonic() > until and done.days):
                break
            with contextlib.suppress(_ChangedError):
                done.files += self._close(row, near, now)
                done.days += 1
        done.waiting = len(due) - done.days
        if done.files or self._undescribed:
            self._undescribed = True
            self._describe()
            self._undescribed = False
        return done

    def stop(self) -> None:
        """From another thread: have `work` return soon; the rest of the days wait for the next worker."""
        self._stopped = True

    def _due(self, now: int) -> list[Row]:
        days, nodes = schema.days, schema.nodes
        wanted = (
            select(days.c.node_id, days.c.day, days.c.sha256, nodes.c.slug)
            .join(nodes, nodes.c.id == days.c.node_id)
            .where(days.c.dirty, days.c.day <= now // schema.DAY_MS)
            .order_by(days.c.day, days.c.node_id)
        )
        due: list[Row] = []
        self._looking = {}
        with self._engine.begin() as connection:
            for row in connection.execute(wanted).all():
                key = (row.node_id, row.day)
                if not _is_over(row.day, now):
                    state = days_database.state_of(connection, *key)
                    if self._seen.get(key) == state:
                        continue
                    self._looking[key] = state
                due.append(row)
        return due

    def _sum_up(self, row: Row) -> None:
        with self._writing() as connection:
            readings = days_database.readings_of(connection, row.node_id, *days_database.span_of(row.day))
            days_database.write_aggregates(connection, row.node_id, row.day, readings)

    def _close(self, row: Row, near: Neighbours, now: int) -> bool:
        """Everything but the sums; whether a file was written. Raises _ChangedError: a reading came meanwhile."""
        node, day = row.node_id, row.day
        with self._engine.begin() as connection:
            readings = days_database.readings_of(connection, node, *days_database.span_of(day))
            missing = days_database.missing_of(connection, node, day)
            flags = days_database.doubtful(connection, node, day, near, readings)
        found = Day(readings, missing, flags)
        over = _is_over(day, now)
        staged = self._stage(row, found) if over and (readings or missing or row.sha256) else None
        try:
            with self._writing() as connection:
                again = days_database.readings_of(connection, node, *days_database.span_of(day))
                if again != readings or days_database.missing_of(connection, node, day) != missing:
                    raise _ChangedError
                days_database.write_aggregates(connection, node, day, readings)
                days_database.write_flags(connection, node, day, flags)
                if not over:
                    self._seen[node, day] = self._looking[node, day]
                    return False
                if staged is None:
                    days_database.close_day(connection, node, day)
                    return False
                part, content = staged
                self._folder.put(row.slug, day, part, content)
                days_database.close_day(connection, node, day, hashlib.sha256(content).hexdigest())
                return True
        finally:
            if staged is not None:
                staged[0].unlink(missing_ok=True)

    def _stage(self, row: Row, found: Day) -> tuple[Path, bytes] | None:
        try:
            content = day_files.render(found)
            return self._folder.stage(row.slug, row.day, content), content
        except ValueError as error:  # a moment that no calendar has: the day is closed without a file
            if (row.node_id, row.day) not in self._hopeless:
                self._hopeless.add((row.node_id, row.day))
                _log.error("day %d of %s can have no file: %s", row.day, row.slug, error)
            return None

    def _look_for_files(self) -> None:
        """At the start: files that are gone (a backup has none of them) are written again."""
        days, nodes = schema.days, schema.nodes
        there = self._folder.days()
        wanted = (
            select(days.c.node_id, days.c.day, nodes.c.slug)
            .join(nodes, nodes.c.id == days.c.node_id)
            .where(days.c.sha256.is_not(None), ~days.c.dirty)
        )
        with self._engine.begin() as connection:
            gone = [row for row in connection.execute(wanted) if row.day not in there.get(row.slug, ())]
        for at in range(0, len(gone), 100):
            with self._writing() as connection:
                for row in gone[at : at + 100]:
                    adding.mark_day(connection, row.node_id, row.day * schema.DAY_MS)

    def _describe(self) -> None:
        with self._engine.begin() as connection:
            names = {row.slug: row.name for row in connection.execute(select(schema.nodes.c.slug, schema.nodes.c.name))}
        self._folder.describe(names)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        began = time.monotonic()
        with writing(self._engine) as connection:
            yield connection
        self._pause(time.monotonic() - began)


class _ChangedError(Exception):
    """A reading has come between the two looks."""


def _is_over(day: int, now: int) -> bool:
    return now >= (day + 1) * schema.DAY_MS + GRACE_MS
