"""What the SX1276 does on the air: modes, transmission, reception (lora_chip.py has what is common to all chips), and
the settings that its LoRa registers stand for. Mixin of Sx1276. Not modelled: FSK, frequency hopping, endless
transmission.

Rx single ends when no preamble was found within RegSymbTimeout. A frame whose preamble was found in time is received to
its end, however long that takes (4.1.5: the timeout is not triggered while the chip receives); one that is lost on the
way, by its header, ends the reception with RxTimeout.
"""

import lora_phy
import sx1276_tables as t
from fault import SimFault
from lora_chip import LoraChip, Window


class Transceiver(LoraChip):
    rx_loss_db = t.RX_LOSS_DB
    wrong_iq = t.WRONG_IQ
    _single = False

    # settings, from the registers

    @property
    def frequency_hz(self):
        return self._frf * 15625 >> 8  # 32 MHz / 2**19

    @property
    def bw_hz(self):
        return t.BW_HZ[self.registers[t.MODEM_1] >> 4]

    @property
    def sf(self):
        return self.registers[t.MODEM_2] >> 4

    @property
    def cr(self):
        return (self.registers[t.MODEM_1] >> 1 & 7) + 4

    @property
    def implicit(self):
        return bool(self.registers[t.MODEM_1] & 1)

    @property
    def crc(self):
        return bool(self.registers[t.MODEM_2] & 0x04)

    @property
    def ldro(self):
        return bool(self.registers[t.MODEM_3] & 0x08)

    @property
    def preamble(self):
        return self.registers[t.PREAMBLE_MSB] << 8 | self.registers[t.PREAMBLE_LSB]

    @property
    def symbols(self):
        return (self.registers[t.MODEM_2] & 3) << 8 | self.registers[t.SYMBOLS_LSB]

    @property
    def iq_inverted(self):
        """Of what is received: bit 6 of RegInvertIQ."""
        return bool(self.registers[t.INVERT_IQ] & 0x40)

    @property
    def tx_iq_inverted(self):
        """Of what is sent: bit 0 of RegInvertIQ at 0, whatever the data sheet says (its reset value is 1: normal)."""
        return not self.registers[t.INVERT_IQ] & 0x01

    def iq_register_right(self):
        return self.registers[t.INVERT_IQ_2] == (0x19 if self.iq_inverted else 0x1D)

    def longest(self):
        return self.registers[t.MAX_PAYLOAD]

    def _sync(self):
        word = self.registers[t.SYNC_WORD]
        return (word & 0xF0) << 8 | 0x0404 | (word & 0x0F) << 4

    def power(self):
        """(the amplifier's name, dBm)."""
        value = self.registers[t.PA_CONFIG]
        output = value & 0x0F
        if not value & 0x80:
            return "rfo", 10.8 + 0.6 * (value >> 4 & 7) - 15 + output
        if self.registers[t.PA_DAC] & 7 == t.PA_DAC_20_DBM:
            return "boost20", 5 + output
        return "boost", 2 + output

    def draws(self):
        """The mode, with what decides how much current it takes (see energy.toml)."""
        if self.mode == "tx":
            amplifier, dbm = self.power()
            return f"tx/{amplifier}/{int(dbm)}"
        return "rx" if self.mode == "cad" else self.mode

    # modes

    def mode_code(self):
        """Bits 2:0 of RegOpMode."""
        if self.mode == "rx" and self._single:
            return t.RX_SINGLE
        return t.FS_TX if self.mode == "fs" else t.MODES.index(self.mode)

    def modem_status(self):
        window = self.window
        if self.mode != "rx" or window is None or window.frame is None:
            return 0x10
        return 0x0F if window.header else 0x07

    def _set_op_mode(self, value):
        wanted = value & 7
        lora = value & t.LONG_RANGE
        if (value ^ self.op) & t.LONG_RANGE and (self.mode != "sleep" or wanted != t.SLEEP):
            raise SimFault(f"SX1276: LongRangeMode can be changed in sleep only, not in {self.mode}")
        if value & (0x30 if lora else 0x10):
            raise SimFault(f"SX1276: reserved bits in RegOpMode 0x{value:02x}")
        if self.clock.now < self._calibrated_at and wanted != t.STANDBY:
            raise SimFault("SX1276: the mode is changed while the image calibration runs")
        if not lora and wanted not in (t.SLEEP, t.STANDBY):
            raise SimFault(f"SX1276: mode {wanted} of FSK is not modelled")
        self.op = value & 0xF8
        delay = 0
        if wanted != t.SLEEP and self.mode == "sleep":
            delay = t.OSCILLATOR_US
            self._awake_at = self.clock.now + delay
        self.window = None
        if wanted == t.SLEEP:
            self._sleep()
        elif wanted == t.STANDBY:
            self._enter("standby")
        else:
            self._work(wanted, delay)
        self._changed()

    def _sleep(self):
        self._enter("sleep")
        self.fifo = bytearray(256)
        for count in (t.HEADER_COUNT, t.PACKET_COUNT):
            self.registers[count] = self.registers[count + 1] = 0

    def need_clock(self):
        """The crystal runs by itself; a TCXO must be fed, and the chip be told that it is one."""
        if self._tcxo and not self.supplied():
            raise SimFault("SX1276: the TCXO has no supply")
        if self._tcxo and not self.registers[t.TCXO] & 0x10:
            raise SimFault("SX1276: the board has a TCXO, and RegTcxo (0x4B) says that it is a crystal")

    def _work(self, wanted, delay):
        """Into a mode in which the synthesizer runs; `delay` µs from now the oscillator does."""
        self.need_clock()
        self._check()
        if self.mode in ("sleep", "standby"):
            delay += t.SYNTHESIZER_US
        if wanted in (t.FS_TX, t.FS_RX):
            self._enter("fs")
        elif wanted == t.TX:
            self._check_tx()
            self._enter("tx")
            session = self.session
            self.clock.at(self.clock.now + delay + t.TRANSMITTER_US, lambda: self._tx_start(session))
        elif wanted == t.CAD:
            self._enter("cad")
            session = self.session
            length = delay + t.RECEIVER_US + 2 * lora_phy.symbol_us(self.sf, self.bw_hz)
            self.clock.at(self.clock.now + length, lambda: self._cad_done(session))
        else:
            self._single = wanted == t.RX_SINGLE
            if self._single and self.symbols not in t.SYMBOLS:
                raise SimFault(f"SX1276: RegSymbTimeout {self.symbols} is outside 4-1023")
            self._enter("rx")
            session = self.session
            self.window = Window(self.clock.now + delay + t.RECEIVER_US, not self._single)
            self.clock.at(self.window.start, lambda: self._rx_start(session))

    def _check(self):
        at = self.registers
        if not any(low <= self.frequency_hz <= high for low, high in t.BANDS_HZ):
            raise SimFault(f"SX1276: {self.frequency_hz} Hz is outside its bands")
        if at[t.MODEM_1] >> 4 >= len(t.BW_HZ) or not 5 <= self.cr <= 8:
            raise SimFault(f"SX1276: RegModemConfig1 0x{at[t.MODEM_1]:02x}")
        if not 6 <= self.sf <= 12:
            raise SimFault(f"SX1276: RegModemConfig2 0x{at[t.MODEM_2]:02x}")
        if self.sf == 6 and not self.implicit:
            raise SimFault("SX1276: SF6 works with implicit headers only (4.1.1.2)")
        if self.preamble < t.PREAMBLE_MIN:
            raise SimFault(f"SX1276: a preamble of {self.preamble} symbols: at least 6 are needed")
        if at[t.HOP_PERIOD] or at[t.MODEM_2] & 0x08:
            raise SimFault("the emulator does not model frequency hopping and TxContinuousMode of the SX1276")

    def _check_tx(self):
        at = self.registers
        if not self._pa_chosen:
            raise SimFault("SX1276: a transmission without RegPaConfig")
        if at[t.PA_DAC] & 7 not in (t.PA_DAC_NORMAL, t.PA_DAC_20_DBM):
            raise SimFault(f"SX1276: RegPaDac 0x{at[t.PA_DAC]:02x}: 0x84 or 0x87")
        if not at[t.PAYLOAD]:
            raise SimFault("SX1276: a transmission of an empty packet")

    def _common_flaws(self):
        return [] if self.ldro == lora_phy.usual_ldro(self.sf, self.bw_hz) else [t.WRONG_LDRO]

    # transmission

    def _tx_start(self, session):
        if session != self.session:
            return
        at = self.registers
        flaws = self._common_flaws()
        amplifier, dbm = self.power()
        if (amplifier != "rfo") != self._boost_wired:
            flaws.append(t.WRONG_PA)
        limit_ma = t.ocp_ma(at[t.OCP])
        if limit_ma is not None and limit_ma < t.supply_ma(dbm):
            flaws.append(t.LOW_OCP)
        inverted = self.tx_iq_inverted
        if at[t.INVERT_IQ_2] != (0x19 if inverted else 0x1D):
            flaws.append(t.WRONG_IQ)
            inverted = not inverted
        eirp = self._radiated_dbm(dbm) - sum(t.TX_LOSS_DB.get(flaw, 0) for flaw in flaws)
        first = at[t.TX_BASE]
        data = bytes(self.fifo[(first + i) & 0xFF] for i in range(at[t.PAYLOAD]))
        frame = self._on_air(eirp, self.frequency_hz, inverted, data, flaws)
        self.clock.at(self.clock.now + frame["airtime"], lambda: self._tx_done(session))

    def _tx_done(self, session):
        if session == self.session:
            self._enter("standby")
            self.raise_irq(t.IRQ_TX_DONE)

    # reception

    def _rx_start(self, session):
        if session != self.session:
            return
        at = self.registers
        for count in (t.HEADER_COUNT, t.PACKET_COUNT):
            at[count] = at[count + 1] = 0
        at[t.RX_BYTE] = at[t.RX_BASE]
        self._window_opens(self.symbols, self._timed_out)
        self._listen_to_the_air()

    def _timed_out(self, session):
        if session == self.session:
            self.window = None
            self._enter("standby")
            self.raise_irq(t.IRQ_TIMEOUT)

    def _flaws(self):
        at = self.registers
        flaws = self._common_flaws()
        if (at[t.DETECT] & 7, at[t.THRESHOLD]) != ((5, 0x0C) if self.sf == 6 else (3, 0x0A)):
            flaws.append(t.WRONG_DETECTION)
        if not self.image_hf:
            flaws.append(t.NO_IMAGE)
        wide = self.bw_hz == 500000
        if (at[t.HIGH_BW_1], at[t.HIGH_BW_2] if wide else 0) != ((2, 0x64) if wide else (3, 0)):
            flaws.append(t.ERRATUM_2_1)
        automatic, first, second = t.if_registers(self.bw_hz)
        if at[t.DETECT] & 0x80 != automatic or (first is not None and (at[t.IF_1], at[t.IF_2]) != (first, second)):
            flaws.append(t.ERRATUM_2_3)
        if not at[t.MODEM_3] & 0x04 and at[t.LNA] >> 5 != 1:
            flaws.append(t.LOW_GAIN)
        return flaws

    def _loss_db(self):
        return 0 if self.registers[t.LNA] & 3 == 3 else t.NO_BOOST_DB

    def _found_preamble(self):
        pass  # no interrupt of its own in LoRa mode

    def _bad_header(self):
        if self._single:
            self._timed_out(self.session)

    def _good_header(self):
        self._count(t.HEADER_COUNT)
        self.raise_irq(t.IRQ_HEADER)

    def _count(self, count):
        at = self.registers
        total = (at[count] << 8 | at[count + 1]) + 1
        at[count], at[count + 1] = total >> 8 & 0xFF, total & 0xFF

    def _received(self, frame, data, wrong_crc):
        at = self.registers
        window = self.window
        start = (at[t.RX_BASE] + window.filled) & 0xFF
        for offset, value in enumerate(data):
            self.fifo[(start + offset) & 0xFF] = value
        at[t.RX_CURRENT] = start
        at[t.RX_BYTES] = len(data)
        at[t.RX_BYTE] = (start + len(data)) & 0xFF
        at[t.HOP] = 0x40 if frame["crc"] else 0
        snr = frame["snr"]
        at[t.PKT_SNR] = round(snr * 4) & 0xFF
        # 5.5.5: -157 + 16/15 of it, or, when the signal is below the noise, -157 + it + SNR
        strength = (frame["rssi"] - t.RSSI_OFFSET) * 15 / 16 if snr >= 0 else frame["rssi"] - t.RSSI_OFFSET - snr
        at[t.PKT_RSSI] = max(0, min(255, round(strength)))
        if not wrong_crc:
            self._count(t.PACKET_COUNT)
        if self._single:
            self.window = None
            self._enter("standby")
        else:
            window.filled += len(data)
            window.frame = None
            window.header = False
        self.raise_irq(t.IRQ_RX_DONE | (t.IRQ_CRC if wrong_crc else 0))

    # channel activity detection

    def _cad_done(self, session):
        if session == self.session:
            busy = self._channel_busy()
            self._enter("standby")
            self.raise_irq(t.IRQ_CAD_DONE | (t.IRQ_CAD_FOUND if busy else 0))
