"""Readings that are written one at a time and not by the journal: of other sources, and of frames that an earlier
version stored and did not decode. Also the notes that stand beside every reading: which days have changed, and where a
quantity was last measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, delete, func, insert, select, update

from nest import payload
from nest.archive import codes, decoding, schema
from nest.extras import has_extras, read_rest
from nest.quantities import by_name

_WALK = 64  # moments looked at in one go


def decode_waiting(connection: Connection, limit: int = 1000) -> int:
    """Decode up to `limit` frames that were stored but not decoded, and have them published; how many there were.

    Only their own readings: what they say of earlier ones is of a time when no gaps were known.
    """
    frames, nodes = schema.frames, schema.nodes
    wanted = (
        select(frames, nodes.c.slug)
        .join(nodes, nodes.c.id == frames.c.node_id)
        .where(frames.c.decoded == schema.NOT_DECODED)
        .order_by(frames.c.id)
        .limit(limit)
    )
    rows = connection.execute(wanted).all()
    for row in rows:
        outcome, decoded = decoding.read(row.fport, row.payload, row.slug, row.fcnt)
        if decoded is not None:
            before = decoding.airtime_ms(row.sf, row.bw_hz, len(row.phy))
            if has_extras(decoded.rest):
                before += round(read_rest(decoded.rest).age_s * 1000)
            add_reading(
                connection, row.node_id, row.time - before, decoded.codes, schema.HEARD,
                heard_ms=row.time, frame_id=row.id,
            )  # fmt: skip
        connection.execute(update(frames).where(frames.c.id == row.id).values(decoded=outcome))
    return len(rows)


def add_reading(
    connection: Connection,
    node_id: int,
    time_ms: int,
    found: Mapping[str, int],
    origin: int,
    *,
    heard_ms: int | None = None,
    frame_id: int | None = None,
) -> int:
    """Write one reading at `time_ms` or, where one stands there, at the next free moment, and have it published;
    returns its moment. `heard_ms`: when the frame that brought it was heard."""
    time_ms = free_moment(connection, node_id, time_ms)
    note_measured(connection, node_id, time_ms, found)
    mark_day(connection, node_id, time_ms)
    row = {"node_id": node_id, "time": time_ms, "origin": origin, "codes": codes.pack(found)}
    row["delay_ms"] = None if heard_ms is None else heard_ms - time_ms
    connection.execute(insert(schema.readings).values(**row))
    connection.execute(insert(schema.outbox).values(node_id=node_id, time=time_ms, frame_id=frame_id))
    return time_ms


def free_moment(connection: Connection, node_id: int, time_ms: int) -> int:
    """`time_ms`, or the first millisecond after it at which the node has no reading."""
    times = schema.readings.c.time
    while True:
        last = time_ms + _WALK
        wanted = select(times).where(schema.readings.c.node_id == node_id, times.between(time_ms, last))
        taken = set(connection.scalars(wanted))
        for free in range(time_ms, last + 1):
            if free not in taken:
                return free
        time_ms = last + 1


def note_measured(connection: Connection, node_id: int, time_ms: int, names: Collection[str]) -> None:
    """Before a reading of these quantities is written: keep `last_measured` true.

    What is asked for most, the latest value of every quantity, must not go through a node's history for a quantity that
    is measured rarely or no more. So: of a quantity that a node's newest reading has not, `last_measured` has the
    moment of the newest reading that has it. Of one that it has, what stands there means nothing.
    """
    table = schema.readings
    newest = connection.execute(
        select(table.c.time, table.c.codes).where(table.c.node_id == node_id).order_by(table.c.time.desc()).limit(1)
    ).first()
    if newest is None:
        return
    there = codes.unpack(newest.codes)
    gone, moment = (there.keys() - names, newest.time) if time_ms > newest.time else (names - there.keys(), time_ms)
    for name in gone:
        _raise_measured(connection, node_id, by_name()[name].bit, moment)


def mark_day(connection: Connection, node_id: int, time_ms: int) -> None:
    """The day of that moment is another than it was, for this node."""
    table, day = schema.days, time_ms // schema.DAY_MS
    changed = update(table).where(table.c.node_id == node_id, table.c.day == day).values(dirty=True)
    if not connection.execute(changed).rowcount:
        connection.execute(insert(table).values(node_id=node_id, day=day, dirty=True))


def renew_last_measured(connection: Connection, nodes: Iterable[int] | None = None) -> None:
    """Make `last_measured` true again after readings were changed or deleted: of all nodes or of these. Goes through
    all of their readings."""
    table, readings = schema.last_measured, schema.readings
    if nodes is None:
        nodes = connection.scalars(select(schema.nodes.c.id)).all()
    beginning = func.substr(readings.c.codes, 1, len(payload.bitmap_of(by_name())))  # the bitmap is in it
    for node_id in nodes:
        connection.execute(delete(table).where(table.c.node_id == node_id))
        last: dict[int, int] = {}
        kinds = select(beginning, func.max(readings.c.time)).where(readings.c.node_id == node_id).group_by(beginning)
        for start, time in connection.execute(kinds):
            for quantity in payload.presence(codes.bitmap(start)):
                last[quantity.bit] = max(last.get(quantity.bit, time), time)
        if last:
            rows = [{"node_id": node_id, "quantity_id": bit, "time": time} for bit, time in last.items()]
            connection.execute(insert(table), rows)


def _raise_measured(connection: Connection, node_id: int, bit: int, time_ms: int) -> None:
    table = schema.last_measured
    of_this = (table.c.node_id == node_id, table.c.quantity_id == bit)
    known = connection.execute(select(table.c.time).where(*of_this)).scalar_one_or_none()
    if known is None:
        connection.execute(insert(table).values(node_id=node_id, quantity_id=bit, time=time_ms))
    elif known < time_ms:
        connection.execute(update(table).where(*of_this).values(time=time_ms))
