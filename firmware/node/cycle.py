"""One wake of a node: measure, join if it has no session, send, remember.

What may never repeat and what the law asks for is in lorawan.device, which stores it before anything goes on air. Here
is what a node does with it: when it joins, what it sends, how long it waits.
"""

from micropython import const

from lorawan.device import Device, NoDevNonce
from lorawan.results import NoAirtime, PayloadTooLong
from node import measure, schedule
from node.identity import IdentityError
from payload.encode import FPORT, encode
from payload.table import QUANTITIES

_LONGEST_WAIT_MS = const(3600000)  # time that passed counts only when it is stored: see Device.save


class Cycle:
    """config: of config.json; region, timing: of lorawan; identity, memory, hardware, clock: of node.

    run_exchange(exchange, radio, clock, before_transmit): radio.runner.run; rng(n): a random int in 0..n-1.
    """

    def __init__(self, config, region, timing, identity, memory, hardware, clock, run_exchange, rng):
        self._config = config
        self._region = region
        self._memory = memory
        self._join_dr = config.get("lorawan", {}).get("join_dr", region.JOIN_DR)
        self._hardware = hardware
        self._clock = clock
        self._run_exchange = run_exchange
        self._rng = rng
        self._airtime_us = 0
        slept_ms = memory.sleeps_ms if hardware.woke_from_sleep else 0
        memory.sleeps_ms = 0
        self.device = Device(
            region,
            identity.dev_eui,
            identity.join_eui,
            identity.app_key,
            identity,
            memory,
            self._exchange,
            clock.uptime_ms,
            rng,
            timing,
            config["radio"].get("max_eirp_dbm"),
            slept_ms,
            identity.first_dev_nonce,
        )
        self._certified = None
        if config.get("certification") and not identity.certification_ended:
            from node.certified import Certified

            self._certified = Certified(self.device, config["certification"], identity, hardware)

    def started(self):
        """To be called once after power-on or a reset: ms to wait before the first wake.

        Counted in RTC memory until a wake comes to its end, because a weak battery may give way at every transmission.
        """
        cut_off = self._memory.cut_off
        self._memory.cut_off += 1
        self.device.save()
        wait_ms = schedule.after_start(cut_off, self._rng)
        if cut_off:
            print(f"cut off {cut_off} times in a row (is the battery weak?); next try in {wait_ms // 1000} s")
        return wait_ms

    def sleeping(self, ms):
        """To be called just before deep sleep: the time that passes in it counts."""
        self._memory.sleeps_ms = ms
        self.device.save()

    def run(self):
        """One wake. Returns (ms until the next, whether that is counted from this wake's start or, False, its end)."""
        self._airtime_us = 0
        device = self.device
        reading = measure.take(self._config["sensors"], self._hardware)
        print("reading:", measure.text(reading))
        level = measure.battery_level(reading.get("battery"), self._config.get("battery"), self._config.get("usb"))
        device.mac.battery = level
        if not device.joined:
            wait_ms = self._join()
            if wait_ms:
                self._come_to_its_end()
                return min(wait_ms, _LONGEST_WAIT_MS), False
        elif device.lost and device.now_ms() >= self._memory.next_join_s * 1000:
            # Its uplinks may be heard all the same, so it goes on with the session it has; and whatever breaks in the
            # join, the next wakes send.
            self._memory.next_join_s = (device.now_ms() + _LONGEST_WAIT_MS) // 1000
            self._memory.next_join_s = (device.now_ms() + self._join()) // 1000
        wait_ms = self._send(reading)
        old_ms = self._memory.phase_ms
        phase_ms = self._memory.phase_ms = schedule.phase(self._interval_ms(), self._rng)
        self._come_to_its_end()
        return max(wait_ms and wait_ms + phase_ms, self._after_sending(old_ms, phase_ms)), True

    def after_failure(self):
        """As `run` returns it, when `run` raised: the interval, but a join that broke is not tried again earlier than
        one that nobody answered."""
        self._come_to_its_end()
        wait_ms = self._after_sending(0, 0)
        if not self.device.joined:
            wait_ms = max(wait_ms, schedule.after_failed_join(max(1, self._memory.join_failures), self._rng))
        return wait_ms, True

    def _interval_ms(self):
        return (self._certified and self._certified.tool.period_s or self._config["interval_s"]) * 1000

    def _after_sending(self, old_phase_ms, phase_ms):
        fair_use_s = self._config.get("fair_use_s", 0)
        return schedule.after_sending(self._interval_ms(), old_phase_ms, phase_ms, self._airtime_us, fair_use_s)

    def _join(self):
        """Try to join. Returns 0 when the node has a new session, else the ms until the next try."""
        memory = self._memory
        dr = schedule.join_dr(self._region, memory.join_failures, self._join_dr)
        memory.join_failures += 1  # counted before it is tried: a reset in between must not make joins more frequent
        print(f"joining, try {memory.join_failures} at DR{dr}")
        try:
            joined = self.device.join(dr)
        except NoAirtime as error:
            memory.join_failures -= 1
            print(f"its airtime for joining is used up; next try in {error.wait_ms // 1000} s")
            return error.wait_ms
        except NoDevNonce:
            if self.device.joined:
                return _LONGEST_WAIT_MS
            raise IdentityError("This node has used up its join numbers.") from None
        if joined is None:
            wait_ms = schedule.after_failed_join(memory.join_failures, self._rng)
            print(f"nobody answered; next try in {wait_ms // 1000} s")
            return wait_ms
        memory.join_failures = 0
        print(f"joined as {joined.session.dev_addr:08x}")
        return 0

    def _send(self, reading):
        """Send a reading. Returns the ms that have to pass before the next, 0 for no more than usual."""
        uplink = FPORT, encode(reading), bool(self._config.get("confirmed"))
        if self._certified:
            uplink = self._certified.uplink(*uplink)
        try:
            outcome = self.device.uplink(*uplink)
        except NoAirtime as error:
            print(f"its airtime is used up, this reading is not sent; next try in {error.wait_ms // 1000} s")
            return error.wait_ms
        except PayloadTooLong:
            if not reading:
                raise
            # what comes last in the table stays behind: a node that sent nothing would never be given another data rate
            name = [row[1] for row in QUANTITIES if row[1] in reading][-1]
            print(f"the reading is too long for this data rate, without {name} then")
            reading.pop(name)
            return self._send(reading)
        if outcome.refused:
            print(f"MAC answers went first, this reading is not sent: {outcome.refused}")
        else:
            text = {None: "sent", True: "sent and acknowledged", False: "sent, but not acknowledged"}[outcome.acked]
            print(f"{text}, frame {outcome.fcnt}" + (f", {outcome.repeats} times" if outcome.repeats > 1 else ""))
        for port, payload, _ in outcome.downlinks:
            print(f"downlink port={port} payload={payload.hex()}")
        if self._certified:
            self._certified.heard(outcome)
        return getattr(outcome.refused, "wait_ms", 0)

    def _exchange(self, exchange, before_transmit):
        def before(action):
            self._airtime_us += action.airtime_us
            before_transmit(action)

        return self._run_exchange(exchange, self._hardware.radio(), self._clock, before)

    def _come_to_its_end(self):
        self._memory.cut_off = 0
        self.device.save()
