"""What the emulated Sensirion chips share: commands of 16 bits, arguments and answers with their CRC, and time.

A subclass has COMMANDS: {code: (method, arguments, µs until the next command, taken while measuring)}. A chip that is
busy, that measures and may not be disturbed, that has nothing to say or is asked too early does not acknowledge, as the
real ones: OSError. An unknown command, or an argument too many, is a SimFault.
"""

from fault import SimFault

ENODEV = 19


def nack():
    raise OSError(ENODEV)


def crc(high, low):
    """CRC-8, polynomial 0x31, start 0xFF (SHT3x data sheet table 20)."""
    remainder = 0xFF
    for byte in (high, low):
        remainder ^= byte
        for _ in range(8):
            remainder <<= 1
            if remainder > 0xFF:
                remainder = (remainder & 0xFF) ^ 0x31
    return remainder


def with_crc(words):
    """Words as the chip sends them, 3 bytes each."""
    data = bytearray()
    for word in words:
        high, low = word >> 8, word & 0xFF
        data += bytes((high, low, crc(high, low)))
    return bytes(data)


def scaled(value, low, span):
    """The word 0..65535 for a value, where 0 is `low` and 65535 is `low + span`."""
    return max(0, min(65535, int((value - low) * 65535 / span + 0.5)))


class Powered:
    """A chip that forgets what it forgets when its supply is switched off."""

    START_UP_US = 1000

    def __init__(self, board, config):
        self.board = board
        self.clock = board.clock
        self.config = config
        self.address = config["address"]
        self.broken = False  # tests: no answer at all
        self._supplied_since = None

    def powered(self):
        """True when the chip answers: supplied, and its start-up is over."""
        if self.broken:
            return False
        since = self.board.vext_since(self)
        if since is None:
            return False
        if since != self._supplied_since:
            self._supplied_since = since
            self.power_on(since)
        return self.clock.now >= since + self.START_UP_US


class Sensirion(Powered):
    COMMANDS: dict = {}

    def power_on(self, since):
        self.measuring = False
        self._busy_until = 0
        self._answer = None
        self._answer_at = 0

    def write(self, data):
        if len(data) < 2:
            return self.incomplete(data)
        code = data[0] << 8 | data[1]
        command = self.COMMANDS.get(code)
        if command is None:
            raise SimFault(f"{self.name}: unknown command 0x{code:04x}")
        method, count, busy_us, always = command
        if self.clock.now < self._busy_until or (self.measuring and not always):
            nack()
        arguments = self._arguments(code, data[2:], count)
        self._answer = None
        self._busy_until = self.clock.now + busy_us
        getattr(self, method)(*arguments)

    def incomplete(self, data):
        raise SimFault(f"{self.name}: a write of {len(data)} bytes is no command")

    def _arguments(self, code, data, count):
        if len(data) == 0 and count:
            return ()  # the same code asks for the value
        if len(data) != 3 * count:
            raise SimFault(f"{self.name}: command 0x{code:04x} with {len(data)} bytes of arguments")
        for at in range(0, len(data), 3):
            if crc(data[at], data[at + 1]) != data[at + 2]:
                nack()
        return [data[at] << 8 | data[at + 1] for at in range(0, len(data), 3)]

    def answer(self, words, after_us=0):
        self._answer = with_crc(words)
        self._answer_at = self.clock.now + after_us

    def read(self, count):
        if self._answer is None:
            nack()
        if self.clock.now < self._answer_at:
            self.early()
        data = self._answer + b"\xff" * count  # a released line reads as ones
        self._answer = None
        return data[:count]

    def early(self):
        nack()
