"""`machine.UART`, and the line between it and a chip. Eight data bits, no parity, one stop bit: ten bits a byte.

What the chip sends arrives byte by byte in its time. The receiver of an ESP32 keeps `rxbuf` bytes and loses what comes
then; it is off in light sleep (its clock stands) and while no UART is open. What the node writes takes its time, too:
the chip has it when the last bit is over. A speed that is not the chip's is a broken rule, and so are other pins.
"""

import board
from fault import SimFault

CALL_US = 30  # MicroPython's own cost of a call
BITS = 10


class Line:
    """The chip's end: send(); `opened` is the UART at the other, or None."""

    def __init__(self, owner, spec, chip):
        self.board = owner
        self.spec = spec
        self.chip = chip
        self.baud = spec.get("baud") or chip.baud
        self.opened = None
        self._free_us = 0  # the chip sends one byte after the other

    def send(self, data):
        """Bytes towards the node, from now on or behind those that are on their way."""
        clock = self.board.clock
        start = max(clock.now, self._free_us)
        step = BITS * 1000000 // self.baud
        self._free_us = start + step * len(data)
        for number, byte in enumerate(data):
            clock.at(start + step * (number + 1), lambda byte=byte: self._arrive(byte))

    def _arrive(self, byte):
        if self.opened is not None and not self.board.asleep and self._powered():
            self.opened._take(byte)

    def _powered(self):
        return self.board.vext_since(self.chip) is not None

    def written(self, data):
        """Bytes from the node, in full."""
        if self._powered():
            self.chip.received(data)


class UART:
    INV_TX = 1
    INV_RX = 2

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, *, tx=None, rx=None, txbuf=256, rxbuf=256,
                 timeout=0, timeout_char=0, invert=0, flow=0):  # fmt: skip
        self._board = board.need()
        if id not in (0, 1, 2):
            raise ValueError(f"UART({id}) does not exist")
        if id == 0:
            raise SimFault("UART(0) is the one that people talk to")
        if tx is None or rx is None:
            raise SimFault(f"UART({id}) without its pins: MicroPython's default pins are not this board's")
        if (bits, parity, stop, invert, flow) != (8, None, 1, 0, 0):
            raise SimFault("the emulator models 8 bits, no parity, 1 stop bit only")
        self.id = id
        self._tx, self._rx = (pin if isinstance(pin, int) else pin._pad.number for pin in (tx, rx))
        self._baud = baudrate
        self._timeout_us = timeout * 1000
        self._size = max(rxbuf, 129)
        self._received = bytearray()
        self._sent_us = 0
        self._line = self._find()
        if self._line is not None:
            self._line.opened = self
        self._open = True
        self._board.clock.spend(CALL_US)

    def _find(self):
        """The line whose chip is on these pins, crossed: the board's TX is the sensor's RX."""
        for spec, chip in self._board.sensors:
            if "uart" in spec and {spec["tx"], spec["rx"]} & {self._tx, self._rx}:
                if (spec["tx"], spec["rx"]) != (self._tx, self._rx):
                    raise SimFault(
                        f"{spec['chip']} is on tx={spec['tx']} rx={spec['rx']}, not tx={self._tx} rx={self._rx}"
                    )
                if chip.line.baud != self._baud:
                    raise SimFault(f"{spec['chip']} speaks {chip.line.baud} baud, not {self._baud}")
                return chip.line
        return None

    def _live(self):
        if not self._open:
            raise SimFault(f"UART({self.id}) is used after deinit()")
        self._board.clock.spend(CALL_US)

    def deinit(self):
        self._open = False
        if self._line is not None:
            self._line.opened = None

    def _take(self, byte):
        if len(self._received) < self._size:
            self._received.append(byte)

    def any(self):
        self._live()
        return len(self._received)

    def read(self, nbytes=None):
        """What is there, at most nbytes, or None; with a timeout, waited for."""
        self._live()
        clock = self._board.clock
        if self._timeout_us and nbytes is not None and len(self._received) < nbytes:
            clock.sleep_node_us(self._timeout_us, lambda: len(self._received) >= nbytes)
        count = len(self._received) if nbytes is None else min(nbytes, len(self._received))
        data = bytes(self._received[:count])
        self._received = self._received[count:]
        return data or None

    def readinto(self, buf, nbytes=None):
        data = self.read(len(buf) if nbytes is None else nbytes)
        if data is None:
            return None
        buf[: len(data)] = data
        return len(data)

    def readline(self):
        self._live()
        end = bytes(self._received).find(b"\n") + 1
        return self.read(end or None)

    def write(self, buf):
        self._live()
        data = bytes(buf.encode() if isinstance(buf, str) else buf)
        clock = self._board.clock
        start = max(clock.now, self._sent_us)
        self._sent_us = start + len(data) * BITS * 1000000 // self._baud
        line = self._line
        if line is not None:
            clock.at(self._sent_us, lambda: line.written(data))
        return len(data)

    def flush(self):
        self._live()
        clock = self._board.clock
        if self._sent_us > clock.now:
            clock.run_until(self._sent_us)

    def txdone(self):
        self._live()
        return self._board.clock.now >= self._sent_us
