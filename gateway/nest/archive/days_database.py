"""What the archive knows of one UTC day of one node, and what it notes about it: aggregates, flags, whether it is done.
Plain SQLAlchemy, for whoever has a connection."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from nest.archive import codes, days_flags, schema
from nest.archive.day_files import Day, Missing, Reading
from nest.archive.days_flags import HOUR_MS
from nest.quantities import Quantity, by_bit, by_name

MOST_NEIGHBOURS = 12  # the nearest ones; so that a town of a thousand nodes is compared as fast as one of twenty


@dataclasses.dataclass(frozen=True, slots=True)
class Aggregate:
    """One quantity in one hour or on one UTC day; of good values only."""

    time: float  # its beginning, Unix s
    count: int
    minimum: float
    maximum: float
    mean: float


def span_of(day: int) -> tuple[int, int]:
    """First and last ms of a Unix day."""
    return day * schema.DAY_MS, (day + 1) * schema.DAY_MS - 1


def readings_of(connection: Connection, node_id: int, first: int, last: int) -> list[Reading]:
    """Of first <= time <= last (ms), by time."""
    table = schema.readings
    wanted = (
        select(table.c.time, table.c.origin, table.c.delay_ms, table.c.codes)
        .where(table.c.node_id == node_id, table.c.time.between(first, last))
        .order_by(table.c.time)
    )
    return [Reading(time, origin, delay, bytes(packed)) for time, origin, delay, packed in connection.execute(wanted)]


def missing_of(connection: Connection, node_id: int, day: int) -> list[Missing]:
    """What is missing of that day, in its order."""
    gaps, sessions = schema.gaps, schema.sessions
    wanted = (
        select(gaps.c.time, sessions.c.join_nonce, gaps.c.fcnt, gaps.c.part)
        .join(sessions, sessions.c.id == gaps.c.session_id)
        .where(gaps.c.node_id == node_id, gaps.c.state.in_(schema.MISSING), gaps.c.time.between(*span_of(day)))
        .order_by(gaps.c.time, sessions.c.join_nonce, gaps.c.fcnt, gaps.c.part)
    )
    return [Missing(*row) for row in connection.execute(wanted)]


def flags_of(connection: Connection, node_id: int, day: int) -> dict[tuple[int, str], int]:
    """(time, quantity) -> bits."""
    table = schema.flags
    wanted = select(table.c.time, table.c.quantity_id, table.c.flags).where(
        table.c.node_id == node_id, table.c.time.between(*span_of(day))
    )
    return {(time, by_bit()[bit].name): bits for time, bit, bits in connection.execute(wanted) if bit in by_bit()}


def day_of(connection: Connection, node_id: int, day: int) -> Day:
    """Everything that the file of that day says."""
    return Day(
        readings_of(connection, node_id, *span_of(day)),
        missing_of(connection, node_id, day),
        flags_of(connection, node_id, day),
    )


# -- aggregates


def write_aggregates(connection: Connection, node_id: int, day: int, readings: Iterable[Reading]) -> None:
    """Hours and day of these readings, which are all of that day's; writes only what is another than it was."""
    table = schema.aggregates
    new = _aggregates(day, readings)
    of_day = (table.c.node_id == node_id, table.c.start.between(*span_of(day)), table.c.span.in_((0, 1)))
    bits = [*by_bit()]  # named, so that the key of the table fits
    old = {
        (row.quantity_id, row.span, row.start): (row.count_, row.minimum, row.maximum, row.mean)
        for row in connection.execute(
            select(
                table.c.quantity_id,
                table.c.span,
                table.c.start,
                table.c["count"].label("count_"),
                table.c.minimum,
                table.c.maximum,
                table.c.mean,
            ).where(*of_day, table.c.quantity_id.in_(bits))
        )
    }
    for bit, span, start in [key for key, value in old.items() if new.get(key) != value]:
        this = (table.c.node_id == node_id, table.c.quantity_id == bit, table.c.span == span, table.c.start == start)
        connection.execute(delete(table).where(*this))
    rows = [
        {
            "node_id": node_id, "quantity_id": bit, "span": span, "start": start,
            "count": value[0], "minimum": value[1], "maximum": value[2], "mean": value[3],
        }
        for (bit, span, start), value in new.items()
        if old.get((bit, span, start)) != value
    ]  # fmt: skip
    if rows:
        connection.execute(insert(table), rows)


def _aggregates(day: int, readings: Iterable[Reading]) -> dict[tuple[int, int, int], tuple[int, float, float, float]]:
    """(quantity's bit, span, start) -> count, minimum, maximum, mean."""
    found: dict[tuple[str, int, int], list[int]] = {}
    for one in readings:
        hour = one.time // HOUR_MS * HOUR_MS
        for name, code in codes.unpack(one.codes).items():
            if code >= 0:
                found.setdefault((name, schema.HOUR, hour), []).append(code)
                found.setdefault((name, schema.DAY, day * schema.DAY_MS), []).append(code)
    return {
        (by_name()[name].bit, span, start): _aggregate(by_name()[name], those)
        for (name, span, start), those in found.items()
    }


def _aggregate(quantity: Quantity, those: list[int]) -> tuple[int, float, float, float]:
    mean = quantity.minimum + quantity.resolution * sum(those) / len(those)
    return len(those), quantity.value(min(those)), quantity.value(max(those)), round(mean, quantity.decimals + 2)


def aggregate(connection: Connection, slug: str, quantity: str, span: int, start: float, end: float) -> list[Aggregate]:
    """The hours (span schema.HOUR) or days (schema.DAY) that begin at start <= time < end (Unix s), in their order.
    Those without a good value are not there; empty for an unknown node or quantity."""
    table, nodes, known = schema.aggregates, schema.nodes, by_name().get(quantity)
    node_id = connection.execute(select(nodes.c.id).where(nodes.c.slug == slug)).scalar_one_or_none()
    if known is None or node_id is None:
        return []
    wanted = (
        select(table.c.start, table.c["count"], table.c.minimum, table.c.maximum, table.c.mean)
        .where(
            table.c.node_id == node_id,
            table.c.quantity_id == known.bit,
            table.c.span == span,
            table.c.start >= round(start * 1000),
            table.c.start < round(end * 1000),
        )
        .order_by(table.c.start)
    )
    return [Aggregate(row[0] / 1000, *row[1:]) for row in connection.execute(wanted)]


# -- flags


class Neighbours:
    """Who stands near whom. `places`: node -> degrees north, degrees east."""

    def __init__(self, places: Mapping[int, tuple[float, float]]) -> None:
        self._places = places
        self._near: dict[int, list[tuple[float, int]]] = {}  # node -> the nearest, as far as any quantity asks

    def means(
        self, connection: Connection, node_id: int, day: int, names: Collection[str]
    ) -> dict[tuple[str, int], list[float]]:
        """(quantity, beginning of an hour) -> what each of its neighbours has measured in it, on that day."""
        found: dict[tuple[str, int], list[float]] = {}
        table = schema.aggregates
        for name in names:
            quantity = by_name()[name]
            near = [other for km, other in self._nearest(node_id) if km <= quantity.doubt.apart_km]
            if not quantity.doubt.apart or len(near) < days_flags.LEAST_NEIGHBOURS:
                continue
            wanted = select(table.c.start, table.c.mean).where(
                table.c.node_id.in_(near),
                table.c.quantity_id == quantity.bit,
                table.c.span == schema.HOUR,
                table.c.start.between(*span_of(day)),
            )
            for start, mean in connection.execute(wanted):
                found.setdefault((name, start), []).append(mean)
        return found

    def _nearest(self, node_id: int) -> list[tuple[float, int]]:
        if node_id not in self._near:
            here = self._places.get(node_id)
            reach = max(quantity.doubt.apart_km for quantity in by_name().values())
            near: list[tuple[float, int]] = []
            for other, there in self._places.items():
                # a degree of latitude is 111 km: most are out of reach at a glance
                if here is not None and other != node_id and abs(here[0] - there[0]) * 110 <= reach:
                    near.append((days_flags.distance_km(here, there), other))
            self._near[node_id] = sorted(one for one in near if one[0] <= reach)[:MOST_NEIGHBOURS]
        return self._near[node_id]


def neighbours(connection: Connection) -> Neighbours:
    """Of all nodes whose place is known."""
    table = schema.nodes
    wanted = select(table.c.id, table.c.latitude, table.c.longitude).where(
        table.c.latitude.is_not(None), table.c.longitude.is_not(None)
    )
    return Neighbours({row.id: (row.latitude, row.longitude) for row in connection.execute(wanted)})


def doubtful(
    connection: Connection, node_id: int, day: int, near: Neighbours, readings: Sequence[Reading]
) -> dict[tuple[int, str], int]:
    """The flags of that day's `readings`, from them and from what was before and behind."""
    first, last = span_of(day)
    before = readings_of(connection, node_id, first - days_flags.BEFORE_MS, first - 1)
    behind = readings_of(connection, node_id, last + 1, last + days_flags.BEHIND_MS)
    series: dict[Quantity, list[tuple[int, int]]] = {}
    for one in itertools.chain(before, readings, behind):
        for name, code in codes.unpack(one.codes).items():
            if code >= 0:
                series.setdefault(by_name()[name], []).append((one.time, code))
    means = near.means(connection, node_id, day, [quantity.name for quantity in series])
    return days_flags.flags(series, first, last + 1, means)


def write_flags(connection: Connection, node_id: int, day: int, new: Mapping[tuple[int, str], int]) -> None:
    """These and no others for that day."""
    if flags_of(connection, node_id, day) == new:
        return
    table = schema.flags
    connection.execute(delete(table).where(table.c.node_id == node_id, table.c.time.between(*span_of(day))))
    rows = [
        {"node_id": node_id, "time": time, "quantity_id": by_name()[name].bit, "flags": bits}
        for (time, name), bits in new.items()
    ]
    if rows:
        connection.execute(insert(table), rows)


# -- the row of a day


def close_day(connection: Connection, node_id: int, day: int, sha256: str | None = None) -> None:
    """Nothing is to be done for that day. `sha256`: of its file, when it was written."""
    table = schema.days
    values: dict[str, Any] = {"dirty": False} if sha256 is None else {"dirty": False, "sha256": sha256}
    this = (table.c.node_id == node_id, table.c.day == day)
    if not connection.execute(update(table).where(*this).values(**values)).rowcount:
        connection.execute(insert(table).values(node_id=node_id, day=day, **values))


def state_of(connection: Connection, node_id: int, day: int) -> tuple[Any, ...]:
    """Something that is another when that day has changed, but for a reading exchanged for its like: cheap."""
    readings, gaps = schema.readings, schema.gaps
    there = select(func.count(), func.max(readings.c.time)).where(
        readings.c.node_id == node_id, readings.c.time.between(*span_of(day))
    )
    every = range(schema.GIVEN_UP + 1)  # so that the index on (node, state, time) fits
    lost = select(func.count(), func.max(gaps.c.state_at)).where(
        gaps.c.node_id == node_id, gaps.c.state.in_(every), gaps.c.time.between(*span_of(day))
    )
    return (*connection.execute(there).one(), *connection.execute(lost).one())
