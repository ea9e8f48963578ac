"""What the archive is asked for: nodes, their latest values, series over time, and what is missing. Reads only."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Row, Table, and_, func, literal_column, select

from nest import quantities
from nest.archive import codes, decoding, schema


@dataclasses.dataclass(frozen=True, slots=True)
class NodeInfo:
    """One registered node, as the public may know it."""

    slug: str
    name: str
    latitude: float | None  # rounded to what is published
    longitude: float | None
    last_seen: float | None  # Unix s of its latest frame


@dataclasses.dataclass(frozen=True, slots=True)
class LatestValue:
    """The latest word about one quantity."""

    value: float | None  # in the quantity's unit; None: see `quality`
    time: float  # Unix s
    quality: str  # "good", "failed", "out_of_range"
    origin: str = "heard"  # how it came, see schema.ORIGIN_NAMES


@dataclasses.dataclass(frozen=True, slots=True)
class NodeLatest:
    """One registered node and the latest value of everything it ever measured."""

    slug: str
    name: str
    latitude: float | None
    longitude: float | None
    last_seen: float | None
    values: dict[str, LatestValue]  # quantity -> value, in the order of the table of quantities


class Point(NamedTuple):
    """One value of one quantity at one moment."""

    time: float  # of measuring, Unix s
    value: float | None  # in the quantity's unit; None: the sensor failed or it was out of range
    origin: str  # see schema.ORIGIN_NAMES


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """A reading that was missing when a later frame came."""

    dev_eui: bytes
    join_nonce: int
    fcnt: int
    part: int  # 0: what the frame of that FCnt carried; k: the k-th unsent reading before it
    time: float  # of measuring, Unix s; estimated until the reading is there
    state: int  # schema.OPEN …
    asked: int  # how often the node was asked for it
    asked_at: float | None  # Unix s


@dataclasses.dataclass(frozen=True, slots=True)
class Completeness:
    """One UTC day of one node, as far as it is known by now: `expected` is `present` + `missing`."""

    day: int  # Unix day
    expected: int
    present: int  # readings in the archive, however they came
    recovered: int  # of them
    backfilled: int  # of them
    missing: int  # that were made, as far as anybody knows, and are not there


@dataclasses.dataclass(frozen=True, slots=True)
class Shares:
    """How the readings of a while came, of those that a node sends."""

    heard: int = 0  # in frames of their own
    recovered: int = 0
    backfilled: int = 0
    missing: int = 0  # not there, as far as anybody knows


def nodes(connection: Connection, slug: str | None = None) -> list[NodeInfo]:
    """Every registered node, by slug; or the one of that slug."""
    table, frames = schema.nodes, schema.frames
    last_seen = select(func.max(frames.c.time)).where(frames.c.node_id == table.c.id).scalar_subquery()
    found = select(table, last_seen.label("last_seen")).where(*_registered(slug)).order_by(table.c.slug)
    return [_info(row) for row in connection.execute(found)]


def latest(connection: Connection, slug: str | None = None) -> list[NodeLatest]:
    """Every registered node, or the one of that slug, with its latest values.

    Two looks into the key of `readings` per node and one for each quantity that its newest reading has not
    (`adding.note_measured`): the cost does not grow with the length of the history.
    """
    readings, table, measured = schema.readings, schema.nodes, schema.last_measured
    newer = readings.alias()
    newest = select(func.max(newer.c.time)).where(newer.c.node_id == table.c.id).correlate(table).scalar_subquery()
    of_reading = (table.c.slug, readings.c.time, readings.c.origin, readings.c.codes)
    last = (
        select(*of_reading)
        .select_from(table)
        .outerjoin(readings, and_(readings.c.node_id == table.c.id, readings.c.time == newest))
        .where(*_registered(slug))
    )
    before = (
        select(*of_reading, measured.c.quantity_id)
        .select_from(table)
        .outerjoin(measured, measured.c.node_id == table.c.id)
        .outerjoin(readings, and_(readings.c.node_id == measured.c.node_id, readings.c.time == measured.c.time))
        .where(*_registered(slug))
    )
    # outer joins, for an inner one lets the database begin with all readings
    found: dict[str, dict[str, LatestValue]] = {}
    for row in connection.execute(last):
        if row.time is not None:
            found[row.slug] = _latest_values(row)
    for row in connection.execute(before):
        quantity = quantities.by_bit().get(row.quantity_id)
        if row.time is not None and quantity is not None and quantity.name not in found.setdefault(row.slug, {}):
            value = _latest_values(row).get(quantity.name)
            if value is not None:
                found[row.slug][quantity.name] = value

    def values(slug: str) -> dict[str, LatestValue]:
        of_node = found.get(slug, {})
        return {name: of_node[name] for name in quantities.by_name() if name in of_node}

    return [
        NodeLatest(info.slug, info.name, info.latitude, info.longitude, info.last_seen, values(info.slug))
        for info in nodes(connection, slug)
    ]


def _latest_values(row: Row) -> dict[str, LatestValue]:
    values, qualities = decoding.told(codes.unpack(row.codes))
    origin = schema.ORIGIN_NAMES[row.origin]
    return {name: LatestValue(value, row.time / 1000, qualities[name], origin) for name, value in values.items()}


def points(
    connection: Connection, slug: str, quantity: str, start: float, end: float, limit: int | None = None
) -> list[Point]:
    """The first `limit` of start <= time < end (Unix s), in the order of time. Nothing stands for what never came."""
    readings, table = schema.readings, schema.nodes
    known = quantities.by_name().get(quantity)
    node_id = connection.execute(select(table.c.id).where(table.c.slug == slug)).scalar_one_or_none()
    if known is None or node_id is None:
        return []
    wanted = (
        select(readings.c.time, readings.c.origin, readings.c.codes)
        .where(
            readings.c.node_id == node_id,
            readings.c.time >= round(start * 1000),
            readings.c.time < round(end * 1000),
        )
        .order_by(readings.c.time)
    )
    found: list[Point] = []
    rows = connection.execute(wanted.execution_options(yield_per=1000))
    for time, origin, packed in rows:
        if limit is not None and len(found) >= limit:
            rows.close()
            break
        code = codes.unpack(packed).get(quantity)
        if code is not None:
            found.append(Point(time / 1000, None if code < 0 else known.value(code), schema.ORIGIN_NAMES[origin]))
    return found


def gaps(connection: Connection, slug: str, start: float, end: float) -> list[Gap]:
    """Every reading that was missing of start <= time < end (Unix s), in its order, whatever has become of it."""
    table, sessions, nodes = schema.gaps, schema.sessions, schema.nodes
    every = range(schema.GIVEN_UP + 1)  # so that the index on (node, state, time) fits
    wanted = (
        select(table, sessions.c.join_nonce, nodes.c.dev_eui)
        .join(nodes, nodes.c.id == table.c.node_id)
        .join(sessions, sessions.c.id == table.c.session_id)
        .where(
            nodes.c.slug == slug,
            table.c.state.in_(every),
            table.c.time >= round(start * 1000),
            table.c.time < round(end * 1000),
        )
        .order_by(table.c.time, table.c.fcnt, table.c.part)
    )
    return [
        Gap(
            bytes.fromhex(row.dev_eui),
            row.join_nonce,
            row.fcnt,
            row.part,
            row.time / 1000,
            row.state,
            row.asked,
            None if row.asked_at is None else row.asked_at / 1000,
        )
        for row in connection.execute(wanted)
    ]


def completeness(connection: Connection, slug: str, first_day: int, last_day: int) -> list[Completeness]:
    """Each day from `first_day` to `last_day` (Unix days, both counted) of which anything is known."""
    node_id = connection.execute(select(schema.nodes.c.id).where(schema.nodes.c.slug == slug)).scalar_one_or_none()
    if node_id is None:
        return []
    return completeness_of(connection, node_id, first_day, last_day)


def completeness_of(connection: Connection, node_id: int, first_day: int, last_day: int) -> list[Completeness]:
    """The same for the node of that number. Counted anew each time, from readings and gaps."""
    readings, gaps = schema.readings, schema.gaps
    span = first_day * schema.DAY_MS, (last_day + 1) * schema.DAY_MS - 1

    def count(table: Table, kind: ColumnElement[Any], *conditions: ColumnElement[bool]) -> dict[tuple[int, int], int]:
        day = table.c.time // literal_column(str(schema.DAY_MS), Integer)
        conditions = (table.c.node_id == node_id, table.c.time.between(*span), *conditions)
        wanted = select(day, kind, func.count()).where(*conditions).group_by(day, kind)
        return {(row[0], row[1]): row[2] for row in connection.execute(wanted)}

    present = count(readings, readings.c.origin)
    missing = count(gaps, gaps.c.state, gaps.c.state.in_(schema.MISSING))
    found: list[Completeness] = []
    for day in sorted({key[0] for key in (*present, *missing)}):
        there = sum(number for key, number in present.items() if key[0] == day)
        lost = sum(number for key, number in missing.items() if key[0] == day)
        recovered, backfilled = (present.get((day, origin), 0) for origin in (schema.RECOVERED, schema.BACKFILLED))
        found.append(Completeness(day, there + lost, there, recovered, backfilled, lost))
    return found


def shares(connection: Connection, since: float, slug: str | None = None) -> dict[str, Shares]:
    """How the readings measured since then (Unix s) came, by slug; a node of which nothing is known is not there.

    One look into a range of each key per node: the cost grows with the length of the while, not of the history.
    """
    readings, gaps, table, start = schema.readings, schema.gaps, schema.nodes, round(since * 1000)
    came = (
        select(table.c.slug, readings.c.origin, func.count())
        .select_from(table)
        .outerjoin(readings, and_(readings.c.node_id == table.c.id, readings.c.time >= start))
        .where(*_registered(slug))
        .group_by(table.c.slug, readings.c.origin)
    )
    lost = (
        select(table.c.slug, func.count(gaps.c.fcnt))
        .select_from(table)
        .outerjoin(gaps, and_(gaps.c.node_id == table.c.id, gaps.c.state.in_(schema.MISSING), gaps.c.time >= start))
        .where(*_registered(slug))
        .group_by(table.c.slug)
    )
    # outer joins, for an inner one lets the database begin with all readings
    counts = {(row[0], row[1]): row[2] for row in connection.execute(came)}
    missing = {row[0]: row[1] for row in connection.execute(lost)}
    found: dict[str, Shares] = {}
    for name in missing:
        heard, recovered, backfilled = (
            counts.get((name, origin), 0) for origin in (schema.HEARD, schema.RECOVERED, schema.BACKFILLED)
        )
        if heard or recovered or backfilled or missing[name]:
            found[name] = Shares(heard, recovered, backfilled, missing[name])
    return found


def _registered(slug: str | None) -> list[ColumnElement[bool]]:
    table = schema.nodes
    return [table.c.removed_at.is_(None), *([] if slug is None else [table.c.slug == slug])]


def _info(row: Row) -> NodeInfo:
    def published(position: float | None) -> float | None:
        return None if position is None else round(position, row.precision)

    return NodeInfo(
        slug=row.slug,
        name=row.name,
        latitude=published(row.latitude),
        longitude=published(row.longitude),
        last_seen=None if row.last_seen is None else row.last_seen / 1000,
    )
