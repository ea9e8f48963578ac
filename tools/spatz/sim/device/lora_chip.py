"""What every LoRa transceiver does on the air, however it is driven: the common part of Sx1262 and Sx1276.

A frame on the air is a dict with the keys of the air protocol ("at", "airtime", "freq", "sf", "bw", "iq", "crc",
"sync", "preamble", "data", and "rssi", "snr" when received); "data" is bytes here. All times are true µs.

Received frames have explicit headers, and a header says how long its frame is and whether it has a CRC: the CRC setting
of the receiver does not matter. Not modelled: a transmission cut short by the host (the air has it whole), two frames
that destroy each other at this antenna (the air decides that), GFSK, temperature.
"""

import lora_phy
from fault import SimFault

NOISE_DBM = -117
PREAMBLE_SYMBOLS_NEEDED = 5
NO_SUPPLY = "the amplifier or switch at the antenna has no supply"
NO_SUPPLY_DB = 40


class Window:
    """One reception: from when the receiver is on, until when a preamble must have been found."""

    def __init__(self, start, continuous):
        self.start = start
        self.continuous = continuous
        self.symbol_end = None
        self.frame = None  # the frame the demodulator is locked to
        self.header = False
        self.filled = 0


class LoraChip:
    """A chip has besides: sf, bw_hz, cr, ldro, preamble, implicit, crc, iq_inverted, frequency_hz, draws(); longest()
    (bytes that it takes), _sync(), iq_register_right(), _flaws() and what they cost (rx_loss_db); and what happens:
    _found_preamble(), _bad_header(), _good_header(), _received(frame, data, wrong CRC)."""

    session = 0  # grows with every mode change: an event of an earlier session does nothing
    window = None
    rx_loss_db = {}
    wrong_iq = "IQ register wrong"

    def _begin(self, board, config):
        self.board = board
        self.clock = board.clock
        self.antenna_gain_dbi = config.get("antenna_gain_dbi", 0)
        self._enable = config.get("enable") or ()
        self._amplifier = config.get("amplifier") or ()
        self.rx_log = []
        self.ledger = {}  # µs spent in each mode, e.g. "rx/dcdc", "sleep_warm"
        self._ledger_at = self.clock.now
        self._reset_at = None

    # modes

    def booked(self, mode):
        """The name under which the ledger has the time in a mode."""
        return mode

    def _enter(self, mode):
        """Change the mode; books the time spent in the old one."""
        now = self.clock.now
        old = self.booked(self.mode)
        self.ledger[old] = self.ledger.get(old, 0) + now - self._ledger_at
        self._ledger_at = now
        self.mode = mode
        self.session += 1
        self.board.energy.enter("radio", None if mode == "off" else self.draws())

    # power

    def feed(self, on):
        """The chip's own supply, on a board that switches it. Without it all is forgotten, and its lines are low."""
        if on == (self.mode != "off"):
            return
        if on:
            self._power_on()
        else:
            self._forget()
            self._reset_at = None
            self._enter("off")

    # around the chip

    def supplied(self):
        """Whether every pin that feeds something around the chip is at its level."""
        pads = [(self.board.pad(pin), level) for pin, level in self._enable]
        return all(pad.is_output() and pad.level() == level for pad, level in pads)

    def _radiated_dbm(self, dbm):
        """EIRP of what the chip puts out, by amplifier and antenna."""
        fitting = [gain_db for up_to_dbm, gain_db in self._amplifier if dbm <= up_to_dbm]
        if self._amplifier and not fitting:
            raise SimFault(f"{dbm} dBm into an amplifier that takes {self._amplifier[-1][0]} dBm")
        return dbm + (fitting[0] if fitting else 0) + self.antenna_gain_dbi

    # transmission

    def _on_air(self, eirp_dbm, frequency_hz, inverted, data, flaws):
        """A transmission begins: tell the air; the frame."""
        if not self.supplied():
            flaws.append(NO_SUPPLY)
            eirp_dbm -= NO_SUPPLY_DB
        frame = {
            "at": self.clock.now,
            "airtime": lora_phy.airtime_us(
                self.sf, self.bw_hz, len(data), self.cr, self.crc, self.implicit, self.preamble, self.ldro
            ),
            "freq": frequency_hz,
            "sf": self.sf,
            "bw": self.bw_hz,
            "cr": self.cr,
            "iq": 1 if inverted else 0,
            "crc": 1 if self.crc else 0,
            "sync": self._sync(),
            "preamble": self.preamble,
            "eirp": float(eirp_dbm),
            "data": data,
        }
        self.board.energy.transmits(frame)
        self.board.air.transmit(frame, flaws)
        return frame

    # reception

    def _window_opens(self, symbols, over):
        """The receiver is on: from here on it takes frames. over(session) is called when `symbols` (0: never) are over
        and no preamble was found."""
        session = self.session
        window = self.window
        if symbols and not window.continuous:
            window.symbol_end = window.start + symbols * lora_phy.symbol_us(self.sf, self.bw_hz)
            self.clock.at(window.symbol_end + 1, lambda: self._symbols_over(session, over))

    def _listen_to_the_air(self):
        for frame in self.board.air.frames():
            self.announce(frame)

    def _symbols_over(self, session, over):
        if session == self.session and self.window.frame is None:
            self._rx_log(None, "symbol timeout")
            over(session)

    def announce(self, frame):
        """The air says that `frame` will reach, or is reaching, this antenna."""
        if self.mode != "rx" or self.clock.now < self.window.start:
            return  # looked at again when the receiver opens
        window = self.window
        symbol = lora_phy.symbol_us(self.sf, self.bw_hz)
        why = self._deaf_to(frame)
        found = max(window.start, frame["at"]) + PREAMBLE_SYMBOLS_NEEDED * symbol
        if why is None and found > frame["at"] + frame.get("preamble", 8) * symbol:
            why = "preamble missed: the receiver opened too late"
        if why is None and window.symbol_end is not None and found > window.symbol_end:
            why = "preamble missed: the symbol timeout came first"
        if why is not None:
            if frame["at"] + frame["airtime"] > window.start:
                self._rx_log(frame, why)
            return
        session = self.session
        self.clock.at(max(found, self.clock.now), lambda: self._preamble(session, frame))

    def _deaf_to(self, frame):
        """Why a frame is not received with these settings, or None."""
        if frame["sf"] != self.sf or frame["bw"] != self.bw_hz:
            return "other spreading factor or bandwidth"
        if abs(frame["freq"] - self.frequency_hz) > self.bw_hz // 4:
            return "other frequency"
        if bool(frame["iq"]) != self.iq_inverted:
            return "other IQ polarity"
        if not self.iq_register_right():
            return self.wrong_iq
        if frame["sync"] != self._sync():
            return "other sync word"
        if self.implicit:
            return "implicit header, the frame has an explicit one"
        flaws = self._flaws()
        if not self.supplied():
            return NO_SUPPLY
        loss = self._loss_db() + sum(self.rx_loss_db.get(flaw, 0) for flaw in flaws)
        if frame["snr"] - loss < lora_phy.SNR_LIMIT_DB[self.sf]:
            return "too weak" + "".join("; " + flaw for flaw in flaws)
        return None

    def _loss_db(self):
        """Sensitivity below the chip's best, by a setting that is no mistake."""
        return 0

    def _preamble(self, session, frame):
        if session != self.session or self.window.frame is not None:
            return
        self.window.frame = frame
        self.window.header = False
        self._found_preamble()
        header = frame["at"] + lora_phy.header_us(self.sf, self.bw_hz, frame.get("preamble", 8))
        end = frame["at"] + frame["airtime"]
        self.clock.at(min(header, end), lambda: self._header(session, frame))
        self.clock.at(end, lambda: self._frame_over(session, frame))

    def _header(self, session, frame):
        if session != self.session or self.window.frame is not frame:
            return
        if len(frame["data"]) > self.longest():
            self._rx_log(frame, "longer than the payload length that was set")
            self.window.frame = None
            self._bad_header()
            return
        self.window.header = True
        self._good_header()

    def _frame_over(self, session, frame):
        if session != self.session or self.window.frame is not frame or not self.window.header:
            return
        data = frame["data"]
        wrong_crc = False
        if frame.get("damaged"):
            data = bytes([data[0] ^ 0x55]) + data[1:]
            wrong_crc = bool(frame["crc"])
        self._rx_log(frame, "received")
        self._received(frame, data, wrong_crc)

    def _rx_log(self, frame, result):
        """Remember what became of a window or a frame in it: (true µs, result, start of the frame or None)."""
        self.rx_log.append((self.clock.now, result, None if frame is None else frame["at"]))
        del self.rx_log[:-50]

    def rssi_now(self):
        """dBm at the antenna now."""
        now = self.clock.now
        for frame in self.board.air.frames():
            if frame["at"] <= now < frame["at"] + frame["airtime"] and abs(frame["freq"] - self.frequency_hz) < 125000:
                return int(frame["rssi"])
        return NOISE_DBM

    def _channel_busy(self):
        """What channel activity detection finds."""
        now = self.clock.now
        return any(
            frame["at"] < now < frame["at"] + frame["airtime"] and self._deaf_to(frame) is None
            for frame in self.board.air.frames()
        )
