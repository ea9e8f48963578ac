"""One wake of a node: measure, join if it has no session, send, remember.

Counters are reserved ahead of use: the DevNonce is committed to NVS before its JoinRequest, the session with the next
FCntUp is in RTC memory before its frame goes on air. A reset at any moment costs a number and repeats none.
"""

from lorawan.crypto import cmac
from lorawan.mac import Mac
from lorawan.session import Session
from node import measure, schedule
from payload.encode import FPORT, encode


class Cycle:
    """config: of config.json; region, timing: of lorawan; identity, memory, hardware, clock: of node.

    run_exchange(exchange, radio, clock, before_transmit): radio.runner.run; rng(n): a random int in 0..n-1.
    """

    def __init__(self, config, region, timing, identity, memory, hardware, clock, run_exchange, rng):
        self._config = config
        self._identity = identity
        self._memory = memory
        self._hardware = hardware
        self._clock = clock
        self._run_exchange = run_exchange
        self._rng = rng
        self._airtime_us = 0
        # a record of another key's session has another binding and is not unpacked
        self._binding = cmac(identity.app_key, b"funkspatz session" + identity.dev_eui)[:4]
        session = Session.unpack(memory.session, self._binding)
        self._mac = Mac(region, session, rng, timing, config["radio"].get("max_eirp_dbm"))
        self._mac.last_join_nonce = identity.join_nonce

    @property
    def joined(self):
        return self._mac.session is not None

    def started(self):
        """To be called once after power-on or a reset: ms to wait before the first wake.

        Counted in RTC memory until a wake comes to its end, because a weak battery may give way at every transmission.
        """
        cut_off = self._memory.cut_off
        self._memory.cut_off += 1
        self._memory.save()
        wait_ms = schedule.after_start(cut_off, self._rng)
        if cut_off:
            print(f"cut off {cut_off} times in a row (is the battery weak?); next try in {wait_ms // 1000} s")
        return wait_ms

    def run(self):
        """One wake. Returns (ms until the next, whether that is counted from this wake's start or, False, its end)."""
        self._airtime_us = 0
        reading = measure.take(self._config["sensors"], self._hardware)
        print("reading:", measure.text(reading))
        if not self.joined and not self._join():
            wait_ms = schedule.after_failed_join(self._memory.join_failures, self._rng)
            self._come_to_its_end()
            print(f"nobody answered; next try in {wait_ms // 1000} s")
            return wait_ms, False
        self._send(reading)
        interval_ms = self._config["interval_s"] * 1000
        old_ms = self._memory.phase_ms
        self._memory.phase_ms = schedule.phase(interval_ms, self._rng)
        self._come_to_its_end()
        return schedule.after_sending(interval_ms, old_ms, self._memory.phase_ms, self._airtime_us), True

    def after_failure(self):
        """As `run` returns it, when `run` raised: the interval, but a join that broke is not tried again earlier than
        one that nobody answered."""
        self._come_to_its_end()
        wait_ms = schedule.after_sending(self._config["interval_s"] * 1000, 0, 0, self._airtime_us)
        if not self.joined:
            wait_ms = max(wait_ms, schedule.after_failed_join(max(1, self._memory.join_failures), self._rng))
        return wait_ms, True

    def _join(self):
        memory = self._memory
        dr = schedule.join_dr(memory.join_failures)
        memory.join_failures += 1  # counted before it is tried: a reset in between must not make joins more frequent
        memory.session = b""
        memory.save()
        identity = self._identity
        dev_nonce = identity.reserve_dev_nonce()
        print(f"joining, try {memory.join_failures} at DR{dr}")
        exchange = self._mac.join(identity.dev_eui, identity.join_eui, identity.app_key, dev_nonce, dr=dr)
        joined = self._exchange(exchange)
        if joined is None:
            return False
        identity.join_nonce = self._mac.last_join_nonce
        memory.join_failures = 0
        self._save()
        print(f"joined as {joined.session.dev_addr:08x}")
        return True

    def _send(self, reading):
        exchange = self._mac.uplink(FPORT, encode(reading), bool(self._config.get("confirmed")))
        try:
            outcome = self._exchange(exchange)
        finally:
            self._save()  # FCntDown and what the network changed; and FCntUp when the radio failed
        text = {None: "sent", True: "sent and acknowledged", False: "sent, but not acknowledged"}[outcome.acked]
        print(f"{text}, frame {outcome.fcnt}")
        for port, payload, _ in outcome.downlinks:
            print(f"downlink port={port} payload={payload.hex()}")

    def _exchange(self, exchange):
        return self._run_exchange(exchange, self._hardware.radio(), self._clock, self._before_transmit)

    def _before_transmit(self, action):
        self._airtime_us += action.airtime_us
        self._save()

    def _come_to_its_end(self):
        self._memory.cut_off = 0
        self._save()

    def _save(self):
        session = self._mac.session
        self._memory.session = session.pack(self._binding) if session else b""
        self._memory.save()
