"""The class A MAC without I/O: what is said, when it is listened for, and what a downlink changes.

The rules, in the order they matter:

- A value is used once. FCntUp is counted on before the frame is handed out, so whoever carries out a `Transmit` can
  save the session first and a power cut costs a number, never repeats one.
- Nothing is believed before its MIC is good, and a downlink counter is accepted once.
- After an uplink two windows are opened, RX1 and, unless a downlink passed in RX1, RX2. Something that does not
  pass (noise, another device's frame, a wrong MIC) is as if nothing had come.
- Channels are chosen at random, each enabled channel once before any comes again.

Where the rest goes: ADR and its backoff before a frame is built, duty cycle where a channel is chosen, MAC commands in
`commands`, NbTrans around the transmission in `_uplink`.
"""

from micropython import const

from lorawan import commands, crypto, frames
from lorawan.actions import Listen, Transmit
from lorawan.airtime import Timing, airtime_us, rx_window
from lorawan.session import Session

_FIRST_PORT = const(1)
_LAST_PORT = const(223)  # 224 is the certification protocol's, the rest is reserved
_OVERHEAD = const(8)  # of a MACPayload: FHDR without FOpts, and FPort
_CFLIST_FIRST = const(3)  # the channel that the first frequency of a CFList is for


class NotJoined(ValueError):
    """An uplink needs a session."""


class PayloadTooLong(ValueError):
    """The payload does not fit into a frame at the session's data rate: `size` of at most `room` bytes."""

    def __init__(self, size, room):
        super().__init__(f"payload of {size} bytes, at most {room}")
        self.size = size
        self.room = room


class NoChannel(ValueError):
    """No enabled channel carries the session's data rate."""


class Joined:
    """A join that worked: the session, the JoinNonce to remember, the window it came in, RSSI and SNR."""

    __slots__ = ("join_nonce", "rssi", "session", "snr", "window")

    def __init__(self, session, join_nonce, window, rssi, snr):
        self.session = session
        self.join_nonce = join_nonce
        self.window = window
        self.rssi = rssi
        self.snr = snr


class Outcome:
    """What came of an uplink.

    fcnt: the FCntUp it had. acked: None for an unconfirmed uplink, else whether the network acknowledged it.
    window: 1 or 2, where the downlink came, 0 for none; rssi and snr are the downlink's, None without one.
    downlinks: list of (port, payload, FCntDown) for the application. pending: the network has more to say (FPending).
    ok: nothing is known to be lost, that is, not a confirmed uplink without acknowledgement.
    """

    __slots__ = ("acked", "downlinks", "fcnt", "pending", "rssi", "snr", "window")

    def __init__(self, fcnt, confirmed):
        self.fcnt = fcnt
        self.acked = False if confirmed else None
        self.downlinks = []
        self.pending = False
        self.window = 0
        self.rssi = None
        self.snr = None

    @property
    def ok(self):
        return self.acked is not False


class Mac:
    """A device's MAC.

    region: a module such as eu868. session: Session or None. rng(n): a random int in 0..n-1.
    timing: airtime.Timing or alike. max_eirp_dbm: what this device may radiate, where that is less than the region's.
    last_join_nonce: the JoinNonce of the last JoinAccept taken, -1 for none; kept by the node for ever.
    battery: as in DevStatusAns, 0 external, 1..254, 255 not measured.
    """

    def __init__(self, region, session=None, rng=None, timing=None, max_eirp_dbm=None):
        if rng is None:  # no default: a MAC that always takes the first channel would pass for one that works
            raise TypeError("rng is needed")
        self.region = region
        self.session = session
        self.rng = rng
        self.timing = timing or Timing()
        self.max_eirp_dbm = region.MAX_EIRP_DBM if max_eirp_dbm is None else max_eirp_dbm
        self.last_join_nonce = -1
        self.battery = commands.BATTERY_NOT_MEASURED
        self._join_channels_used = 0

    def join(self, dev_eui, join_eui, app_key, dev_nonce, dr=None):
        """An exchange: one JoinRequest and its two windows. Returns Joined, or None.

        dev_eui, join_eui: 8 bytes big-endian; dev_nonce: 0..65535, used once (persist the next before you start).
        dr: data rate of the request, the region's fastest join rate by default.
        `session` and `last_join_nonce` change only when a good JoinAccept came. A JoinNonce that is not higher than the
        last one is refused: in 1.0.4 it is a counter, and an old JoinAccept sent again would leave the device with keys
        that nobody has (TR007-1.1 4.13).
        """
        region = self.region
        if dr is None:
            dr = region.JOIN_DR
        channels = region.DEFAULT_CHANNELS_HZ
        index, self._join_channels_used = choose((1 << len(channels)) - 1, self._join_channels_used, self.rng)
        freq_hz = channels[index]
        frame = frames.join_request(join_eui, dev_eui, dev_nonce, app_key)
        yield self._transmit(frame, freq_hz, dr, 0)
        delay_s = region.JOIN_RX1_DELAY_S
        for window in (1, 2):
            if window == 1:
                heard = yield self._listen(1, delay_s, freq_hz, region.RX1_DR[dr][0])
            else:
                heard = yield self._listen(2, delay_s + 1, region.RX2_FREQ_HZ, region.RX2_DR)
            accept = frames.parse_join_accept(app_key, heard.frame) if heard else None
            if accept and accept["join_nonce"] > self.last_join_nonce:
                self.last_join_nonce = accept["join_nonce"]
                self.session = new_session(region, accept, app_key, dev_nonce, dr)
                return Joined(self.session, self.last_join_nonce, window, heard.rssi, heard.snr)
        return None

    def uplink(self, port, payload, confirmed=False):
        """An exchange: one data frame and its windows. Returns an Outcome.

        port: 1..223; payload: bytes, in clear. MAC answers that do not fit beside it wait for the next uplink.
        Raises, before anything is sent: NotJoined, PayloadTooLong, NoChannel, ValueError for another port.
        """
        session = self.session
        if session is None:
            raise NotJoined("join first")
        if not _FIRST_PORT <= port <= _LAST_PORT:
            raise ValueError("port must be 1 to 223")
        room = self.region.MAX_MAC_PAYLOAD[session.dr] - _OVERHEAD
        if len(payload) > room:
            raise PayloadTooLong(len(payload), room)
        if not self._channels(session):
            raise NoChannel("no channel for DR" + str(session.dr))
        return self._uplink(session, port, payload, confirmed, room - len(payload))

    def _uplink(self, session, port, payload, confirmed, room):
        region = self.region
        fopts = commands.fitting(session.answers, room)
        session.answers = commands.sticky(fopts) + session.answers[len(fopts) :]
        fctrl = frames.ACK if session.ack_owed else 0
        session.ack_owed = False
        fcnt = session.fcnt_up
        session.fcnt_up = fcnt + 1
        outcome = Outcome(fcnt, confirmed)
        frame = frames.data_up(
            session.nwk_skey, session.app_skey, session.dev_addr, fcnt, port, payload, fctrl, fopts, confirmed
        )
        index, session.channels_used = choose(self._channels(session), session.channels_used, self.rng)
        freq_hz = session.channels[index]
        # The windows of this uplink are those it was sent under, whatever a downlink in RX1 changes.
        delay_s = session.rx1_delay_s
        yield self._transmit(frame, freq_hz, session.dr, session.tx_power)
        heard = yield self._listen(1, delay_s, freq_hz, region.RX1_DR[session.dr][session.rx1_dr_offset])
        if not self._downlink(session, outcome, 1, heard):
            heard = yield self._listen(2, delay_s + 1, session.rx2_freq_hz, session.rx2_dr)
            self._downlink(session, outcome, 2, heard)
        return outcome

    def _downlink(self, session, outcome, window, heard):
        """Take what was heard in a window; True when it was a downlink for us."""
        if heard is None:
            return False
        down = frames.parse_data_down(
            session.nwk_skey, session.app_skey, session.dev_addr, session.fcnt_down, heard.frame
        )
        if down is None:
            return False
        session.fcnt_down = down.fcnt
        session.ack_owed = down.confirmed
        # This downlink ends the repeating of answers; what it asks is answered in the next uplink.
        session.answers = commands.apply(session, self.region, down.commands, heard.snr, self.battery)
        if outcome.acked is not None:
            outcome.acked = bool(down.fctrl & frames.ACK)
        outcome.window = window
        outcome.rssi = heard.rssi
        outcome.snr = heard.snr
        outcome.pending = bool(down.fctrl & frames.FPENDING)
        if down.port is not None and _FIRST_PORT <= down.port <= _LAST_PORT:
            outcome.downlinks.append((down.port, down.payload, down.fcnt))
        return True

    def _channels(self, session):
        """The enabled channels that carry the session's data rate, as a bit mask."""
        usable = 0
        for index, drs in enumerate(session.channel_drs):
            if session.channel_mask >> index & 1 and drs & 0x0F <= session.dr <= drs >> 4:
                usable |= 1 << index
        return usable

    def _transmit(self, frame, freq_hz, dr, tx_power):
        region = self.region
        sf, bw_hz = region.DATA_RATES[dr]
        eirp_dbm = min(region.MAX_EIRP_DBM - region.TX_POWER_STEP_DB * tx_power, self.max_eirp_dbm)
        return Transmit(frame, freq_hz, sf, bw_hz, eirp_dbm, airtime_us(sf, bw_hz, len(frame)))

    def _listen(self, window, delay_s, freq_hz, dr):
        sf, bw_hz = self.region.DATA_RATES[dr]
        delay_us = delay_s * 1000000
        offset_us, symbols = rx_window(sf, bw_hz, self.timing.error_us(delay_us), self.timing.min_symbols)
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
    if region.can_receive(accept["rx2_dr"]):
        session.rx2_dr = accept["rx2_dr"]
    cflist = accept["cflist"]
    if cflist and cflist[15] == region.CFLIST_TYPE:
        for index, freq_hz in enumerate(frames.cflist_freqs(cflist)):
            if region.can_transmit(freq_hz):
                session.set_channel(_CFLIST_FIRST + index, freq_hz, region.DR_RANGE)
    return session


def choose(candidates, used, rng):
    """Choose one of `candidates` at random, none twice before all had their turn (RP002-1.0.4 2.4.1).

    candidates, used: bit masks, candidates not 0. Returns (index, the new `used`).
    """
    fresh = candidates & ~used
    if not fresh:
        used &= ~candidates
        fresh = candidates
    nth = rng(sum(fresh >> i & 1 for i in range(16)))
    index = 0
    while True:
        if fresh >> index & 1:
            if not nth:
                return index, used | 1 << index
            nth -= 1
        index += 1
