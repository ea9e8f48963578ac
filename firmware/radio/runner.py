"""Carries out a MAC exchange (a generator of Transmit and Listen) on a radio, on time.

What matters here is when the receiver opens. Receive windows are counted from the end of the transmission, which the
node knows from two sides: the interrupt of the radio, which MicroPython may serve late (its handlers are scheduled,
and wait for a collection of garbage), and the start of the transmission plus the computed airtime. Every window is set
up shortly before its moment, so that a single short command opens it; garbage is collected while the radio sends and
not during the window. In between the radio is in warm sleep, and the processor sleeps too, if the clock handed in does
so: while the radio sends, between the windows, and in a window as long as nothing can have been received.

Neither `machine` nor `time` is used: `radio` is one of the drivers, `clock` has `ticks_us()`, `ticks_add(ticks, us)`,
`ticks_diff(a, b)` and `sleep_until_us(ticks, exact)`, on the same clock as the driver's.
"""

import gc

from micropython import const

from lorawan.actions import Transmit, Wait
from lorawan.airtime import airtime_us, symbol_us
from radio import RadioError

_WORTH_SLEEPING_US = const(100000)  # a shorter wait costs less awake than the set-up after a sleep
_AWAKE_BEFORE_END_US = const(2000)  # before the end of a transmission, so that its interrupt is seen
_MEASURED_US = const(4000)  # a time of arrival that may be further off than this tells nothing
_SHORTEST_FRAME = const(12)  # bytes of a downlink without options and payload
_PREAMBLE = const(8)  # symbols
_INTERRUPT_LATE_US = const(1000)  # what serving the interrupt usually takes, with much to spare
_GRACE_MS = const(200)  # for a radio that is late: afterwards it is taken as stuck


def run(exchange, radio, clock, before_transmit=None):
    """Carry out `exchange` to its end and return what it returns.

    A Transmit is answered with the ticks_us at which it ended, a Listen with a Heard or None, a Wait with None.
    `before_transmit(action)` is called before each frame goes on air: what the frame uses up (counters, airtime) must
    be stored there. Raises RadioError when the radio fails, and whatever the exchange or `before_transmit` raise; the
    exchange is closed and the radio is asleep in any case.
    """
    radio.doze = lambda us: clock.sleep_until_us(clock.ticks_add(clock.ticks_us(), us), False)
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
    # Awake for the end, so that the interrupt is served at its time: it is what the windows are counted from.
    margin_us = _AWAKE_BEFORE_END_US + action.airtime_us // 1000 * radio.clock_error_ppm // 1000
    clock.sleep_until_us(clock.ticks_add(started_us, action.airtime_us - margin_us), False)
    if not radio.wait_transmitted(2 * margin_us // 1000 + _GRACE_MS):
        raise RadioError("the radio did not finish sending")
    return end_of_transmission(radio.interrupt_us, started_us, action.airtime_us, radio.clock_error_ppm, clock)


def _wait(action, radio, clock):
    until_us = clock.ticks_add(clock.ticks_us(), action.us)
    if action.us > _WORTH_SLEEPING_US:
        radio.sleep(warm=True)
    clock.sleep_until_us(until_us, False)


def _listen(action, ended_us, radio, clock):
    """A Heard, or None; None at once when the window is over before it could be opened."""
    sf, bw_hz = action.sf, action.bw_hz
    symbol = symbol_us(sf, bw_hz)
    open_us = clock.ticks_add(ended_us, action.delay_us)
    send_us = clock.ticks_add(open_us, -radio.listen_latency_us)
    prepare_us = clock.ticks_add(send_us, -radio.prepare_us)
    if clock.ticks_diff(prepare_us, clock.ticks_us()) > _WORTH_SLEEPING_US:
        radio.sleep(warm=True)
    clock.sleep_until_us(prepare_us)
    window_us = (radio.prepare_listen(action.freq_hz, sf, bw_hz, action.symbols) or action.symbols) * symbol
    gc.disable()
    try:
        clock.sleep_until_us(send_us)
        late_us = clock.ticks_diff(clock.ticks_us(), send_us)
        if late_us >= window_us:
            return None
        radio.listen()
        open_us = clock.ticks_add(open_us, late_us)
        shortest_us = airtime_us(sf, bw_hz, _SHORTEST_FRAME, False) - _PREAMBLE * symbol
        unseen = _doze(window_us, shortest_us, open_us, radio, clock)
        longest_us = airtime_us(sf, bw_hz, 255, False)
        heard = radio.receive((window_us + longest_us) // 1000 + _GRACE_MS)
    finally:
        gc.enable()
    if heard and not unseen and radio.interrupt_us is not None:
        frame_us = airtime_us(sf, bw_hz, len(heard.frame), False)
        began_us = clock.ticks_add(radio.interrupt_us, -frame_us)
        # An interrupt that was served late puts the preamble where the window could not have caught it; and how wrong
        # the node's clock may be in a long frame can hide what is to be measured.
        in_window = -_PREAMBLE * symbol <= clock.ticks_diff(began_us, open_us) <= window_us
        if in_window and frame_us // 1000 * radio.clock_error_ppm // 1000 <= _MEASURED_US:
            # A window that opened late has seen the frame so much earlier.
            heard.after_us = clock.ticks_diff(began_us, ended_us) - late_us
    return heard


def _doze(window_us, frame_us, open_us, radio, clock):
    """Let the processor sleep in a window that opened at `open_us`, until there may be something to receive.

    A frame takes at least `frame_us` after its preamble. So nothing ends earlier than that after the window opened, or
    after a moment when the radio heard no preamble; should light sleep take longer,
    the interrupt is lost, or served when the processor wakes. Returns whether something ended meanwhile.
    """
    at_us = 0
    over_us = window_us + (window_us >> 6)  # the radio's clock and the node's are not the same
    while True:
        at_us = min(over_us, at_us + frame_us)
        clock.sleep_until_us(clock.ticks_add(open_us, at_us), False)
        if at_us == over_us or radio.poll() or radio.hearing():
            break
    if not radio.poll():
        clock.sleep_until_us(clock.ticks_add(open_us, frame_us), False)
    return radio.poll()
