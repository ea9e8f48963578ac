"""The readings in a node's own log, from the files of its folder `log`: every one that it took, heard or not.

The files are read by `spatz.logfile`; the moments are described in firmware/node/sync.py, the values in
boards/payload.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from nest.payload import FAILED, FPORT_READING, PayloadError, decode, values

from spatz.logfile import read_log_file

NOWHERE = (0xFF, 0xFFFF)
_SLOT = struct.Struct(">BH")
_READING = struct.Struct(">BHIB")
_KNOWN = 0x80
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stored:
    """One reading. at: UTC, None when the node did not know the time; start, start_s: the number of the start it was
    taken in, and node time then, seconds; frame: (session, FCnt) of the frame it went with, None before the first join.
    values: quantity -> number in its unit; failed, out_of_range: quantities without one."""

    at: datetime | None
    start: int
    start_s: float | None
    frame: tuple[int, int] | None
    values: Mapping[str, float]
    failed: tuple[str, ...] = ()
    out_of_range: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "time": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if self.at else None,
            "start": self.start,
            "start_s": self.start_s,
            "session": self.frame[0] if self.frame else None,
            "fcnt": self.frame[1] if self.frame else None,
            "values": dict(self.values),
            "failed": list(self.failed),
            "out_of_range": list(self.out_of_range),
        }


@dataclass(slots=True)
class _Record:
    slot: tuple[int, int]
    when: int
    flags: int
    payload: bytes = field(repr=False)


def readings(files: Mapping[str, bytes]) -> list[Stored]:
    """All readings in the order in which they were taken. files: path -> content, as many as there are."""
    found: list[_Record] = []
    for body in _bodies_in_order(files):
        slot = _SLOT.unpack_from(body)
        if len(body) > _READING.size:
            when, flags = struct.unpack_from(">IB", body, _SLOT.size)
            found.append(_Record(slot, when, flags, body[_READING.size :]))
        elif len(body) == _SLOT.size and found:  # amends the reading before it
            found[-1].slot = slot
    return [stored for record in found if (stored := _stored(record))]


def _stored(record: _Record) -> Stored | None:
    try:
        decoded = decode(FPORT_READING, record.payload)
    except PayloadError:
        return None
    known = bool(record.flags & _KNOWN)
    seconds = record.when / 4
    return Stored(
        at=_EPOCH + timedelta(seconds=seconds) if known else None,
        start=record.flags & ~_KNOWN,
        start_s=None if known else seconds,
        frame=None if record.slot == NOWHERE else record.slot,
        values=values(decoded.codes),
        failed=tuple(name for name, code in decoded.codes.items() if code == FAILED),
        out_of_range=tuple(sorted(decoded.out_of_range)),
    )


def _bodies_in_order(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """What is in all good records, from the oldest file to the newest."""
    found = {file.number: file for data in files.values() if (file := read_log_file(data))}
    for _, file in sorted(found.items()):
        for _, body in file.records:
            yield body
