"""Which radio a board carries: boards are sold with an SX1276 or an SX1262 under one name and on the same pins."""

from micropython import const

from radio import RadioError

_RESET_LOW_US = const(200)  # at least 100 for both
_START_MS = const(10)  # SX1276: at least 5 (data sheet 7.2.2); SX1262: 3.5 to its standby (data sheet 8.1)


def probe(spi, cs, reset, time):
    """ "sx1262" or "sx1276"; the chip is then as after its reset. Raises RadioError when neither answers.

    GetStatus comes first: to an SX1276 it is a write of its reset value to RegDioMapping1, and the answer is that
    value, 0x00; the SX1276's way to ask for its version is no command of the SX1262.
    """
    reset.value(0)
    time.sleep_us(_RESET_LOW_US)
    reset.value(1)
    time.sleep_ms(_START_MS)
    answer = bytearray(1)
    for question, chip in ((b"\xc0", "sx1262"), (b"\x42", "sx1276")):
        cs.value(0)
        spi.write(question)
        spi.readinto(answer, 0x00)
        cs.value(1)
        value = answer[0]
        if value >> 4 & 7 == 2 if chip == "sx1262" else value == 0x12:  # in STDBY_RC; the version of all SX127x
            return chip
    raise RadioError("no radio chip answers on the SPI bus")
