"""One wake of a node: measure, log, join if it has no session, send, obey, remember.

What may never repeat and what the law asks for is in lorawan.device, which stores it before anything goes on air. Here
is what a node does with it: when it joins, what it sends, how long it waits. A reading is in the log before anything is
sent, because the power may fail with every transmission; what became of it is amended there afterwards.
"""

from micropython import const

from lorawan import region as plan
from lorawan.airtime import airtime_us
from lorawan.commands import DEVICE_TIME
from lorawan.device import Device, NoDevNonce
from lorawan.results import NoAirtime, NotJoined, PayloadTooLong
from node import measure, schedule
from node.frame import Payload
from node.identity import INTERVAL_S, PARITY_MAX, IdentityError
from node.log import NOWHERE
from node.notes import Notes, mark
from node.sync import Sync
from payload import extras
from payload.encode import FAILED, FPORT, codes, pack
from payload.table import QUANTITIES
from payload.window import Window

_LONGEST_WAIT_MS = const(3600000)  # time that passed counts only when it is stored: see Device.save
_ORDERS = const(2)  # fPort of what node.orders carries out
_MAC_BYTES = const(8)  # of a frame's MACPayload beside payload and FOpts
_OVERHEAD = const(13)  # bytes of a frame beside those
_FOPTS_MAX = const(15)
_EARLIER_MIN = const(12)  # bytes: with less room it is not worth to look into the log
_PATIENCE = const(3)  # unanswered questions for the time, after which readings are sent again without their age


class Cycle:
    """config: of config.json; region, timing: of lorawan; identity, memory, hardware, clock, log: of node.

    run_exchange(exchange, radio, clock, before_transmit): radio.runner.run; rng(n): a random int in 0..n-1.
    """

    def __init__(self, config, region, timing, identity, memory, hardware, clock, run_exchange, rng, log=None):
        self._config = config
        self._region = region
        self._memory = memory
        self._join_dr = config.get("lorawan", {}).get("join_dr", region.JOIN_DR)
        self._hardware = hardware
        self._clock = clock
        self._run_exchange = run_exchange
        self._rng = rng
        self._airtime_us = 0
        self._measured_ms = 0
        self._volts = None
        self._log = log
        self._entry = None  # the log, if this wake's reading is the last in it
        self._restart = False
        self._just_joined = False
        self.heard = None  # whether a gateway answered, the last time that it was asked; None: not asked yet
        self._latest = {}  # of each quantity
        self._sync = Sync(memory.sync)
        self._window = Window(memory.window)
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
        if not (hardware.woke_from_sleep and memory.found):
            self._sync.started(self._last_boot() + 1, self.device.now_ms())
            memory.sync = self._sync.pack()  # already now: the first wake may end before the network answers
        self._certified = None
        if config.get("certification") and not identity.certification_ended:
            from node.certified import Certified

            self._certified = Certified(self.device, config["certification"], identity, hardware)
        self._identity = identity
        self._learn_settings()

    def _last_boot(self):
        """The number of the last start. After a power cut only the log has it."""
        if self._memory.found or not self._log:
            return self._sync.boot
        try:
            self._log.load()
        except OSError as error:
            print(f"the log cannot be read: {error}")
        return self._log.boot

    def _learn_settings(self):
        """What config.json says, or what was set by radio since."""
        config = self._config
        self._interval_s = config["interval_s"]
        parity = config.get("parity", 1)
        self._parity = parity if parity in range(PARITY_MAX + 1) else 1
        self._confirmed = bool(config.get("confirmed"))
        try:
            setting = self._identity.setting
            interval_s = setting("interval", 0)
            parity = setting("parity", -1)
            if INTERVAL_S[0] <= interval_s <= INTERVAL_S[1]:
                self._interval_s = interval_s
            if 0 <= parity <= PARITY_MAX:
                self._parity = parity
            self._confirmed = setting("confirmed", self._confirmed) != 0
        except OSError as error:  # readings go on
            print(f"the settings cannot be read: {error}")

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
        self._airtime_us = self._measured_ms = 0
        self._just_joined = False
        device = self.device
        reading = measure.take(
            self._config["sensors"],
            self._hardware,
            self._memory,
            device.now_ms() // 1000,
            self._config.get("find"),
            self._clock,
            self._measured,
        )
        if not self._measured_ms:
            self._measured()
        print("reading:", measure.text(reading))
        battery = self._config.get("battery")
        self._volts = reading.get("battery")
        self._latest.update(reading)
        device.mac.battery = measure.battery_level(self._volts, battery, self._config.get("usb"))
        self._keep(reading)
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
        if self._restart:
            print("restarting, as the network asked")
            self._hardware.restart()
        return max(wait_ms and wait_ms + phase_ms, self._after_sending(old_ms, phase_ms)), True

    def after_failure(self):
        """As `run` returns it, when `run` raised: the interval, but a join that broke is not tried again earlier than
        one that nobody answered."""
        self._window = Window(self._memory.window)  # as it was told: a frame may have been left half made
        self._come_to_its_end()
        wait_ms = self._after_sending(0, 0)
        if not self.device.joined:
            wait_ms = max(wait_ms, schedule.after_failed_join(max(1, self._memory.join_failures), self._rng))
        return wait_ms, True

    @property
    def sensor_missing(self):
        """Whether a sensor failed the last time that it was asked, or none is there at all where some were expected.
        The battery is no sensor."""
        latest = self._latest
        config = self._config
        sensors, find = config["sensors"], config.get("find")
        if find and not sensors and not [name for name in latest if name != "battery"]:
            # or what was found is not due yet
            return Notes(self._memory.sensors, mark(sensors, find)).found == []
        return any([latest[name] == FAILED for name in latest if name != "battery"])

    @property
    def since_start_ms(self):
        """How long ago it was switched on or reset."""
        return self.device.now_ms() - self._sync.began_ms

    def _measured(self):
        self._measured_ms = self.device.now_ms()

    def _interval_ms(self):
        if self._certified and self._certified.tool.period_s:
            return self._certified.tool.period_s * 1000
        return schedule.stretched(self._interval_s * 1000, self._volts, self._config.get("battery"))

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
            self.heard = False
            print(f"nobody answered; next try in {wait_ms // 1000} s")
            return wait_ms
        memory.join_failures = 0
        self._just_joined = self.heard = True
        print(f"joined as {joined.session.dev_addr:08x}")
        return 0

    def _keep(self, reading):
        """Write the reading to the log."""
        self._entry = None
        log = self._log
        if not log:
            return
        session, fcnt = self._slot()
        when, flags = self._sync.stamp(self._measured_ms)
        try:
            log.append(session, fcnt, when, flags, pack(codes(reading)))
            self._entry = log
        except OSError as error:
            print(f"the log cannot be written: {error}")
        self._memory.log = log.pack()

    def _slot(self):
        """(session, FCnt) of the next frame, as the log and the nest have it."""
        session = self.device.session
        if session is None:
            return NOWHERE
        return self.device.mac.last_join_nonce & 0xFF, session.fcnt_up & 0xFFFF

    def _amend(self, slot):
        """The reading belongs to another frame than it was planned for."""
        log = self._entry
        if log and log.slot != slot:
            try:
                log.amend(*slot)
            except OSError as error:
                print(f"the log cannot be written: {error}")
            self._memory.log = log.pack()

    def _send(self, reading, earlier=True):
        """Send a reading. Returns the ms that have to pass before the next, 0 for no more than usual.

        earlier: whether readings of the log may go with it.
        """
        device = self.device
        session = device.session
        if session is None:
            raise NotJoined("join first")
        # not at once after a join: where a town's nodes all join, downlinks are short (tests/benchmarks/storm.py)
        if not (self._certified or self._just_joined) and self._sync.due(device.now_ms()):
            device.request(DEVICE_TIME)
        slot = self._slot()
        self._amend(slot)
        whole = plan.max_payload(self._region, session.dr, session.dwell) - _MAC_BYTES
        self._shorten(reading, whole - 1)
        payload = self._payload(session, reading, slot, whole, earlier)
        uplink = FPORT, payload, self._confirmed
        if self._certified:
            uplink = self._certified.uplink(*uplink)
        try:
            outcome = device.uplink(*uplink)
        except NoAirtime as error:
            if payload.earlier:
                return self._send(reading, False)
            print(f"its airtime is used up, this reading is not sent; next try in {error.wait_ms // 1000} s")
            return error.wait_ms
        except PayloadTooLong as error:  # a step down of the ADR backoff
            if not reading:
                raise
            self._shorten(reading, error.room - (error.size - len(pack(codes(reading)))))
            return self._send(reading, False)
        if outcome.refused:
            print(f"MAC answers went first, this reading is not sent: {outcome.refused}")
        else:
            text = {None: "sent", True: "sent and acknowledged", False: "sent, but not acknowledged"}[outcome.acked]
            print(f"{text}, frame {outcome.fcnt}" + (f", {outcome.repeats} times" if outcome.repeats > 1 else ""))
        if outcome.refused or uplink[1] is not payload:
            self._amend(self._slot())
        else:
            self._amend((slot[0], outcome.fcnt & 0xFFFF))
            self._said(payload)
        if not session.adr_ack_cnt:
            self.heard = True
        elif outcome.acked is False or DEVICE_TIME in outcome.asked:
            self.heard = False
        self._take_time(outcome)
        for port, data, _ in outcome.downlinks:
            print(f"downlink port={port} payload={data.hex()}")
            if port == _ORDERS:
                self._obey(data)
        if self._certified:
            self._certified.heard(outcome)
        return getattr(outcome.refused, "wait_ms", 0)

    def _shorten(self, reading, room):
        """Make it at most `room` bytes, if need be without what comes last in the table: a node that sent nothing would
        never be given another data rate."""
        names = [row[1] for row in QUANTITIES if row[1] in reading]
        while names and len(pack(codes(reading))) > room:
            name = names.pop()
            print(f"the reading is too long for this data rate, without {name} then")
            reading.pop(name)

    def _payload(self, session, reading, slot, whole, earlier):
        """The reading, and beside it what the nest wants to know, as far as there is room. whole: bytes of payload that
        a frame of the session's data rate has at most."""
        device = self.device
        memory = self._memory
        room = device.room()
        tag = device.mac.last_join_nonce + 1
        payload = Payload(
            self._window, tag, codes(reading), self._parity, room, lambda: device.now_ms() - self._measured_ms
        )
        if memory.ticket and payload.add(extras.answer(memory.ticket, memory.result)):
            payload.ticket = memory.ticket
        if self._entry and self._entry.unsent:
            payload.add(extras.unsent(self._entry.unsent))
        overhead = _OVERHEAD + max(0, min(whole - room, _FOPTS_MAX))
        sf, bw_hz = self._region.DATA_RATES[session.dr]
        if earlier and memory.wanted and self._log and (self._sync.known or self._sync.tries >= _PATIENCE):
            payload.keep_age()
            # no more than what the interval has to be for in any case
            times = schedule.duty(self._config.get("fair_use_s", 0)) * session.nb_trans
            most = room
            while most > len(payload) and airtime_us(sf, bw_hz, overhead + most) * times > self._interval_ms() * 1000:
                most -= 1
            self._look_up(payload, min(payload.left(), most - len(payload) - 1), slot)
        size = len(payload)
        step_us = airtime_us(sf, bw_hz, overhead + size)
        while size < room and airtime_us(sf, bw_hz, overhead + size + 1) == step_us:
            size += 1
        payload.fill(size)
        return payload

    def _look_up(self, payload, size, slot):
        """Let readings of the log that are wanted go with the next frame."""
        if size < _EARLIER_MIN:
            return
        from node.earlier import Earlier

        wanted = self._memory.wanted
        try:
            found = Earlier(wanted, size, self._log, slot[0], slot[1], self._sync.age, self.device.now_ms)
        except OSError as error:
            print(f"the log cannot be read: {error}")
            return
        payload.carry(found)

    def _said(self, payload):
        """What went with a frame need not be said again."""
        memory = self._memory
        if payload.ticket:
            memory.ticket = 0
            self._restart = memory.restart
            memory.restart = False
        if payload.earlier:
            memory.wanted = payload.earlier.left

    def _take_time(self, outcome):
        sync = self._sync
        now_ms = self.device.now_ms()
        if DEVICE_TIME in outcome.asked and not self._certified:
            sync.asked(now_ms)
        if outcome.device_time and outcome.ended is not None:
            clock = self._clock
            passed_us = clock.ticks_diff(clock.ticks_us(), outcome.ended)
            sync.answered(now_ms - passed_us // 1000, *outcome.device_time)
        self._memory.sync = sync.pack()

    def _obey(self, data):
        from node.orders import carry_out

        memory = self._memory
        if carry_out(data, memory, self._identity):
            before_s = self._interval_s
            self._learn_settings()
            if self._interval_s != before_s:
                self._sync.unsteady()
                memory.sync = self._sync.pack()
            print(f"orders {memory.ticket}: " + (f"number {memory.result} is refused" if memory.result else "done"))

    def _exchange(self, exchange, before_transmit):
        def before(action):
            self._airtime_us += action.airtime_us
            self._memory.window = bytes(self._window.pack())  # before the frame, as the FCnt: what it told must be so
            before_transmit(action)

        return self._run_exchange(exchange, self._hardware.radio(), self._clock, before)

    def _come_to_its_end(self):
        self._memory.cut_off = 0
        self.device.save()
