"""How a node may do with less, and when it needs more: adaptive data rate (TS001-1.0.4 section 4.3.1.1).

The measure is the usual one (gateway.md 1.5): of the 20 last uplinks the best SNR, less what the data rate needs, less
the installation margin. Each 3 dB to spare are one step: first a faster data rate up to DR5, which saves airtime for
everybody, then less power, 2 dB a step. NbTrans follows the share of lost frames. The data rate is never lowered: a
node that cannot be heard cannot be told; its own backoff does that (4.3.1.2).

Where this differs from the usual, it is for stability:

- One lucky reception does not decide that a node may do with less: the third best of the 20 must have the steps to
  spare. More power needs that even the best is 3 dB below the margin. The best of 20 wavers by some dB and a step takes
  2 away: without a gap between the thresholds, which grows with the spread, power would go up and down for ever.
- Whoever needed more (power, repetitions, or a data rate it lowered itself) is not soon told to do with less: each time
  four times as many uplinks must have been heard before. A node on the edge between two settings comes to rest.
- NbTrans hides the loss that it was raised for. That patience keeps it from falling back at once.
- A silence of many frames is an outage of a gateway or the nest, or a node's power cut, and no loss that repeating
  heals.
- A faster data rate does not wait for the 20: from the fifth uplink on, the worst of those heard is judged, so that a
  near node does not spend 20 slow uplinks of everybody's airtime. Everything else waits until the history is full, more
  power included: a few uplinks say little about a bad link, and the margin of 10 dB is there for that time.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

# SNR in dB at which a data rate is just demodulated: SX1301 and SX1276 datasheets, 125 kHz, SF12..SF7.
REQUIRED_SNR_DB = (-20.0, -17.5, -15.0, -12.5, -10.0, -7.5)
MAX_DR = 5
MAX_TX_POWER = 7  # index of TXPower: 14 dB below the largest EIRP (RP002-1.0.4 EU868)

HISTORY = 20
EARLY = 5  # uplinks from which on a faster data rate is advised where even the worst of them has the steps to spare
STEP_DB = 3.0
POWER_STEP_DB = 2.0

RESTART_GAP = 64  # a node skips up to 128 counters after a power cut: what was before then says little
_OUTAGE_GAP = 8  # more frames in a row are not lost by chance, even where every second one is

_PATIENCE_FACTOR = 4
_MAX_PATIENCE = 1280

# NbTrans for a share of lost frames below that many per cent: at NbTrans 1, 2, 3 now.
_NB_TRANS: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (5.0, (1, 1, 2)),
    (10.0, (1, 2, 3)),
    (30.0, (2, 3, 3)),
    (101.0, (3, 3, 3)),
)


class Advice(NamedTuple):
    """What a node should use."""

    dr: int
    tx_power: int
    nb_trans: int


class History:
    """The newest 20 uplinks as (FCnt, best SNR over all gateways), since the last change of data rate or power."""

    __slots__ = ("_fcnts", "_snrs", "count", "patience")

    _fcnts: list[int]
    _snrs: list[float]

    def __init__(self) -> None:
        self._fcnts = []
        self._snrs = []
        self.count = 0  # uplinks since it began
        self.patience = HISTORY  # how many must have been heard before less is advised

    def add(self, fcnt: int, snr_db: float) -> None:
        """One fresh uplink (not a repetition). A jump of more than 64, or backwards, begins the history anew."""
        fcnts, snrs = self._fcnts, self._snrs
        if fcnts and not 0 < fcnt - fcnts[-1] <= RESTART_GAP:
            self.begin_anew()
        fcnts.append(fcnt)
        snrs.append(snr_db)
        self.count += 1
        if len(fcnts) > HISTORY:
            del fcnts[0]
            del snrs[0]

    def begin_anew(self, *, needed_more: bool = False) -> None:
        """Forget what was heard. `needed_more`: the node could not do with what it was told to."""
        if self.count:
            del self._fcnts[:]
            del self._snrs[:]
            self.count = 0
        if needed_more:
            self.patience = min(_PATIENCE_FACTOR * self.patience, _MAX_PATIENCE)

    @property
    def full(self) -> bool:
        return self.count >= HISTORY

    @property
    def best_db(self) -> float:
        """The best SNR. Raises ValueError: nothing was heard."""
        return max(self._snrs)

    @property
    def worst_db(self) -> float:
        """The worst SNR. Raises ValueError: nothing was heard."""
        return min(self._snrs)

    @property
    def sure_db(self) -> float:
        """The third best. Raises IndexError: fewer than three were heard."""
        return sorted(self._snrs)[-3]

    @property
    def loss_percent(self) -> float:
        """The share of frames lost between the first and the last, outages left out."""
        fcnts = self._fcnts
        if not fcnts or fcnts[-1] - fcnts[0] == len(fcnts) - 1:
            return 0.0
        lost, last = 0, fcnts[0]
        for fcnt in fcnts[1:]:
            if fcnt - last - 1 <= _OUTAGE_GAP:
                lost += fcnt - last - 1
            last = fcnt
        return 100.0 * lost / (lost + len(fcnts))


def advise(history: History, dr: int, tx_power: int, nb_trans: int, margin_db: float) -> Advice:
    """What a node that sends at `dr` (0..5), `tx_power` (0..7) and `nb_trans` should use; the same when it is well so.

    `margin_db`: the installation margin. Pure; the history stays as it is.
    """
    now = Advice(dr, tx_power, nb_trans)
    if history.count < EARLY or not 0 <= dr <= MAX_DR:
        return now
    enough_db = REQUIRED_SNR_DB[dr] + margin_db
    if not history.full:
        if dr == MAX_DR or history.patience > HISTORY:
            return now
        steps = int((history.worst_db - enough_db) / STEP_DB)
        return now._replace(dr=min(dr + max(0, steps), MAX_DR))
    spare_db = history.best_db - enough_db
    loss = history.loss_percent
    if -STEP_DB < spare_db < STEP_DB and nb_trans == 1 and loss == 0:
        return now  # most nodes, most of the time
    may_do_with_less = history.count >= history.patience
    if spare_db <= -STEP_DB:
        tx_power = max(0, tx_power - ceil(-spare_db / POWER_STEP_DB))
    elif may_do_with_less and (steps := int((history.sure_db - enough_db) / STEP_DB)) > 0:
        faster = min(steps, MAX_DR - dr)
        dr += faster
        tx_power = max(tx_power, min(tx_power + steps - faster, MAX_TX_POWER))
    column = min(max(nb_trans, 1), 3) - 1
    wanted = next(row[column] for limit, row in _NB_TRANS if loss < limit)
    if wanted > nb_trans or may_do_with_less:
        nb_trans = wanted
    return Advice(dr, tx_power, nb_trans)


def needs_more(now: Advice, advice: Advice) -> bool:
    """Whether the node is to spend more than now, on power or on repetitions."""
    return advice.tx_power < now.tx_power or advice.nb_trans > now.nb_trans


def link_margin(dr: int | None, snr: float | None) -> int:
    """LinkCheckAns: dB above the demodulation floor of that data rate, 0..254; 0 where that is not known."""
    if dr is None or snr is None or dr < 0:
        return 0
    return min(max(round(snr - REQUIRED_SNR_DB[min(dr, MAX_DR)]), 0), 254)
