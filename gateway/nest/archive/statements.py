"""The journal's statements as text, made once from the tables of `schema`: they have no other home.

Each says in a comment what its `?` stand for, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    or_,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from nest.archive.schema import (
    MISSING,
    days,
    downlinks,
    frames,
    gaps,
    joins,
    last_measured,
    meta,
    nodes,
    outbox,
    readings,
    sessions,
    sinks,
)

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


def _insert(table: Table, columns: tuple[str, ...] = (), *, instead: str = "") -> str:
    """`instead`: what is done where a row of that key stands there: REPLACE it, or IGNORE the new one."""
    columns = columns or _columns(table)
    statement = insert(table).values({name: _given(name) for name in columns})
    return _text(statement.prefix_with(f"OR {instead}", dialect="sqlite") if instead else statement, *columns)


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


def _one_of(column: ColumnElement[Any], numbers: Iterable[int]) -> ColumnElement[bool]:
    """Numbers that are always the same ones."""
    return or_(*(column == literal_column(str(number)) for number in numbers))


_FIRST = "LIMIT 1"  # as `limit` would write it if it needed no parameter


class Sql:
    """The statements."""

    generation = _text(select(meta.c.value).where(meta.c.key == literal_column("'generation'")))
    last_frame = _text(select(func.max(frames.c.id)))
    last_seq = "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'"  # counts rows that are gone, too

    # dev_eui -> id, removed_at
    node = _text(select(nodes.c.id, nodes.c.removed_at).where(nodes.c.dev_eui == _given("dev_eui")), "dev_eui")

    # dev_eui, join_nonce -> session, its newest FCnt, node, slug, time of its newest frame, time and codes of its
    # newest reading
    session = _text(
        select(
            sessions.c.id,
            select(func.max(frames.c.fcnt)).where(frames.c.session_id == sessions.c.id).scalar_subquery(),
            nodes.c.id,
            nodes.c.slug,
            select(func.max(frames.c.time)).where(frames.c.node_id == nodes.c.id).scalar_subquery(),
            select(func.max(readings.c.time)).where(readings.c.node_id == nodes.c.id).scalar_subquery(),
            select(readings.c.codes)
            .where(readings.c.node_id == nodes.c.id)
            .order_by(readings.c.time.desc())
            .suffix_with(_FIRST)
            .scalar_subquery(),
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
    insert_reading = _insert(readings)

    # session, fcnt -> id, heard
    frame = _text(
        select(frames.c.id, frames.c.heard).where(
            frames.c.session_id == _given("session"), frames.c.fcnt == _given("fcnt")
        ),
        "session",
        "fcnt",
    )
    # node, from that time on, to that time
    frame_times, reading_times = (
        _text(
            select(table.c.time).where(
                table.c.node_id == _given("node"), table.c.time.between(_given("from"), _given("to"))
            ),
            "node",
            "from",
            "to",
        )
        for table in (frames, readings)
    )
    # session -> Unix s
    joined_at = _text(select(sessions.c.joined_at).where(sessions.c.id == _given("id")), "id")
    # session, fcnt -> fcnt, time, sf, bw_hz and size of the nearest frame before it, or behind it
    frame_before, frame_behind = (
        _text(
            select(frames.c.fcnt, frames.c.time, frames.c.sf, frames.c.bw_hz, func.length(frames.c.phy))
            .where(frames.c.session_id == _given("session"), condition)
            .order_by(order)
            .suffix_with(_FIRST),
            "session",
            "fcnt",
        )
        for condition, order in (
            (frames.c.fcnt < _given("fcnt"), frames.c.fcnt.desc()),
            (frames.c.fcnt > _given("fcnt"), frames.c.fcnt),
        )
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
    set_mark = _insert(sinks, instead="REPLACE")
    forget_published = _text(delete(outbox).where(outbox.c.seq <= select(func.min(sinks.c.done)).scalar_subquery()))

    # -- readings and what was missing; see nest.archive.rows and nest.archive.slots

    # node -> time and codes of its newest reading
    newest_reading = _text(
        select(readings.c.time, readings.c.codes)
        .where(readings.c.node_id == _given("node"))
        .order_by(readings.c.time.desc())
        .suffix_with(_FIRST),
        "node",
    )
    # node, time
    _this_reading = (readings.c.node_id == _given("node"), readings.c.time == _given("time"))
    reading = _text(select(readings.c.origin, readings.c.codes).where(*_this_reading), "node", "time")
    delete_reading = _text(delete(readings).where(*_this_reading), "node", "time")

    # node, quantity, time
    insert_measured = _insert(last_measured, instead="IGNORE")
    # time, node, quantity, that time again
    raise_measured = _update(
        last_measured,
        ("time",),
        last_measured.c.node_id == _given("node"),
        last_measured.c.quantity_id == _given("quantity"),
        last_measured.c.time < _given("below"),
        given=("node", "quantity", "below"),
    )
    # time, node, time before
    move_measured = _update(
        last_measured,
        ("time",),
        last_measured.c.node_id == _given("node"),
        last_measured.c.time == _given("before"),
        given=("node", "before"),
    )

    # true, node, day
    mark_day = _update(
        days, ("dirty",), days.c.node_id == _given("node"), days.c.day == _given("day"), given=("node", "day")
    )
    # node, day, true
    insert_day = _insert(days, ("node_id", "day", "dirty"), instead="IGNORE")

    # those columns
    insert_gap = _insert(
        gaps,
        ("session_id", "fcnt", "part", "node_id", "time", "opened_at", "state", "state_at"),
        instead="IGNORE",
    )
    _this_gap = (
        gaps.c.session_id == _given("session"),
        gaps.c.fcnt == _given("fcnt"),
        gaps.c.part == _given("part"),
    )
    # session, fcnt, part -> time, state
    gap = _text(select(gaps.c.time, gaps.c.state).where(*_this_gap), "session", "fcnt", "part")
    # time, state, now, session, fcnt, part
    update_gap = _update(gaps, ("time", "state", "state_at"), *_this_gap, given=("session", "fcnt", "part"))
    # session, first fcnt, last fcnt -> fcnt, part, time of what is missing
    missing = _text(
        select(gaps.c.fcnt, gaps.c.part, gaps.c.time).where(
            gaps.c.session_id == _given("session"),
            gaps.c.fcnt.between(_given("first"), _given("last")),
            _one_of(gaps.c.state, MISSING),
        ),
        "session",
        "first",
        "last",
    )
    # node -> id, join_nonce, fcnt_up, joined_at (Unix s), newest first
    sessions_of_node = _text(
        select(sessions.c.id, sessions.c.join_nonce, sessions.c.fcnt_up, sessions.c.joined_at)
        .where(sessions.c.node_id == _given("node"))
        .order_by(sessions.c.join_nonce.desc()),
        "node",
    )
