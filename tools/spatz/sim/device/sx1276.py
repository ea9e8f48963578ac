"""A strict SX1276: SPI bytes in, DIO0 and DIO1 out. Written from the data sheet, apart from the driver.

Anything the data sheet forbids raises SimFault: a register that is not in its tables or is read-only, reserved bits
that are changed, SPI above 10 MHz, a reset pulse under 100 µs, access within 5 ms after it (10 ms after power-on), the
FIFO in sleep or filled outside standby, LongRangeMode changed outside sleep, LoRa registers written while the chip
sends or receives, a frequency outside its bands, a transmission without RegPaConfig. A set-up that the chip accepts but
that does not work on real silicon costs signal instead (TX_LOSS_DB and RX_LOSS_DB in the tables); the reasons stand in
the `flaws` of every transmission in the air's log, and in `rx_log`.

Stricter than the data sheet says, on purpose: the FIFO needs the oscillator, which runs 250 µs after sleep; and
LongRangeMode changes only with a write that leaves the chip in sleep.

b.radio.registers is the LoRa page with what both pages share; b.radio.fsk the FSK page. FSK itself is not modelled, but
for standby and the image calibration.
"""

import sx1276_tables as t
from fault import SimFault
from sx1276_radio import Transceiver

_KEPT = ("_frf", "image_hf", "_pa_chosen")  # besides the registers: what survives while the chip stays powered


class Sx1276(Transceiver):
    name = "SX1276"
    max_spi_hz = 10000000

    def __init__(self, board, config, retained=None):
        self._begin(board, config)
        self._boost_wired = config.get("pa_boost", True)
        self._tcxo = bool(config.get("tcxo"))
        self.mode = "startup"
        self.ready_at = 0
        self._address = None  # of the access under way
        self._dio = ()
        self._forget()
        if retained is None:
            self._power_on()
            self.ready_at -= board.world["boot_us"]
        else:
            self._restore(retained)
        self._wire(config)

    def _wire(self, config):
        board = self.board
        lines = []
        for index, name in enumerate(("dio0", "dio1")):
            if config.get(name) is not None:
                line = board.pad(config[name])
                line.driver = lambda shift=6 - 2 * index, events=t.DIO[index]: self._line(shift, events)
                line.driver_name = "the SX1276"
                lines.append(line)
        self._dio = lines
        nss = board.pad(config["cs"])
        nss.idle = nss._last = 1  # pull-up: the pin floats until the firmware drives it
        nss.watchers.append(self._nss_changed)
        if config.get("reset") is not None:
            reset = board.pad(config["reset"])
            reset.idle = reset._last = 1
            reset.watchers.append(self._reset_changed)

    # life: power, reset

    def _forget(self):
        """Everything to its value after reset."""
        self.registers = dict(t.COMMON)
        self.registers.update(t.LORA)
        self.fsk = dict(t.FSK)
        self.op = t.COMMON[t.OP_MODE] & 0xF8
        self.fifo = bytearray(256)
        self.irq = 0
        self.image_hf = False
        self._calibrated_at = 0
        self._pa_chosen = False
        self._awake_at = 0
        self._latch_frequency()

    def _power_on(self):
        self._forget()
        self._enter("standby")
        self.ready_at = self.clock.now + t.POWER_ON_US

    def keep(self):
        """The chip's state for the next process while it stays powered."""
        return {
            "off": self.mode == "off",
            "asleep": self.mode == "sleep",
            "op": self.op,
            "irq": self.irq,
            "registers": [[a, v] for a, v in self.registers.items()],
            "fsk": [[a, v] for a, v in self.fsk.items()],
            "values": {name: getattr(self, name) for name in _KEPT},
        }

    def _restore(self, kept):
        self.registers = dict(kept["registers"])
        self.fsk = dict(kept["fsk"])
        self.op = kept["op"]
        self.irq = kept["irq"]
        for name in _KEPT:
            setattr(self, name, kept["values"][name])
        self.mode = "off" if kept.get("off") else "sleep" if kept["asleep"] else "standby"
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
                raise SimFault(f"SX1276 reset pulse of {now - self._reset_at} us: at least 100 us are needed")
            self._reset_at = None
            self._forget()
            self._enter("standby")
            self.ready_at = now + t.RESET_US
        self._changed()

    def asleep(self):
        return self.mode == "sleep"

    # lines

    def _line(self, shift, events):
        if not self.op & t.LONG_RANGE or self.mode == "off":
            return 0
        return 1 if self.irq & events[self.registers[t.DIO_1] >> shift & 3] else 0

    def _changed(self):
        for line in self._dio:
            line.changed()

    def raise_irq(self, bits):
        self.irq |= bits & ~self.registers[t.IRQ_MASK]
        self._changed()

    # SPI: an address byte, then bytes of that register and those after it; the FIFO's address stays

    def _nss_changed(self, level):
        self._address = None

    def transfer(self, data):
        """Bytes clocked in while NSS is low; gives the bytes clocked out."""
        if self.mode == "off":
            return bytes(len(data))
        if self.mode == "reset":
            raise SimFault("SX1276: SPI while NRESET is low")
        if self.clock.now < self.ready_at:
            raise SimFault("SX1276: SPI within 5 ms after a reset or 10 ms after power-on (data sheet 7.2)")
        out = bytearray(len(data))
        for index, value in enumerate(data):
            if self._address is None:
                self._address, self._writes = value & 0x7F, bool(value & 0x80)
                continue
            if self._writes:
                self._write(self._address, value)
            else:
                out[index] = self._read(self._address)
            if self._address != t.FIFO:
                self._address += 1
        return out

    def _page(self, address):
        """The registers among which the address is now: (them, its mask of reserved bits, whether it is read-only)."""
        lora = self.op & t.LONG_RANGE and not self.op & t.SHARED_REGISTERS
        if address in t.COMMON:
            return self.registers, t.RESERVED_COMMON.get(address, 0), address in t.READ_ONLY_COMMON
        if lora and address in t.LORA:
            return self.registers, t.RESERVED_LORA.get(address, 0), address in t.READ_ONLY_LORA
        if not lora and address in t.FSK:
            return self.fsk, 0, address in t.READ_ONLY_FSK
        name = "LoRa" if lora else "FSK"
        raise SimFault(f"SX1276: register 0x{address:02x} is not in the data sheet's list of the {name} page")

    def _read(self, address):
        if address == t.FIFO:
            self._fifo_reachable()
            return self._fifo_step()
        registers, _, _ = self._page(address)
        if address == t.OP_MODE:
            return self.op | self.mode_code()
        if registers is self.fsk:
            running = t.CAL_RUNNING if address == t.IMAGE_CAL and self.clock.now < self._calibrated_at else 0
            return registers[address] | running
        if address == t.IRQ_FLAGS:
            return self.irq
        if address == t.MODEM_STAT:
            return self.modem_status()
        if address in (t.RSSI, t.RSSI_WIDE):
            return max(0, min(255, self.rssi_now() - t.RSSI_OFFSET)) if self.mode == "rx" else 0
        return registers[address]

    def _write(self, address, value):
        if address == t.FIFO:
            self._fifo_reachable()
            if self.mode != "standby":
                raise SimFault(f"SX1276: the FIFO is filled in standby only, not in {self.mode}")
            self._fifo_step(value)
            return
        registers, reserved, read_only = self._page(address)
        if read_only:
            raise SimFault(f"SX1276: register 0x{address:02x} is read-only")
        if (registers[address] ^ value) & reserved:
            raise SimFault(f"SX1276: 0x{value:02x} changes reserved bits 0x{reserved:02x} of register 0x{address:02x}")
        if address == t.OP_MODE:
            self._set_op_mode(value)
        elif registers is self.fsk:
            self._write_fsk(address, value)
        elif address == t.IRQ_FLAGS:
            self.irq &= ~value
            self._changed()
        elif address in t.LORA and address not in t.ANY_TIME and self.mode not in ("sleep", "standby"):
            raise SimFault(f"SX1276: LoRa register 0x{address:02x} written in {self.mode}, not in sleep or standby")
        else:
            registers[address] = value
            self._written(address)

    def _written(self, address):
        if address == t.FRF_LSB:
            self._latch_frequency()
        elif address == t.PA_CONFIG:
            self._pa_chosen = True
        elif address in (t.DIO_1, t.DIO_2):
            self._changed()

    def _latch_frequency(self):
        """RegFrf counts once its last byte is written."""
        at = self.registers
        self._frf = at[t.FRF_MSB] << 16 | at[t.FRF_MSB + 1] << 8 | at[t.FRF_LSB]

    def _fifo_reachable(self):
        if self.mode == "sleep":
            raise SimFault("SX1276: the FIFO is not accessible in sleep")
        if self.clock.now < self._awake_at:
            raise SimFault("SX1276: the FIFO before the oscillator runs, 250 us after sleep (TS_OSC)")
        if not self.op & t.LONG_RANGE:
            raise SimFault("SX1276: the FIFO of FSK is not modelled")

    def _fifo_step(self, value=None):
        pointer = self.registers[t.FIFO_ADDR]
        self.registers[t.FIFO_ADDR] = (pointer + 1) & 0xFF
        if value is not None:
            self.fifo[pointer] = value
        return self.fifo[pointer]

    def _write_fsk(self, address, value):
        self.fsk[address] = value
        if address != t.IMAGE_CAL:
            return
        self.fsk[address] = value & ~(t.CAL_START | t.CAL_RUNNING)
        if not value & t.CAL_START:
            return
        if self.op & t.LONG_RANGE or self.mode != "standby":
            raise SimFault("SX1276: the image calibration starts in FSK standby only (4.2.3.8)")
        self.need_clock()
        self._calibrated_at = self.clock.now + t.CALIBRATION_US
        if self.frequency_hz > t.HIGH_BAND_HZ:
            self.image_hf = True
