"""IN865-867 as a table (RP002-1.0.4 section 2.11); what each name means stands in eu868.

Compared with The Things Stack's band file for RP002-1.0.4 and, for RX1, with RadioLib's table: all but the section's
number, which is from memory. There is no duty cycle, hence 1000 of 1000. RP002-1.0.5 lowers the EIRP to 29.2 dBm; the
TXPower steps of 1.0.4 count from 30, which no board here can radiate.
"""

NAME = "IN865"

DATA_RATES = ((12, 125000), (11, 125000), (10, 125000), (9, 125000), (8, 125000), (7, 125000), None, None)
MAX_MAC_PAYLOAD = b"\x3b\x3b\x3b\x7b\xfa\xfa\x00\xfa"
MAX_MAC_PAYLOAD_DWELL = None

DEFAULT_CHANNELS_HZ = (865062500, 865402500, 865985000)
DR_RANGE = 0x50
JOIN_DR = 5
JOIN_DRS = b"\5\5\4\3\2\1\0"

RX1_DR = (
    b"\0\0\0\0\0\0\1\2",
    b"\1\0\0\0\0\0\2\3",
    b"\2\1\0\0\0\0\3\4",
    b"\3\2\1\0\0\0\4\5",
    b"\4\3\2\1\0\0\5\5",
    b"\5\4\3\2\1\0\5\7",
    b"\0\0\0\0\0\0\0\0",
    b"\7\5\5\4\3\2\7\7",
)
RX1_DR_DWELL = None
RX2_FREQ_HZ = 866550000
RX2_DR = 2
RX1_DELAY_S = 1
JOIN_RX1_DELAY_S = 5

MAX_EIRP_DBM = 30
TX_POWER_STEP_DB = 2
MAX_TX_POWER = 10

CFLIST_TYPE = 0
CFLIST_FIRST = 3

SUB_BANDS = ((865000000, 867000000, 1000),)
LISTEN_HZ = (865000000, 867000000)

TX_PARAM_SETUP = False
DWELL = 0

ADR_ACK_LIMIT = 64
ADR_ACK_DELAY = 32
