"""When a node wakes next: an even rhythm with a random phase, and joins that become rarer.

A town's nodes get their power back at the same moment and would send at the same moment for ever. So every sending is
put off by a random phase (LoRa Alliance TR007), which does not add up: the rhythm underneath stays even. Times are in
ms; rng(n) gives a random int in 0..n-1.

Airtime. What the law and TR007 allow is kept by lorawan.ledger, whatever stands here; a node that runs into it has to
wait for up to an hour, or a day. So it keeps well below by itself: a join is tried after 5 s, 10 s, 20 s ... up to 2 h,
each wait longer or shorter by up to a quarter, and at changing data rates: a few seconds on air in the first hour, in
the ten after it and per day from then on, where 36 s, 36 s and 8.7 s are allowed. The first waits are spread much
wider: after a power cut in a town two hundred nodes ask one gateway at once, and it can answer one of them at a time.
Resets in a row, which a weak battery brings about, wait as joins do. Uplinks are spaced so that they take less than 1 %
of the time whatever their data rate, or less than the fair share of a network that asks for one (The Things Network:
30 s a day).

Battery. A lithium cell that rests at 3.5 V has about a tenth of its charge left, at 3.3 V next to nothing, and what
feeds the board from it needs a little more than the 3.3 V it makes. So below 3.5 V the interval doubles, below 3.4 V
again, and below 3.3 V once more, up to two hours: a node whose panel lies under snow lasts a few times longer. For
another cell config.json says when it is empty (battery, empty_mv: 3200 for lithium); these are 300, 200, 100 mV above.
"""

from micropython import const

_SPREAD_PART = const(10)  # the phase is at most a tenth of the interval
_SPREAD_MAX_MS = const(10000)
_FIRST_SPREAD_MS = const(2000)  # after power-on someone is waiting for the first reading
_JOIN_FIRST_MS = const(5000)
_JOIN_SPREAD_MS = const(40000)  # of the first wait at least, twice that of the others: tests/benchmarks/storm.py
_JOIN_LAST_MS = const(7200000)
_DUTY = const(100)  # 1 % of the time on air
_DAY_S = const(86400)
_EMPTY_MV = const(3200)
_WEAK_MV = const(300)  # above empty, and twice in steps of
_WEAKER_MV = const(100)
_WEAK_MAX_MS = const(7200000)
_SHORTEST_MS = const(4000)  # longer than RETRANSMIT_TIMEOUT, which an unanswered confirmed uplink waits for


def after_start(cut_off, rng):
    """From power-on or a reset to the first wake, the `cut_off` starts before it having been cut off during theirs."""
    return after_failed_join(cut_off, rng) if cut_off else rng(_FIRST_SPREAD_MS)


def phase(interval_ms, rng):
    """The random phase of one sending."""
    return rng(min(interval_ms // _SPREAD_PART, _SPREAD_MAX_MS) + 1)


def stretched(interval_ms, volts, battery):
    """The interval, longer when the battery is low. volts: of the reading, or a mark, or None; battery: that part of
    config.json, or None."""
    if battery is None or volts is None or isinstance(volts, str):
        return interval_ms
    weak_mv = battery.get("empty_mv", _EMPTY_MV) + _WEAK_MV - volts * 1000
    if weak_mv <= 0:
        return interval_ms
    doubled = 1 + min(int(weak_mv) // _WEAKER_MV, 2)
    return max(interval_ms, min(interval_ms << doubled, _WEAK_MAX_MS))


def duty(fair_use_s):
    """How many times a frame's airtime must pass from its begin to the next one's."""
    return max(_DUTY, _DAY_S // fair_use_s) if fair_use_s else _DUTY


def after_sending(interval_ms, old_phase_ms, new_phase_ms, airtime_us, fair_use_s=0):
    """From this wake to the next: the interval, from phase to phase, or longer where airtime asks for it; even then
    with a phase, because nodes that share a slow data rate would meet again and again.

    fair_use_s: seconds per day that all uplinks together may take, 0 for no such limit.
    """
    wait_ms = interval_ms + new_phase_ms - old_phase_ms
    return max(wait_ms, airtime_us * duty(fair_use_s) // 1000 + new_phase_ms, _SHORTEST_MS)


def after_failed_join(failures, rng):
    """From the end of the `failures`th join in vain (1 and up) to the next."""
    wait_ms = min(_JOIN_FIRST_MS << min(failures - 1, 12), _JOIN_LAST_MS)
    spread_ms = _JOIN_SPREAD_MS if failures == 1 else 2 * _JOIN_SPREAD_MS
    return wait_ms * 3 // 4 + rng(max(wait_ms // 2, spread_ms) + 1)


def join_dr(region, failures, fastest):
    """The data rate of a join after `failures` in vain, none faster than DR `fastest`."""
    return min(region.JOIN_DRS[failures % len(region.JOIN_DRS)], fastest)
