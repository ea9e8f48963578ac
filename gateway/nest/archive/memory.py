"""What the journal remembers from one transaction to the next, so that a frame costs no question to the database."""

from __future__ import annotations

import functools

from nest import payload
from nest.archive import codes
from nest.model import Heard

MOST_SESSIONS = 4096  # remembered, and four for each node: a node that joins often has many behind it
RECENT = 4096  # frames whose receptions are remembered, so that a further copy needs no look into the database


_NEVER = -1 << 62  # before any moment


@functools.lru_cache(maxsize=256)
def _names(bitmap: bytes) -> tuple[str, ...]:
    return tuple(quantity.name for quantity in payload.presence(bitmap))


class Line:
    """The moments (ms) that a node has used up in one table: all from `run` to `newest`, and none behind that."""

    __slots__ = ("newest", "run")

    def __init__(self, newest: int) -> None:
        self.run = self.newest = newest


class Node:
    """What the journal remembers of a node. `names`: the quantities of its newest reading, as far as known."""

    __slots__ = ("dev_eui", "frames", "id", "names", "readings", "slug")

    def __init__(self, dev_eui: bytes, number: int, slug: str, newest: int) -> None:
        self.dev_eui, self.id, self.slug = dev_eui, number, slug
        self.frames = Line(newest)
        self.readings: Line | None = None  # not asked for yet
        self.names: tuple[str, ...] = ()

    def loaded(self, time: int | None, packed: bytes | None) -> Line:
        """Its newest reading is this one; None: it has none."""
        self.names = () if packed is None else _names(codes.bitmap(packed))
        self.readings = Line(_NEVER if time is None else time)
        return self.readings


class Session:
    """What the journal remembers of a session; whether it has ended is asked for each time.

    `fcnt`: of its newest frame, -1 before the first; `time`: when that reading was measured (ms), None: not asked yet.
    """

    __slots__ = ("fcnt", "id", "key", "node", "time")

    def __init__(self, number: int, key: tuple[bytes, int], node: Node, fcnt: int) -> None:
        self.id, self.key, self.node, self.fcnt = number, key, node, fcnt
        self.time: int | None = None


class Frame:
    """A frame that was stored lately, or will be with this burst (then it has no `id` yet)."""

    __slots__ = ("heard", "id")

    def __init__(self, number: int, heard: tuple[Heard, ...]) -> None:
        self.id, self.heard = number, heard


class Memory:
    """What stays from one transaction to the next. After one that was rolled back it is empty."""

    def __init__(self) -> None:
        self._changes: int | None = None
        self.clear()

    def clear(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.sessions: dict[tuple[bytes, int], Session] = {}
        self.recent: dict[tuple[Session, int], Frame] = {}
        self.older: dict[tuple[Session, int], Frame] = {}
        self.marked: set[tuple[int, int]] = set()  # (node, day) that are dirty

    def look_around(self, changes: int) -> None:
        """In a transaction: another connection has written when `changes` is another number than last time. Frames and
        sessions are ours alone, but readings come from other sources as well, and days are written by others."""
        if changes != self._changes:
            self._changes = changes
            self.marked.clear()
            for node in self.nodes.values():
                node.readings = None

    def committed(self) -> None:
        """A transaction is on the disk: frames that are no longer recent may be forgotten, and all of it when most
        sessions are of the past."""
        if len(self.sessions) > MOST_SESSIONS + 4 * len(self.nodes):
            self.clear()
        if len(self.recent) > RECENT:
            self.recent, self.older = {}, self.recent
