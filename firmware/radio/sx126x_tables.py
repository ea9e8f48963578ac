"""Reference values of the SX1261/SX1262 and what is computed from them; commands and registers are in the driver, where
they cost no names in the bytecode. Touches no chip.

"DS" is the SX1261/2 data sheet, revision 2.1.
"""

from micropython import const

SET_TCXO = const(0x97)

BANDWIDTHS = {125000: 0x04, 250000: 0x05, 500000: 0x06}  # DS table 13-48
TCXO_MILLIVOLTS = (1600, 1700, 1800, 2200, 2400, 2700, 3000, 3300)  # DS table 13-35; the place is the code

# Optimal settings of the SX1262's amplifier (DS table 13-21): up to dBm, paDutyCycle, hpMax. Each gives its dBm at
# SetTxParams +22; below, SetTxParams takes off whole decibels.
AMPLIFIER = ((14, 2, 2), (17, 2, 3), (20, 3, 5), (22, 4, 7))
MINIMUM_DBM = const(-9)

MAX_SYMBOL_TIMEOUT = const(248)  # SetLoRaSymbNumTimeout knows no more (DS 13.4.9)

ERRORS = (  # GetDeviceErrors by bit (DS table 13-85)
    "RC64k",
    "RC13M",
    "PLL",
    "ADC",
    "image",
    "crystal oscillator start",
    "PLL lock",
    "?",
    "amplifier",
)


def amplifier(dbm):
    """(paDutyCycle, hpMax, SetTxParams power) for -9 to 22 dBm; what is outside is taken as the nearest
    (DS 13.1.14)."""
    dbm = max(MINIMUM_DBM, min(dbm, 22))
    row = 0
    while AMPLIFIER[row][0] < dbm:
        row += 1
    limit, duty_cycle, hp_max = AMPLIFIER[row]
    return duty_cycle, hp_max, 22 - limit + dbm


def symbol_timeout(symbols):
    """(mantissa, exponent) of the smallest symbol timeout mantissa * 2^(2 * exponent + 1) of at least `symbols`: even
    up to 62, multiples of 8 up to 248. (0, 0), no symbol timeout, for more than 248 (DS 13.4.9; the coarse steps are
    from Semtech's reference driver)."""
    if symbols > MAX_SYMBOL_TIMEOUT:
        return 0, 0
    mantissa, exponent = (symbols + 1) // 2, 0
    if mantissa > 31:
        mantissa, exponent = (mantissa + 3) // 4, 1
    return mantissa, exponent


def frequency_steps(freq_hz):
    """SetRfFrequency's number: steps of 32 MHz / 2^25 = 15625 / 2^14 Hz, to the nearest (DS 13.4.1). Split, so that
    every number stays a small integer on 32 bits."""
    whole, rest = divmod(freq_hz, 15625)
    return (whole << 14) + ((rest << 14) + 7812) // 15625


def timer_steps(us):
    """Steps of 15.625 us, as SetTx and SetRx count, up to 1 ms more than asked; at most 0xFFFFFE (0xFFFFFF: for
    ever)."""
    return min((us // 1000 + 1) * 64, 0xFFFFFE)


def tcxo_command(millivolts, start_us):
    """SetDIO3AsTcxoCtrl (DS 13.3.6), or None for a plain crystal (0 or None). Raises ValueError for a voltage that
    DIO3 cannot give."""
    if not millivolts:
        return None
    if millivolts not in TCXO_MILLIVOLTS:
        raise ValueError("a TCXO gets one of " + str(TCXO_MILLIVOLTS) + " mV")
    steps = timer_steps(start_us - 1)
    return bytes((SET_TCXO, TCXO_MILLIVOLTS.index(millivolts), steps >> 16, steps >> 8 & 255, steps & 255))
