"""From frames to readings. `read` is what the journal does with every frame as it stores it; the rest is for readings
that come another way, and for frames that an earlier version stored and did not decode.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from nest import payload, quantities
from nest.archive import schema
from nest.live import ReadingEvent
from nest.model import Heard

_log = logging.getLogger(__name__)

_GOOD = schema.QUALITY_NAMES[schema.GOOD]
QUALITY_CODES = {name: code for code, name in schema.QUALITY_NAMES.items()}

Reading = tuple[dict[str, float | None], dict[str, str]]  # values and qualities by quantity


def read(fport: int | None, content: bytes, slug: str, fcnt: int) -> tuple[int, Reading | None]:
    """How far a frame comes (schema.DECODED …) and its reading, in the order of the table of quantities.

    Whatever a decoder does, the frame is kept; `slug` and `fcnt` name it in the log.
    """
    decoder = _DECODERS.get(fport)
    if decoder is None:
        return schema.NO_READING, None
    try:
        decoded = decoder(fport, content)
        if decoded.failed or decoded.out_of_range:
            return schema.DECODED, _with_gaps(decoded)
        values: dict[str, float | None] = decoded.values  # type: ignore[assignment]  # nobody else holds it
        return schema.DECODED, (values, _all_good(tuple(values)))
    except payload.PayloadError as error:
        _log.warning("frame %d of %s is kept but cannot be decoded: %s", fcnt, slug, error)
    except Exception:
        _log.exception("frame %d of %s is kept; its decoder is broken", fcnt, slug)
    return schema.UNDECODABLE, None


@functools.lru_cache(maxsize=256)
def _all_good(names: tuple[str, ...]) -> dict[str, str]:
    """The qualities of a reading without gaps: one for all of its kind, and nobody changes it."""
    return dict.fromkeys(names, _GOOD)


def decode_waiting(connection: Connection, limit: int = 1000) -> int:
    """Decode up to `limit` frames that were stored but not decoded, and have them published; how many there were."""
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
        outcome, reading = read(row.fport, row.payload, row.slug, row.fcnt)
        if reading is not None:
            add_reading(connection, row.node_id, row.time, *reading, frame_id=row.id)
        connection.execute(update(frames).where(frames.c.id == row.id).values(decoded=outcome))
    return len(rows)


def add_reading(
    connection: Connection,
    node_id: int,
    time_ms: int,
    values: Mapping[str, float | None],
    qualities: Mapping[str, str],
    *,
    frame_id: int | None = None,
) -> None:
    """Write one reading, a row per quantity, in the place of any that stand at that moment; and have it published."""
    table = schema.readings
    connection.execute(delete(table).where(table.c.node_id == node_id, table.c.time == time_ms, _any_quantity()))
    rows: list[dict[str, Any]] = [
        {
            "node_id": node_id,
            "quantity_id": quantities.by_name()[name].bit,
            "time": time_ms,
            "value": value,
            "quality": QUALITY_CODES[qualities[name]],
        }
        for name, value in values.items()
    ]
    if rows:
        connection.execute(insert(table), rows)
    connection.execute(insert(schema.outbox).values(node_id=node_id, time=time_ms, frame_id=frame_id))


def event(slug: str, time_ms: int, frame: Row, rows: Sequence[tuple[int, float | None, int]]) -> ReadingEvent:
    """A stored reading as it was told when it came. `rows`: (quantity, value, quality); `frame`: fcnt and heard, both
    None where it came another way."""
    values: dict[str, float | None] = {}
    qualities: dict[str, str] = {}
    for bit, value, quality in sorted(rows):
        quantity = quantities.by_bit().get(bit)
        if quantity is not None:  # else one that is not in the table any more
            values[quantity.name], qualities[quantity.name] = value, schema.QUALITY_NAMES[quality]
    if frame.heard is None:
        return ReadingEvent(slug, time_ms / 1000, values, qualities)
    return ReadingEvent(slug, time_ms / 1000, values, qualities, heard(frame.heard), frame.fcnt)


def heard(entries: Sequence[Mapping[str, Any]]) -> tuple[Heard, ...]:
    """Who heard a frame, from the column of that name."""
    return tuple(Heard(**entry) for entry in entries)


def _any_quantity() -> Any:
    """Lets the database use the key (node, quantity, time) instead of looking at all of a node's readings."""
    return schema.readings.c.quantity_id.in_(list(quantities.by_bit()))


def _with_gaps(decoded: payload.Decoded) -> Reading:
    values: dict[str, float | None] = {}
    qualities: dict[str, str] = {}
    for name in quantities.by_name():
        if name in decoded.values:
            values[name], qualities[name] = decoded.values[name], _GOOD
        elif name in decoded.failed:
            values[name], qualities[name] = None, schema.QUALITY_NAMES[schema.FAILED]
        elif name in decoded.out_of_range:
            values[name], qualities[name] = None, schema.QUALITY_NAMES[schema.OUT_OF_RANGE]
    return values, qualities


# what each fPort means; one that is not here is stored and left alone
_DECODERS: dict[int | None, Callable[[int | None, bytes], payload.Decoded]] = {payload.FPORT_READING: payload.decode}
