"""Whom to answer when a whole town asks to join: after a power cut its nodes do so at the same moment.

A JoinRequest that is not answered costs one try: the node asks again, later each time. An answer may cost more. While
a gateway sends it is deaf on all channels and cannot begin another answer. At SF12, which RX2 of a join always has, it
sends for 1.8 s, and twenty such answers are all that the law allows in most sub-bands in an hour. So

- a quick answer (up to SF9) is always given;
- a slow one only while it puts off less than it does: while fewer than one other request is expected in its time;
- a tenth of each sub-band's hour stays free for those who have joined, and slow answers take no more than half of it.

Only good requests are counted, so forged ones keep nobody out; in quiet times everybody is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from nest.lorawan.dedup import Copy
from nest.lorawan.downlinks import Way
from nest.lorawan.schedule import Schedule

JOIN_ACCEPT_SIZE = 33  # bytes, with a CFList
QUICK_US = 250_000
DISPLACED = 1.0  # requests expected during a slow answer
SHARE = 0.9  # of a sub-band's hour
SLOW_SHARE = 0.5
RATE_OVER_S = 15.0
MOST_COUNTED = 64
MOST_GATEWAYS = 256  # remembered; a gateway that hears no JoinRequest is not


class Admission:
    """How many nodes ask at each gateway, and whether an answer is worth its airtime."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._asked: dict[str, deque[float]] = {}

    def heard(self, copies: Sequence[Copy], now: float) -> None:
        """A good JoinRequest, by all who heard it."""
        for copy in copies:
            asked = self._asked.get(copy.frame.gateway)
            if asked is None:
                if len(self._asked) >= MOST_GATEWAYS:
                    self._asked.clear()
                asked = self._asked[copy.frame.gateway] = deque(maxlen=MOST_COUNTED)
            asked.append(now)

    def is_worth_it(self, way: Way, now: float) -> bool:
        """Whether this way of answering may be taken."""
        airtime_us = way.airtime_us(JOIN_ACCEPT_SIZE)
        used = self._schedule.used(way.gateway, way.band, now)
        if airtime_us <= QUICK_US:
            return used < SHARE
        if used > SLOW_SHARE:
            return False
        asked = self._asked.get(way.gateway, ())
        recent = sum(at > now - RATE_OVER_S for at in asked)
        return recent / RATE_OVER_S * airtime_us / 1e6 < DISPLACED
