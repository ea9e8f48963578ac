"""Windows from what the downlinks so far have shown: never narrower than the next one needs."""

from expect import equal
from lorawan.airtime import rx_window, symbol_us
from lorawan.timing import Timing

PPM = 10000
JITTER_US = 20000
SECOND = 1000000


class Dice:
    """Repeatable normal deviates, the same on both interpreters."""

    def __init__(self, seed):
        self.state = seed * 7919 + 17

    def uniform(self):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) / (1 << 23)

    def normal(self, percentile_99_us):
        return (sum(self.uniform() for _ in range(12)) - 6) * percentile_99_us / 2.576


def catches(window, sf, off_us, needed=5):
    """Whether a receiver in this window sees `needed` symbols of a preamble of 8 that comes `off_us` late."""
    offset_us, symbols = window
    symbol = symbol_us(sf, 125000)
    found_us = max(offset_us, off_us) + needed * symbol
    return found_us <= off_us + 8 * symbol and found_us <= offset_us + symbols * symbol


def taught(ppm=8000, jitter_us=500, downlinks=60, delay_s=1, seed=1):
    timing, dice = Timing(PPM, JITTER_US), Dice(seed)
    for _ in range(downlinks):
        timing.window(7, 125000, delay_s * SECOND)
        timing.heard(delay_s * SECOND, int(delay_s * (SECOND + ppm) + dice.normal(jitter_us)))
    return timing


def check_worst_case_at_first():
    for sf in range(7, 13):
        for delay_s in (1, 2, 5, 6, 15):
            window = Timing(PPM, JITTER_US).window(sf, 125000, delay_s * SECOND)
            error_us = delay_s * PPM + JITTER_US
            for off_us in (-error_us, 0, error_us):
                assert catches(window, sf, off_us), (sf, delay_s, off_us)
            assert window[1] <= 1.3 * rx_window(sf, 125000, error_us)[1], (sf, delay_s, window)


def check_perfect_clock():
    equal(Timing(0, 0).window(12, 125000, SECOND)[1], 6)
    timing = Timing(0, 0)
    timing.heard(SECOND, SECOND)
    assert catches(timing.window(7, 125000, SECOND), 7, 0)


def check_shifts_and_narrows():
    for ppm in (8000, 0, -8000):
        timing = taught(ppm)
        for delay_s in (1, 2, 5):
            window = timing.window(7, 125000, delay_s * SECOND)
            assert catches(window, 7, delay_s * ppm), (ppm, delay_s, window)
            assert window[1] * 1024 < delay_s * PPM + JITTER_US, (ppm, delay_s, window)
        equal(timing.window(12, 125000, SECOND)[1], 6, "never below what the radio needs")


def check_next_downlink_is_never_lost():
    """Clocks up to 1 % wrong and 20 ms of normal jitter (99 %), from the first downlink on, packed at every wake."""
    lost = heard = opened = least = 0
    for node in range(12):
        timing, dice = Timing(PPM, JITTER_US), Dice(node)
        ppm = (node - 6) * 2000 if abs(node - 6) < 6 else -PPM
        delay_s = (1, 5)[node % 2]
        for _ in range(150):
            for delay in (delay_s, delay_s + 1):
                timing.restore(timing.pack())
                window = timing.window(7, 125000, delay * SECOND)
                off_us = delay * ppm + dice.normal(JITTER_US)
                opened += window[1]
                least += rx_window(7, 125000, delay * abs(ppm) + JITTER_US)[1]
                if catches(window, 7, off_us):
                    heard += 1
                    timing.heard(delay * SECOND, delay * SECOND + int(off_us))
                else:
                    lost += 1
    assert lost <= heard // 1000, (lost, heard)
    assert opened <= 1.3 * least, (opened, least)


def check_clock_that_changes_is_followed():
    """The temperature moves a clock by 0.5 % in two days, one downlink in ten uplinks."""
    timing, dice = Timing(PPM, JITTER_US), Dice(3)
    lost = 0
    for n in range(200):
        for _ in range(9):
            timing.window(7, 125000, SECOND)
        window = timing.window(7, 125000, SECOND)
        off_us = n * 25 + dice.normal(3000)
        if catches(window, 7, off_us):
            timing.heard(SECOND, SECOND + int(off_us))
        else:
            lost += 1
    assert lost == 0, lost


def check_misses_widen_again():
    timing = taught()
    delay_us = 5 * SECOND
    before = timing.window(7, 125000, delay_us)
    worst = Timing(PPM, JITTER_US).window(7, 125000, delay_us)
    timing.missed()
    assert timing.window(7, 125000, delay_us)[1] > before[1]
    for _ in range(20):
        timing.missed()
    after = timing.window(7, 125000, delay_us)
    for off_us in (-5 * PPM - JITTER_US, 5 * PPM + JITTER_US):
        assert catches(after, 7, off_us), after
    assert after[1] <= worst[1] + 1, (after, worst)


def check_age_widens_again():
    timing = taught()
    before = timing.window(7, 125000, 5 * SECOND)
    assert not catches(before, 7, -5 * PPM)
    for _ in range(96 * 2 * 14):  # two weeks without a downlink
        timing.window(7, 125000, 5 * SECOND)
    assert catches(timing.window(7, 125000, 5 * SECOND), 7, -5 * PPM), "the clock may have become another one"


def check_kept_over_wakes():
    timing = taught()
    packed = timing.pack()
    assert len(packed) <= 8
    other = Timing(PPM, JITTER_US)
    other.restore(packed)
    equal(other.pack(), packed)
    mine, its = timing.window(7, 125000, 5 * SECOND), other.window(7, 125000, 5 * SECOND)
    assert abs(mine[0] - its[0]) <= 1024, (mine, its)
    assert abs(mine[1] - its[1]) <= 1, (mine, its)


def check_what_was_not_packed_is_passed_over():
    fresh = Timing(PPM, JITTER_US).window(7, 125000, SECOND)
    for data in (b"", b"\0" * 8, b"\xff" * 8, b"\0" * 7, taught().pack() + b"\0"):
        timing = Timing(PPM, JITTER_US)
        timing.restore(data)
        equal(timing.window(7, 125000, SECOND), fresh, data)
    less = Timing(100, JITTER_US)
    less.restore(Timing(PPM, JITTER_US).pack())  # the configuration has changed
    equal(less.window(7, 125000, SECOND), Timing(100, JITTER_US).window(7, 125000, SECOND))


def check_unmeasured_downlinks_teach_nothing():
    timing = Timing(PPM, JITTER_US)
    packed = timing.pack()
    timing.heard(SECOND, None)
    equal(timing.pack(), packed)


def check_single_late_downlink_is_remembered():
    timing = taught(ppm=0, jitter_us=2000, downlinks=200)
    before = timing.window(7, 125000, SECOND)
    timing.heard(SECOND, SECOND + 14000)
    for _ in range(60):
        timing.heard(SECOND, SECOND)
    after = timing.window(7, 125000, SECOND)
    assert not catches(before, 7, 14000)
    assert catches(after, 7, 14000), (before, after)
    assert after[1] <= Timing(PPM, JITTER_US).window(7, 125000, SECOND)[1], after
    for _ in range(6000):
        timing.heard(SECOND, SECOND)
    assert timing.window(7, 125000, SECOND)[1] <= before[1], "and forgotten in the end"


def check_wild_configuration_is_packed_too():
    for timing in (Timing(100000, JITTER_US), Timing(PPM, 1000000)):
        timing.restore(timing.pack())
        timing.window(12, 125000, SECOND)
