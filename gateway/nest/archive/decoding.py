"""From frames to readings. `read` is what the journal does with every frame as it stores it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from nest import payload
from nest.archive import codes, schema
from nest.live import ReadingEvent
from nest.lorawan.airtime import airtime_us
from nest.model import Heard

_log = logging.getLogger(__name__)

_ONE_BYTE = 0x80  # a bitmap whose first byte is below this ends there


def read(fport: int | None, content: bytes, slug: str, fcnt: int) -> tuple[int, payload.Decoded | None]:
    """How far a frame comes (schema.DECODED …), and what it carries.

    Whatever a decoder does, the frame is kept; `slug` and `fcnt` name it in the log.
    """
    decoder = _DECODERS.get(fport)
    if decoder is None:
        return schema.NO_READING, None
    try:
        return schema.DECODED, decoder(fport, content)
    except payload.PayloadError as error:
        _log.warning("frame %d of %s is kept but cannot be decoded: %s", fcnt, slug, error)
    except Exception:
        _log.exception("frame %d of %s is kept; its decoder is broken", fcnt, slug)
    return schema.UNDECODABLE, None


def packed(content: bytes, decoded: payload.Decoded) -> bytes:
    """What the archive keeps of a reading (`nest.archive.codes`): in nearly every frame the first bytes."""
    if content[0] < _ONE_BYTE:
        return content[: len(content) - len(decoded.rest)]
    return codes.pack(decoded.codes)  # there may be zero bytes at the end of its bitmap


@functools.lru_cache(maxsize=1024)
def airtime_ms(sf: int, bw_hz: int, size: int) -> int:
    """How long an uplink of `size` bytes was on air, from its beginning to the end of its reception; 0 where that
    cannot be said (no LoRa)."""
    try:
        return (airtime_us(sf, bw_hz, size, crc=True) + 500) // 1000
    except (ValueError, ZeroDivisionError):
        return 0


def told(found: Mapping[str, int]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Values and qualities of a reading, by quantity, in the order of the table of quantities."""
    values: dict[str, float | None] = payload.values(found)  # type: ignore[assignment]  # nobody else holds it
    if len(values) == len(found):
        return values, _all_good(tuple(values))
    return codes.values(found), codes.qualities(found)


@functools.lru_cache(maxsize=256)
def _all_good(names: tuple[str, ...]) -> dict[str, str]:
    """The qualities of a reading without gaps: one for all of its kind, and nobody changes it."""
    return dict.fromkeys(names, codes.GOOD)


def event(slug: str, reading: Row, frame: Row | None = None) -> ReadingEvent:
    """A stored reading as it was told when it came. `reading`: time, origin, delay_ms, codes; `frame`: fcnt and heard,
    None in them where it came another way."""
    values, qualities = told(codes.unpack(reading.codes))
    time, delay_ms = reading.time, reading.delay_ms
    found = ReadingEvent(slug, time / 1000, values, qualities, origin=schema.ORIGIN_NAMES[reading.origin])
    found.heard_at = None if delay_ms is None else (time + delay_ms) / 1000
    if frame is not None and frame.heard is not None:
        found.heard, found.fcnt = heard(frame.heard), frame.fcnt
    return found


def heard(entries: Sequence[Mapping[str, Any]]) -> tuple[Heard, ...]:
    """Who heard a frame, from the column of that name."""
    return tuple(Heard(**entry) for entry in entries)


# what each fPort means; one that is not here is stored and left alone
_DECODERS: dict[int | None, Callable[[int | None, bytes], payload.Decoded]] = {payload.FPORT_READING: payload.decode}
