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
    """The codes of a reading: [(row of the table, code)], rows rising. Raises as `encode`."""
    result: list = []
    left = len(reading)
    index = 0
    for row in QUANTITIES:
        if not left:
            return result
        if row[1] in reading:
            result.append((index, code(reading[row[1]], row)))
            left -= 1
        index += 1  # noqa: SIM113 - enumerate makes a tuple for each row
    if left:
        known = [row[1] for row in QUANTITIES]
        raise ValueError("not a quantity: " + ", ".join(sorted([name for name in reading if name not in known])))
    return result


def pack(codes):
    """Codes as bitmap and values, bit-packed."""
    packed = width = present = 0
    for index, code in codes:
        row = QUANTITIES[index]
        present |= 1 << row[0]
        bits = row[4]
        packed = packed << bits | code
        width += bits
    size = width + 7 >> 3
    packed <<= (size << 3) - width
    if present < 0x80:
        return (present << (size << 3) | packed).to_bytes(size + 1, "big")
    return bitmap(present) + packed.to_bytes(size, "big")


def code(value, row):
    """The code of one value by its row of the table, floor((value - minimum) * steps + 1/2), or one of the two that
    stand for no value."""
    failed = (1 << row[4]) - 1
    try:
        value = (value - row[2]) * row[3] + 0.5
    except TypeError:
        return failed - 1 if value == OUT_OF_RANGE else failed
    # compared before it becomes an int, because infinity cannot
    if 0 <= value < failed - 1:
        return int(value)
    return failed - 1 if value == value else failed  # only "not a number" differs from itself


def bitmap(present):
    """Seven presence bits a byte, the first seven first; bit 7 says that another byte follows."""
    if present < 0x80:
        return bytes((present,))
    return bytes((present & 0x7F | 0x80,)) + bitmap(present >> 7)
