"""The runner's order and timing, on a radio that only takes notes."""

import gc

from expect import equal, raises
from lorawan import airtime
from lorawan.actions import Heard, Listen, Transmit, Wait
from radio import RadioError
from radio.runner import end_of_transmission, run
from radio_wire import Time

AIRTIME_US = 61696


class Notes:
    """A radio whose transmissions take `airtime_us`, and whose interrupt is served `late_us` late (None: never)."""

    prepare_us = 20000
    listen_latency_us = 150
    clock_error_ppm = 1000

    def __init__(self, time, airtime_us=AIRTIME_US, late_us: int | None = 80, heard=(), fails=()):
        self.time = time
        self.airtime_us = airtime_us
        self.late_us = late_us
        self.heard = list(heard)
        self.fails = fails
        self.done = []  # (name, ticks)
        self.collecting = []
        self.started_us = 0
        self.interrupt_us = None
        self.hears_at = None  # when a preamble is found
        self.poll_at = None  # when an interrupt flag rises

    def note(self, name):
        self.done.append((name, self.time.us))
        if name in self.fails:
            raise RadioError(name)

    def names(self):
        return [name for name, _ in self.done]

    def when(self, name):
        return [at for noted, at in self.done if noted == name]

    def transmit(self, frame, freq_hz, sf, bw_hz, eirp_dbm):
        self.note("transmit")
        self.time.sleep_us(9000)
        self.started_us = self.time.us
        self.interrupt_us = None

    def wait_transmitted(self, timeout_ms):
        self.note("wait")
        end = self.started_us + self.airtime_us
        if self.late_us is not None:
            self.time.sleep_until_us(end + self.late_us)
            self.interrupt_us = self.time.us
        return end - self.time.us <= timeout_ms * 1000

    def prepare_listen(self, freq_hz, sf, bw_hz, symbols, iq_inverted=True):
        self.note("prepare")
        self.time.sleep_us(12000)

    def listen(self):
        self.note("listen")
        self.collecting.append(gc.isenabled())

    def poll(self):
        return 1 if self.poll_at is not None and self.time.us >= self.poll_at else 0

    def hearing(self):
        return self.hears_at is not None and self.time.us >= self.hears_at

    def receive(self, timeout_ms):
        self.note("receive")
        self.time.sleep_us(30000)
        return self.heard.pop(0) if self.heard else None

    def sleep(self, warm=True):
        self.note("sleep warm" if warm else "sleep cold")


def uplink():
    return Transmit(b"\x40", 868100000, 7, 125000, 16, AIRTIME_US)


def window(number, delay_us, symbols=44):
    return Listen(number, delay_us, 868100000, 7, 125000, symbols)


def class_a(told):
    told.append((yield uplink()))
    told.append((yield window(1, 982000)))
    told.append((yield window(2, 1982000)))
    return "done"


def check_order_and_moments():
    time = Time()
    radio = Notes(time)
    told = []
    before = []
    result = run(class_a(told), radio, time, lambda action: before.append((action.frame, list(radio.names()))))
    equal(result, "done")
    equal(before, [(uplink().frame, [])], "before_transmit comes before the radio does anything, and knows the frame")
    equal(
        radio.names(),
        [
            "transmit",
            "wait",
            "sleep warm",
            "prepare",
            "listen",
            "receive",
            "sleep warm",
            "prepare",
            "listen",
            "receive",
            "sleep cold",
        ],
    )
    ended = told[0]
    equal(ended, 9000 + AIRTIME_US + 80)
    equal(radio.when("listen"), [ended + 982000 - 150, ended + 1982000 - 150])
    equal(radio.when("prepare")[0], ended + 982000 - 150 - 20000)
    equal(told[1:], [None, None])
    equal(radio.collecting, [False, False], "no collection of garbage in a window")
    assert gc.isenabled()


def check_heard_goes_to_the_exchange():
    time = Time()
    frame = Heard(b"\x60", -80, 5.0)
    told = []
    run(class_a(told), Notes(time, heard=[frame]), time)
    assert told[1] is frame
    equal(told[2], None)


def check_late_interrupt_does_not_move_the_window():
    for late_us in (0, 900, 25000, None):
        time = Time()
        radio = Notes(time, late_us=late_us)
        run(class_a([]), radio, time)
        nominal = 9000 + AIRTIME_US + 982000 - 150
        moved = radio.when("listen")[0] - nominal
        equal(moved, late_us if late_us and late_us <= 1000 else 0, late_us)


def check_end_of_transmission():
    time = Time()
    for interrupt_us, airtime_us, ppm, want in (
        (None, 100000, 0, 110000),
        (110080, 100000, 0, 110080),
        (111000, 100000, 0, 111000),
        (111001, 100000, 0, 110000),  # later than a handler may be: it waited for something
        (108500, 100000, 0, 108500),  # never early: the start was noted late
        (1510000, 1480000, 10000, 1490000),  # a clock that may be 1 % fast: 14.8 ms more are believed ...
        (1505000, 1480000, 10000, 1505000),  # ... but no more
    ):
        equal(end_of_transmission(interrupt_us, 10000, airtime_us, ppm, time), want, (interrupt_us, airtime_us, ppm))


def check_window_missed_is_not_opened():
    time = Time()

    def exchange():
        yield uplink()
        time.sleep_ms(1200)  # something held the processor up
        got = yield window(1, 982000)
        again = yield window(2, 1982000)
        return got, again

    radio = Notes(time)
    equal(run(exchange(), radio, time), (None, None))
    equal(len(radio.when("listen")), 1, "RX1 is over, RX2 is not")


def check_window_a_little_late_is_still_opened():
    time = Time()

    def exchange():
        yield uplink()
        time.sleep_ms(990)
        return (yield window(1, 982000))

    radio = Notes(time, heard=[Heard(b"\x60", -80, 5.0)])
    assert run(exchange(), radio, time)


def check_short_waits_stay_awake():
    time = Time()

    def exchange():
        yield uplink()
        yield window(1, 100000)

    radio = Notes(time)
    run(exchange(), radio, time)
    assert "sleep warm" not in radio.names()


def check_wait_lets_time_pass():
    time = Time()
    radio = Notes(time)
    told = []

    def exchange():
        yield uplink()
        told.append(time.us)
        told.append((yield Wait(2500000)))
        told.append(time.us)
        yield Wait(50000)
        return time.us

    end = run(exchange(), radio, time)
    equal(told[1], None)
    equal(told[2] - told[0], 2500000)
    equal(end - told[2], 50000)
    equal(radio.names(), ["transmit", "wait", "sleep warm", "sleep cold"], "no radio that is left on")


class Arrival(Notes):
    """A frame whose preamble begins `after_us` after the end of the transmission; its interrupt is served `late_us`
    late, or never (None)."""

    def __init__(self, time, after_us, size=20, late_us: int | None = 0, sf=7):
        super().__init__(time, late_us=0)
        self.ends_us = 9000 + AIRTIME_US + after_us + airtime.airtime_us(sf, 125000, size, False)
        self.size = size
        self.served_late_us = late_us
        self.hears_at = 0

    def receive(self, timeout_ms):
        late_us = self.served_late_us or 0
        self.time.sleep_until_us(self.ends_us + late_us)
        self.interrupt_us = None if self.served_late_us is None else self.ends_us + late_us
        return Heard(bytes(self.size), -80, 5.0)


def arrived(radio, time, delay_us=982000, sf=7, symbols=44, before=None):
    def exchange():
        yield uplink()
        if before:
            before()
        return (yield Listen(1, delay_us, 868100000, sf, 125000, symbols))

    return run(exchange(), radio, time).after_us


def check_arrival_is_measured():
    for after_us in (985000, 1000000, 1015000):
        for size in (12, 60):
            time = Time()
            equal(arrived(Arrival(time, after_us, size), time), after_us, size)


def check_arrival_that_was_not_measured():
    time = Time()
    equal(arrived(Arrival(time, 1000000, late_us=None), time), None, "the interrupt was missed")
    time = Time()
    equal(arrived(Arrival(time, 1000000, late_us=40000), time), None, "no window would have caught it: served late")
    time = Time()
    equal(arrived(Arrival(time, 960000), time), None, "nor this")
    for ppm, want in ((1000, 1033000), (10000, None)):
        time = Time()
        radio = Arrival(time, 1033000, sf=12)
        radio.clock_error_ppm = ppm
        equal(arrived(radio, time, 1000000, 12, 6), want, "1 % of 1.2 s is more than there is to measure")


def check_arrival_while_the_processor_slept_is_not_measured():
    """Light sleep took too long; the interrupt came when it was over, and says when the processor woke."""
    for late_us, want in ((0, 985000), (3000, None)):
        time = Time()
        radio = Arrival(time, 985000, 12, late_us)
        radio.poll_at = radio.ends_us
        if late_us:
            sleep = time.sleep_until_us

            def oversleep(ticks, exact=True, sleep=sleep, woken_us=radio.ends_us + late_us):
                late = not exact and woken_us - 20000 < ticks < woken_us
                sleep(woken_us if late else ticks, exact)

            time.sleep_until_us = oversleep
        equal(arrived(radio, time), want, late_us)


def check_late_window_counts_against_the_arrival():
    """What moves is where the frame lies in the window; whether the node or the network is late makes no difference."""
    time = Time()
    radio = Arrival(time, 1000000)
    equal(arrived(radio, time, before=lambda: time.sleep_us(982000 + 5000 - 150 - 12000)), 1000000 - 5000)


class Sleeper(Time):
    """Notes how long it was asked to wait, and whether exactly."""

    def __init__(self):
        super().__init__()
        self.dozed = []

    def sleep_until_us(self, ticks, exact=True):
        if not exact and ticks > self.us:
            self.dozed.append(ticks - self.us)
        super().sleep_until_us(ticks, exact)


def check_processor_sleeps_through_an_empty_window():
    for symbols in (44, 200):
        time = Sleeper()
        radio = Notes(time)

        def exchange(symbols=symbols):
            yield uplink()
            yield window(1, 982000, symbols)

        run(exchange(), radio, time)
        asleep = sum(time.dozed[1:])  # the first was the transmission
        assert symbols * 1024 <= asleep <= symbols * 1024 * 1.05, (symbols, time.dozed)


def check_processor_is_awake_before_a_frame_can_end():
    """The shortest downlink there is, caught in the last symbols of its preamble or heard to begin later."""
    shortest_us = airtime.airtime_us(7, 125000, 12, False)
    for begins in (-3, 0, 20, 70, 150):  # symbols after the window opened
        time = Sleeper()
        radio = Notes(time)
        end_us = 9000 + AIRTIME_US + 80 + 982000 + begins * 1024 + shortest_us
        radio.hears_at = end_us - shortest_us + 5 * 1024
        radio.poll_at = end_us

        def exchange():
            yield uplink()
            yield window(1, 982000, 200)

        run(exchange(), radio, time)
        woke = radio.when("receive")[0]
        assert woke <= end_us, (begins, woke - end_us)
        assert woke >= end_us - 45 * 1024, (begins, woke - end_us)


def check_failures_close_the_exchange_and_leave_the_radio_asleep():
    for failing in ("transmit", "wait", "prepare", "listen", "receive", "sleep warm"):
        time = Time()
        radio = Notes(time, fails=(failing,))
        closed = []

        def exchange(closed=closed):
            try:
                yield uplink()
                yield window(1, 982000)
            finally:
                closed.append(True)

        error = raises(RadioError, run, exchange(), radio, time)
        equal(str(error), failing)
        equal(closed, [True])
        equal(radio.names()[-1], "sleep cold")
        assert gc.isenabled()


def check_transmission_without_end_is_an_error():
    time = Time()
    radio = Notes(time, late_us=None, airtime_us=10000000)
    error = raises(RadioError, run, class_a([]), radio, time)
    assert "did not finish sending" in str(error)
    equal(radio.names()[-1], "sleep cold")


def check_radio_that_cannot_sleep_does_not_lose_the_result():
    time = Time()
    equal(run(class_a([]), Notes(time, fails=("sleep cold",)), time), "done")


def check_nothing_is_sent_when_storing_fails():
    def full(action):
        raise OSError(28)

    time = Time()
    radio = Notes(time)
    raises(OSError, run, class_a([]), radio, time, full)
    equal(radio.names(), ["sleep cold"])


def check_exchange_that_refuses():
    """PayloadTooLong and the like come before anything is sent."""

    def exchange():
        raise ValueError("too long")
        yield

    time = Time()
    radio = Notes(time)
    raises(ValueError, run, exchange(), radio, time)
    equal(radio.names(), ["sleep cold"])
