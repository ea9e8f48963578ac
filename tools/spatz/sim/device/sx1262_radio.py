"""What the SX1262 does on the air: modes, transmission, reception windows (lora_chip.py has what is common to all
chips). Mixin of Sx1262. Not modelled: RxDutyCycle.
"""

import lora_phy
import sx1262_tables as t
from fault import SimFault
from lora_chip import LoraChip, Window
from sx1262_config import Settings

NO_RECEIVE_PATH = "the antenna switch has no receive path on"


class Transceiver(Settings, LoraChip):
    cad_symbols = 2
    rx_loss_db = t.RX_LOSS_DB
    wrong_iq = t.WRONG_IQ

    def booked(self, mode):
        return mode + "/" + self.regulator if mode in ("rx", "tx", "fs", "stdby_xosc") else mode

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
        self.board.energy.instead("radio", self.draws(), "fs", delay)  # neither sends nor hears until it is there
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

    def _deaf_to(self, frame):
        if self._rx_enable and not self._receive_path_on():
            return NO_RECEIVE_PATH
        return LoraChip._deaf_to(self, frame)

    def _receive_path_on(self):
        return self._rx_enable.is_output() and self._rx_enable.level() == 1

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
        if self._rx_enable and (self._receive_path_on() or not self._rx_enable.is_output()):
            raise SimFault("SX1262: it sends while the antenna switch has the receive path on as well")
        now = self.clock.now
        flaws = self._flaws()
        dbm = t.PA_SETTINGS[self.pa] - 22 + self.tx_power
        if dbm >= 14 and self.registers[t.TX_CLAMP] & 0x1E != 0x1E:
            flaws.append(t.CLAMPED)
        if self.registers[t.OCP] * t.OCP_STEP_UA < t.supply_ua(self.pa, self.tx_power):
            flaws.append(t.LOW_OCP)
        if bool(self.registers[t.TX_MODULATION] & 0x04) == (self.bw_hz == 500000):
            flaws.append(t.BAD_MODULATION)
        inverted = self.iq_inverted if self.iq_register_right() else not self.iq_inverted
        if inverted != self.iq_inverted:
            flaws.append(t.WRONG_IQ)
        eirp = self._radiated_dbm(dbm) - sum(t.TX_LOSS_DB.get(flaw, 0) for flaw in flaws)
        frequency = self.frequency_hz
        if t.NOT_CALIBRATED in flaws:
            frequency += t.OFF_FREQUENCY_HZ
        data = bytes(self.buffer[(self.tx_base + i) & 0xFF] for i in range(self.payload_len))
        airtime = self._on_air(eirp, frequency, inverted, data, flaws)["airtime"]
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
        self._window_opens(self.symbol_timeout, self._timed_out)
        if 0 < timeout < 0xFFFFFF:
            self.clock.at(window.start + timeout * t.TIMER_STEP_NS // 1000, lambda: self._timer_over(session))
        self._listen_to_the_air()

    def _timer_over(self, session):
        if session != self.session:
            return
        window = self.window
        if window.header or (window.frame is not None and self.stop_on_preamble):
            return
        self._rx_log(window.frame, "timeout")
        self._timed_out(session)

    def longest(self):
        return self.payload_len

    def _loss_db(self):
        return 0 if self.registers[t.RX_GAIN] == 0x96 else t.POWER_SAVING_GAIN_DB

    def _found_preamble(self):
        self.raise_irq(t.IRQ_PREAMBLE)

    def _bad_header(self):
        self.stats[2] += 1
        self.raise_irq(t.IRQ_HEADER_ERR)

    def _good_header(self):
        self.raise_irq(t.IRQ_HEADER_VALID)

    def _received(self, frame, data, wrong_crc):
        window = self.window
        self.rx_start = (self.rx_base + window.filled) & 0xFF
        self.rx_len = len(data)
        for offset, value in enumerate(data):
            self.buffer[(self.rx_start + offset) & 0xFF] = value
        self.stats[0] += 1
        self.stats[1] += wrong_crc
        rssi = max(0, min(255, int(-2 * frame["rssi"])))
        self.packet_status = bytes([rssi, round(frame["snr"] * 4) & 0xFF, rssi])
        if window.continuous:
            window.filled += len(data)
            window.frame = None
            window.header = False
        else:
            self.window = None
            self._enter(self.fallback)
        self.command_status = t.STATUS_DATA
        self.raise_irq(t.IRQ_RX_DONE | (t.IRQ_CRC_ERR if wrong_crc else 0))

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
        active = self._channel_busy()
        self._enter("stdby_rc")
        self.raise_irq(t.IRQ_CAD_DONE | (t.IRQ_CAD_DETECTED if active else 0))
