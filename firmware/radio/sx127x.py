"""Driver for the Semtech SX1276/77/78/79 in LoRa mode, for LoRaWAN class A between 863 and 870 MHz.

Rules of the chip that shape this file ("DS" is the SX1276/77/78/79 data sheet, revision 7):

- It is a set of registers without a busy line: what is written counts when NSS rises, and nothing says that it came to
  an end but RegIrqFlags and DIO0. Boards disagree about DIO1 and DIO2, so only DIO0 is used, for its time; everything
  else, the timeout of the receiver above all, is polled.
- LoRa can be chosen in sleep only (DS 4.1.2). The image calibration exists in FSK mode only, and the one at power-on
  is for the low band: so a start goes reset, FSK standby, calibration, FSK sleep, LoRa sleep, LoRa standby.
- Sleep keeps all registers, but not the FIFO: warm and cold sleep are the same. A reset or a power cut loses
  everything; the mode bit and the sync word tell.
- In single reception the modem counts symbols, 4 to 1023, and then stops by itself (DS 4.1.5). A preamble that it
  takes noise for keeps it waiting for a header that never comes: the driver gives up on it.

`machine` is known only through the objects handed in. Every public method works from any state.
"""

from micropython import const

from lorawan.actions import Heard
from lorawan.airtime import CLOCK_ERROR_PPM, symbol_us
from radio import RadioError, conducted_dbm
from radio import sx127x_tables as t

# What is known of the chip.
_UNKNOWN = const(0)  # not started yet, or it did not answer as it should
_ASLEEP = const(1)
_AWAKE = const(2)  # in standby, transmitting or receiving

_RESET_LOW_US = const(200)  # at least 100 (DS 7.2.2)
_RESET_MS = const(6)  # at least 5 (DS 7.2.2)
_OSCILLATOR_US = const(1000)  # 250 with a good crystal (DS table 8)
_CALIBRATION_CAP_MS = const(100)  # takes about 10
_TX_START_US = const(100)  # from the command to the preamble: synthesiser 60, ramp of the amplifier 40 (DS table 8)
_HEADER_SYMBOLS = const(24)  # preamble 8 + 4.25, header 8, and some to spare


class SX127x:
    """One SX1276/77/78/79. Every method raises RadioError when the chip does not answer as it should.

    Attributes for the runner, the same in every driver:
    `prepare_us`: how long `prepare_listen` takes at most, waking from sleep included;
    `listen_latency_us`: from the call of `listen` until the receiver hears;
    `max_symbols`: the longest window that the modem ends by itself;
    `clock_error_ppm`: how wrong the node's clock may be, from the configuration;
    `started_us`: ticks when the last transmission began; `interrupt_us`: ticks of the last DIO0 interrupt, or None.
    """

    prepare_us = 5000
    listen_latency_us = 200
    max_symbols = t.MAX_SYMBOL_TIMEOUT

    def __init__(self, spi, cs, reset, dio0, config, time):
        """`spi`: mode 0, MSB first, at most 10 MHz; pins: cs and reset outputs (high), dio0 input; `config`: the part
        "radio" of config.json (tcxo, pa_boost, clock_error_ppm, and what conducted_dbm takes); `time`: ticks_us,
        ticks_ms, ticks_diff, sleep_us, sleep_ms. Touches nothing but NSS (high) and the interrupt of DIO0.
        """
        self._spi = spi
        self._cs = cs
        self._reset = reset
        self._time = time
        self._ticks_us = time.ticks_us  # bound once: the interrupt handler must not allocate
        self._config = config
        self._boost = config.get("pa_boost", True)
        self.clock_error_ppm = config.get("clock_error_ppm", CLOCK_ERROR_PPM)
        self._state = _UNKNOWN
        self.started_us = None
        self.interrupt_us = None
        self._opened_us = self._header_us = 0
        self._address = bytearray(1)
        self._byte = bytearray(1)
        self._command = memoryview(bytearray(8))
        self._frame = memoryview(bytearray(255))
        cs.value(1)
        dio0.irq(handler=self._on_dio0, trigger=dio0.IRQ_RISING)

    # Start and sleep

    def start(self, cold=True):
        """Make the chip ready, in standby. `cold`: by its reset pin, from nothing; else that only if it has forgotten
        its configuration."""
        if not cold and self._configured():
            self._wake(t.STANDBY)
        else:
            self._state = _UNKNOWN
            self._hard_reset()
            self._send(t.FSK_SLEEP)
            if self._config.get("tcxo"):
                self._send(t.TCXO)
            self._wake(t.FSK_STANDBY)
            self._send(t.AT_868_MHZ)
            self._send(t.CALIBRATE_IMAGE)
            self._wait_for_calibration()
            self._send(t.FSK_SLEEP)
            self._send(t.SLEEP)
            self._wake(t.STANDBY)
            self._send(t.LNA)
            self._send(t.PUBLIC)
            if not self._configured():
                raise RadioError("the radio does not keep what is written to it")
        self._state = _AWAKE

    def sleep(self, warm=True):
        """Sleep: 200 nA. The configuration stays, whatever `warm` says; what was going on is given up."""
        if self._state == _UNKNOWN:
            self._hard_reset()
            self._send(t.FSK_SLEEP)
        elif self._state == _AWAKE:
            self._send(t.SLEEP)
        self._state = _ASLEEP

    # Transmitting

    def transmit(self, frame, freq_hz, sf, bw_hz, eirp_dbm):
        """Start to send a frame (at most 255 bytes) as a LoRaWAN uplink and return; `started_us` is when the preamble
        began. `eirp_dbm` is lowered to what is lawful (conducted_dbm)."""
        boost = self._boost
        config, protection, dac = t.amplifier(conducted_dbm(eirp_dbm, self._config, *t.limits_dbm(boost)), boost)
        self._stand_by()
        self._write(t.POWER, config << 16 | t.RAMP_40_US << 8 | protection, 3)
        self._write(t.PA_DAC, dac)
        self._set_modem(freq_hz, sf, bw_hz, t.CRC, t.MIN_SYMBOL_TIMEOUT, len(frame))
        self._set_iq(t.STANDARD_IQ)
        self._expect(t.DIO0_TX_DONE)
        self._send(t.WRITE_FIFO, frame)
        self._send(t.TRANSMIT)
        self._time.sleep_us(_TX_START_US)
        self.started_us = self._ticks_us()

    def wait_transmitted(self, timeout_ms):
        """Wait for the end of the transmission: True; False when `timeout_ms` went by. Then `interrupt_us` holds when
        DIO0 rose, or None when the interrupt was missed (the processor slept)."""
        if self._wait_for_flags(timeout_ms, 0) & t.TX_DONE:
            self._send(t.CLEAR_IRQ)
            return True
        self._state = _UNKNOWN  # a chip that does not finish needs its reset pin, as in Semtech's reference driver
        return False

    # Receiving

    def prepare_listen(self, freq_hz, sf, bw_hz, symbols, iq_inverted=True):
        """Set up everything for `listen`: LoRaWAN downlinks have inverted IQ and no CRC. The receiver will give up
        after `symbols` symbols without a preamble: 4 to 1023, what is outside is taken as the nearest; returns it."""
        symbols = min(max(symbols, t.MIN_SYMBOL_TIMEOUT), t.MAX_SYMBOL_TIMEOUT)
        self._stand_by()
        self._set_modem(freq_hz, sf, bw_hz, 0, symbols, 255)
        for command in t.RECEIVER_500_KHZ if bw_hz == 500000 else t.RECEIVER:
            self._send(command)
        self._set_iq(t.INVERTED_IQ if iq_inverted else t.STANDARD_IQ)
        self._expect(t.DIO0_RX_DONE)
        self._header_us = (symbols + _HEADER_SYMBOLS) * symbol_us(sf, bw_hz)
        return symbols

    def listen(self):
        """Switch the receiver on, now."""
        self._send(t.RECEIVE_ONCE)
        self._opened_us = self._ticks_us()

    def poll(self):
        """The interrupt flags when something ended, else 0."""
        flags = self._read(t.IRQ_FLAGS)
        return flags if flags & t.ENDED else 0

    def hearing(self):
        """Whether a preamble or a frame is being heard. Not latched, and unlike the flags no promise: a frame that this
        misses is received all the same."""
        return bool(self._read(t.MODEM_STATUS) & t.SIGNAL)

    def receive(self, timeout_ms):
        """Wait until the receiver stops: a Heard, or None (nothing, a broken frame, or `timeout_ms` went by)."""
        flags = self._wait_for_flags(timeout_ms, self._header_us)
        heard = None
        if flags & (t.RX_DONE | t.CRC_ERROR) == t.RX_DONE:
            size = self._read(t.FRAME_SIZE)
            self._write(t.FIFO_POINTER, self._read(t.FRAME_AT))
            frame = bytes(self._ask(t.FIFO, self._frame[:size])) if size else b""  # the bus cannot transfer no bytes
            snr = (self._read(t.FRAME_SNR) ^ 0x80) - 0x80
            rssi = self._read(t.FRAME_RSSI)
            heard = Heard(frame, rssi * 16 // 15 - 157 if snr >= 0 else rssi + snr // 4 - 157, snr / 4)  # DS 5.5.5
        else:
            self._send(t.STANDBY)
        self._send(t.CLEAR_IRQ)
        return heard

    # Parts of a set-up

    def _stand_by(self):
        self.start(self._state == _UNKNOWN)

    def _wake(self, standby):
        self._send(standby)
        if self._state != _AWAKE:
            self._time.sleep_us(_OSCILLATOR_US)

    def _configured(self):
        """Whether the chip still has what a start has written: LoRa mode and the sync word."""
        return self._read(t.OP_MODE) & 0x80 and self._read(t.SYNC_WORD) == t.LORAWAN_SYNC_WORD

    def _set_modem(self, freq_hz, sf, bw_hz, crc, symbols, size):
        self._write(t.FREQUENCY, t.frequency_steps(freq_hz), 3)
        config = t.BANDWIDTHS[bw_hz] << 16 | sf << 12 | crc << 8 | symbols
        self._write(t.MODEM, config, 3)
        self._write(t.PREAMBLE, 8 << 8 | size, 3)
        slow = symbol_us(sf, bw_hz) >= t.LOW_RATE_FROM_US
        self._write(t.MODEM_3, t.AGC | t.LOW_RATE if slow else t.AGC)

    def _set_iq(self, commands):
        for command in commands:
            self._send(command)

    def _expect(self, dio_mapping):
        self._send(t.WHOLE_FIFO)
        self._send(dio_mapping)
        self._send(t.CLEAR_IRQ)
        self.interrupt_us = None

    # Waiting

    def _on_dio0(self, pin):
        """Interrupt handler: notes the time, allocates nothing. MicroPython may run it late, never early."""
        if self.interrupt_us is None:
            self.interrupt_us = self._ticks_us()

    def _wait_for_flags(self, timeout_ms, header_us):
        """RegIrqFlags when something ended; 0 after `timeout_ms`, or when `header_us` after `listen` there is no
        header (0: none is waited for)."""
        time = self._time
        start = time.ticks_ms()
        while True:
            flags = self._read(t.IRQ_FLAGS)
            if flags & t.ENDED:
                return flags
            if time.ticks_diff(time.ticks_ms(), start) > timeout_ms:
                return 0
            late = header_us and time.ticks_diff(self._ticks_us(), self._opened_us) > header_us
            if late and not flags & t.VALID_HEADER:
                return 0
            time.sleep_ms(1)

    def _wait_for_calibration(self):
        for _ in range(_CALIBRATION_CAP_MS):
            self._time.sleep_ms(1)
            if not self._read(t.IMAGE_CALIBRATION) & t.CALIBRATING:
                return
        raise RadioError("the radio does not end its calibration")

    def _hard_reset(self):
        self._reset.value(0)
        self._time.sleep_us(_RESET_LOW_US)
        self._reset.value(1)
        self._time.sleep_ms(_RESET_MS)
        version = self._read(t.VERSION)
        if version != t.THE_VERSION:  # a dead bus reads 0x00 or 0xFF
            raise RadioError("no radio chip answers on the SPI bus (version 0x%02x)" % version)  # noqa: UP031

    # The bus

    def _send(self, command, more=None):
        self._cs.value(0)
        self._spi.write(command)
        if more is not None:
            self._spi.write(more)
        self._cs.value(1)

    def _ask(self, address, into):
        """Read registers from `address` on (or the FIFO) into a buffer, which is returned."""
        self._address[0] = address
        self._cs.value(0)
        self._spi.write(self._address)
        self._spi.readinto(into, 0x00)
        self._cs.value(1)
        return into

    def _read(self, address):
        return self._ask(address, self._byte)[0]

    def _write(self, address, value, size=1):
        """Write `value` to `size` registers from `address` on, most significant byte first."""
        command = self._command
        command[0] = 0x80 | address
        for i in range(size, 0, -1):
            command[i] = value & 0xFF
            value >>= 8
        self._send(command[: size + 1])
