"""When a node wakes next: an even rhythm with a random phase, and joins that become rarer.

A town's nodes get their power back at the same moment and would send at the same moment for ever. So every sending is
put off by a random phase (LoRa Alliance TR007), which does not add up: the rhythm underneath stays even. Times are in
ms; rng(n) gives a random int in 0..n-1.

Airtime. A join is tried after 5 s, 10 s, 20 s ... up to 2 h, each wait longer or shorter by up to a quarter, and at
changing data rates: a few seconds on air in the first hour, in the ten after it and per day from then on, where TR007
4.1.2 allows 36 s, 36 s and 8.7 s (a test adds it up). Resets in a row, which a weak battery brings about, wait as joins
do. After a power cut the count begins anew: the ledger in flash that
bounds this too, and the duty cycle per sub-band, come with the next issue. Until then `after_sending` keeps a node's
uplinks below 1 % of the time whatever their data rate.
"""

from micropython import const

_SPREAD_PART = const(10)  # the phase is at most a tenth of the interval
_SPREAD_MAX_MS = const(10000)
_FIRST_SPREAD_MS = const(2000)  # after power-on someone is waiting for the first reading
_JOIN_FIRST_MS = const(5000)
_JOIN_LAST_MS = const(7200000)
_DUTY = const(100)  # 1 % of the time on air
_SHORTEST_MS = const(1000)

# the join attempts' data rates, over and over: mostly fast ones, because most failures are collisions
JOIN_DRS = (5, 5, 4, 3, 2, 1, 0)


def after_start(cut_off, rng):
    """From power-on or a reset to the first wake, the `cut_off` starts before it having been cut off during theirs."""
    return after_failed_join(cut_off, rng) if cut_off else rng(_FIRST_SPREAD_MS)


def phase(interval_ms, rng):
    """The random phase of one sending."""
    return rng(min(interval_ms // _SPREAD_PART, _SPREAD_MAX_MS) + 1)


def after_sending(interval_ms, old_phase_ms, new_phase_ms, airtime_us):
    """From this wake to the next: the interval, from phase to phase, or longer where airtime asks for it."""
    wait_ms = interval_ms + new_phase_ms - old_phase_ms
    return max(wait_ms, airtime_us * _DUTY // 1000, _SHORTEST_MS)


def after_failed_join(failures, rng):
    """From the end of the `failures`th join in vain (1 and up) to the next."""
    wait_ms = min(_JOIN_FIRST_MS << min(failures - 1, 12), _JOIN_LAST_MS)
    return wait_ms * 3 // 4 + rng(wait_ms // 2 + 1)


def join_dr(failures):
    """The data rate of a join after `failures` in vain."""
    return JOIN_DRS[failures % len(JOIN_DRS)]
