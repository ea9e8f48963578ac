"""Healing while the nest runs: looks at every frame that has been stored, and tells which lost readings it has brought
back. What it forgets (a restart, too much to remember) it finds again in the archive: a recovered reading is stored
like any other, and asking for it twice does no harm.

A session costs memory and time only while frames of it are missing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable

from nest import payload
from nest.archive import schema
from nest.archive.changes import Change, CloseGap, StoreRecovered
from nest.extras import has_extras, read_rest
from nest.healing import KEEP, Healer, Recovered
from nest.payload import FPORT_READING, PayloadError

_log = logging.getLogger(__name__)

Key = tuple[bytes, int]  # DevEUI, JoinNonce
Frame = tuple[int, bytes, int | None]  # FCnt, FRMPayload, FPort

MOST_SESSIONS = 2000  # with about 30 kB each at most


class _Session:
    """`healer` is None while nothing is missing. `whole`: frames since the last one that was."""

    __slots__ = ("healer", "newest", "whole")

    def __init__(self) -> None:
        self.newest, self.whole = -1, 0
        self.healer: Healer | None = None


class Recovery:
    """The healers of a town. `recent(key, count)`: the frames of a session that the archive has among its last `count`
    FCnts, by FCnt."""

    def __init__(self, recent: Callable[[Key, int], Iterable[Frame]]) -> None:
        self._recent = recent
        self._sessions: OrderedDict[Key, _Session] = OrderedDict()

    def take(self, stored: Iterable[tuple[Key, int, bytes, int | None]]) -> list[Change]:
        """Look at frames that have just been stored; what is to be stored of them."""
        wanted: list[Change] = []
        for key, fcnt, content, fport in stored:
            try:
                self._look(key, (fcnt, content, fport), wanted)
            except Exception:  # no reading is lost by it, and no frame
                _log.exception("healing of %s begins anew", key[0].hex())
                self._sessions.pop(key, None)
        return wanted

    def _look(self, key: Key, frame: Frame, wanted: list[Change]) -> None:
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session()
            self._begin(key, session, wanted)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
            return
        self._sessions.move_to_end(key)
        fcnt = frame[0]
        expected = fcnt == session.newest + 1
        if session.healer is None:
            if expected:
                session.newest = fcnt
            else:
                self._begin(key, session, wanted)
            return
        session.newest = max(session.newest, fcnt)
        session.whole = session.whole + 1 if expected else 0
        _tell(key, _heal(session.healer, key, session.newest, frame), wanted)
        if session.whole > KEEP:
            session.healer = None

    def _begin(self, key: Key, session: _Session, wanted: list[Change]) -> None:
        """See from the archive what is missing; the frame in question is there already."""
        frames = [*self._recent(key, KEEP)]
        if not frames:
            return
        newest = session.newest = frames[-1][0]
        session.whole = 0
        if frames[-1][0] - frames[0][0] + 1 == len(frames) and (len(frames) == KEEP or frames[0][0] == 0):
            return
        session.healer = Healer()
        for frame in frames:
            _tell(key, _heal(session.healer, key, newest, frame), wanted)


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
