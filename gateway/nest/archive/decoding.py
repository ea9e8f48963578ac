"""From stored frames to readings: repeatable, and apart from the storing.

A frame whose decoding was cut off (the process died, the decoder knew less) is decoded by the next start; decoding one
again replaces its readings with the same ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from nest import payload, quantities
from nest.archive import schema
from nest.live import ReadingEvent
from nest.model import Heard

_log = logging.getLogger(__name__)


def decode_frame(connection: Connection, frame_id: int) -> ReadingEvent | None:
    """Decode one stored frame and write its readings; None where it carries none."""
    return _decode(connection, connection.execute(_frames().where(schema.frames.c.id == frame_id)).one())


def decode_waiting(connection: Connection, limit: int = 1000) -> int:
    """Decode up to `limit` frames that were stored but not decoded; how many there were."""
    rows = connection.execute(_frames().where(schema.frames.c.decoded == schema.NOT_DECODED).limit(limit)).all()
    for row in rows:
        _decode(connection, row)
    return len(rows)


def add_reading(
    connection: Connection, node_id: int, time_ms: int, values: Mapping[str, float | None], qualities: Mapping[str, str]
) -> None:
    """Write one reading: a row per quantity, in the place of any that stand at that moment."""
    table, codes = schema.readings, {name: code for code, name in schema.QUALITY_NAMES.items()}
    connection.execute(delete(table).where(table.c.node_id == node_id, table.c.time == time_ms, _any_quantity()))
    rows: list[dict[str, Any]] = [
        {
            "node_id": node_id,
            "quantity_id": quantities.by_name()[name].bit,
            "time": time_ms,
            "value": value,
            "quality": codes[qualities[name]],
        }
        for name, value in values.items()
    ]
    if rows:
        connection.execute(insert(table), rows)


def _any_quantity() -> Any:
    """Lets the database use the key (node, quantity, time) instead of looking at all of a node's readings."""
    return schema.readings.c.quantity_id.in_(list(quantities.by_bit()))


def _frames() -> Any:
    frames, nodes = schema.frames, schema.nodes
    return select(frames, nodes.c.slug).join(nodes, nodes.c.id == frames.c.node_id).order_by(frames.c.id)


def _decode(connection: Connection, row: Row) -> ReadingEvent | None:
    event: ReadingEvent | None = None
    outcome = schema.NO_READING
    decoder = _DECODERS.get(row.fport)
    if decoder is not None:
        try:
            values, qualities = _reading(decoder(row.fport, row.payload))
        except payload.PayloadError as error:
            _log.warning("frame %d of %s is kept but cannot be decoded: %s", row.id, row.slug, error)
            outcome = schema.UNDECODABLE
        else:
            add_reading(connection, row.node_id, row.time, values, qualities)
            outcome = schema.DECODED
            heard = tuple(Heard(**entry) for entry in row.heard)
            event = ReadingEvent(row.slug, row.time / 1000, values, qualities, heard, row.fcnt)
    frames = schema.frames
    connection.execute(update(frames).where(frames.c.id == row.id).values(decoded=outcome))
    return event


def _reading(decoded: payload.Decoded) -> tuple[dict[str, float | None], dict[str, str]]:
    """Values and qualities by quantity, in the order of the table of quantities."""
    values: dict[str, float | None] = {}
    qualities: dict[str, str] = {}
    for name in quantities.by_name():
        if name in decoded.values:
            values[name], qualities[name] = decoded.values[name], schema.QUALITY_NAMES[schema.GOOD]
        elif name in decoded.failed:
            values[name], qualities[name] = None, schema.QUALITY_NAMES[schema.FAILED]
        elif name in decoded.out_of_range:
            values[name], qualities[name] = None, schema.QUALITY_NAMES[schema.OUT_OF_RANGE]
    return values, qualities


# what each fPort means; one that is not here is stored and left alone
_DECODERS: dict[int | None, Callable[[int | None, bytes], payload.Decoded]] = {payload.FPORT_READING: payload.decode}
