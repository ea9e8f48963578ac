"""What stands behind the current reading of a frame: the window of its parity symbols, and extras (boards/payload.md,
"The rest"). Without I/O; hostile bytes give less, never an exception.
"""

from __future__ import annotations

import dataclasses
import struct

from nest import payload
from nest.payload import PayloadError

WINDOWS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128)  # slots, by window code
WINDOW_CODE, VARIED, STEP, EXTRAS, RESERVED = 0x0F, 0x10, 0x20, 0x40, 0x80  # bits of the header
_AGE, _ANSWER, _UNSENT, _EARLIER, _NONE = 1, 2, 3, 4, 5
UNIT_S = 0.25  # of every age
_AGE_UNKNOWN = 0xFFFFFF
_MORE = 0x80


@dataclasses.dataclass(frozen=True, slots=True)
class Earlier:
    """A reading of the node's log. `session`: JoinNonce & 0xFF; `fcnt`: low 16 bits; `part` 0: the reading that this
    FCnt's frame carried, k: the k-th of the unsent ones before that frame. `age_s`: before the frame that brings it;
    None: the node does not know."""

    session: int
    fcnt: int
    part: int
    age_s: float | None
    codes: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Absent:
    """The node has no reading for `count` FCnts (low 16 bits) from `fcnt` on."""

    session: int
    fcnt: int
    count: int


@dataclasses.dataclass(slots=True)
class Rest:
    """Everything behind a reading. `window`: how many FCnts before this one the symbols cover; `step`: this reading's
    step flag; `parity_set`: bitmap of the varied set, None for a plain one; `symbols`: the bytes of the symbols.
    `damaged`: the extras make no sense from some place on; what was read before stands."""

    window: int = 0
    step: bool = True
    parity_set: bytes | None = None
    symbols: bytes = b""
    age_s: float = 0.0
    answer: tuple[int, int] | None = None  # ticket, result
    unsent: int = 0
    earlier: list[Earlier] = dataclasses.field(default_factory=list)
    none: list[Absent] = dataclasses.field(default_factory=list)
    damaged: bool = False


def has_extras(rest: bytes) -> bool:
    """Whether there is more than parity in `rest`: most frames have not, and need no `read_rest`."""
    return bool(rest) and rest[0] & (EXTRAS | RESERVED) == EXTRAS


def read_rest(rest: bytes) -> Rest:
    """Everything in `Decoded.rest`. Never raises."""
    found = Rest()
    if not rest or rest[0] & RESERVED:
        return found
    header = rest[0]
    at = 1
    if header & EXTRAS:
        end = at + 1 + (rest[at] if at < len(rest) else 0)
        items = rest[at + 1 : end]
        found.damaged = end > len(rest) or not _read_items(items, found)
        at = end
    if header & VARIED:
        start = at
        while at < len(rest) and rest[at] & _MORE:
            at += 1
        at += 1
        if at > len(rest):
            found.damaged = True
            return found
        found.parity_set = rest[start:at]
    found.window = WINDOWS[header & WINDOW_CODE]
    found.step = bool(header & STEP)
    found.symbols = rest[at:]
    return found


def _read_items(items: bytes, found: Rest) -> bool:
    """Read items into `found`; False when they end in the middle of one."""
    at = 0
    try:
        while at < len(items):
            kind = items[at]
            if kind == _AGE:
                found.age_s = struct.unpack_from(">H", items, at + 1)[0] * UNIT_S
                at += 3
            elif kind == _ANSWER:
                found.answer = struct.unpack_from(">BB", items, at + 1)
                at += 3
            elif kind == _UNSENT:
                found.unsent = items[at + 1]
                at += 2
            elif kind == _NONE:
                found.none.append(Absent(*struct.unpack_from(">BHB", items, at + 1)))
                at += 5
            elif kind == _EARLIER:
                at = _read_earlier(items, at + 1, found.earlier)
            else:
                return True  # of a later version
    except (IndexError, struct.error, PayloadError):
        return False
    return True


def _read_earlier(items: bytes, at: int, earlier: list[Earlier]) -> int:
    """Read one block into `earlier`; where it ends. Raises IndexError, struct.error, PayloadError."""
    session, fcnt, part, high, low = struct.unpack_from(">BHBBH", items, at)
    age = high << 16 | low
    start = at = at + 7
    while items[at] & _MORE:
        at += 1
    layout = payload.layout_of(items[start : at + 1])
    count = items[at + 1]
    at += 2
    for index in range(count):
        if index:
            younger = struct.unpack_from(">H", items, at)[0]
            at += 2
            if age != _AGE_UNKNOWN:
                age = max(0, age - younger)
        if at + layout.size > len(items):
            raise IndexError
        codes = payload.unpack(layout, items[at : at + layout.size])
        at += layout.size
        age_s = None if age == _AGE_UNKNOWN else age * UNIT_S
        earlier.append(Earlier(session, fcnt, part, age_s, codes))
        if part:
            part += 1
        else:
            fcnt = (fcnt + 1) & 0xFFFF
    return at
