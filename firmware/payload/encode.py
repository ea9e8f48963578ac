"""A reading as bytes: the node's side of boards/payload.md, fPort 1."""

from payload.table import QUANTITIES

FPORT = 1
FAILED = "failed"  # in place of a value: the sensor did not deliver
OUT_OF_RANGE = "out_of_range"  # in place of a value: it answered with something it cannot measure


def encode(reading):
    """The FRMPayload of a reading, 1 byte and more.

    reading: {name of a quantity: number in its unit, or FAILED, or OUT_OF_RANGE}. What is not in it was not measured
    and is not in the payload: missing is not zero.
    Raises ValueError for a name that the table does not have.
    """
    present = 0
    packed = 0
    width = 0
    known = 0
    for bit, name, minimum, steps, bits in QUANTITIES:
        if name in reading:
            present |= 1 << bit
            packed = packed << bits | code(reading[name], minimum, steps, bits)
            width += bits
            known += 1
    if known != len(reading):
        names = [row[1] for row in QUANTITIES]
        raise ValueError("not a quantity: " + ", ".join(sorted(name for name in reading if name not in names)))
    size = (width + 7) // 8
    return _bitmap(present) + (packed << (8 * size - width)).to_bytes(size, "big")


def code(value, minimum, steps, bits):
    """The code of one value, floor((value - minimum) * steps + 1/2), or one of the two that stand for no value."""
    failed = (1 << bits) - 1
    if value == OUT_OF_RANGE:
        return failed - 1
    if value == FAILED or value != value:  # only "not a number" differs from itself
        return failed
    scaled = (value - minimum) * steps + 0.5
    # compared before it becomes an int, because infinity cannot
    if scaled < 0 or scaled >= failed - 1:
        return failed - 1
    return int(scaled)


def _bitmap(present):
    """Seven presence bits a byte, the first seven first; bit 7 says that another byte follows."""
    result = bytearray()
    while True:
        result.append(present & 0x7F | (0x80 if present > 0x7F else 0))
        present >>= 7
        if not present:
            return bytes(result)
