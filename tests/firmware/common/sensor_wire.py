"""A scripted I2C bus: it knows what a driver has to write and what it then reads, and nothing else."""

from expect import equal, show
from payload.encode import FAILED, OUT_OF_RANGE
from sensors.errors import SensorError

NOBODY = 0x78  # where sensors.sensirion.pause passes the time


def flat(script):
    """The steps of a script that holds scripts."""
    steps = []
    for step in script:
        steps.extend([step] if isinstance(step, str) else flat(step))
    return steps


class Wire:
    """script: "w f32d" (must be written now), "r 8010e1" (is read now), "w! f32d" and "r! 3" (not acknowledged), and
    lists of such steps."""

    def __init__(self, address, script):
        self.address = address
        self.script = flat(script)
        self.slept = 0

    def _next(self, kind, what):
        assert self.script, f"nothing more was expected, but {kind} {what}"
        step = self.script.pop(0).split(" ")
        equal(step[0][0], kind, what)
        if step[0].endswith("!"):
            raise OSError(19)
        return step[1]

    def writeto(self, address, data):
        if address == NOBODY:
            raise OSError(19)
        equal(address, self.address)
        equal(show(data), self._next("w", show(data)))

    def readfrom(self, address, count):
        equal(address, self.address)
        data = bytes.fromhex(self._next("r", count))
        equal(len(data), count)
        return data

    def readfrom_mem(self, address, register, count):
        self.writeto(address, bytes([register]))
        return self.readfrom(address, count)

    def writeto_mem(self, address, register, data):
        self.writeto(address, bytes([register]) + data)

    def sleep_ms(self, ms):
        self.slept += ms

    def done(self):
        equal(self.script, [], "left over")


def agree(got, row, what=""):
    """`got` has what a row of vectors says: marks exactly, numbers nearly."""
    for quantity in got:
        value, wanted = got[quantity], row[quantity]
        if wanted in (FAILED, OUT_OF_RANGE) or value in (FAILED, OUT_OF_RANGE):
            equal(value, wanted, f"{what} {quantity}")
        else:
            assert abs(value - wanted) <= 1e-4 * max(1, abs(wanted)), f"{what} {quantity}: {value}, not {wanted}"


def every_damage_is_refused(reading, data):
    """Each single bit turned over makes `reading` raise SensorError."""
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            got = reading(bytes(damaged))
        except SensorError:
            continue
        raise AssertionError(f"bit {bit} turned over gives {got}")
