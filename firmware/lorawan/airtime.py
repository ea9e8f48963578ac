"""How long LoRa frames take, and how long to listen for one. Integer microseconds throughout.

Every intermediate value stays below 2**30, so that an ESP32 (31-bit small integers) allocates nothing.
"""

from micropython import const

# Of a node whose board file says nothing else: generous, because a window that opens late hears nothing.
CLOCK_ERROR_PPM = const(1000)
JITTER_US = const(20000)

_LOW_RATE_US = const(16000)  # symbols this long need low data rate optimisation: SF11 and SF12 at 125 kHz


def symbol_us(sf, bw_hz):
    """Length of a symbol, 2**sf / bw_hz, in µs; exact for 62.5, 125, 250 and 500 kHz."""
    return (1 << sf) * 8000 // (bw_hz // 125)


def payload_symbols(sf, size, crc=True, cr=5, implicit=False, low_rate=False):
    """Symbols after the preamble: 8 of the header block and the coded payload of `size` bytes.

    cr is the denominator of the coding rate 4/cr, 5..8. Source: SX1261/2 data sheet 6.1.4 (SX1276 4.1.1.7 for SF7..12).
    """
    bits = 8 * size - 4 * sf + (28 if sf > 6 else 20)
    if crc:
        bits += 16
    if implicit:
        bits -= 20
    if bits <= 0:
        return 8
    per_block = 4 * (sf - 2 if low_rate else sf)
    return 8 + (bits + per_block - 1) // per_block * cr


def airtime_us(sf, bw_hz, size, crc=True, preamble=8, cr=5, implicit=False):
    """Time on air in µs of a frame of `size` bytes. Low data rate optimisation is on where the symbol is that long."""
    symbol = symbol_us(sf, bw_hz)
    symbols = payload_symbols(sf, size, crc, cr, implicit, symbol >= _LOW_RATE_US)
    quarters = 4 * (preamble + symbols) + (17 if sf > 6 else 25)  # 4.25 symbols of sync, 6.25 at SF5 and SF6
    return quarters * symbol // 4


def rx_window(sf, bw_hz, error_us, min_symbols=6):
    """(offset_us, symbols): when to open a window, relative to the nominal start of the downlink, and how long.

    error_us is how wrong the moment may be, to either side. The window is centred on the fourth preamble symbol, so at
    slow data rates it may open after the nominal start. Source: LoRaMac-node, RegionCommonComputeRxWindowParameters.
    The result is not cut to what a radio's symbol counter can hold.
    """
    symbol = symbol_us(sf, bw_hz)
    symbols = ((2 * min_symbols - 8) * symbol + 2 * error_us + symbol - 1) // symbol
    if symbols < min_symbols:
        symbols = min_symbols
    return 4 * symbol - symbols * symbol // 2, symbols
