"""When a node does what: schedule, safe window, clock."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false

from expect import equal
from lorawan import eu868
from lorawan.airtime import airtime_us
from node import schedule
from node.window import Window
from node_fakes import Time
from radio.clock import Clock

HOUR_MS = 3600000


def check_phases_do_not_add_up():
    """However the phases fall, wake n is within one phase of n intervals."""
    rolls = [7, 0, 60000, 1234, 99, 31]

    def rng(n):
        rolls.append(rolls.pop(0))
        return rolls[-1] % n

    interval_ms = 600000
    now_ms, phase_ms = 0, 0
    for n in range(1, 200):
        new_ms = schedule.phase(interval_ms, rng)
        now_ms += schedule.after_sending(interval_ms, phase_ms, new_ms, 60000)
        phase_ms = new_ms
        assert 0 <= now_ms - n * interval_ms <= 10000, n


def check_phase_is_a_small_part_of_the_interval():
    equal(max(schedule.phase(10000, lambda n, roll=roll: roll % n) for roll in range(0, 5000, 7)) <= 1000, True)
    equal(schedule.phase(600000, lambda n: n - 1), 10000)
    assert schedule.after_start(0, lambda n: n - 1) < 2000


def check_phase_stays_where_airtime_stretches_the_interval():
    """Two nodes that sent at the same moment, both at a slow data rate, part all the same."""
    slow_us = airtime_us(12, 125000, 19)
    for fair_use_s, times in ((0, 100), (30, 2880)):
        for old_ms, new_ms in ((0, 0), (0, 6000), (6000, 0), (6000, 1234)):
            wait_ms = schedule.after_sending(10000, old_ms, new_ms, slow_us, fair_use_s)
            equal(wait_ms, slow_us * times // 1000 + new_ms, (old_ms, new_ms))


def check_sending_stays_below_one_percent():
    slow_us = airtime_us(12, 125000, 19)
    wait_ms = schedule.after_sending(10000, 0, 0, slow_us)
    assert slow_us / 1000 / wait_ms <= 0.0101
    equal(schedule.after_sending(10000, 0, 0, airtime_us(7, 125000, 19)), 10000)


def check_joins_in_vain_stay_below_the_limits_of_tr007():
    """4.1.2: 36 s in the first hour, 36 s in the next ten, 8.7 s per day from then on; here with the shortest waits."""
    now_ms, failures = 0, 0
    airtimes = []
    while now_ms < 14 * 24 * HOUR_MS:
        sf, bw_hz = eu868.DATA_RATES[schedule.join_dr(eu868, failures, 5)]
        airtimes.append((now_ms, airtime_us(sf, bw_hz, 23) / 1e6))
        failures += 1
        now_ms += 6000 + schedule.after_failed_join(failures, lambda n: 0)

    def on_air(start_ms, end_ms):
        return sum(seconds for at_ms, seconds in airtimes if start_ms <= at_ms < end_ms)

    assert on_air(0, HOUR_MS) < 36
    assert on_air(HOUR_MS, 11 * HOUR_MS) < 36
    for day in range(13):
        start_ms = (11 + 24 * day) * HOUR_MS
        assert on_air(start_ms, start_ms + 24 * HOUR_MS) < 8.7, day


def check_join_waits_grow_and_vary():
    for failures in range(1, 40):
        low = schedule.after_failed_join(failures, lambda n: 0)
        high = schedule.after_failed_join(failures, lambda n: n - 1)
        middle = min(5000 << min(failures - 1, 12), 7200000)
        spread = max(middle // 2, 40000 if failures == 1 else 80000)
        equal((low, high), (middle * 3 // 4, middle * 3 // 4 + spread), failures)


def check_joins_use_every_data_rate():
    equal(sorted({schedule.join_dr(eu868, n, 5) for n in range(20)}), [0, 1, 2, 3, 4, 5])
    equal(schedule.join_dr(eu868, 0, 5), 5)


def check_joins_use_no_faster_data_rate_than_wished():
    equal([schedule.join_dr(eu868, n, 2) for n in range(8)], [2, 2, 2, 2, 2, 1, 0, 2])
    equal({schedule.join_dr(eu868, n, 0) for n in range(20)}, {0})


class Person:
    def __init__(self):
        self.button = False
        self.usb = False
        self.looks = 0

    def held(self):
        return self.button

    def attached(self):
        self.looks += 1
        return self.usb


def check_window_after_power_on():
    time, person = Time(), Person()
    window = Window(time, time.ticks_ms(), 60000, person.held, person.attached)
    assert "switched on" in window.reason()
    time.sleep_ms(59000)
    assert window.reason()
    time.sleep_ms(1001)
    equal(window.reason(), "")


def check_no_window_after_deep_sleep():
    time, person = Time(), Person()
    equal(Window(time, time.ticks_ms(), 0, person.held, person.attached).reason(), "")


def check_window_does_not_open_again_when_ticks_come_round():
    time, person = Time(), Person()
    window = Window(time, time.ticks_ms(), 60000, person.held, person.attached)
    time.sleep_ms(61000)
    equal(window.reason(), "")
    time.now_us += 1000 * (1 << 30) - 61000 * 1000 + 1000
    equal(window.reason(), "")


def check_button_and_usb_keep_it_awake():
    time, person = Time(), Person()
    window = Window(time, time.ticks_ms(), 0, person.held, person.attached)
    person.button = True
    assert "button" in window.reason()
    person.button = False
    person.usb = True
    assert "computer" in window.reason()
    person.usb = False
    time.sleep_ms(10001)
    equal(window.reason(), "")


def check_a_charger_keeps_it_awake_for_an_hour_only():
    """Power at the socket may be a solar panel; and the hour is over in every wake from deep sleep after it, too."""
    time, person = Time(), Person()
    person.usb = True
    since_start_ms = lambda: time.ticks_ms() + 1800000  # noqa: E731
    for began_ms in (0, 1, 2):
        window = Window(time, began_ms, 0, person.held, person.attached, False, since_start_ms)
        equal(bool(window.reason()), since_start_ms() < 3600000)
        time.sleep_ms(1799000 - time.ticks_ms() if began_ms == 0 else 1000)
    equal(Window(time, 0, 0, person.held, person.attached, True).reason(), "a computer is attached")
    person.button = True
    assert "button" in window.reason()


def check_usb_is_not_looked_for_all_the_time():
    time, person = Time(), Person()
    window = Window(time, time.ticks_ms(), 0, person.held, person.attached)
    for _ in range(40):
        window.reason()
        time.sleep_ms(250)
    assert person.looks <= 2, person.looks


class LightSleep:
    def __init__(self, time, late_us=0):
        self.time = time
        self.late_us = late_us
        self.asked = []

    def __call__(self, ms):
        self.asked.append(ms)
        self.time.now_us += ms * 1000 + self.late_us


def check_clock_is_exact_after_light_sleep():
    for start_us in (0, (1 << 30) - 400000):  # the second: ticks come round during the wait
        time = Time(start_us)
        sleep = LightSleep(time, late_us=1500)
        clock = Clock(time, sleep)
        clock.stay_awake = False
        clock.sleep_until_us(clock.ticks_add(clock.ticks_us(), 980123))
        equal(time.now_us, start_us + 980123)
        equal(sleep.asked, [975])


def check_clock_learns_how_late_light_sleep_ends():
    """The first time it wakes early enough for any flash, then no earlier than it must."""
    time = Time()
    sleep = LightSleep(time, late_us=700)
    clock = Clock(time, sleep)
    clock.stay_awake = False
    for _ in range(3):
        clock.sleep_until_us(clock.ticks_add(clock.ticks_us(), 100000))
    equal(sleep.asked, [95, 98, 98])
    equal(time.now_us, 300000)
    sleep.late_us = 9000
    clock.sleep_until_us(clock.ticks_add(clock.ticks_us(), 100000))
    clock.sleep_until_us(clock.ticks_add(clock.ticks_us(), 100000))
    equal(sleep.asked[3:], [98, 90])


def check_clock_may_be_late_where_that_is_cheaper():
    time = Time()
    sleep = LightSleep(time, late_us=700)
    clock = Clock(time, sleep)
    clock.stay_awake = False
    clock.sleep_until_us(50300, False)
    equal(sleep.asked, [51])
    assert 50300 <= time.now_us <= 53000, time.now_us
    clock.stay_awake = True
    clock.sleep_until_us(100000, False)
    equal((sleep.asked, time.now_us), ([51], 100000))


def check_clock_stays_awake_for_people():
    time = Time()
    sleep = LightSleep(time)
    clock = Clock(time, sleep)
    clock.sleep_until_us(980123)
    equal(sleep.asked, [])
    equal(time.now_us, 980123)


def check_clock_survives_an_early_wake():
    time = Time()

    class Early(LightSleep):
        def __call__(self, ms):
            self.asked.append(ms)
            time.now_us += ms * 300

    sleep = Early(time)
    clock = Clock(time, sleep)
    clock.stay_awake = False
    clock.sleep_until_us(500000)
    equal(time.now_us, 500000)
    assert len(sleep.asked) > 2


def check_clock_returns_at_once_when_late():
    time = Time(5000)
    Clock(time, None).sleep_until_us(4000)
    equal(time.now_us, 5000)


def check_uptime_goes_on_when_ticks_come_round():
    time = Time((1 << 30) * 1000 - 5000000)
    clock = Clock(time, None)
    time.now_us += 20000000
    equal(clock.uptime_ms(), 20000)
    for _ in range(10):
        time.now_us += 400000 * 1000000
        clock.uptime_ms()
    equal(clock.uptime_ms(), 4000020000)
