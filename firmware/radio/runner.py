"""Carries out a MAC exchange (a generator of Transmit and Listen) on a radio, on time.

What matters here is when the receiver opens. Receive windows are counted from the end of the transmission, which the
node knows from two sides: the interrupt of the radio, which MicroPython may serve late (its handlers are scheduled,
and wait for a collection of garbage), and the start of the transmission plus the computed airtime. Every window is set
up before its moment, so that a single short command opens it; garbage is collected before the wait and not during
the window. In between the radio is in warm sleep and the processor too, if the clock handed in does so.

Neither `machine` nor `time` is used: `radio` is one of the drivers, `clock` has `ticks_us()`, `ticks_add(ticks, us)`,
`ticks_diff(a, b)` and `sleep_until_us(ticks)`, on the same clock as the driver's.
"""

import gc

from micropython import const

from lorawan.actions import Transmit, Wait
from lorawan.airtime import airtime_us, symbol_us
from radio import RadioError

_WORTH_SLEEPING_US = const(100000)  # a shorter wait costs less awake than the set-up after a sleep
_AWAKE_BEFORE_END_US = const(5000)  # before the end of a transmission, so that its interrupt is seen
_INTERRUPT_LATE_US = const(1000)  # what serving the interrupt usually takes, with much to spare
_GRACE_MS = const(200)  # for a radio that is late: afterwards it is taken as stuck


def run(exchange, radio, clock, before_transmit=None):
    """Carry out `exchange` to its end and return what it returns.

    A Transmit is answered with the ticks_us at which it ended, a Listen with a Heard or None, a Wait with None. `before_transmit(action)`
    is called before each frame goes on air: what the frame uses up (counters, airtime) must be stored there. Raises
    RadioError when the radio fails, and whatever the exchange or `before_transmit` raise; the exchange is closed and
    the radio is asleep in any case.
    """
    try:
        ended_us = clock.ticks_us()
        answer = None
        while True:
            try:
                action = exchange.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(action, Transmit):
                if before_transmit is not None:
                    before_transmit(action)
                ended_us = answer = _transmit(action, radio, clock)
            elif isinstance(action, Wait):
                answer = _wait(action, radio, clock)
            else:
                answer = _listen(action, ended_us, radio, clock)
    finally:
        exchange.close()
        try:
            # Cold: next comes deep sleep, after which nothing is assumed anyway.
            radio.sleep(warm=False)
        except RadioError:
            pass  # the exchange's own result or error says more, and the next start will see a broken radio


def end_of_transmission(interrupt_us, started_us, airtime_us, clock_error_ppm, clock):
    """The ticks at which a transmission ended.

    The interrupt's time, unless there was none or it came later than the airtime allows, considering that the node's
    clock may be wrong by `clock_error_ppm`; then the computed end. An interrupt is never served before it happens, so
    an early one is right, and it is the start that was noted late.
    """
    expected_us = clock.ticks_add(started_us, airtime_us)
    if interrupt_us is None:
        return expected_us
    allowed_us = _INTERRUPT_LATE_US + airtime_us // 1000 * clock_error_ppm // 1000
    return expected_us if clock.ticks_diff(interrupt_us, expected_us) > allowed_us else interrupt_us


def _transmit(action, radio, clock):
    radio.transmit(action.frame, action.freq_hz, action.sf, action.bw_hz, action.eirp_dbm)
    started_us = radio.started_us
    gc.collect()
    margin_us = _AWAKE_BEFORE_END_US + action.airtime_us // 1000 * radio.clock_error_ppm // 1000
    clock.sleep_until_us(clock.ticks_add(started_us, action.airtime_us - margin_us))
    if not radio.wait_transmitted(2 * margin_us // 1000 + _GRACE_MS):
        raise RadioError("the radio did not finish sending")
    return end_of_transmission(radio.interrupt_us, started_us, action.airtime_us, radio.clock_error_ppm, clock)


def _wait(action, radio, clock):
    until_us = clock.ticks_add(clock.ticks_us(), action.us)
    if action.us > _WORTH_SLEEPING_US:
        radio.sleep(warm=True)
    clock.sleep_until_us(until_us)


def _listen(action, ended_us, radio, clock):
    """A Heard, or None; None at once when the window is over before it could be opened."""
    open_us = clock.ticks_add(ended_us, action.delay_us - radio.listen_latency_us)
    prepare_us = clock.ticks_add(open_us, -radio.prepare_us)
    window_us = action.symbols * symbol_us(action.sf, action.bw_hz)
    if clock.ticks_diff(prepare_us, clock.ticks_us()) > _WORTH_SLEEPING_US:
        radio.sleep(warm=True)
    gc.collect()
    clock.sleep_until_us(prepare_us)
    radio.prepare_listen(action.freq_hz, action.sf, action.bw_hz, action.symbols)
    longest_us = airtime_us(action.sf, action.bw_hz, 255, False)
    timeout_ms = (window_us + longest_us) // 1000 + _GRACE_MS
    gc.disable()
    try:
        clock.sleep_until_us(open_us)
        if clock.ticks_diff(clock.ticks_us(), open_us) >= window_us:
            return None
        radio.listen()
        return radio.receive(timeout_ms)
    finally:
        gc.enable()
