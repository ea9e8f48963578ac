"""Commands, registers and reference values of the SX1261/SX1262, and what is computed from them. Touches no chip.

"DS" is the SX1261/2 data sheet, revision 2.1.
"""

from micropython import const

# Commands that never change (DS 11 and 13).
STANDBY_RC = b"\x80\x00"
STANDBY_XOSC = b"\x80\x01"  # crystal oscillator or TCXO running
SLEEP_COLD = b"\x84\x00"
SLEEP_WARM = b"\x84\x04"
CLEAR_ERRORS = b"\x07\x00\x00"
CALIBRATE_ALL = b"\x89\x7f"  # RC64k, RC13M, PLL, ADC pulse, ADC bulk N, ADC bulk P, image: all seven
CALIBRATE_IMAGE = b"\x98\xd7\xdb"  # 863-870 MHz (DS 9.2.1, table 9-2)
DCDC = b"\x96\x01"
DIO2_SWITCHES_ANTENNA = b"\x9d\x01"
LORA = b"\x8a\x01"
BUFFER_AT_ZERO = b"\x8f\x00\x00"  # one buffer of 256 bytes for both ways: sending and receiving never overlap
TIMER_RUNS_ON = b"\x9f\x00"  # StopTimerOnPreamble off: only a valid header stops the timer, noise does not
CLEAR_IRQ = b"\x02\xff\xff"
SYNC_WORD_PUBLIC = b"\x0d\x07\x40\x34\x44"  # register 0x0740: 0x34 in the chip's spelling
RX_BOOSTED = b"\x0d\x08\xac\x96"  # register 0x08AC: 2 dB more sensitive for 0.6 mA more (DS 9.6); after reset 0x94
RETAIN = b"\x0d\x02\x9f\x02\x08\xac\x08\x89"  # list at 0x029F, two registers: RX gain, TX modulation (DS 9.6)
OVER_CURRENT_140_MA = b"\x0d\x08\xe7\x38"  # register 0x08E7: SX1262's value; SetPaConfig may rewrite it (DS 13.1.14)
GET_STATUS = b"\xc0"
GET_IRQ = b"\x12\x00"
GET_ERRORS = b"\x17\x00"
GET_RX_BUFFER = b"\x13\x00"
GET_PACKET = b"\x14\x00"
IRQ_FOR_TX = b"\x08\x02\x01\x02\x01\x00\x00\x00\x00"  # TxDone, Timeout: allowed, and on DIO1
IRQ_FOR_RX = b"\x08\x02\x66\x02\x62\x00\x00\x00\x00"  # RxDone, HeaderErr, CrcErr, Timeout; and preambles, not on DIO1

# Opcodes of commands with values.
WRITE_REGISTER = const(0x0D)
WRITE_BUFFER = const(0x0E)
READ_REGISTER = const(0x1D)
READ_BUFFER = const(0x1E)
SET_RX = const(0x82)
SET_TX = const(0x83)
SET_FREQUENCY = const(0x86)
SET_MODULATION = const(0x8B)
SET_PACKET = const(0x8C)
SET_TX_PARAMS = const(0x8E)
SET_AMPLIFIER = const(0x95)
SET_TCXO = const(0x97)
SET_SYMBOL_TIMEOUT = const(0xA0)

# Interrupt flags (DS 13.3.1, table 13-29).
TX_DONE = const(0x0001)
RX_DONE = const(0x0002)
PREAMBLE = const(0x0004)
HEADER_ERROR = const(0x0020)
CRC_ERROR = const(0x0040)

# Registers (DS 12, table 12-1).
SYMBOL_TIMEOUT = const(0x0706)  # in no table; from Semtech's reference driver
IQ_POLARITY = const(0x0736)
SYNC_WORD = const(0x0740)
TX_MODULATION = const(0x0889)
TX_CLAMP = const(0x08D8)

BANDWIDTHS = {125000: 0x04, 250000: 0x05, 500000: 0x06}  # DS table 13-48
CODING_RATE_4_5 = const(0x01)
LOW_RATE_FROM_US = const(16380)  # symbols this long need low data rate optimisation: SF11, SF12 (DS 6.1.1.4)
RAMP_40_US = const(0x02)
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
