"""A reading as bytes: the node's side of boards/payload.md, fPort 1."""

from payload.table import QUANTITIES

FPORT = 1
FAILED = "failed"  # in place of a value: the sensor did not deliver
OUT_OF_RANGE = "out_of_range"  # in place of a value: it answered with something it cannot measure


def encode(reading):
    """The reading as the first part of a FRMPayload, 1 byte and more.

    reading: {name of a quantity: number in its unit, or FAILED, or OUT_OF_RANGE}. What is not in it was not measured
    and is not in the payload: missing is not zero.
    Raises ValueError for a name that the table does not have.
    """
    return pack(codes(reading))


def codes(reading):
    """The codes of a reading, one for each row of the table; -1 for what was not measured. Raises as `encode`."""
    result = []
    known = 0
    for _, name, minimum, steps, bits, _ in QUANTITIES:
        if name in reading:
            known += 1
            result.append(code(reading[name], minimum, steps, bits))
        else:
            result.append(-1)
    if known != len(reading):
        names = [row[1] for row in QUANTITIES]
        raise ValueError("not a quantity: " + ", ".join(sorted(name for name in reading if name not in names)))
    return result


def pack(codes):
    """Codes as bitmap and values, bit-packed."""
    packed = 0
    width = 0
    for index, code in enumerate(codes):
        if code >= 0:
            bits = QUANTITIES[index][4]
            packed = packed << bits | code
            width += bits
    size = (width + 7) // 8
    return bitmap(present(codes)) + (packed << (8 * size - width)).to_bytes(size, "big")


def present(codes):
    """The presence bits as one number."""
    result = 0
    for index, code in enumerate(codes):
        if code >= 0:
            result |= 1 << QUANTITIES[index][0]
    return result


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


def bitmap(present):
    """Seven presence bits a byte, the first seven first; bit 7 says that another byte follows."""
    result = bytearray()
    while True:
        result.append(present & 0x7F | (0x80 if present > 0x7F else 0))
        present >>= 7
        if not present:
            return bytes(result)
