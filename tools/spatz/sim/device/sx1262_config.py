"""The SX1262's set-up commands: parameters into state, with the rules of data sheet chapter 13."""

import sx1262_tables as t
from fault import SimFault


def _number(params):
    return int.from_bytes(params, "big")


def _timer_us(params):
    return _number(params) * t.TIMER_STEP_NS // 1000


class Settings:
    """Mixin of Sx1262."""

    # oscillator, regulator, calibration

    def oscillator(self):
        """µs until the oscillator runs from the present mode, or None when it does not start (error bit set)."""
        if self.mode in ("stdby_xosc", "fs"):
            return 0
        if not self.board_tcxo_mv:
            return 0
        if self.tcxo_mv == self.board_tcxo_mv and self.tcxo_us >= self.board_tcxo_start_us:
            return self.tcxo_us
        self.errors |= t.ERR_XOSC_START
        self.command_status = t.STATUS_FAILED
        return None

    def _set_regulator(self, params):
        self.regulator = "dcdc" if params[0] == 1 else "ldo"

    def _set_dio3(self, params):
        if params[0] >= len(t.TCXO_MV):
            raise SimFault(f"SX1262: SetDIO3AsTcxoCtrl voltage code {params[0]}")
        millivolts = t.TCXO_MV[params[0]]
        if self.board_tcxo_mv and millivolts > self.board_tcxo_mv:
            raise SimFault(f"{millivolts} mV on a TCXO for {self.board_tcxo_mv} mV")
        self.tcxo_mv = millivolts
        self.tcxo_us = _timer_us(params[1:4])
        self.calibrated = 0  # another reference: all earlier calibrations are void

    def _calibrate(self, params):
        delay = self.oscillator()
        if delay is None or self.errors & t.ERR_XOSC_START:
            self.errors |= t.ERR_PLL_CALIB
            self.command_status = t.STATUS_FAILED
            return
        mask = params[0] & 0x7F
        self.calibrated |= mask
        if mask & 0x40:
            self.image_mhz = (902, 928)
        self._calibrating(t.CALIBRATE_US + delay)

    def _calibrate_image(self, params):
        delay = self.oscillator()
        if delay is None or self.calibrated & 0x3F != 0x3F:
            self.errors |= t.ERR_IMG_CALIB
            self.command_status = t.STATUS_FAILED
            return
        if params[0] >= params[1]:
            raise SimFault("SX1262: CalibrateImage needs freq1 < freq2")
        self.image_mhz = (params[0] * 4, params[1] * 4)
        self._calibrating(t.CALIBRATE_IMAGE_US + delay)

    def _calibrating(self, us):
        self._occupy(us)
        self.board.energy.instead("radio", self.draws(), "stdby_xosc", us)  # the oscillator runs

    def _clear_errors(self, params):
        self.errors = 0

    # pins

    def _set_dio2(self, params):
        self.rf_switch = params[0] == 1

    def _set_dio_irq(self, params):
        self.irq_mask = _number(params[0:2])
        self.dio1_mask = _number(params[2:4])
        if _number(params[4:6]) and self.rf_switch:
            raise SimFault("SX1262: an IRQ on DIO2, which switches the antenna")
        if _number(params[6:8]) and self.tcxo_mv:
            raise SimFault("SX1262: an IRQ on DIO3, which feeds the TCXO")
        self._dio1.changed()

    def _clear_irq(self, params):
        self.irq_status &= ~_number(params)
        self._dio1.changed()

    def raise_irq(self, bits):
        self.irq_status |= bits & self.irq_mask
        self._dio1.changed()

    # registers and buffer

    def _write_register(self, params):
        address = _number(params[0:2])
        for value in params[2:]:
            self._register(address)
            if address not in self.registers:
                raise SimFault(f"SX1262: register 0x{address:04x} is read-only")
            self.registers[address] = value
            if address == t.SYNCH_TIMEOUT:
                self.symbol_timeout = (value >> 3) << (2 * (value & 7) + 1)
            address += 1

    def _write_buffer(self, params):
        at = params[0]
        for value in params[1:]:
            self.buffer[at & 0xFF] = value
            at += 1

    def _set_buffer_base(self, params):
        self.tx_base, self.rx_base = params[0], params[1]

    # radio parameters

    def _set_packet_type(self, params):
        if params[0] > 3:
            raise SimFault(f"SX1262: packet type {params[0]}")
        self.packet_type = params[0]
        self.sf = self.bw_hz = self.payload_len = None  # parameters are of the packet type they were sent for

    def _lora(self, name):
        if self.packet_type != 1:
            raise SimFault(f"SX1262: {name} for LoRa before SetPacketType(LORA); GFSK is not modelled")

    def _set_frequency(self, params):
        self.frequency_hz = (_number(params) * 32000000 + (1 << 24)) >> 25
        if not 150000000 <= self.frequency_hz <= 960000000:
            raise SimFault(f"SX1262: {self.frequency_hz} Hz is outside 150-960 MHz")

    def _set_modulation(self, params):
        self._lora("SetModulationParams")
        sf, bw, cr, ldro = params[0], params[1], params[2], params[3]
        if not 5 <= sf <= 12 or bw not in t.LORA_BW_HZ or not 1 <= cr <= 4 or ldro > 1:
            raise SimFault(f"SX1262: SetModulationParams {params[:4].hex()}")
        self.sf, self.bw_hz, self.cr, self.ldro = sf, t.LORA_BW_HZ[bw], cr + 4, bool(ldro)
        wrong = 0x04 if self.bw_hz == 500000 else 0
        self.registers[t.TX_MODULATION] = self.registers[t.TX_MODULATION] & ~0x04 | wrong

    def _set_packet(self, params):
        self._lora("SetPacketParams")
        if params[2] > 1 or params[4] > 1 or params[5] > 1:
            raise SimFault(f"SX1262: SetPacketParams {params[:6].hex()}")
        self.preamble = _number(params[0:2])
        self.implicit = bool(params[2])
        self.payload_len = params[3]
        self.crc = bool(params[4])
        self.iq_inverted = bool(params[5])
        wrong = 0x04 if self.iq_inverted else 0
        self.registers[t.IQ_POLARITY] = self.registers[t.IQ_POLARITY] & ~0x04 | wrong

    def iq_register_right(self):
        """Erratum 15.4: bit 2 of 0x0736 is 0 for inverted IQ, 1 for standard."""
        return bool(self.registers[t.IQ_POLARITY] & 0x04) != self.iq_inverted

    def _set_symbol_timeout(self, params):
        # kept as mantissa and exponent: rounded up to an even number, at most 248
        mantissa, exponent = (min(params[0], 248) + 1) >> 1, 0
        while mantissa > 31:
            mantissa = (mantissa + 3) >> 2
            exponent += 1
        self.symbol_timeout = mantissa << (2 * exponent + 1)
        self.registers[t.SYNCH_TIMEOUT] = exponent | mantissa << 3

    def _set_stop_timer(self, params):
        self.stop_on_preamble = params[0] == 1

    def _set_fallback(self, params):
        modes = {0x20: "stdby_rc", 0x30: "stdby_xosc", 0x40: "fs"}
        if params[0] not in modes:
            raise SimFault(f"SX1262: fallback mode 0x{params[0]:02x}")
        self.fallback = modes[params[0]]

    def _set_pa_config(self, params):
        duty, hp_max, device, lut = params[0], params[1], params[2], params[3]
        if device != 0 or lut != 1:
            raise SimFault(f"SX1262: SetPaConfig deviceSel={device} paLut={lut}; the SX1262 needs 0 and 1")
        if (duty, hp_max) not in t.PA_SETTINGS:
            raise SimFault(f"SX1262: paDutyCycle={duty} hpMax={hp_max} is outside the safe table 13-21")
        self.pa = (duty, hp_max)
        self.registers[t.OCP] = 0x38

    def _set_tx_params(self, params):
        power = params[0] - 256 if params[0] > 127 else params[0]
        if power not in t.PA_POWER:
            raise SimFault(f"SX1262: SetTxParams power {power} is outside -9..22")
        if params[1] > 7:
            raise SimFault(f"SX1262: ramp time code {params[1]}")
        self.tx_power = power

    def _set_cad_params(self, params):
        self.cad_symbols = 1 << min(params[0], 4)

    def _reset_stats(self, params):
        self.stats = [0, 0, 0]
