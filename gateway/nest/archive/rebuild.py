"""The archive made again from its day files alone: readings, gaps, flags, sums and nodes' names; no keys, no sessions
that go on, no raw frames and no places of nodes, for nothing of that is in public files.

All of it is one transaction, or nothing. Each day is read back from the database and rendered as the nest would render
it: the SHA-256 of that and of the file must be the same.

A node that the database does not know gets a DevEUI that no device has (`registry.REBUILT`): when the node itself is
added under that name, its readings are there.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, insert, select, update

from nest.archive import adding, day_files, days_database, schema
from nest.archive.database import writing
from nest.archive.day_files import Day, DayFileError
from nest.archive.day_files_folder import PACKAGE, DataFolder
from nest.archive.snapshots import Progress
from nest.errors import UserError
from nest.given import unreadable
from nest.i18n import tr
from nest.moments import now_ms
from nest.quantities import by_name
from nest.registry import DEFAULT_PRECISION, REBUILT, check_name

NONCE_MARGIN = 1024  # joins that the files do not tell of; as `copies`


class RebuiltDay(NamedTuple):
    """A day that stands in the database as in its file."""

    slug: str
    day: int
    readings: int
    missing: int
    sha256: str


def rebuild(
    source: DataFolder,
    path: Path,
    engine: Engine,
    report: Callable[[RebuiltDay], None] = lambda _: None,
    progress: Progress | None = None,
    into: DataFolder | None = None,
) -> None:
    """Bring everything below `path`, which `source` reads, into the database. `into`: where the files go as well.

    Raises UserError: there are no files, the database has readings, or a file is not what the nest has written.
    """
    found = [(slug, day) for slug, days in sorted(source.days().items()) for day in sorted(days)]
    if not found:
        raise UserError(
            tr("There are no day files in {folder}.", folder=path),
            tr("Name the town's folder: the one with the folder data in it."),
        )
    names = _names(path)
    with writing(engine) as connection:
        _refuse_full(connection)
        nodes: dict[str, _Node] = {}
        for done, (slug, day) in enumerate(found):
            node = nodes.get(slug)
            if node is None:
                node = nodes[slug] = _Node(connection, slug, names.get(slug, slug))
            report(_bring_in(connection, source, path, node, day, into))
            if progress is not None:
                progress(done + 1, len(found))
        for node in nodes.values():
            node.finish(connection)
        adding.renew_last_measured(connection, [node.id for node in nodes.values()])
        known = {row.slug: row.name for row in connection.execute(select(schema.nodes.c.slug, schema.nodes.c.name))}
    if into is not None:
        into.describe(known)


def _bring_in(
    connection: Connection, source: DataFolder, path: Path, node: _Node, day: int, into: DataFolder | None
) -> RebuiltDay:
    file = path / day_files.path_of(node.slug, day)
    try:
        content = source.read(node.slug, day)
        found = day_files.parse(content, day)
        node.add(connection, day, found)
    except DayFileError as error:
        raise UserError(
            tr(
                "{file}, line {line}, is not what the nest has written: {reason}.",
                file=file,
                line=error.line,
                reason=error,
            ),
            tr("Nothing was brought in. Put an undamaged copy of that file in its place, or move it away."),
        ) from error
    except OSError as error:
        raise unreadable(file, error) from error
    again = day_files.render(days_database.day_of(connection, node.id, day))
    in_file, in_database = hashlib.sha256(content).hexdigest(), hashlib.sha256(again).hexdigest()
    if in_file != in_database:
        raise UserError(
            tr("{file} and the database differ: {one} and {other}.", file=file, one=in_file, other=in_database),
            tr("Nothing was brought in. Please report this: it is an error of the nest."),
        )
    if into is not None:
        into.put(node.slug, day, into.stage(node.slug, day, content, sync=False), content, sync=False)
    days_database.close_day(connection, node.id, day, in_database)
    return RebuiltDay(node.slug, day, len(found.readings), len(found.missing), in_database)


class _Node:
    """A node and what is known of its sessions."""

    def __init__(self, connection: Connection, slug: str, name: str) -> None:
        self.slug = slug
        self.id = _node_id(connection, slug, name)
        self._sessions: dict[int, int] = {}  # JoinNonce -> session
        self._slots: set[tuple[int, int, int]] = set()
        self._last: dict[int, int] = {}  # JoinNonce -> highest FCnt

    def add(self, connection: Connection, day: int, found: Day) -> None:
        """Raises DayFileError: a slot is missing on two days."""
        readings = [{"node_id": self.id, **reading._asdict()} for reading in found.readings]
        if readings:
            connection.execute(insert(schema.readings), readings)
        gaps: list[dict[str, Any]] = []
        for gap in found.missing:
            slot = (gap.join_nonce, gap.fcnt, gap.part)
            if slot in self._slots:
                raise DayFileError(
                    _line_of(found, gap), f"frame {gap.fcnt} of session {gap.join_nonce} is missing twice"
                )
            self._slots.add(slot)
            self._last[gap.join_nonce] = max(gap.fcnt, self._last.get(gap.join_nonce, 0))
            moments = dict.fromkeys(("time", "opened_at", "state_at"), gap.time)
            session = self._session(connection, gap.join_nonce, gap.time)
            # given up: nobody asks for it, but if the node tells of it, it is taken
            gaps.append(
                {"session_id": session, "fcnt": gap.fcnt, "part": gap.part, "node_id": self.id, **moments,
                 "state": schema.GIVEN_UP}
            )  # fmt: skip
        if gaps:
            connection.execute(insert(schema.gaps), gaps)
        flags = [
            {"node_id": self.id, "time": time, "quantity_id": by_name()[name].bit, "flags": bits}
            for (time, name), bits in found.flags.items()
        ]
        if flags:
            connection.execute(insert(schema.flags), flags)
        days_database.write_aggregates(connection, self.id, day, found.readings)

    def finish(self, connection: Connection) -> None:
        """JoinNonces and counters go on behind those that were used."""
        sessions, nodes = schema.sessions, schema.nodes
        for nonce, fcnt in self._last.items():
            of_session = update(sessions).where(sessions.c.id == self._sessions[nonce])
            connection.execute(of_session.where(sessions.c.fcnt_up < fcnt).values(fcnt_up=fcnt))
        floor = min(max(self._last, default=0) + NONCE_MARGIN, 0xFFFFFF)
        of_node = update(nodes).where(nodes.c.id == self.id, nodes.c.join_nonce_floor < floor)
        connection.execute(of_node.values(join_nonce_floor=floor))

    def _session(self, connection: Connection, nonce: int, time: int) -> int:
        """The session of that JoinNonce; where there is none, one that has ended."""
        if nonce not in self._sessions:
            table = schema.sessions
            known = select(table.c.id).where(table.c.node_id == self.id, table.c.join_nonce == nonce)
            number = connection.execute(known).scalar_one_or_none()
            if number is None:
                zeros: dict[str, Any] = dict.fromkeys(
                    ("dev_addr", "fcnt_up", "fcnt_down", "rx1_delay_s", "rx1_dr_offset", "rx2_dr", "rx2_freq_hz"), 0
                )
                values = {"node_id": self.id, "join_nonce": nonce, "active": False, **zeros}
                values |= {"joined_at": time / 1000, "ended_at": time}
                number = connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
            self._sessions[nonce] = number
        return self._sessions[nonce]


def _line_of(found: Day, gap: day_files.Missing) -> int:
    """Where it stands."""
    return 2 + sum(reading.time <= gap.time for reading in found.readings) + found.missing.index(gap)


def _refuse_full(connection: Connection) -> None:
    readings = connection.execute(select(func.count()).select_from(select(schema.readings).limit(1).subquery()))
    gaps = connection.execute(select(func.count()).select_from(select(schema.gaps).limit(1).subquery()))
    if readings.scalar_one() or gaps.scalar_one():
        raise UserError(
            tr("There are readings in the database already; they are never overwritten."),
            tr("Build it beside the old one: nest rebuild FOLDER --into NEW_FOLDER"),
        )


def _node_id(connection: Connection, slug: str, name: str) -> int:
    nodes = schema.nodes
    known = connection.execute(select(nodes.c.id).where(nodes.c.slug == slug)).scalar_one_or_none()
    if known is not None:
        return known
    number = connection.execute(select(func.count()).select_from(nodes)).scalar_one()
    taken = {*connection.scalars(select(nodes.c.dev_eui).where(nodes.c.dev_eui.startswith(REBUILT)))}
    dev_eui = next(eui for eui in _euis(number) if eui not in taken)
    now = now_ms()
    values = {"slug": slug, "name": name, "dev_eui": dev_eui, "join_eui": "0" * 16, "precision": DEFAULT_PRECISION}
    values |= {"app_key": secrets.token_bytes(16), "added_at": now, "changed_at": now}
    return connection.execute(insert(nodes).values(**values).returning(nodes.c.id)).scalar_one()


def _euis(number: int) -> Iterator[str]:
    while True:
        yield f"{REBUILT}{number & 0xFFFFFFFF:08x}"
        number += 1


def _names(path: Path) -> dict[str, str]:
    """slug -> name, as the data package says; what cannot be shown is left out."""
    found: dict[str, str] = {}
    try:
        for resource in json.loads((path / PACKAGE).read_bytes())["resources"]:
            slug, _, _ = str(resource["name"]).partition(".")
            name = str(resource["title"])
            check_name(name)
            found[slug] = name
    except (OSError, ValueError, TypeError, KeyError, UserError):
        pass
    return found
