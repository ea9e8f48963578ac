"""Driver for the Semtech SX1261/SX1262 in LoRa mode, for LoRaWAN class A in EU868.

Rules of the chip that shape this file ("DS" is the SX1261/2 data sheet, revision 2.1):

- A command is one SPI transfer while NSS is low; the chip carries it out when NSS rises, and holds BUSY high as long
  as it takes. Nothing may be sent while BUSY is high (DS 8.3.1).
- After power-on it runs on its RC oscillator. The order of start-up is fixed: SetStandby(STDBY_RC), SetDIO3AsTcxoCtrl,
  ClearDeviceErrors, Calibrate(all), CalibrateImage(band) (DS 9.2.1, 13.3.6). A TCXO on DIO3 has no supply when the
  chip first looks for it, so XOSC_START_ERR is expected and cleared; what was calibrated before is worthless. Both
  calibrations are asked for in STDBY_RC; each starts the TCXO and stops it again.
- Cold sleep forgets everything. Warm sleep keeps the configuration, of further registers only those on the retention
  list (DS 9.6). Either loses the data buffer. SetSleep is understood in standby only; NSS must then stay high for
  500 us, and its falling edge is what wakes the chip (DS 13.1.1).
- Four silicon errata (DS 15): 15.1 before every transmission and 15.4 after every SetPacketParams, because these
  commands rewrite the registers concerned; 15.2 before every transmission, because a cold start forgets it. 15.3
  concerns reception with implicit headers and a timeout only: LoRaWAN frames that a class A device receives have
  explicit headers, so nothing is done about it here.

`machine` is known only through the objects handed in. Between calls the chip is in one of the states below; every
public method works from any of them.
"""

from micropython import const

from lorawan.actions import Heard
from lorawan.airtime import CLOCK_ERROR_PPM, airtime_us, symbol_us
from radio import RadioError, conducted_dbm
from radio import sx126x_tables as t

# Commands that never change (DS 11 and 13).
_STANDBY_RC = const(b"\x80\x00")
_STANDBY_XOSC = const(b"\x80\x01")  # crystal oscillator or TCXO running
_SLEEP_COLD = const(b"\x84\x00")
_SLEEP_WARM = const(b"\x84\x04")
_CLEAR_ERRORS = const(b"\x07\x00\x00")
_CALIBRATE_ALL = const(b"\x89\x7f")  # RC64k, RC13M, PLL, ADC pulse, ADC bulk N, ADC bulk P, image: all seven
_CALIBRATE_IMAGE_LOW = const(b"\x98\xd7\xdb")  # 863-870 MHz (DS 9.2.1, table 9-2)
_CALIBRATE_IMAGE_HIGH = const(b"\x98\xe1\xe9")  # 902-928 MHz
_DCDC = const(b"\x96\x01")
_DIO2_SWITCHES_ANTENNA = const(b"\x9d\x01")
_LORA = const(b"\x8a\x01")
_BUFFER_AT_ZERO = const(b"\x8f\x00\x00")  # one buffer of 256 bytes for both ways: sending and receiving never overlap
_TIMER_RUNS_ON = const(b"\x9f\x00")  # StopTimerOnPreamble off: only a valid header stops the timer, noise does not
_CLEAR_IRQ = const(b"\x02\xff\xff")
_SYNC_WORD_PUBLIC = const(b"\x0d\x07\x40\x34\x44")  # register 0x0740: 0x34 in the chip's spelling
_RX_BOOSTED = const(b"\x0d\x08\xac\x96")  # register 0x08AC: 2 dB more sensitive, 0.6 mA more (DS 9.6); reset value 0x94
_RETAIN = const(b"\x0d\x02\x9f\x02\x08\xac\x08\x89")  # list at 0x029F, two registers: RX gain, TX modulation (DS 9.6)
_OVER_CURRENT_140_MA = const(b"\x0d\x08\xe7\x38")  # register 0x08E7; SetPaConfig may rewrite it (DS 13.1.14)
_GET_STATUS = const(b"\xc0")
_GET_IRQ = const(b"\x12\x00")
_GET_ERRORS = const(b"\x17\x00")
_GET_RX_BUFFER = const(b"\x13\x00")
_GET_PACKET = const(b"\x14\x00")
_IRQ_FOR_TX = const(b"\x08\x02\x01\x02\x01\x00\x00\x00\x00")  # TxDone, Timeout: allowed, and on DIO1
_IRQ_FOR_RX = const(b"\x08\x02\x66\x02\x62\x00\x00\x00\x00")  # RxDone, HeaderErr, CrcErr, Timeout; preambles off DIO1

# Opcodes of commands with values.
_WRITE_REGISTER = const(0x0D)
_WRITE_BUFFER = const(0x0E)
_READ_REGISTER = const(0x1D)
_READ_BUFFER = const(0x1E)
_SET_RX = const(0x82)
_SET_TX = const(0x83)
_SET_FREQUENCY = const(0x86)
_SET_MODULATION = const(0x8B)
_SET_PACKET = const(0x8C)
_SET_TX_PARAMS = const(0x8E)
_SET_AMPLIFIER = const(0x95)
_SET_SYMBOL_TIMEOUT = const(0xA0)

# Interrupt flags (DS 13.3.1, table 13-29).
_TX_DONE = const(0x0001)
_RX_DONE = const(0x0002)
_PREAMBLE = const(0x0004)
_HEADER_ERROR = const(0x0020)
_CRC_ERROR = const(0x0040)

# Registers (DS 12, table 12-1).
_SYMBOL_TIMEOUT = const(0x0706)  # in no table; from Semtech's reference driver
_IQ_POLARITY = const(0x0736)
_SYNC_WORD = const(0x0740)
_TX_MODULATION = const(0x0889)
_TX_CLAMP = const(0x08D8)

_CODING_RATE_4_5 = const(0x01)
_LOW_RATE_FROM_US = const(16380)  # symbols this long need low data rate optimisation: SF11, SF12 (DS 6.1.1.4)
_RAMP_40_US = const(0x02)

# What is known of the chip.
_UNKNOWN = const(0)  # not started yet, or it did not answer as it should
_COLD = const(1)  # asleep, everything forgotten
_WARM = const(2)  # asleep, configuration kept
_AWAKE = const(3)  # started: in standby, transmitting or receiving

# Times. The caps catch broken hardware only; they are generous, because a TCXO that starts inside Calibrate or an
# old battery make the chip slow, and a cap too short looks like a broken radio.
_BUSY_CAP_MS = const(1000)
_RESET_LOW_US = const(200)  # at least 100 (DS 8.1)
_WAKE_LOW_US = const(30)  # NSS low for at least 20
_SLEEP_ENTRY_US = const(600)  # at least 500 after SetSleep
_CALIBRATE_US = const(3500)  # all blocks; the image alone takes hardly less (DS 9.2.1)
_HEADER_SYMBOLS = const(24)  # preamble 8 + 4.25, header 8, and some to spare
_MAX_FRAME = const(255)


class SX126x:
    """One SX1261/SX1262. Every method raises RadioError when the chip does not answer or stays busy.

    Attributes for the runner, the same in every driver:
    `prepare_us`: how long `prepare_listen` takes at most, waking from warm sleep included;
    `listen_latency_us`: from the call of `listen` until the receiver hears, the start of the TCXO included;
    `max_symbols`: the longest window that the modem's own symbol timeout ends, by itself and exactly;
    `clock_error_ppm`: how wrong the node's clock may be, from the configuration;
    `doze`: None, or what lets the processor sleep for some us, perhaps longer: for the radio's own long waits;
    `started_us`: ticks when the last transmission began; `interrupt_us`: ticks of the last DIO1 interrupt, or None.
    """

    prepare_us = 3000
    max_symbols = t.MAX_SYMBOL_TIMEOUT
    doze = None

    def __init__(self, spi, cs, reset, busy, dio1, config, time):
        """`spi`: mode 0, MSB first, at most 16 MHz; pins: cs and reset outputs (high), busy and dio1 inputs;
        `config`: the part "radio" of config.json (tcxo_mv, tcxo_start_us, dcdc, dio2_rf_switch, rx_boost,
        clock_error_ppm, and what conducted_dbm takes); `time`: ticks_us, ticks_ms, ticks_diff, sleep_us, sleep_ms.
        Touches nothing but NSS (high) and the interrupt of DIO1. Raises ValueError for a voltage the chip cannot give.
        """
        self._spi = spi
        self._cs = cs
        self._reset = reset
        self._busy = busy
        self._dio1 = dio1
        self._time = time
        self._ticks_us = time.ticks_us  # bound once: the interrupt handler must not allocate
        self._config = config
        tcxo_start_us = config.get("tcxo_start_us", 5000)
        tcxo = t.tcxo_command(config.get("tcxo_mv"), tcxo_start_us)
        self.listen_latency_us = 150 + (tcxo_start_us if tcxo else 0)
        self._start_up = (  # in this order; what the board has not is false
            _STANDBY_RC,
            config.get("dcdc", True) and _DCDC,
            tcxo,
            _CLEAR_ERRORS,
            _CALIBRATE_ALL,
            config.get("dio2_rf_switch", True) and _DIO2_SWITCHES_ANTENNA,
            _LORA,
            _BUFFER_AT_ZERO,
            _TIMER_RUNS_ON,
            _SYNC_WORD_PUBLIC,
            config.get("rx_boost", True) and _RX_BOOSTED,
            _RETAIN,
        )
        self.clock_error_ppm = config.get("clock_error_ppm", CLOCK_ERROR_PPM)
        self._state = _UNKNOWN
        self.started_us = None
        self.interrupt_us = None
        self.receive_path = None  # a pin of the antenna switch: high to receive, low to send (DIO2 has the other path)
        self._image = None  # whether the image calibration is for the high band; None: there was none
        self._asleep_us = 0  # when SetSleep was sent
        self._set_rx = bytearray((_SET_RX, 0, 0, 0))
        self._command = bytearray(9)
        self._commands = tuple(memoryview(self._command)[:n] for n in range(10))  # a slice would allocate
        answer = memoryview(bytearray(4))
        self._answers = tuple(answer[:n] for n in range(5))
        self._frame = memoryview(bytearray(_MAX_FRAME))
        cs.value(1)
        dio1.irq(handler=self._on_dio1, trigger=dio1.IRQ_RISING)

    # Start and sleep

    def start(self, cold=True):
        """Make the chip ready, in standby. `cold`: by its reset pin, from nothing; else wake it from warm sleep, and
        start cold only if it has forgotten its configuration."""
        if not cold and self._wake_warm():
            self._state = _AWAKE
            return
        self._state = _UNKNOWN
        self._hard_reset()
        self._image = None
        for command in self._start_up:
            if command:
                self._send(command)
            if command is _CALIBRATE_ALL:
                self._calibrating()
        self._state = _AWAKE

    def sleep(self, warm=True):
        """Sleep: warm (600 nA, the configuration stays) or cold (160 nA). Whatever was going on is given up."""
        if self._state == _COLD or (warm and self._state == _WARM):
            return
        if self._state == _UNKNOWN:
            warm = False
            self._hard_reset()
        elif self._state == _WARM:
            self._wake()
        self._send(_STANDBY_RC)
        self._send(_SLEEP_WARM if warm else _SLEEP_COLD)
        self._receiving(0)
        self._state = _WARM if warm else _COLD
        self._asleep_us = self._ticks_us()

    # Transmitting

    def transmit(self, frame, freq_hz, sf, bw_hz, eirp_dbm):
        """Start to send a frame (at most 255 bytes) as a LoRaWAN uplink and return; `started_us` is when the preamble
        began. EIRP above the configured limit is lowered to it; the antenna's gain is taken off."""
        self._tune(freq_hz, _STANDBY_XOSC)  # with the TCXO running, BUSY tells exactly when the preamble begins
        self._set_power(eirp_dbm)
        self._set_modulation(sf, bw_hz, True)
        self._set_packet(len(frame), True, False)
        self._send(self._fill(_WRITE_BUFFER, 0, 1), frame)
        self._expect(_IRQ_FOR_TX)
        self._receiving(0)
        guard_us = airtime_us(sf, bw_hz, len(frame)) * 5 // 4 + 100000
        self._send(self._fill(_SET_TX, t.timer_steps(guard_us), 3))
        self._wait_while_busy()  # BUSY falls when the amplifier is up and the preamble begins (DS 8.3.1)
        self.started_us = self._ticks_us()

    def wait_transmitted(self, timeout_ms):
        """Wait for the end of the transmission: True; False when the radio gave up or `timeout_ms` went by. Then
        `interrupt_us` holds when DIO1 rose, or None when the interrupt was missed (the processor slept)."""
        flags = self._wait_for_flags(timeout_ms)
        self._send(_CLEAR_IRQ)
        return bool(flags & _TX_DONE)

    # Receiving

    def prepare_listen(self, freq_hz, sf, bw_hz, symbols, iq_inverted=True):
        """Set up everything for `listen`: LoRaWAN downlinks have inverted IQ and no CRC. The receiver will give up
        after `symbols` symbols without a preamble. Counts up to 248 are the modem's own symbol timeout; for more the
        chip's timer runs until a header that began in the last of them would have been read. Returns the number of
        symbols after which an empty window really ends: the chip counts in coarse steps."""
        self._tune(freq_hz, _STANDBY_RC)  # SetRx starts the TCXO, while the processor may sleep already
        self._set_modulation(sf, bw_hz, False)
        self._set_packet(_MAX_FRAME, False, iq_inverted)
        mantissa, exponent = t.symbol_timeout(symbols)
        counted = mantissa << (2 * exponent + 1)
        self._send(self._fill(_SET_SYMBOL_TIMEOUT, counted, 1))
        if counted:
            self._write_register(_SYMBOL_TIMEOUT, mantissa << 3 | exponent)
        self._expect(_IRQ_FOR_RX)
        self._receiving(1)
        # The timer guards short windows too: a preamble heard in noise would hold the modem for ever.
        symbols += _HEADER_SYMBOLS
        steps = t.timer_steps(symbols * symbol_us(sf, bw_hz))
        self._set_rx[1], self._set_rx[2], self._set_rx[3] = steps >> 16, steps >> 8 & 255, steps & 255
        return counted or symbols

    def listen(self):
        """Switch the receiver on, now."""
        self._send(self._set_rx)

    def poll(self):
        """The interrupt flags while DIO1 is high (something ended), else 0."""
        return self._flags() if self._dio1.value() else 0

    def hearing(self):
        """Whether a preamble was heard since `listen`, so that a frame may be coming in."""
        return bool(self._flags() & _PREAMBLE)

    def _flags(self):
        flags = self._ask(_GET_IRQ, 2)
        return flags[0] << 8 | flags[1]

    def receive(self, timeout_ms):
        """Wait until the receiver stops: a Heard, or None (nothing, a broken frame, or `timeout_ms` went by)."""
        flags = self._wait_for_flags(timeout_ms)
        if flags & (_RX_DONE | _CRC_ERROR | _HEADER_ERROR) != _RX_DONE:
            self._send(_STANDBY_RC)
            self._send(_CLEAR_IRQ)
            return None
        size, at = self._ask(_GET_RX_BUFFER, 2)
        packet = self._ask(_GET_PACKET, 3)
        rssi = -(packet[0] // 2)
        snr = (packet[1] - 256 if packet[1] > 127 else packet[1]) / 4
        frame = b""
        if size:  # the bus refuses to transfer no bytes
            frame = bytes(self._ask(self._fill(_READ_BUFFER, at << 8, 2), size, self._frame[:size]))
        self._send(_CLEAR_IRQ)
        return Heard(frame, rssi, snr)

    # Parts of a set-up

    def _receiving(self, on):
        if self.receive_path:
            self.receive_path.value(on)

    def _tune(self, freq_hz, standby):
        """Into standby, and to a frequency; the image calibration is for its band, once after a cold start."""
        if self._state != _AWAKE:
            self.start(self._state != _WARM)
        high = freq_hz > 900000000
        if self._image != high:
            self._send(_STANDBY_RC)
            self._send(_CALIBRATE_IMAGE_HIGH if high else _CALIBRATE_IMAGE_LOW)
            self._calibrating()
            self._image = high
        self._send(standby)
        self._send(self._fill(_SET_FREQUENCY, t.frequency_steps(freq_hz), 4))

    def _calibrating(self):
        """Let the processor sleep while a calibration starts the TCXO and runs; raises RadioError when it failed."""
        if self.doze:
            self.doze(self.listen_latency_us + _CALIBRATE_US)
        high, low = self._ask(_GET_ERRORS, 2)
        if high or low:
            self._state = _UNKNOWN
            names = [name for bit, name in enumerate(t.ERRORS) if (high << 8 | low) >> bit & 1]
            raise RadioError("the radio reports trouble with: " + ", ".join(names))

    def _set_power(self, eirp_dbm):
        duty_cycle, hp_max, power = t.amplifier(conducted_dbm(eirp_dbm, self._config, t.MINIMUM_DBM, 22))
        self._send(self._fill(_SET_AMPLIFIER, duty_cycle << 24 | hp_max << 16 | 0x0001, 4))  # SX1262, paLut 1
        self._send(_OVER_CURRENT_140_MA)
        self._change_register(_TX_CLAMP, 0x1E, True)  # erratum 15.2: else the output is clamped when mismatched
        self._send(self._fill(_SET_TX_PARAMS, (power & 0xFF) << 8 | _RAMP_40_US, 2))

    def _set_modulation(self, sf, bw_hz, to_send):
        slow = int(symbol_us(sf, bw_hz) >= _LOW_RATE_FROM_US)
        values = sf << 24 | t.BANDWIDTHS[bw_hz] << 16 | _CODING_RATE_4_5 << 8 | slow
        self._send(self._fill(_SET_MODULATION, values, 4))
        wide = to_send and bw_hz == 500000
        self._change_register(_TX_MODULATION, 0x04, not wide)  # erratum 15.1

    def _set_packet(self, size, crc, iq_inverted):
        self._fill(_SET_PACKET, 8, 2)  # preamble of 8 symbols
        command = self._commands[7]
        command[3], command[4], command[5], command[6] = 0, size, int(crc), int(iq_inverted)  # 0: explicit header
        self._send(command)
        # Erratum 15.4: bit 2 is 0 for inverted IQ, 1 for standard, and the command above has just spoiled it.
        self._change_register(_IQ_POLARITY, 0x04, not iq_inverted)

    def _expect(self, irq_command):
        self._send(_CLEAR_IRQ)
        self._send(irq_command)
        self.interrupt_us = None

    # Waiting

    def _on_dio1(self, pin):
        """Interrupt handler: notes the time, allocates nothing. MicroPython may run it late, never early."""
        if self.interrupt_us is None:
            self.interrupt_us = self._ticks_us()

    def _wait_for_flags(self, timeout_ms):
        time = self._time
        start = time.ticks_ms()
        while True:
            flags = self.poll()
            if flags or time.ticks_diff(time.ticks_ms(), start) > timeout_ms:
                return flags
            time.sleep_ms(1)

    def _wait_while_busy(self):
        busy = self._busy
        if not busy.value():
            return
        time = self._time
        start = time.ticks_ms()
        while busy.value():
            if time.ticks_diff(time.ticks_ms(), start) > _BUSY_CAP_MS:
                self._state = _UNKNOWN
                raise RadioError("the radio stays busy: is it connected, and has it power?")
            time.sleep_us(20)

    def _hard_reset(self):
        self._reset.value(0)
        self._time.sleep_us(_RESET_LOW_US)
        self._reset.value(1)
        self._time.sleep_us(_RESET_LOW_US)  # BUSY is defined only after the chip has begun to start
        status = self._ask(_GET_STATUS, 1)[0]
        if status >> 4 & 7 != 2:  # a dead bus reads 0x00 or 0xFF; a chip after reset is in STDBY_RC
            raise RadioError("no radio chip answers on the SPI bus (status 0x%02x)" % status)  # noqa: UP031

    def _wake_warm(self):
        """End a warm sleep. True when the chip answers and has kept its configuration."""
        try:
            self._wake()
        except RadioError:
            return False
        self._send(_CLEAR_ERRORS)  # the TCXO had no supply while asleep: XOSC_START_ERR is back
        return self._read_register(_SYNC_WORD, 2) == _SYNC_WORD_PUBLIC[3:]

    def _wake(self):
        """End a sleep by the falling edge of NSS."""
        left_us = _SLEEP_ENTRY_US - self._time.ticks_diff(self._ticks_us(), self._asleep_us)
        if 0 < left_us <= _SLEEP_ENTRY_US:
            self._time.sleep_us(left_us)
        self._cs.value(0)
        self._time.sleep_us(_WAKE_LOW_US)
        try:
            self._wait_while_busy()
        finally:
            self._cs.value(1)

    # The bus

    def _fill(self, opcode, value, size):
        """A command in the shared buffer: opcode, then `value` in `size` bytes, most significant first."""
        command = self._command
        command[0] = opcode
        for i in range(size, 0, -1):
            command[i] = value & 0xFF
            value >>= 8
        return self._commands[size + 1]

    def _send(self, command, more=None):
        self._wait_while_busy()
        self._cs.value(0)
        self._spi.write(command)
        if more is not None:
            self._spi.write(more)
        self._cs.value(1)

    def _ask(self, command, size, into=None):
        """Send a command and read `size` bytes after it, into a shared buffer: valid until the next question."""
        answer = self._answers[size] if into is None else into
        self._wait_while_busy()
        self._cs.value(0)
        self._spi.write(command)
        self._spi.readinto(answer, 0x00)
        self._cs.value(1)
        return answer

    def _read_register(self, address, size):
        return self._ask(self._fill(_READ_REGISTER, address << 8, 3), size)  # one byte more: the status comes first

    def _change_register(self, address, bits, on):
        value = self._read_register(address, 1)[0]
        self._write_register(address, value | bits if on else value & ~bits)

    def _write_register(self, address, value):
        self._send(self._fill(_WRITE_REGISTER, address << 8 | value, 3))
