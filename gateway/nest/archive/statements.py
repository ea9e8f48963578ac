"""The journal's statements as text, made once from the tables of `schema`: they have no other home.

Each says in a comment what its `?` stand for, in their order.
"""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from nest.archive.schema import downlinks, frames, joins, meta, nodes, outbox, readings, sessions, sinks

_DIALECT = sqlite.dialect(paramstyle="qmark")

# text -> what it was made from and the names of its parameters, in their order: for PostgreSQL
SOURCES: dict[str, tuple[Any, tuple[str, ...]]] = {}


def _given(name: str) -> Any:
    return bindparam(f"given_{name}")


def _text(statement: Any, *given: str) -> str:
    """`statement` for SQLite; `given`: its parameters, in the order in which they will be given."""
    compiled = statement.compile(dialect=_DIALECT)
    found = tuple(name.removeprefix("given_") for name in compiled.positiontup or ())
    if found != given:
        raise AssertionError(f"{compiled} takes {found}, not {given}")
    SOURCES[str(compiled)] = statement, tuple(compiled.positiontup or ())
    return str(compiled)


def _columns(table: Table, *without: str) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if column.name not in without)


def _insert(table: Table, columns: tuple[str, ...] = (), *, replace: bool = False) -> str:
    columns = columns or _columns(table)
    statement = insert(table).values({name: _given(name) for name in columns})
    return _text(statement.prefix_with("OR REPLACE", dialect="sqlite") if replace else statement, *columns)


def _update(table: Table, columns: tuple[str, ...], *conditions: ColumnElement[bool], given: tuple[str, ...]) -> str:
    statement = update(table).ordered_values(*((table.c[name], _given(name)) for name in columns))
    return _text(statement.where(*conditions), *columns, *given)


def _end_sessions(*which: ColumnElement[bool], given: tuple[str, ...]) -> str:
    """A session that ends forgets its keys."""
    table = sessions.c
    statement = update(sessions).ordered_values(
        (table.ended_at, _given("ended_at")),
        (table.active, false()),
        (table.nwk_skey, null()),
        (table.app_skey, null()),
    )
    return _text(statement.where(table.ended_at.is_(None), *which), "ended_at", *given)


@functools.cache
def insert_readings(count: int) -> str:
    """All `count` values of a reading at once, each with every column: a third less time than one by one."""
    head, values = _insert(readings, replace=True).split(" VALUES ")
    return f"{head} VALUES {', '.join([values] * count)}"


class Sql:
    """The statements."""

    generation = _text(select(meta.c.value).where(meta.c.key == literal_column("'generation'")))
    last_frame = _text(select(func.max(frames.c.id)))
    last_seq = "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'"  # counts rows that are gone, too

    # dev_eui -> id, removed_at
    node = _text(select(nodes.c.id, nodes.c.removed_at).where(nodes.c.dev_eui == _given("dev_eui")), "dev_eui")

    # dev_eui, join_nonce -> session, node, slug, time of its newest frame
    session = _text(
        select(
            sessions.c.id,
            nodes.c.id,
            nodes.c.slug,
            select(func.max(frames.c.time)).where(frames.c.node_id == nodes.c.id).scalar_subquery(),
        )
        .join(nodes, nodes.c.id == sessions.c.node_id)
        .where(nodes.c.dev_eui == _given("dev_eui"), sessions.c.join_nonce == _given("join_nonce")),
        "dev_eui",
        "join_nonce",
    )
    # session
    session_is_open = _text(
        select(sessions.c.id).where(sessions.c.id == _given("id"), sessions.c.ended_at.is_(None)), "id"
    )
    # node
    open_session = _text(
        select(sessions.c.id).where(sessions.c.node_id == _given("node"), sessions.c.ended_at.is_(None)), "node"
    )
    # those columns, session
    SESSION_CHANGES = (
        "fcnt_up",
        "fcnt_down",
        "rx1_delay_s",
        "rx1_dr_offset",
        "rx2_dr",
        "rx2_freq_hz",
        "active",
        "heard_at",
        "heard_by",
        "heard_tmst",
        "tx_power",
        "nb_trans",
        "adr_tries",
        "status_at",
    )
    update_session = _update(
        sessions, SESSION_CHANGES, sessions.c.id == _given("id"), sessions.c.ended_at.is_(None), given=("id",)
    )
    # now, node
    end_pending_sessions = _end_sessions(sessions.c.node_id == _given("node"), ~sessions.c.active, given=("node",))
    # now, node, session that stays
    end_other_sessions = _end_sessions(
        sessions.c.node_id == _given("node"), sessions.c.id != _given("id"), given=("node", "id")
    )
    # those columns
    SESSION_COLUMNS = _columns(sessions, "id", "ended_at")
    insert_session = _insert(sessions, SESSION_COLUMNS)

    # node, join_nonce, dev_nonce, now
    insert_join = _insert(joins)
    # every column
    insert_frame = _insert(frames)
    insert_outbox = _insert(outbox)

    # session, fcnt -> id, heard
    frame = _text(
        select(frames.c.id, frames.c.heard).where(
            frames.c.session_id == _given("session"), frames.c.fcnt == _given("fcnt")
        ),
        "session",
        "fcnt",
    )
    # node, from that time on, to that time
    times = _text(
        select(frames.c.time).where(
            frames.c.node_id == _given("node"), frames.c.time.between(_given("from"), _given("to"))
        ),
        "node",
        "from",
        "to",
    )
    # heard, frame
    update_heard = _update(frames, ("heard",), frames.c.id == _given("id"), given=("id",))

    # battery, margin_db, moment, node
    update_status = _update(nodes, ("battery", "margin_db", "status_at"), nodes.c.id == _given("id"), given=("id",))

    # state, now, downlink; one that went with its node stays gone
    update_downlink = _update(
        downlinks,
        ("state", "state_at"),
        downlinks.c.id == _given("id"),
        downlinks.c.state != literal_column("'removed'"),
        given=("id",),
    )
    # sink, seq
    set_mark = _insert(sinks, replace=True)
    forget_published = _text(delete(outbox).where(outbox.c.seq <= select(func.min(sinks.c.done)).scalar_subquery()))
