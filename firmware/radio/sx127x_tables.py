"""Registers and reference values of the SX1276/77/78/79, and what is computed from them. Touches no chip.

"DS" is the SX1276/77/78/79 data sheet, revision 7; "errata" is its errata note, revision 1.
A transfer is the first register's address, with bit 7 set to write, and then its value and those of the registers that
follow (DS 2.2).
"""

from micropython import const

# Registers (DS 6.4 and table 41). FIFO, and those whose meaning LoRa and FSK share.
FIFO = const(0x00)
OP_MODE = const(0x01)
FREQUENCY = const(0x06)
POWER = const(0x09)  # RegPaConfig, RegPaRamp, RegOcp
DIO_MAPPING = const(0x40)
VERSION = const(0x42)
PA_DAC = const(0x4D)
IMAGE_CALIBRATION = const(0x3B)  # FSK only
# LoRa only.
FIFO_POINTER = const(0x0D)
FRAME_AT = const(0x10)  # RegFifoRxCurrentAddr
IRQ_FLAGS = const(0x12)
FRAME_SIZE = const(0x13)  # RegRxNbBytes
MODEM_STATUS = const(0x18)
FRAME_SNR = const(0x19)  # in 0.25 dB, signed
FRAME_RSSI = const(0x1A)
MODEM = const(0x1D)  # RegModemConfig1, RegModemConfig2, RegSymbTimeoutLsb
PREAMBLE = const(0x20)  # two bytes, and RegPayloadLength
MODEM_3 = const(0x26)
DETECT_OPTIMIZE = const(0x31)
INVERT_IQ = const(0x33)
SYNC_WORD = const(0x39)
INVERT_IQ_2 = const(0x3B)

LORAWAN_SYNC_WORD = const(0x34)  # public networks
THE_VERSION = const(0x12)

# RegOpMode. Bit 3, for the registers of the low band, stays 0: 779 MHz and up are the high band.
FSK_SLEEP = b"\x81\x00"
FSK_STANDBY = b"\x81\x01"
SLEEP = b"\x81\x80"
STANDBY = b"\x81\x81"
TRANSMIT = b"\x81\x83"
RECEIVE_ONCE = b"\x81\x86"

# Start-up, in this order. The image calibration runs in FSK standby and for the band of the frequency that is set (DS
# 2.1.3.8); after the reset it has been done for the low band.
TCXO = b"\xcb\x19"  # TcxoInputOn, the rest as after reset
AT_868_MHZ = b"\x86\xd9\x00\x00"
CALIBRATE_IMAGE = b"\xbb\x42"  # ImageCalStart; not by itself when the temperature changes; threshold 10 degrees
CALIBRATING = const(0x20)
LNA = b"\x8c\x23"  # highest gain until the AGC takes over, 150 % current in the high band
PUBLIC = b"\xb9\x34"  # sync word

WRITE_FIFO = b"\x80"
WHOLE_FIFO = b"\x8d\x00\x00\x00"  # pointer and both bases: sending and receiving never overlap
CLEAR_IRQ = b"\x92\xff"
DIO0_TX_DONE = b"\xc0\x40"
DIO0_RX_DONE = b"\xc0\x00"

# RegIrqFlags.
RX_TIMEOUT = const(0x80)
RX_DONE = const(0x40)
CRC_ERROR = const(0x20)
VALID_HEADER = const(0x10)
TX_DONE = const(0x08)
ENDED = const(0xC8)  # any of RX_TIMEOUT, RX_DONE, TX_DONE

SIGNAL = const(0x0B)  # RegModemStat: signal detected, synchronised, header valid (DS table 41)

# RegInvertIQ, RegInvertIQ2. Bit 0 of the first is described the wrong way round: 1 sends standard IQ. Bit 6 inverts
# what is received. The second register is in Semtech's errata and reference driver only.
STANDARD_IQ = (b"\xb3\x27", b"\xbb\x1d")
INVERTED_IQ = (b"\xb3\x67", b"\xbb\x19")

BANDWIDTHS = {125000: 0x72, 250000: 0x82, 500000: 0x92}  # RegModemConfig1 with coding rate 4/5, explicit header
CRC = const(0x04)  # RegModemConfig2
AGC = const(0x04)  # RegModemConfig3: the gain follows the signal, RegLna's setting does not count
LOW_RATE = const(0x08)  # RegModemConfig3
LOW_RATE_FROM_US = const(16000)  # symbols longer than this need low data rate optimisation: SF11, SF12 (DS 4.1.1.6)

# Errata 2.1: sensitivity at 500 kHz in the high band; 2.3: ghosts received at up to 250 kHz, whose cure is a fixed
# intermediate frequency (RegDetectOptimize bit 7, RegIfFreq2, RegIfFreq1).
RECEIVER = (b"\xb6\x03", b"\xaf\x40\x00\x43")
RECEIVER_500_KHZ = (b"\xb6\x02", b"\xba\x64", b"\xb1\xc3")

RAMP_40_US = const(0x09)
MIN_SYMBOL_TIMEOUT = const(4)
MAX_SYMBOL_TIMEOUT = const(1023)


def frequency_steps(freq_hz):
    """RegFrf: steps of 32 MHz / 2^19 = 15625 / 2^8 Hz, to the nearest (DS 4.1.4). No number leaves 31 bits."""
    whole, rest = divmod(freq_hz, 15625)
    return (whole << 8) + ((rest << 8) + 7812) // 15625


def amplifier(dbm, boost):
    """(RegPaConfig, RegOcp, RegPaDac) for `dbm` (DS 3.4.2 to 3.4.4).

    `boost`: the pin PA_BOOST, 2 to 17 and 18 to 20 dBm; else RFO, -4 to 14 dBm. The overload protection lets through
    what the amplifier takes at that power and little more: 29 mA (RFO) to 90 mA at 17 dBm, 120 mA at 20 dBm.
    """
    if not boost:
        return (0x70 | dbm if dbm >= 0 else 4 + dbm), 0x27, 0x84  # highest power 15.0 or 10.8 dBm; 80 mA
    if dbm > 17:
        return 0x80 | dbm - 5, 0x31, 0x87  # 140 mA
    return 0x80 | dbm - 2, 0x2B, 0x84  # 100 mA


def limits_dbm(boost):
    """(lowest, highest) dBm that `amplifier` takes."""
    return (2, 20) if boost else (-4, 14)
