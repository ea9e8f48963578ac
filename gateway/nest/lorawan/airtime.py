"""How long a LoRa frame is on air (Semtech AN1200.13; SX1261/2 data sheet 6.1.4).

Everything is counted in quarters of a symbol and given in whole microseconds, which is exact for the bandwidths of
LoRaWAN from SF7 on: a quarter of a symbol of 125 kHz lasts 2^SF * 2 us.
"""

from __future__ import annotations

from functools import lru_cache

SPREADING_FACTORS = range(5, 13)
OPTIMISED_FROM_US = 16_000  # symbols this long and longer carry two bits less each: low data rate optimisation


@lru_cache(maxsize=4096)
def airtime_us(
    sf: int,
    bw_hz: int,
    size: int,
    *,
    crc: bool,
    preamble: int = 8,
    cr: int = 1,
    implicit_header: bool = False,
    optimised: bool | None = None,
) -> int:
    """Time on air of `size` bytes in microseconds, rounded up. `cr` 1..4 means 4/5..4/8.

    LoRaWAN: preamble 8, 4/5, explicit header; uplinks with CRC, downlinks without. `optimised` None: as the length of
    the symbol asks for, which is what every modem does. Raises ValueError: no such spreading factor.
    """
    if sf not in SPREADING_FACTORS:
        raise ValueError(f"no such spreading factor: {sf}")
    if optimised is None:
        optimised = (1 << sf) * 1_000_000 >= OPTIMISED_FROM_US * bw_hz
    short = sf < 7  # SF5 and SF6: two symbols more of preamble, and the header does not take a whole one more
    bits = 8 * size + 16 * crc - 4 * sf + (0 if implicit_header else 20) + (0 if short else 8)
    blocks = max(-(-bits // (4 * (sf - 2 * optimised))), 0)
    quarters = 4 * preamble + (25 if short else 17) + 4 * (8 + blocks * (cr + 4))
    return -(-(quarters << sf) * 250_000 // bw_hz)


def airtime_s(sf: int, bw_hz: int, size: int, *, crc: bool, preamble: int = 8, cr: int = 1) -> float:
    """The same in seconds."""
    return airtime_us(sf, bw_hz, size, crc=crc, preamble=preamble, cr=cr) / 1e6
