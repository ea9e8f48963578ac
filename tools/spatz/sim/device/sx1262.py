"""A strict SX1262: SPI bytes in, BUSY and DIO1 out. Written from the data sheet, apart from the driver.

Anything the data sheet forbids raises SimFault: unknown opcode or register, wrong number of parameters, a command in a
mode where it is not legal, SPI while BUSY, a reset pulse under 100 µs, PA settings outside the safe table.
A set-up that the chip accepts but that does not work on real silicon costs signal instead (TX_LOSS_DB and RX_LOSS_DB
in the tables); the reasons stand in the `flaws` of every transmission in the air's log, and in `rx_log`.

Stricter than the data sheet promises, on purpose: SetModulationParams and SetPacketParams leave the erratum bits of
0x0889 and 0x0736 at the *wrong* value (the data sheet leaves it open and asks for the workaround each time), Calibrate
throws the image calibration back to 902-928 MHz, a calibration does not succeed while XOSC_START_ERR stands, and
CalibrateImage is legal in STDBY_RC only, as Calibrate is (13.1.12; ratspeak/rsCardputer pull request 21 saw a chip that
was calibrated in STDBY_XOSC stay on its old frequency).
"""

import sx1262_tables as t
from fault import SimFault
from sx1262_radio import Transceiver

# attributes that survive warm sleep, and the end of the process while the chip stays powered
_KEPT = (
    "packet_type",
    "frequency_hz",
    "sf",
    "bw_hz",
    "cr",
    "ldro",
    "preamble",
    "implicit",
    "payload_len",
    "crc",
    "iq_inverted",
    "irq_mask",
    "dio1_mask",
    "fallback",
    "pa",
    "tx_power",
    "regulator",
    "rf_switch",
    "tcxo_mv",
    "tcxo_us",
    "calibrated",
    "image_mhz",
    "errors",
    "symbol_timeout",
    "stop_on_preamble",
    "tx_base",
    "rx_base",
)


class Sx1262(Transceiver):
    name = "SX1262"
    max_spi_hz = 16000000

    def __init__(self, board, config, retained=None):
        self._begin(board, config)
        self.board_tcxo_mv = config.get("tcxo_mv", 0)
        self.board_tcxo_start_us = config.get("tcxo_start_us", 2000)
        self.mode = "startup"
        self.busy_until = 0
        self._selected = False
        self._frame = bytearray()
        self._answer = None
        self._waking = False
        self._forget()
        if retained is None:
            self._power_on()
        else:
            self._restore(retained)
        self._wire(config)

    def _wire(self, config):
        board = self.board
        busy = board.pad(config["busy"])
        busy.driver = self.busy
        dio1 = board.pad(config["dio1"])
        dio1.driver = lambda: 1 if self.irq_status & self.dio1_mask else 0
        busy.driver_name = dio1.driver_name = "the SX1262"
        self._dio1 = dio1
        self._nss = board.pad(config["cs"])
        self._nss.idle = 1  # pull-up: the pin floats until the firmware drives it
        self._nss.watchers.append(self._nss_changed)
        reset = board.pad(config["reset"])
        reset.idle = 1  # internal pull-up
        reset.watchers.append(self._reset_changed)
        self._rx_enable = board.pad(config["rx_enable"]) if config.get("rx_enable") is not None else None
        reset._last = self._nss._last = 1

    # life: power, reset, sleep

    def _forget(self):
        """Everything to its value after reset (also: cold sleep)."""
        self.registers = dict(t.REGISTERS)
        self.packet_type = 0
        self.frequency_hz = self.sf = self.bw_hz = self.payload_len = self.pa = self.tx_power = None
        self.cr, self.ldro, self.preamble, self.implicit, self.crc = 5, False, 12, False, False
        self.iq_inverted = False
        self.irq_mask = self.irq_status = self.dio1_mask = 0
        self.fallback = "stdby_rc"
        self.regulator = "ldo"
        self.rf_switch = False
        self.tcxo_mv = self.tcxo_us = 0
        self.calibrated = 0
        self.image_mhz = (902, 928)
        self.errors = 0
        self.symbol_timeout = 0
        self.stop_on_preamble = False
        self.tx_base = self.rx_base = 0
        self._lose_buffer()

    def _lose_buffer(self):
        self.buffer = bytearray(256)
        self.rx_len = self.rx_start = 0
        self.packet_status = b"\x00\x00\x00"
        self.command_status = 1
        self.stats = [0, 0, 0]

    def _power_on(self):
        self._forget()
        if self.board_tcxo_mv:
            self.errors = t.ERR_XOSC_START  # the start-up calibration ran without its oscillator
        else:
            self.calibrated = 0x7F
        self._enter("stdby_rc")
        self.busy_until = self.clock.now + t.STARTUP_US

    def keep(self):
        """The chip's state for the next process while it stays powered."""
        mode = self.mode if self.mode in ("sleep_warm", "sleep_cold", "off") else "stdby_rc"
        return {
            "mode": mode,
            "registers": [[a, v] for a, v in self.registers.items() if v != t.REGISTERS[a]],
            "values": {name: getattr(self, name) for name in _KEPT},
        }

    def _restore(self, kept):
        for address, value in kept["registers"]:
            self.registers[address] = value
        for name in _KEPT:
            value = kept["values"][name]
            setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self.mode = kept["mode"]
        self.board.energy.enter("radio", None if self.mode == "off" else self.draws())

    def _reset_changed(self, level):
        now = self.clock.now
        if self.mode == "off":
            return
        if level == 0:
            self._reset_at = now
            self._enter("reset")
        elif self._reset_at is not None:
            if now - self._reset_at < t.RESET_PULSE_US:
                raise SimFault(f"SX1262 reset pulse of {now - self._reset_at} us: at least 100 us are needed")
            self._reset_at = None
            self._waking = False
            self._power_on()

    def busy(self):
        """Level of the BUSY line: high in reset, in sleep, and while a command or a mode change is under way."""
        if self.mode in ("sleep_warm", "sleep_cold", "reset"):
            return 1
        return 1 if self.mode != "off" and self.clock.now < self.busy_until else 0

    def asleep(self):
        return self.mode in ("sleep_warm", "sleep_cold")

    def draws(self):
        """The mode, with what decides how much current it takes (see energy.toml)."""
        if self.mode == "tx":
            return f"tx/{t.PA_SETTINGS[self.pa]}/{self.tx_power}"
        if self.mode in ("rx", "cad"):
            return "rx/{}/{}".format(self.regulator, "boosted" if self.registers[t.RX_GAIN] == 0x96 else "plain")
        return self.mode

    def _occupy(self, duration_us):
        self.busy_until = max(self.busy_until, self.clock.now + duration_us)

    # SPI

    def _nss_changed(self, level):
        if self.mode == "off":
            self._selected = False
        elif level == 0:
            self._selected = True
            self._frame = bytearray()
            self._answer = None
            if self.asleep():
                self._wake()
        elif self._selected:
            self._selected = False
            if self._frame:
                self._execute(bytes(self._frame))
            self._waking = False

    def _wake(self):
        now = self.clock.now
        if now < self.busy_until:
            raise SimFault("SX1262: NSS low within 500 us after SetSleep (data sheet 13.1.1)")
        cold = self.mode == "sleep_cold"
        if cold:
            self._power_on()
        else:
            first = t.RETENTION_LIST + 1
            last = first + 2 * min(4, self.registers[t.RETENTION_LIST])
            listed = [self.registers[at] << 8 | self.registers[at + 1] for at in range(first, last, 2)]
            for address in t.NEEDS_RETENTION:
                if address not in listed:
                    self.registers[address] = t.REGISTERS[address]
            self._lose_buffer()
            self._enter("stdby_rc")
        self._waking = True
        self.busy_until = now + t.WAKE_US["cold" if cold else "warm"]

    def transfer(self, data):
        """Bytes clocked in while NSS is low; gives the bytes clocked out."""
        if self.mode == "off":
            return bytes(len(data))
        if self.mode == "reset":
            raise SimFault("SX1262: SPI while NRESET is low")
        frame = self._frame
        if self.busy():
            harmless = self._waking and (bytes(frame) + bytes(data)).startswith(b"\xc0")
            if not harmless:
                opcode = frame[0] if frame else data[0]
                raise SimFault(f"SX1262: SPI (opcode 0x{opcode:02x}) while BUSY is high: wait for BUSY low first")
        out = bytearray()
        start = len(frame)
        frame.extend(data)
        opcode = frame[0]
        read = t.READS.get(opcode)
        if read is None:
            if opcode in t.NOT_MODELLED:
                raise SimFault(f"the emulator does not model {t.NOT_MODELLED[opcode]}")
            if opcode not in t.WRITES:
                raise SimFault(f"SX1262: unknown opcode 0x{opcode:02x}")
            return bytes([self._status()]) * len(data)
        head = read[1]
        for _ in range(min(len(data), max(0, head - start))):
            out.append(self._status())
        wanted = len(frame) - max(head, start)
        if wanted > 0:
            out.extend(getattr(self, read[2])(frame[:head], max(0, start - head), wanted))
        return out

    def _status(self):
        return t.MODE_CODE.get(self.mode, 0) << 4 | self.command_status << 1

    def _execute(self, frame):
        entry = t.WRITES.get(frame[0])
        if entry is None:
            if not self._waking:
                self._occupy(2)
            return
        name, fewest, most, modes, method = entry
        params = frame[1:]
        if not fewest <= len(params) <= most:
            raise SimFault(f"SX1262: {name} takes {fewest} parameter bytes, not {len(params)}")
        if self.mode not in modes:
            raise SimFault(f"SX1262: {name} is not legal in mode {self.mode}")
        self.command_status = 1
        self._occupy(t.BUSY_COMMAND_US)
        getattr(self, method)(params)

    # reading commands: (header, offset of the first wanted byte, count) -> bytes

    def _fixed(self, value, offset, count):
        return (value[offset : offset + count] + bytes(count))[:count]

    def _get_status(self, header, offset, count):
        return bytes([self._status()]) * count

    def _read_register(self, header, offset, count):
        first = (header[1] << 8 | header[2]) + offset
        return bytes(self._register(address) for address in range(first, first + count))

    def _register(self, address):
        if t.VERSION_AT <= address < t.VERSION_AT + len(t.VERSION):
            return t.VERSION[address - t.VERSION_AT]
        if address not in self.registers:
            raise SimFault(f"SX1262: register 0x{address:04x} is not in the data sheet's list")
        return self.registers[address]

    def _read_buffer(self, header, offset, count):
        first = header[1] + offset
        return bytes(self.buffer[(first + i) & 0xFF] for i in range(count))

    def _get_irq(self, header, offset, count):
        return self._fixed(bytes([self.irq_status >> 8, self.irq_status & 0xFF]), offset, count)

    def _get_rx_buffer(self, header, offset, count):
        return self._fixed(bytes([self.rx_len, self.rx_start]), offset, count)

    def _get_packet_status(self, header, offset, count):
        return self._fixed(self.packet_status, offset, count)

    def _get_rssi(self, header, offset, count):
        return self._fixed(bytes([min(255, -2 * self.rssi_now())]), offset, count)

    def _get_errors(self, header, offset, count):
        return self._fixed(bytes([self.errors >> 8, self.errors & 0xFF]), offset, count)

    def _get_packet_type(self, header, offset, count):
        return self._fixed(bytes([self.packet_type]), offset, count)

    def _get_stats(self, header, offset, count):
        return self._fixed(b"".join(n.to_bytes(2, "big") for n in self.stats), offset, count)
