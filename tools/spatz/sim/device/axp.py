"""What the two emulated power chips share: registers by I2C, rails that feed the radio, a cell, a USB socket.

World: chips "pmu": {"chip": "axp192" | "axp2101", "i2c", "sda", "scl", "address": 52, "radio": the rail that feeds it,
"stays": [rails that may never go off], "cell": false when there is none}. Anything the data sheets do not have raises
SimFault: a register that is not modelled (said so), a read-only one, reserved bits that change, and what no board
survives: the processor's own rail off. Rails stay as they are through resets and deep sleep, not a power cut.

Worst cases on purpose: at power-on the radio's rail is off and every rail at its lowest voltage, GNSS is fed.
"""

from fault import SimFault

RADIO_MV = 2700  # with less it does not send as it should
FIRST_VALUE_US = 40000  # after the converter is switched on: it measures 25 times per second


class Axp:
    """A chip has besides: name, number, registers as they are after power-on, writable: {address: bits that may
    change}, rail(name) -> (on, mV), never_off: {address: bits}, and measured(): {address: value}."""

    address = 0x34

    def __init__(self, board, config, kept=None):
        self.board = board
        self.clock = board.clock
        self.config = config
        self.broken = config.get("broken", False)  # tests: no answer at all
        self.registers = dict(self.reset)
        if kept is not None:
            self.registers.update((address, value) for address, value in kept["registers"])
        self._pointer = 0
        self._converting_since = self.clock.now - FIRST_VALUE_US

    def powered(self):
        return not self.broken

    def keep(self):
        """For the next boot: the chip stays powered."""
        return {"registers": [[address, value] for address, value in self.registers.items()]}

    def feeds_radio(self):
        on, millivolts = self.rail(self.config["radio"])
        return on and millivolts >= RADIO_MV

    def write(self, data):
        if not data or len(data) > 2:
            raise SimFault(f"{self.name}: a write is a register and its value, not {len(data)} bytes")
        self._pointer = data[0]
        if len(data) == 2:
            self._write(data[0], data[1])

    def _write(self, address, value):
        if address not in self.writable:
            what = "is read-only" if address in self.reset else "is not in the emulator's list"
            raise SimFault(f"{self.name}: register 0x{address:02x} {what}")
        old = self.registers[address]
        if (old ^ value) & ~self.writable[address]:
            raise SimFault(f"{self.name}: 0x{value:02x} changes reserved bits of register 0x{address:02x}")
        lost = old & ~value & self.never_off.get(address, 0)
        if lost:
            raise SimFault(f"{self.name}: bits 0x{lost:02x} of 0x{address:02x} feed the processor or pull the bus up")
        was_converting = self.converting()
        self.registers[address] = value
        if self.converting() and not was_converting:
            self._converting_since = self.clock.now
        for rail in self.config.get("stays", ()):
            if not self.rail(rail)[0]:
                raise SimFault(f"{self.name}: {rail} must stay on on this board")
        self.board.feed_radio()

    def read(self, count):
        first = self._pointer
        return bytes(self._read(address & 0xFF) for address in range(first, first + count))

    def _read(self, address):
        measured = self.measured()
        if address in measured:
            return measured[address]
        if address not in self.registers:
            raise SimFault(f"{self.name}: register 0x{address:02x} is not in the emulator's list")
        return self.registers[address]

    def cell_mv(self):
        """What the converter says of the cell: 0 when it does not measure, or has no value yet."""
        if not self.converting() or self.clock.now < self._converting_since + FIRST_VALUE_US:
            return 0
        return int(self.board.battery_mv_now()) if self.has_cell() else 0

    def has_cell(self):
        return self.config.get("cell", True)
