"""Healing while the nest runs: looks at every frame that has been stored, and tells which lost readings it has brought
back. What it forgets (a restart, too much to remember) it finds again in the archive: a recovered reading is stored
like any other, and asking for it twice does no harm.

A session costs memory and time only while frames of it are missing. To begin with one costs as much as hundreds of
frames, and after a restart all begin at once: so that is done in slices, and those that wait their turn wait in line.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError

from nest import payload
from nest.archive import schema
from nest.archive.changes import Change, CloseGap, StoreRecovered
from nest.extras import has_extras, read_rest
from nest.healing import KEEP, Healer, Recovered
from nest.payload import FPORT_READING, PayloadError

_log = logging.getLogger(__name__)

Key = tuple[bytes, int]  # DevEUI, JoinNonce
Frame = tuple[int, bytes, int | None]  # FCnt, FRMPayload, FPort
Stored = tuple[Key, int, bytes, int | None]  # whose it is, and the same

MOST_SESSIONS = 50_000  # of a few hundred bytes each …
MOST_HEALERS = 2000  # … and of these so many with a healer, about 35 kB each


class _Session:
    """`healer` is None while nothing is missing. `whole`: frames since the last one that was. `todo`: frames of the
    archive that the healer has still to see; what comes meanwhile waits behind them."""

    __slots__ = ("healer", "newest", "todo", "whole")

    def __init__(self) -> None:
        self.newest, self.whole = -1, 0
        self.healer: Healer | None = None
        self.todo: deque[Frame] = deque()


class Recovery:
    """The healers of a town. `recent(key, count)`: the frames of a session that the archive has among its last `count`
    FCnts, by FCnt. `clock` counts seconds."""

    def __init__(
        self, recent: Callable[[Key, int], Iterable[Frame]], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._recent, self._clock = recent, clock
        self._sessions: OrderedDict[Key, _Session] = OrderedDict()  # the one heard last is the last
        self._healing: OrderedDict[Key, None] = OrderedDict()  # those with a healer, in the same order
        self._waiting: OrderedDict[Key, None] = OrderedDict()  # those that begin, in the order of their turns

    @property
    def waiting(self) -> int:
        """How many sessions have still to be seen from the archive."""
        return len(self._waiting)

    def take(self, stored: Iterable[Stored], seconds: float = math.inf) -> list[Change]:
        """Look at frames that have just been stored; what is to be stored of them, and of those that wait: on these it
        spends `seconds`, or hardly more."""
        wanted: list[Change] = []
        for key, fcnt, content, fport in stored:
            try:
                self._look(key, (fcnt, content, fport), wanted)
            except Exception:
                self._anew(key)
        if self._waiting and seconds > 0:
            end = self._clock() + seconds
            while self._waiting and self._clock() < end:
                key = next(iter(self._waiting))
                try:
                    self._catch_up(key, self._sessions[key], end, wanted)
                except SQLAlchemyError as error:  # they come again with their next frames
                    _log.warning("the archive cannot be read now; healing waits: %s", type(error).__name__)
                    for waiting in [*self._waiting]:
                        self._forget(waiting)
                except Exception:
                    self._anew(key)
        return wanted

    def _anew(self, key: Key) -> None:
        """No reading is lost by it, and no frame."""
        _log.exception("healing of %s begins anew", key[0].hex())
        self._forget(key)

    def _look(self, key: Key, frame: Frame, wanted: list[Change]) -> None:
        session = self._sessions.get(key)
        if session is None:
            self._sessions[key] = _Session()
            self._waiting[key] = None
            if len(self._sessions) > MOST_SESSIONS:
                self._forget(next(iter(self._sessions)))
            return
        self._sessions.move_to_end(key)
        if key in self._waiting:
            if session.healer is not None:
                session.todo.append(frame)
            return  # else it will be found in the archive
        fcnt = frame[0]
        if session.healer is None:
            if fcnt == session.newest + 1:
                session.newest = fcnt
            elif fcnt != session.newest:
                self._waiting[key] = None
            return
        self._healing.move_to_end(key)
        self._heal(key, session, session.healer, frame, wanted)

    def _heal(self, key: Key, session: _Session, healer: Healer, frame: Frame, wanted: list[Change]) -> None:
        fcnt = frame[0]
        session.whole = session.whole + 1 if fcnt == session.newest + 1 else 0
        session.newest = max(session.newest, fcnt)
        _tell(key, _heal(healer, key, session.newest, frame), wanted)
        if session.whole > KEEP and not session.todo:
            session.healer = None
            del self._healing[key]

    def _catch_up(self, key: Key, session: _Session, end: float, wanted: list[Change]) -> None:
        """See from the archive what is missing; frames that were taken are there already."""
        if session.healer is None:
            frames = [*self._recent(key, KEEP)]
            whole = bool(frames) and frames[-1][0] - frames[0][0] + 1 == len(frames)
            if not frames or (whole and (len(frames) == KEEP or frames[0][0] == 0)):
                session.newest = frames[-1][0] if frames else -1
                del self._waiting[key]
                return
            session.healer, session.whole, session.newest = Healer(), 0, frames[-1][0]
            session.todo.extend(frames)
            self._healing[key] = None
            if len(self._healing) > MOST_HEALERS:
                self._forget(next(iter(self._healing)))
        while session.todo:
            self._heal(key, session, session.healer, session.todo.popleft(), wanted)
            if session.healer is None or self._clock() >= end:
                break
        if not session.todo:
            del self._waiting[key]

    def _forget(self, key: Key) -> None:
        self._sessions.pop(key, None)
        self._healing.pop(key, None)
        self._waiting.pop(key, None)


def _heal(healer: Healer, key: Key, newest: int, frame: Frame) -> list[Recovered]:
    fcnt, content, fport = frame
    if fport != FPORT_READING:
        healer.silent(fcnt)
        return []
    try:
        decoded = payload.decode(fport, content)
    except PayloadError:
        healer.silent(fcnt)
        return []
    found = healer.heard(fcnt, decoded.codes, decoded.rest)
    if has_extras(decoded.rest):  # what the node's log tells helps to find what lies beside it
        for record in read_rest(decoded.rest).earlier:
            if record.session == key[1] & 0xFF and record.part == 0:
                found += healer.known(newest - ((newest - record.fcnt) & 0xFFFF), record.codes)
    return found


def _tell(key: Key, found: list[Recovered], wanted: list[Change]) -> None:
    for one in found:
        if one.codes:
            wanted.append(StoreRecovered(*key, one.fcnt, one.codes))
        else:
            wanted.append(CloseGap(*key, one.fcnt, 0, schema.NEVER_WAS))
