"""Orders to a node: commands as the bytes of fPort 2, and back (boards/payload.md, fPort 2, down). Pure.

    ticket u8 (never 0) | command, command, …

Each command is its number and its fields, big-endian. The node carries them out in their order; one that it does not
know or cannot do refuses itself and everything behind it. The ticket comes back in the next uplink, with 0 (all done)
or the place (from 1) of the command that was refused.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

FPORT = 2
MOST_BYTES = 51  # what every data rate of EU868 carries (RP002-1.0.4 section 2.4.6)
MOST_RANGES = 10  # so many fit in one downlink beside one of each other command
INTERVAL_S = (5, 65535)
MOST_PARITY = 4
LONGEST_RANGE = 255
TICKETS = 255


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Range:
    """`count` FCnts from `first` (its low 16 bits) on, of the session whose JoinNonce ends in the byte `session`."""

    session: int
    first: int
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """Measure and send every so many seconds."""

    seconds: int
    kind: ClassVar[str] = "interval"

    def fields(self) -> bytes:
        return struct.pack(">H", _within(self.seconds, *INTERVAL_S))


@dataclasses.dataclass(frozen=True, slots=True)
class Parity:
    """So many parity symbols in each frame."""

    symbols: int
    kind: ClassVar[str] = "parity"

    def fields(self) -> bytes:
        return bytes([_within(self.symbols, 0, MOST_PARITY)])


@dataclasses.dataclass(frozen=True, slots=True)
class Confirmed:
    """Ask for an acknowledgement of every frame, or of none."""

    on: bool
    kind: ClassVar[str] = "confirmed"

    def fields(self) -> bytes:
        return bytes([bool(self.on)])


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """Send these readings again, from the node's log. Takes the place of what was asked for before."""

    ranges: tuple[Range, ...]
    kind: ClassVar[str] = "log"

    def fields(self) -> bytes:
        parts = [bytes([_within(len(self.ranges), 0, MOST_RANGES)])]
        for one in self.ranges:
            session, first = _within(one.session, 0, 255), _within(one.first, 0, 65535)
            parts.append(struct.pack(">BHB", session, first, _within(one.count, 1, LONGEST_RANGE)))
        return b"".join(parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Restart:
    """Start anew, after the uplink that says so."""

    kind: ClassVar[str] = "restart"

    def fields(self) -> bytes:
        return b""


Command = Interval | Parity | Confirmed | Log | Restart

# of the commands, by their names
NUMBERS: dict[str, int] = {"interval": 1, "parity": 2, "confirmed": 3, "log": 4, "restart": 5}


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """What a downlink says. `rest`: from the first command on that makes no sense; nothing behind it can be read."""

    ticket: int
    commands: tuple[Command, ...]
    rest: bytes = b""


def encode(ticket: int, commands: Sequence[Command]) -> bytes:
    """The FRMPayload. Raises ValueError: a ticket or a field that cannot be written, more than `MOST_BYTES`."""
    parts = [bytes([_within(ticket, 1, TICKETS)])]
    for command in commands:
        parts += (bytes([NUMBERS[command.kind]]), command.fields())
    payload = b"".join(parts)
    if len(payload) > MOST_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MOST_BYTES} can be sent")
    return payload


def decode(payload: bytes) -> Decoded:
    """Never raises: what makes no sense is `rest`. Ticket 0: there is none."""
    if not payload:
        return Decoded(0, ())
    commands: list[Command] = []
    at = 1
    while at < len(payload):
        read = _READERS.get(payload[at])
        found = None if read is None else read(payload[at + 1 :])
        if found is None:
            break
        command, size = found
        commands.append(command)
        at += 1 + size
    return Decoded(payload[0], tuple(commands), payload[at:])


def to_json(command: Command) -> dict[str, Any]:
    """As it stands in the archive."""
    match command:
        case Interval(seconds):
            return {"seconds": seconds}
        case Parity(symbols):
            return {"symbols": symbols}
        case Confirmed(on):
            return {"on": on}
        case Log(ranges):
            return {"ranges": [[one.session, one.first, one.count] for one in ranges]}
        case Restart():
            return {}


def from_json(kind: str, value: Mapping[str, Any]) -> Command:
    """The opposite. Raises LookupError, TypeError, ValueError where it is none."""
    match kind:
        case "interval":
            return Interval(int(value["seconds"]))
        case "parity":
            return Parity(int(value["symbols"]))
        case "confirmed":
            return Confirmed(bool(value["on"]))
        case "log":
            return Log(tuple(Range(*map(int, one)) for one in value["ranges"]))
        case "restart":
            return Restart()
    raise LookupError(kind)


def _within(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ValueError(f"{value} is not within {least} to {most}")
    return value


def _read_interval(fields: bytes) -> tuple[Interval, int] | None:
    if len(fields) < 2:
        return None
    (seconds,) = struct.unpack_from(">H", fields)
    return (Interval(seconds), 2) if seconds >= INTERVAL_S[0] else None


def _read_parity(fields: bytes) -> tuple[Parity, int] | None:
    return (Parity(fields[0]), 1) if fields and fields[0] <= MOST_PARITY else None


def _read_confirmed(fields: bytes) -> tuple[Confirmed, int] | None:
    return (Confirmed(fields[0] == 1), 1) if fields and fields[0] <= 1 else None


def _read_log(fields: bytes) -> tuple[Log, int] | None:
    if not fields or len(fields) < 1 + 4 * fields[0]:
        return None
    size = 1 + 4 * fields[0]
    if fields[0] > MOST_RANGES:  # no node takes so many
        return None
    ranges = tuple(Range(*one) for one in struct.iter_unpack(">BHB", fields[1:size]))
    return (Log(ranges), size) if all(one.count for one in ranges) else None


_READERS: dict[int, Any] = {
    1: _read_interval,
    2: _read_parity,
    3: _read_confirmed,
    4: _read_log,
    5: lambda _: (Restart(), 0),
}
