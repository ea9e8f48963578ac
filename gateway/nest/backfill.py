"""What to ask a node for: which of its missing readings, and when; and how many parity symbols it shall send. Pure.

Parity heals most of what was lost (nest.healing), and costs no downlink. So a gap is asked for only when parity cannot
heal it any more:

- its session has ended, or so many frames have come since that none will cover it any more, or it stands for days;
- it is part of a run so long that the symbols behind it say less than is missing: a gateway was silent. All of that run
  is asked for at once, as soon as its frames have had the time to come late (a gateway may have held them back);
- it is a reading that the node never sent (`part` > 0): no symbol knows of it.

One request asks for everything that can be asked for, because the node forgets what an earlier one asked for. What does
not come is asked for again after twice the time. Few gaps wait for others, for half a day. What the node's log cannot
have any more is given up.

Downlinks are scarce: a gateway that sends is deaf, and public networks allow 10 in a day. The limits below hold
whatever happens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from nest.orders import LONGEST_RANGE, MOST_RANGES, Range

HOUR_S, DAY_S = 3600.0, 86400.0

MOST_A_DAY = 10  # downlinks to a node in any 24 h, whoever ordered them
OWN_A_DAY = 6  # of these, ours: the rest is for people
OWN_A_WEEK = 12  # ours in any 7 days: on average less than 2 a day, however long

WINDOW = 128  # FCnts before a frame that its parity can cover (boards/payload.md)
MARGIN = 8  # frames by which a gap is past healing before it is called so
STANDS_S = DAY_S  # a gap that stands so long, and `STANDS_FRAMES`, is not waited for any longer
STANDS_FRAMES = 48
TOO_LONG_S = 3 * DAY_S  # or so long, with however few frames
LONG_RUN = 24, 48  # a run of fewer missing frames is waited for; one of as many, whatever symbols could say, is not
USE = 0.75  # how much of what symbols could say at best they are trusted to say

SETTLE_S = 0.5 * HOUR_S  # a gap is this old when it is asked for: a gateway may bring what it held back
FEW = 8  # fewer gaps than these wait for others
BATCH_S = 12 * HOUR_S  # for so long after the last request
SPACING_S = HOUR_S  # between two requests
SPACING_FRAMES = 4
AGAIN_S = 2 * HOUR_S  # what did not come is asked for again after this, then after twice as long …
AGAIN_FRAMES = 8
AGAIN_MOST_S = 2 * DAY_S  # … but not more
ARRIVING_FRAMES = 6  # the node is not done while an earlier reading came within so many of its intervals
LOG_S = 30 * DAY_S  # what the node's log remembers

NEAR = 2  # so many FCnts that are not missing may stand between two gaps of one range
FAR = 32  # so many where there would be too many ranges else

LOSSY, CALM = 0.35, 0.20  # of frames lost: from here on two symbols; below it for a day, one again
OUTAGE = 24  # frames missing in a row: no loss that a symbol more would mend
LEAST_SLOTS = 50  # fewer say nothing about loss


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """A reading that is missing. `session` is the JoinNonce; times are Unix s. `asked`: how often it was asked for."""

    session: int
    fcnt: int
    part: int
    time: float
    opened_at: float
    asked: int = 0
    asked_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a node at `now` (Unix s).

    `session`: JoinNonce of its session, `newest`: the newest FCnt heard in it. `loss`: share of frames lost lately,
    `steady`: at most so much for a day (None: nothing is known). `parity`: symbols it was told to send; None: people
    have chosen, hands off. `downlinks`, `own`: when all, and ours, of the last 7 days went out; what waits counts as
    now. `waiting`: a request waits for the node's next uplink. `requested_at`: when the last one was made,
    `arrived_at`: when an earlier reading came last.
    """

    now: float
    session: int
    newest: int
    interval_s: float
    loss: float | None = None
    steady: float | None = None
    parity: int | None = 1
    downlinks: Sequence[float] = ()
    own: Sequence[float] = ()
    waiting: bool = False
    requested_at: float | None = None
    arrived_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: ask for `ranges`, which hold the gaps `asked`; set `parity`; give up `lost`."""

    ranges: tuple[Range, ...] = ()
    asked: tuple[Gap, ...] = ()
    parity: int | None = None
    lost: tuple[Gap, ...] = ()


def plan(gaps: Iterable[Gap], at: Situation) -> Plan:
    """At most one downlink's worth. `gaps`: all open ones of the node, in any order."""
    ordered = sorted(gaps, key=_place)
    lost = tuple(gap for gap in ordered if at.now - gap.time > LOG_S)
    if not may_send(at):
        return Plan(lost=lost)
    parity = wanted_parity(at)
    past = [gap for gap in past_healing(ordered, at) if at.now - gap.time <= LOG_S]
    if not _is_time(past, at):
        return Plan(parity=parity, lost=lost)
    ranges = ranges_of(past)
    return Plan(ranges, tuple(gap for gap in past if _within(gap, ranges)), parity, lost)


def may_send(at: Situation) -> bool:
    """Whether the limits allow one downlink more of ours."""
    a_day, a_week = at.now - DAY_S, at.now - 7 * DAY_S
    return (
        sum(moment > a_day for moment in at.downlinks) < MOST_A_DAY
        and sum(moment > a_day for moment in at.own) < OWN_A_DAY
        and sum(moment > a_week for moment in at.own) < OWN_A_WEEK
    )


def past_healing(gaps: Sequence[Gap], at: Situation) -> list[Gap]:
    """Those of `gaps` (in order) that parity will not fill, and whose frames have had time to come late."""
    longest = _longest_run(at)
    found: list[Gap] = []
    run: list[Gap] = []
    for gap in gaps:
        if gap.part or gap.session != at.session or _stands(gap, at):
            found.append(gap)
        elif run and gap.fcnt == run[-1].fcnt + 1:
            run.append(gap)
        else:
            found += run if len(run) >= longest else []
            run = [gap]
    found += run if len(run) >= longest else []
    return sorted((gap for gap in found if at.now - gap.opened_at >= SETTLE_S), key=_place)


def ranges_of(gaps: Sequence[Gap]) -> tuple[Range, ...]:
    """The gaps (in order) as at most `MOST_RANGES` ranges. What lies near is put together, for what the node has not is
    cheap to say; what does not fit is left to the next request, the youngest first."""
    spans: list[tuple[int, int, int]] = []  # session, first, last
    for gap in gaps:
        if spans and _joins(spans[-1], (gap.session, gap.fcnt, gap.fcnt), NEAR):
            spans[-1] = (gap.session, spans[-1][1], gap.fcnt)
        else:
            spans.append((gap.session, gap.fcnt, gap.fcnt))
    while len(spans) > MOST_RANGES:
        pairs = [index for index in range(len(spans) - 1) if _joins(spans[index], spans[index + 1], FAR)]
        if not pairs:
            break
        nearest = min(pairs, key=lambda index: spans[index + 1][1] - spans[index][2])
        spans[nearest : nearest + 2] = [(spans[nearest][0], spans[nearest][1], spans[nearest + 1][2])]
    return tuple(
        Range(session & 0xFF, first & 0xFFFF, last - first + 1) for session, first, last in spans[:MOST_RANGES]
    )


def wanted_parity(at: Situation) -> int | None:
    """How many symbols the node shall send from now on; None: as it does."""
    if at.parity is None:
        return None
    if at.loss is not None and at.loss > LOSSY and at.parity < 2:
        return 2
    if at.steady is not None and at.steady < CALM and at.parity > 1:
        return 1
    return None


def loss(fcnts: Sequence[int], newest: int, oldest: int) -> float | None:
    """The share of frames `oldest` to `newest` that is not among `fcnts` (rising). Outages do not count; None where
    too few are left to say."""
    slots = heard = 0
    before = oldest - 1
    for fcnt in (*fcnts, newest + 1):
        hole = fcnt - before - 1
        slots += (0 if hole >= OUTAGE else hole) + (fcnt <= newest)
        heard += fcnt <= newest
        before = fcnt
    return None if slots < LEAST_SLOTS else 1 - heard / slots


def _place(gap: Gap) -> tuple[int, int, int]:
    return gap.session, gap.fcnt, gap.part


def _stands(gap: Gap, at: Situation) -> bool:
    """Whether no frame to come will cover this gap, or it was waited for long enough."""
    behind, age_s = at.newest - gap.fcnt, at.now - gap.time
    if behind > WINDOW + MARGIN or age_s > TOO_LONG_S:
        return True
    return age_s > STANDS_S and behind > STANDS_FRAMES


def _longest_run(at: Situation) -> float:
    """From how many missing in a row on parity is not waited for: the frames behind the run that cover it are at most
    `WINDOW`; each that is heard says `parity` readings' worth, each that is lost is one more to be found."""
    lost = 0.0 if at.loss is None else at.loss
    says = WINDOW * ((1 if at.parity is None else at.parity) * (1 - lost) - lost)
    return min(max(LONG_RUN[0], USE * says), LONG_RUN[1])


def _is_time(past: Sequence[Gap], at: Situation) -> bool:
    if not past or at.waiting:
        return False
    since_s = None if at.requested_at is None else at.now - at.requested_at
    if since_s is not None and since_s < max(SPACING_S, SPACING_FRAMES * at.interval_s):
        return False
    fresh = sum(not gap.asked for gap in past)
    if fresh >= FEW or (fresh and (since_s is None or since_s >= BATCH_S)):
        return True
    if at.arrived_at is not None and at.now - at.arrived_at < ARRIVING_FRAMES * at.interval_s:
        return False
    return any(gap.asked and at.now >= (gap.asked_at or 0.0) + _patience_s(gap, at) for gap in past)


def _patience_s(gap: Gap, at: Situation) -> float:
    first_s = max(AGAIN_S, AGAIN_FRAMES * at.interval_s)
    return min(first_s * 2.0 ** min(gap.asked - 1, 16), max(AGAIN_MOST_S, first_s))


def _joins(one: tuple[int, int, int], other: tuple[int, int, int], between: int) -> bool:
    """Whether two spans, `one` before `other`, can become one: near, of one session, not across a wrap of the 16 bits
    that a range tells."""
    return (
        one[0] == other[0]
        and other[1] - one[2] - 1 <= between
        and other[2] - one[1] < LONGEST_RANGE
        and one[1] >> 16 == other[2] >> 16
    )


def _within(gap: Gap, ranges: Sequence[Range]) -> bool:
    session, fcnt = gap.session & 0xFF, gap.fcnt & 0xFFFF
    return any(one.session == session and one.first <= fcnt < one.first + one.count for one in ranges)
