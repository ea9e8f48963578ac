"""The class A MAC without I/O: what is said, when it is listened for, and what a downlink changes.

The rules, in the order they matter:

- The law is kept by construction. Every transmission is entered in the airtime ledger before it is handed out, and is
  handed out only where its sub-band has room; JoinRequests keep to their own, smaller budget besides.
- A value is used once. FCntUp is counted on before the frame is handed out, so whoever carries out a `Transmit` can
  save the session first and a power cut costs a number, never repeats one.
- Nothing is believed before its MIC is good, and a downlink counter is accepted once.
- After an uplink two windows are opened, RX1 and, unless a downlink passed in RX1, RX2. Something that does not
  pass (noise, another device's frame, a wrong MIC) is as if nothing had come.
- An uplink is sent NbTrans times, each on another channel, until a downlink comes (TS001-1.0.4 4.3.1.3).
- Channels are chosen at random, each enabled channel once before any comes again.

What gives way when a frame is full: a payload that fits goes. MAC answers that do not fit beside it wait; when none
could be sent with one uplink, they go ahead of the next in a frame of their own on FPort 0. That frame may bring a
slower data rate, or use the airtime up: then the payload stays behind, and the Outcome says so.

Times: `now_ms` is node time, which never runs backwards and never faster than true time.
"""

from micropython import const

from lorawan import commands, crypto, frames
from lorawan import region as plan
from lorawan.actions import Listen, Transmit, Wait
from lorawan.airtime import airtime_us
from lorawan.ledger import NEVER, JoinClock, Ledger
from lorawan.results import Joined, NoAirtime, NoChannel, NotJoined, Outcome, PayloadTooLong
from lorawan.session import Session
from lorawan.timing import Timing

_FIRST_PORT = const(1)
_LAST_PORT = const(223)
_CERTIFICATION_PORT = const(224)
_OVERHEAD = const(8)  # of a MACPayload: FHDR without FOpts, and FPort
_FRAME_OVERHEAD = const(13)  # of a PHYPayload: MHDR, MIC and those
_JOIN_REQUEST_SIZE = const(23)
_LONG_FRAME = const(64)  # the longest at DR0 to DR2
_MAX_WAITING = const(60)  # bytes of answers; a network that asks for more gets no further answers before these are sent
_LOST_STEPS = const(9)  # of ADR_ACK_DELAY after ADR_ACK_LIMIT: two more than the longest backoff from DR5 takes
_RETRANSMIT_MIN_US = const(1000000)  # RETRANSMIT_TIMEOUT is 2 s, 1 s more or less at random (RP002-1.0.4 3.1)
_RETRANSMIT_SPREAD_US = const(2000000)
_REPEAT_SPREAD_US = const(1000000)  # between repetitions that no ACK is awaited for (TR007-1.1 4.8: random)


class Mac:
    """A device's MAC.

    region: a module such as eu868. session: Session or None. rng(n): a random int in 0..n-1.
    timing: timing.Timing or alike. max_eirp_dbm: what this device may radiate, where that is less than the region's.
    ledger, join_clock: what was sent before this start; fresh ones by default. adr: whether the network may steer.
    last_join_nonce: the JoinNonce of the last JoinAccept taken, -1 for none; kept by the node for ever.
    battery: as in DevStatusAns, 0 external, 1..254, 255 not measured.
    certification: whether FPort 224 is spoken, too.
    """

    def __init__(self, region, session=None, rng=None, timing=None, max_eirp_dbm=None, ledger=None, adr=True):
        if rng is None:  # no default: a MAC that always takes the first channel would pass for one that works
            raise TypeError("rng is needed")
        self.region = region
        self.session = session
        self.rng = rng
        self.timing = timing or Timing()
        self.max_eirp_dbm = region.MAX_EIRP_DBM if max_eirp_dbm is None else max_eirp_dbm
        self.ledger = ledger or Ledger(region)
        self.join_clock = JoinClock()
        self.adr = adr
        self.last_join_nonce = -1
        self.battery = commands.BATTERY_NOT_MEASURED
        self.certification = False
        self.join_channels_used = 0
        self._requests = b""
        self._bands = {}  # frequency: its sub-band
        self._airtime = 0, 0, 0  # DR, size and airtime that were asked for last

    @property
    def lost(self):
        """Whether the network has been silent through the whole ADR backoff: it is time to join again."""
        session = self.session
        steps = self.region.ADR_ACK_LIMIT + _LOST_STEPS * self.region.ADR_ACK_DELAY
        return self.adr and session is not None and session.adr_ack_cnt >= steps

    def request(self, cid):
        """Ask the network with the next uplink: commands.LINK_CHECK or DEVICE_TIME. The Outcome has the answer."""
        if cid not in self._requests:
            self._requests += bytes((cid,))

    def hush(self, now_ms):
        """Keep the network's duty cycle after a power cut, as if a long frame had just been sent."""
        session = self.session
        if session is not None and session.max_duty:
            self.ledger.quiet(self._airtime_us(session.dr, _LONG_FRAME), session.max_duty, now_ms)

    # Joining

    def join_wait_ms(self, dr, now_ms):
        """ms until a JoinRequest may be sent at data rate `dr`; 0 at once."""
        channels = self.region.DEFAULT_CHANNELS_HZ
        wait_ms = self._wait_ms((1 << len(channels)) - 1, channels, dr, _JOIN_REQUEST_SIZE, now_ms)
        return max(wait_ms, self.join_clock.wait_ms(self._airtime_us(dr, _JOIN_REQUEST_SIZE), now_ms))

    def join(self, dev_eui, join_eui, app_key, dev_nonce, dr=None, now_ms=0):
        """An exchange: one JoinRequest and its two windows. Returns Joined, or None.

        dev_eui, join_eui: 8 bytes big-endian; dev_nonce: 0..65535, used once (persist the next before you start).
        dr: data rate of the request, the region's fastest join rate by default.
        `session` and `last_join_nonce` change only when a good JoinAccept came. A JoinNonce that is not higher than the
        last one is refused: in 1.0.4 it is a counter, and an old JoinAccept sent again would leave the device with keys
        that nobody has (TR007-1.1 4.13). Raises NoAirtime before anything is sent.
        """
        if dr is None:
            dr = self.region.JOIN_DR
        wait_ms = self.join_wait_ms(dr, now_ms)
        if wait_ms:
            raise NoAirtime(wait_ms)
        return self._join(dev_eui, join_eui, app_key, dev_nonce, dr, now_ms)

    def _join(self, dev_eui, join_eui, app_key, dev_nonce, dr, now_ms):
        region = self.region
        channels = region.DEFAULT_CHANNELS_HZ
        frame = frames.join_request(join_eui, dev_eui, dev_nonce, app_key)
        mask = (1 << len(channels)) - 1
        channel = self._channel(mask, self.join_channels_used, channels, dr, len(frame), now_ms)
        wait_ms = self.join_wait_ms(dr, now_ms)
        if wait_ms or channel is None:  # something else was sent since it was asked for
            raise NoAirtime(wait_ms)
        index, self.join_channels_used = channel
        freq_hz = channels[index]
        transmit = self._transmit(frame, freq_hz, dr, region.MAX_EIRP_DBM, now_ms)
        self.join_clock.add(transmit.airtime_us, now_ms)
        yield transmit
        delay_s = region.JOIN_RX1_DELAY_S
        for window in (1, 2):
            if window == 1:
                heard = yield self._listen(1, delay_s, freq_hz, plan.rx1_dr(region, dr, 0, region.DWELL))
            else:
                heard = yield self._listen(2, delay_s + 1, region.RX2_FREQ_HZ, region.RX2_DR)
            accept = frames.parse_join_accept(app_key, heard.frame) if heard else None
            if accept and accept["join_nonce"] > self.last_join_nonce:
                self._learn(delay_s + window - 1, heard)
                self.last_join_nonce = accept["join_nonce"]
                self.join_clock.joined()
                self.session = new_session(region, accept, app_key, dev_nonce, dr)
                return Joined(self.session, self.last_join_nonce, window, heard.rssi, heard.snr)
        return None

    # Uplinks

    def room(self):
        """Bytes of payload that the next uplink takes beside all waiting MAC answers and requests."""
        session = self._joined()
        waiting = len(self._requests) + len(session.answers) + len(session.sticky)
        return max(0, self._room(session, self._next_dr(session)) - min(waiting, frames.MAX_FOPTS))

    def wait_ms(self, size, now_ms):
        """ms until an uplink with `size` bytes of payload may begin; 0 at once. Raises NotJoined."""
        session = self._joined()
        dr = self._next_dr(session)
        size += _FRAME_OVERHEAD + frames.MAX_FOPTS
        mask = commands.carriers(session, dr, session.channel_mask)
        return self._wait_ms(mask, session.channels, dr, size, now_ms)

    def uplink(self, port, payload, confirmed=False, now_ms=0):
        """An exchange: one data frame, NbTrans times if need be, and its windows. Returns an Outcome. To be carried out
        at once; a second one is made when the first has ended.

        port: 1..223, or None for a frame without payload; payload: bytes, in clear, or what gives them when it is
        called with the FCnt and knows by `len` how many they are at most.
        Raises, before anything is sent: NotJoined, PayloadTooLong, NoChannel, NoAirtime, ValueError for another port. A
        step of the ADR backoff may make a payload too long that was not so before: send less, `room` says how much.
        """
        session = self._joined()
        if port is None:
            if payload:
                raise ValueError("a payload needs a port")
        elif not _FIRST_PORT <= port <= self._last_port():
            raise ValueError("port must be 1 to 223")
        step, dr = self._step(session)
        room = self._room(session, dr)
        if len(payload) > room:
            raise PayloadTooLong(len(payload), room)
        mask = commands.carriers(session, dr, session.channel_mask)
        if not mask:
            raise NoChannel("no channel for DR" + str(dr))
        waiting = len(self._requests) + len(session.answers) + len(session.sticky)
        size = _FRAME_OVERHEAD + min(waiting, frames.MAX_FOPTS) + len(payload)
        channel = self._channel(mask, session.channels_used, session.channels, dr, size, now_ms)
        if channel is None:
            raise NoAirtime(self._wait_ms(mask, session.channels, dr, size, now_ms))
        return self._uplink(session, port, payload, confirmed, channel, now_ms, step, dr, room)

    def _uplink(self, session, port, payload, confirmed, channel, now_ms, step, dr, room):
        outcome = Outcome(confirmed)
        if step:
            self._back_off(session, step, dr)
        if session.waited and not commands.fitting(session.answers, room - len(payload)):
            session.waited = False
            answers = commands.fitting(session.answers + session.sticky, room, room)
            self._sent(session, answers)
            ahead = Outcome(False)
            ahead.downlinks = outcome.downlinks
            now_ms = yield from self._send(session, ahead, 0, answers, b"", False, channel, now_ms)
            outcome.window = ahead.window
            outcome.rssi = ahead.rssi
            outcome.snr = ahead.snr
            outcome.pending = ahead.pending
            channel = None
            self._back_off(session, *self._step(session))
            room = self._room(session, session.dr)
            if len(payload) > room:
                outcome.refused = PayloadTooLong(len(payload), room)
                return outcome
            wait_ms = self.wait_ms(len(payload), now_ms)
            if wait_ms:
                outcome.refused = NoAirtime(wait_ms)
                return outcome
        room = min(room - len(payload), frames.MAX_FOPTS)
        outcome.asked = self._requests[:room]
        self._requests = self._requests[len(outcome.asked) :]
        answers = session.answers + session.sticky
        if answers:
            answers = commands.fitting(answers, room - len(outcome.asked))
            session.waited = bool(session.answers) and not answers
            self._sent(session, answers)
        yield from self._send(session, outcome, port, payload, outcome.asked + answers, confirmed, channel, now_ms)
        return outcome

    def _sent(self, session, answers):
        """`answers`, the first of what waits, go out: those that stick are kept for repeating, behind the others."""
        fresh = answers[: len(session.answers)]
        session.answers = session.answers[len(fresh) :]
        session.sticky = commands.sticky(fresh) + session.sticky

    def _send(self, session, outcome, port, payload, fopts, confirmed, channel, now_ms):
        """One frame, as often as NbTrans says, and its windows. Returns the node time afterwards.

        channel: what `_channel` found for it, or None when that is to be done here.
        """
        region = self.region
        fctrl = frames.ACK if session.ack_owed else 0
        if self.adr:
            fctrl |= frames.ADR
            if session.adr_ack_cnt >= region.ADR_ACK_LIMIT:
                fctrl |= frames.ADR_ACK_REQ
        session.ack_owed = False
        fcnt = outcome.fcnt = session.fcnt_up
        session.fcnt_up = fcnt + 1
        session.adr_ack_cnt += 1
        if callable(payload):
            payload = payload(fcnt)
        frame = frames.data_up(
            session.nwk_skey, session.app_skey, session.dev_addr, fcnt, port, payload, fctrl, fopts, confirmed
        )
        dr = session.dr
        left = session.nb_trans
        while True:
            if channel is None:
                mask = commands.carriers(session, dr, session.channel_mask)
                channel = self._channel(mask, session.channels_used, session.channels, dr, len(frame), now_ms)
                if channel is None:  # the law goes before NbTrans
                    return now_ms
            index, session.channels_used = channel
            channel = None
            freq_hz = session.channels[index]
            eirp_dbm = session.max_eirp_dbm - region.TX_POWER_STEP_DB * session.tx_power
            transmit = self._transmit(frame, freq_hz, dr, eirp_dbm, now_ms)
            now_ms += transmit.airtime_us // 1000
            if session.max_duty:
                self.ledger.quiet(transmit.airtime_us, session.max_duty, now_ms)
            outcome.repeats += 1
            # The windows of this uplink are those it was sent under, whatever a downlink in RX1 changes.
            delay_s = session.rx1_delay_s
            outcome.ended = yield transmit
            rx1_dr = plan.rx1_dr(region, dr, session.rx1_dr_offset, session.dwell)
            heard = yield self._listen(1, delay_s, session.dl_channels[index] or freq_hz, rx1_dr)
            if self._downlink(session, outcome, delay_s, 1, heard):
                return now_ms + delay_s * 1000
            heard = yield self._listen(2, delay_s + 1, session.rx2_freq_hz, session.rx2_dr)
            now_ms += (delay_s + 1) * 1000
            left -= 1
            if self._downlink(session, outcome, delay_s, 2, heard):
                return now_ms
            if left <= 0:
                if confirmed or fctrl & frames.ADR_ACK_REQ:
                    self.timing.missed()
                return now_ms
            wait_us = self.rng(_REPEAT_SPREAD_US)
            if confirmed:
                wait_us = _RETRANSMIT_MIN_US + self.rng(_RETRANSMIT_SPREAD_US)
            yield Wait(wait_us)
            now_ms += wait_us // 1000

    def _downlink(self, session, outcome, delay_s, window, heard):
        """Take what was heard in a window; True when it was a downlink for this device."""
        if heard is None:
            return False
        down = frames.parse_data_down(
            session.nwk_skey, session.app_skey, session.dev_addr, session.fcnt_down, heard.frame
        )
        if down is None:
            return False
        self._learn(delay_s + window - 1, heard)
        session.fcnt_down = down.fcnt
        session.adr_ack_cnt = 0
        session.ack_owed = down.confirmed
        session.sticky = b""  # this downlink ends the repeating of answers
        if len(session.answers) <= _MAX_WAITING:
            session.answers += commands.apply(
                session, self.region, down.commands, heard.snr, self.battery, self.adr, outcome
            )
        if not session.max_duty:
            self.ledger.quiet(0, 0, 0)  # the network may have ended a silence
        if outcome.acked is not None and down.fctrl & frames.ACK:
            outcome.acked = True
        outcome.window = window
        outcome.rssi = heard.rssi
        outcome.snr = heard.snr
        outcome.pending = bool(down.fctrl & frames.FPENDING)
        if down.port is not None and _FIRST_PORT <= down.port <= self._last_port():
            outcome.downlinks.append((down.port, down.payload, down.fcnt))
        return True

    def _learn(self, delay_s, heard):
        if heard.after_us is not None:
            self.timing.heard(delay_s * 1000000, heard.after_us)

    # ADR backoff (TS001-1.0.4 4.3.1.1)

    def _next_dr(self, session):
        """The data rate of the next new frame: one lower where the ADR backoff takes a step down."""
        return self._step(session)[1]

    def _step(self, session):
        """(step of the backoff that is due with the next new frame or 0, data rate after it)."""
        region = self.region
        over = session.adr_ack_cnt - region.ADR_ACK_LIMIT
        dr = session.dr
        if not self.adr or over < region.ADR_ACK_DELAY or over % region.ADR_ACK_DELAY:
            return 0, dr
        step = over // region.ADR_ACK_DELAY
        if step > 1:
            while dr > 0:
                dr -= 1
                if commands.usable(session, self.region, dr, session.channel_mask):
                    return step, dr
            dr = session.dr
        return step, dr

    def _back_off(self, session, step, dr):
        """The step that is due: default power, then one data rate lower, at the lowest the default channels again."""
        if not step:
            return
        session.tx_power = 0
        if step > 1 and dr == session.dr:
            session.nb_trans = 1
            session.channel_mask |= (1 << len(self.region.DEFAULT_CHANNELS_HZ)) - 1
        session.dr = dr

    # Parts

    def _joined(self):
        if self.session is None:
            raise NotJoined("join first")
        return self.session

    def _last_port(self):
        return _CERTIFICATION_PORT if self.certification else _LAST_PORT

    def _room(self, session, dr):
        return plan.max_payload(self.region, dr, session.dwell) - _OVERHEAD

    def _airtime_us(self, dr, size):
        last = self._airtime
        if last[0] != dr or last[1] != size:
            sf, bw_hz = self.region.DATA_RATES[dr]
            self._airtime = last = dr, size, airtime_us(sf, bw_hz, size)
        return last[2]

    def _band(self, freq_hz):
        band = self._bands.get(freq_hz)
        if band is None:
            self._bands[freq_hz] = band = plan.sub_band(self.region, freq_hz)
        return band

    def _channel(self, mask, used, freqs_hz, dr, size, now_ms):
        """One of the channels in `mask` whose sub-band has room for a frame of `size` bytes, as region.choose gives it;
        None when there is none."""
        air_us = self._airtime_us(dr, size)
        while mask:
            chosen = plan.choose(mask, used, self.rng)
            band = self._band(freqs_hz[chosen[0]])
            if band >= 0 and self.ledger.wait_ms(band, air_us, now_ms) == 0:
                return chosen
            mask &= ~(1 << chosen[0])
        return None

    def _wait_ms(self, mask, freqs_hz, dr, size, now_ms):
        """ms until the first of the channels in `mask` is free for a frame of `size` bytes."""
        air_us = self._airtime_us(dr, size)
        wait_ms = NEVER
        for index, freq_hz in enumerate(freqs_hz):
            if mask >> index & 1 and self._band(freq_hz) >= 0:
                wait_ms = min(wait_ms, self.ledger.wait_ms(self._band(freq_hz), air_us, now_ms))
        return wait_ms

    def _transmit(self, frame, freq_hz, dr, eirp_dbm, now_ms):
        sf, bw_hz = self.region.DATA_RATES[dr]
        air_us = self._airtime_us(dr, len(frame))
        band = self._band(freq_hz)
        wait_ms = self.ledger.wait_ms(band, air_us, now_ms)
        if wait_ms:  # something else was sent since it was asked for
            raise NoAirtime(wait_ms)
        self.ledger.add(band, air_us, now_ms)
        return Transmit(frame, freq_hz, sf, bw_hz, min(eirp_dbm, self.max_eirp_dbm), air_us)

    def _listen(self, window, delay_s, freq_hz, dr):
        sf, bw_hz = self.region.DATA_RATES[dr]
        delay_us = delay_s * 1000000
        offset_us, symbols = self.timing.window(sf, bw_hz, delay_us)
        return Listen(window, delay_us + offset_us, freq_hz, sf, bw_hz, symbols)


def new_session(region, accept, app_key, dev_nonce, dr):
    """The session that a JoinAccept (dict of frames.parse_join_accept) begins.

    A window parameter that is reserved in this region leaves the region's default: readings still arrive.
    """
    nwk_skey, app_skey = crypto.session_keys(app_key, accept["join_nonce"], accept["net_id"], dev_nonce)
    session = Session(accept["dev_addr"], accept["net_id"], nwk_skey, app_skey, region)
    session.dr = dr
    session.rx1_delay_s = accept["rx_delay_s"]
    if accept["rx1_dr_offset"] < len(region.RX1_DR[0]):
        session.rx1_dr_offset = accept["rx1_dr_offset"]
    if plan.can_receive(region, accept["rx2_dr"]):
        session.rx2_dr = accept["rx2_dr"]
    cflist = accept["cflist"]
    if cflist and cflist[15] == region.CFLIST_TYPE:
        for index, freq_hz in enumerate(frames.cflist_freqs(cflist)):
            if plan.can_transmit(region, freq_hz):
                session.set_channel(region.CFLIST_FIRST + index, freq_hz, region.DR_RANGE)
    commands.settle(session, region)
    return session
