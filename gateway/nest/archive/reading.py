"""What the archive is asked for: nodes, their latest values, and series over time. Reads only."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, Row, and_, func, select, true

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


def nodes(connection: Connection) -> list[NodeInfo]:
    """Every registered node, by slug."""
    table, frames = schema.nodes, schema.frames
    last_seen = select(func.max(frames.c.time)).where(frames.c.node_id == table.c.id).scalar_subquery()
    found = select(table, last_seen.label("last_seen")).where(table.c.removed_at.is_(None)).order_by(table.c.slug)
    return [_info(row) for row in connection.execute(found)]


def latest(connection: Connection) -> list[NodeLatest]:
    """Every registered node with its latest values.

    One look into the key of `readings` per node and quantity: the cost does not grow with the length of the history.
    """
    readings, table = schema.readings, schema.nodes
    newest = (
        select(
            table.c.id.label("node_id"),
            schema.quantities.c.id.label("quantity_id"),
            select(func.max(readings.c.time))
            .where(readings.c.node_id == table.c.id, readings.c.quantity_id == schema.quantities.c.id)
            .scalar_subquery()
            .label("time"),
        )
        .select_from(table.join(schema.quantities, true()))
        .where(table.c.removed_at.is_(None))
        .subquery()
    )
    wanted = (
        select(table.c.slug, readings)
        .select_from(newest)
        .join(
            readings,
            and_(
                readings.c.node_id == newest.c.node_id,
                readings.c.quantity_id == newest.c.quantity_id,
                readings.c.time == newest.c.time,
            ),
        )
        .join(table, table.c.id == readings.c.node_id)
        .order_by(readings.c.quantity_id)
    )
    values: dict[str, dict[str, LatestValue]] = {}
    for row in connection.execute(wanted):
        quantity = quantities.by_bit().get(row.quantity_id)
        if quantity is not None:
            values.setdefault(row.slug, {})[quantity.name] = LatestValue(
                row.value, row.time / 1000, schema.QUALITY_NAMES[row.quality]
            )
    return [
        NodeLatest(info.slug, info.name, info.latitude, info.longitude, info.last_seen, values.get(info.slug, {}))
        for info in nodes(connection)
    ]


def series(
    connection: Connection, slug: str, quantity: str, start: float, end: float
) -> list[tuple[float, float | None]]:
    """(Unix s, value) of start <= time < end, in the order of time; the value is None where the sensor failed or was
    out of range. Nothing stands for what never came."""
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
    )
    return [(row.time / 1000, row.value) for row in connection.execute(wanted)]


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
