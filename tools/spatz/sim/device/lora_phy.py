"""LoRa symbol time and time on air, from SX1261/2 data sheet 6.1.4; written apart from the firmware's own."""

# what the demodulator needs, by spreading factor (table 6-1)
SNR_LIMIT_DB = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}


def symbol_us(sf, bw_hz):
    """Duration of one symbol in µs (exact for 125, 250 and 500 kHz)."""
    return (1 << sf) * 1000000 // bw_hz


def usual_ldro(sf, bw_hz):
    """Low data rate optimisation as every LoRaWAN device sets it: symbols of 16.38 ms and longer."""
    return symbol_us(sf, bw_hz) >= 16380


def airtime_us(sf, bw_hz, size, cr=5, crc=True, implicit=False, preamble=8, ldro=None):
    """Time on air in µs of `size` bytes; cr is the denominator (5 = 4/5)."""
    if ldro is None:
        ldro = usual_ldro(sf, bw_hz)
    bits = 8 * size - 4 * sf + (16 if crc else 0) + (0 if implicit else 20)
    if sf >= 7:
        bits += 8
    per_block = 4 * (sf - 2 if ldro else sf)
    blocks = (max(bits, 0) + per_block - 1) // per_block
    quarters = 4 * (preamble + 8 + blocks * cr) + (17 if sf >= 7 else 25)
    return quarters * (1 << sf) * 250000 // bw_hz


def header_us(sf, bw_hz, preamble=8):
    """From the start of the preamble to the end of the explicit header (8 symbols after sync word and SFD)."""
    return (4 * (preamble + 8) + (17 if sf >= 7 else 25)) * (1 << sf) * 250000 // bw_hz
