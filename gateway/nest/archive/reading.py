"""What the archive is asked for: nodes, their latest values, and series over time. Reads only."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, func, select, true

from nest import quantities
from nest.archive import schema


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


@dataclasses.dataclass(frozen=True, slots=True)
class NodeLatest:
    """One registered node and the latest value of everything it ever measured."""

    slug: str
    name: str
    latitude: float | None
    longitude: float | None
    last_seen: float | None
    values: dict[str, LatestValue]  # quantity -> value, in the order of the table of quantities


def nodes(connection: Connection, slug: str | None = None) -> list[NodeInfo]:
    """Every registered node, by slug; or the one of that slug."""
    table, frames = schema.nodes, schema.frames
    last_seen = select(func.max(frames.c.time)).where(frames.c.node_id == table.c.id).scalar_subquery()
    found = select(table, last_seen.label("last_seen")).where(*_registered(slug)).order_by(table.c.slug)
    return [_info(row) for row in connection.execute(found)]


def latest(connection: Connection, slug: str | None = None) -> list[NodeLatest]:
    """Every registered node, or the one of that slug, with its latest values.

    One look into the key of `readings` per node and quantity: the cost does not grow with the length of the history.
    """
    readings, table = schema.readings, schema.nodes

    def newest(column: str) -> ScalarSelect[Any]:
        """One look each: a join would let the database go through all readings instead."""
        of_this = (readings.c.node_id == table.c.id, readings.c.quantity_id == schema.quantities.c.id)
        return select(readings.c[column]).where(*of_this).order_by(readings.c.time.desc()).limit(1).scalar_subquery()

    wanted = (
        select(
            table.c.slug,
            schema.quantities.c.id.label("quantity_id"),
            *(newest(column).label(column) for column in ("time", "value", "quality")),
        )
        .select_from(table.join(schema.quantities, true()))
        .where(*_registered(slug))
        .order_by(schema.quantities.c.id)
    )
    values: dict[str, dict[str, LatestValue]] = {}
    for row in connection.execute(wanted):
        quantity = quantities.by_bit().get(row.quantity_id)
        if quantity is not None and row.time is not None:
            values.setdefault(row.slug, {})[quantity.name] = LatestValue(
                row.value, row.time / 1000, schema.QUALITY_NAMES[row.quality]
            )
    return [
        NodeLatest(info.slug, info.name, info.latitude, info.longitude, info.last_seen, values.get(info.slug, {}))
        for info in nodes(connection, slug)
    ]


def series(
    connection: Connection, slug: str, quantity: str, start: float, end: float, limit: int | None = None
) -> list[tuple[float, float | None]]:
    """(Unix s, value) of the first `limit` of start <= time < end, in the order of time; the value is None where the
    sensor failed or was out of range. Nothing stands for what never came."""
    readings, table = schema.readings, schema.nodes
    known = quantities.by_name().get(quantity)
    if known is None:
        return []
    wanted = (
        select(readings.c.time, readings.c.value)
        .join(table, table.c.id == readings.c.node_id)
        .where(
            table.c.slug == slug,
            readings.c.quantity_id == known.bit,
            readings.c.time >= round(start * 1000),
            readings.c.time < round(end * 1000),
        )
        .order_by(readings.c.time)
        .limit(limit)
    )
    return [(row.time / 1000, row.value) for row in connection.execute(wanted)]


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
