"""The voltage of the battery, by an ADC behind a divider."""

from micropython import const

from payload.encode import FAILED

_SAMPLES = const(9)  # odd: the middle one is a sample
_LOWEST_V = 1.0  # the chip itself stops at 2.3 V: less means that the divider is not connected
_HIGHEST_V = 6.0


def volts(samples_uv, ratio, trim=1.0):
    """Volts of the battery, or FAILED.

    samples_uv: microvolts at the ADC; ratio: of the divider; trim: correction found with a meter. The middle sample
    counts, so a single wild one does no harm.
    """
    if not samples_uv:
        return FAILED
    value = sorted(samples_uv)[len(samples_uv) // 2] * ratio * trim / 1000000
    return value if _LOWEST_V <= value <= _HIGHEST_V else FAILED


def read(adc, ratio, trim=1.0):
    """Sample and convert; the divider must be switched on. adc: with read_uv() of `machine.ADC`."""
    return volts([adc.read_uv() for _ in range(_SAMPLES)], ratio, trim)
