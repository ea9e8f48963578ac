"""What the SX1262 does on the air: modes, transmission, reception windows. Mixin of Sx1262.

A frame on the air is a dict with the keys of the air protocol ("at", "airtime", "freq", "sf", "bw", "iq", "crc",
"sync", "preamble", "data", and "rssi", "snr" when received); "data" is bytes here. All times are true µs.

Received frames have explicit headers, and a header says how long its frame is and whether it has a CRC: the CRC setting
of the receiver does not matter. Not modelled: a transmission cut short by SetStandby (the air has it whole), two frames
that destroy each other at this antenna (the air decides that), GFSK, RxDutyCycle, temperature.
"""

import lora_phy
import sx1262_tables as t
from fault import SimFault
from sx1262_config import Settings

NOISE_DBM = -117


class Transceiver(Settings):
    session = 0  # grows with every mode change: an event of an earlier session does nothing
    window = None
    cad_symbols = 2

    # modes

    def _switch(self, mode):
        """Occupy the chip for the way into `mode` and enter it; µs until it is there, or None: it fell back."""
        delay = self.oscillator()
        if delay is None:
            self._enter("stdby_rc")
            return None
        delay += t.SWITCH_US.get((self.mode, mode), t.BUSY_COMMAND_US)
        self._enter(mode)
        self._occupy(delay)
        return delay

    def _set_standby(self, params):
        if params[0] > 1:
            raise SimFault(f"SX1262: SetStandby({params[0]})")
        if params[0] == 1:
            self._switch("stdby_xosc")
        else:
            self._enter("stdby_rc")

    def _set_fs(self, params):
        self._switch("fs")

    def _set_sleep(self, params):
        self._enter("sleep_warm" if params[0] & 0x04 else "sleep_cold")
        self.busy_until = self.clock.now + t.BUSY_SLEEP_US
        if self.mode == "sleep_cold":
            self._forget()

    def _need(self, what):
        self._lora(what)
        for name in ("frequency_hz", "sf", "payload_len"):
            if getattr(self, name) is None:
                raise SimFault(f"SX1262: {what} before {name} was set")

    def _flaws(self):
        flaws = []
        if not self.rf_switch:
            flaws.append(t.NO_RF_SWITCH)
        if self.calibrated != 0x7F:
            flaws.append(t.NOT_CALIBRATED)
        low, high = self.image_mhz
        if not low * 1000000 <= self.frequency_hz <= high * 1000000:
            flaws.append(t.NO_IMAGE)
        if self.ldro != lora_phy.usual_ldro(self.sf, self.bw_hz):
            flaws.append(t.WRONG_LDRO)
        return flaws

    def _sync(self):
        return self.registers[t.SYNC_WORD] << 8 | self.registers[t.SYNC_WORD + 1]

    # transmission

    def _set_tx(self, params):
        self._need("SetTx")
        if self.pa is None or self.tx_power is None:
            raise SimFault("SX1262: SetTx before SetPaConfig and SetTxParams")
        if not self.payload_len:
            raise SimFault("SX1262: SetTx of an empty packet")
        timeout = int.from_bytes(params, "big")
        delay = self._switch("tx")
        if delay is not None:
            session = self.session
            self.clock.at(self.clock.now + delay, lambda: self._tx_start(session, timeout))

    def _tx_start(self, session, timeout):
        if session != self.session:
            return
        now = self.clock.now
        flaws = self._flaws()
        dbm = t.PA_SETTINGS[self.pa] - 22 + self.tx_power
        if dbm >= 14 and self.registers[t.TX_CLAMP] & 0x1E != 0x1E:
            flaws.append(t.CLAMPED)
        if bool(self.registers[t.TX_MODULATION] & 0x04) == (self.bw_hz == 500000):
            flaws.append(t.BAD_MODULATION)
        inverted = self.iq_inverted if self.iq_register_right() else not self.iq_inverted
        if inverted != self.iq_inverted:
            flaws.append(t.WRONG_IQ)
        eirp = dbm + self.antenna_gain_dbi - sum(t.TX_LOSS_DB.get(flaw, 0) for flaw in flaws)
        frequency = self.frequency_hz
        if t.NOT_CALIBRATED in flaws:
            frequency += t.OFF_FREQUENCY_HZ
        airtime = lora_phy.airtime_us(
            self.sf, self.bw_hz, self.payload_len, self.cr, self.crc, self.implicit, self.preamble, self.ldro
        )
        frame = {
            "at": now,
            "airtime": airtime,
            "freq": frequency,
            "sf": self.sf,
            "bw": self.bw_hz,
            "cr": self.cr,
            "iq": 1 if inverted else 0,
            "crc": 1 if self.crc else 0,
            "sync": self._sync(),
            "preamble": self.preamble,
            "eirp": float(eirp),
            "data": bytes(self.buffer[(self.tx_base + i) & 0xFF] for i in range(self.payload_len)),
        }
        self.board.energy.transmits(frame)
        self.board.air.transmit(frame, flaws)
        limit = timeout * t.TIMER_STEP_NS // 1000
        if timeout and limit < airtime:
            self.clock.at(now + limit, lambda: self._timed_out(session))
        else:
            self.clock.at(now + airtime, lambda: self._tx_done(session))

    def _tx_done(self, session):
        if session != self.session:
            return
        self._enter(self.fallback)
        self.command_status = t.STATUS_TX_DONE
        self.raise_irq(t.IRQ_TX_DONE)

    def _timed_out(self, session):
        if session != self.session:
            return
        self.window = None
        self._enter("stdby_rc")
        self.command_status = t.STATUS_TIMEOUT
        self.raise_irq(t.IRQ_TIMEOUT)

    # reception

    def _set_rx(self, params):
        self._need("SetRx")
        timeout = int.from_bytes(params, "big")
        delay = self._switch("rx")
        if delay is None:
            return
        session = self.session
        self.window = Window(self.clock.now + delay, timeout == 0xFFFFFF)
        self.clock.at(self.window.start, lambda: self._rx_start(session, timeout))

    def _rx_start(self, session, timeout):
        if session != self.session:
            return
        window = self.window
        if self.symbol_timeout and not window.continuous:
            window.symbol_end = window.start + self.symbol_timeout * lora_phy.symbol_us(self.sf, self.bw_hz)
            self.clock.at(window.symbol_end + 1, lambda: self._symbols_over(session))
        if 0 < timeout < 0xFFFFFF:
            self.clock.at(window.start + timeout * t.TIMER_STEP_NS // 1000, lambda: self._timer_over(session))
        for frame in self.board.air.frames():
            self.announce(frame)

    def _symbols_over(self, session):
        if session == self.session and self.window.frame is None:
            self._rx_log(None, "symbol timeout")
            self._timed_out(session)

    def _timer_over(self, session):
        if session != self.session:
            return
        window = self.window
        if window.header or (window.frame is not None and self.stop_on_preamble):
            return
        self._rx_log(window.frame, "timeout")
        self._timed_out(session)

    def announce(self, frame):
        """The air says that `frame` will reach, or is reaching, this antenna."""
        if self.mode != "rx" or self.clock.now < self.window.start:
            return  # looked at again when the receiver opens
        window = self.window
        symbol = lora_phy.symbol_us(self.sf, self.bw_hz)
        why = self._deaf_to(frame)
        found = max(window.start, frame["at"]) + t.PREAMBLE_SYMBOLS_NEEDED * symbol
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
            return t.WRONG_IQ
        if frame["sync"] != self._sync():
            return "other sync word"
        if self.implicit:
            return "implicit header, the frame has an explicit one"
        flaws = self._flaws()
        loss = sum(t.RX_LOSS_DB.get(flaw, 0) for flaw in flaws)
        if self.registers[t.RX_GAIN] != 0x96:
            loss += t.POWER_SAVING_GAIN_DB
        if frame["snr"] - loss < lora_phy.SNR_LIMIT_DB[self.sf]:
            return "too weak" + "".join("; " + flaw for flaw in flaws)
        return None

    def _preamble(self, session, frame):
        if session != self.session or self.window.frame is not None:
            return
        self.window.frame = frame
        self.window.header = False
        self.raise_irq(t.IRQ_PREAMBLE)
        header = frame["at"] + lora_phy.header_us(self.sf, self.bw_hz, frame.get("preamble", 8))
        end = frame["at"] + frame["airtime"]
        self.clock.at(min(header, end), lambda: self._header(session, frame))
        self.clock.at(end, lambda: self._rx_done(session, frame))

    def _header(self, session, frame):
        if session != self.session or self.window.frame is not frame:
            return
        if len(frame["data"]) > self.payload_len:
            self._rx_log(frame, "longer than the payload length of SetPacketParams")
            self.window.frame = None
            self.stats[2] += 1
            self.raise_irq(t.IRQ_HEADER_ERR)
            return
        self.window.header = True
        self.raise_irq(t.IRQ_HEADER_VALID)

    def _rx_done(self, session, frame):
        if session != self.session or self.window.frame is not frame or not self.window.header:
            return
        window = self.window
        data = frame["data"]
        irq = t.IRQ_RX_DONE
        if frame.get("damaged"):
            data = bytes([data[0] ^ 0x55]) + data[1:]
            if frame["crc"]:
                irq |= t.IRQ_CRC_ERR
                self.stats[1] += 1
        self.rx_start = (self.rx_base + window.filled) & 0xFF
        self.rx_len = len(data)
        for offset, value in enumerate(data):
            self.buffer[(self.rx_start + offset) & 0xFF] = value
        self.stats[0] += 1
        rssi = max(0, min(255, int(-2 * frame["rssi"])))
        self.packet_status = bytes([rssi, round(frame["snr"] * 4) & 0xFF, rssi])
        self.command_status = t.STATUS_DATA
        self._rx_log(frame, "received")
        if window.continuous:
            window.filled += len(data)
            window.frame = None
            window.header = False
        else:
            self.window = None
            self._enter(self.fallback)
            self.command_status = t.STATUS_DATA
        self.raise_irq(irq)

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

    # channel activity detection

    def _set_cad(self, params):
        self._need("SetCad")
        delay = self._switch("cad")
        if delay is not None:
            session = self.session
            length = (self.cad_symbols + 1) * lora_phy.symbol_us(self.sf, self.bw_hz)
            self.clock.at(self.clock.now + delay + length, lambda: self._cad_done(session))

    def _cad_done(self, session):
        if session != self.session:
            return
        now = self.clock.now
        active = any(
            frame["at"] < now < frame["at"] + frame["airtime"] and self._deaf_to(frame) is None
            for frame in self.board.air.frames()
        )
        self._enter("stdby_rc")
        self.raise_irq(t.IRQ_CAD_DONE | (t.IRQ_CAD_DETECTED if active else 0))


class Window:
    """One SetRx: from when the receiver is on, until when a preamble must have been found."""

    def __init__(self, start, continuous):
        self.start = start
        self.continuous = continuous
        self.symbol_end = None
        self.frame = None  # the frame the demodulator is locked to
        self.header = False
        self.filled = 0
