"""AS923-1 as a table (RP002-1.0.4 section 2.9); what each name means stands in eu868.

Compared with The Things Stack's band file for RP002-1.0.4 (payloads, RX1, RX2, EIRP, default channels) and RadioLib's
(915 to 928 MHz, 1 %); the section's number is from memory. Countries allow less of the band: where a channel may be is
the network's knowledge.

RP002 leaves the uplink dwell time to the country. It holds here until the network says otherwise, and so no join is
below DR2: a JoinRequest takes 371 ms there and more than 400 ms further down.
"""

NAME = "AS923"

DATA_RATES = ((12, 125000), (11, 125000), (10, 125000), (9, 125000), (8, 125000), (7, 125000), (7, 250000), None)
MAX_MAC_PAYLOAD = b"\x3b\x3b\x7b\x7b\xfa\xfa\xfa\xfa"
MAX_MAC_PAYLOAD_DWELL = b"\x00\x00\x13\x3d\x85\xfa\xfa\xfa"

DEFAULT_CHANNELS_HZ = (923200000, 923400000)
DR_RANGE = 0x50
JOIN_DR = 5
JOIN_DRS = b"\5\5\4\3\2"

RX1_DR = (
    b"\0\0\0\0\0\0\1\2",
    b"\1\0\0\0\0\0\2\3",
    b"\2\1\0\0\0\0\3\4",
    b"\3\2\1\0\0\0\4\5",
    b"\4\3\2\1\0\0\5\6",
    b"\5\4\3\2\1\0\6\7",
    b"\6\5\4\3\2\1\7\7",
    b"\7\6\5\4\3\2\7\7",
)
RX1_DR_DWELL = (
    b"\2\2\2\2\2\2\2\2",
    b"\2\2\2\2\2\2\2\3",
    b"\2\2\2\2\2\2\3\4",
    b"\3\2\2\2\2\2\4\5",
    b"\4\3\2\2\2\2\5\6",
    b"\5\4\3\2\2\2\6\7",
    b"\6\5\4\3\2\2\7\7",
    b"\7\6\5\4\3\2\7\7",
)
RX2_FREQ_HZ = 923200000
RX2_DR = 2
RX1_DELAY_S = 1
JOIN_RX1_DELAY_S = 5

MAX_EIRP_DBM = 16
TX_POWER_STEP_DB = 2
MAX_TX_POWER = 7

CFLIST_TYPE = 0
CFLIST_FIRST = 2

SUB_BANDS = ((915000000, 928000000, 10),)
LISTEN_HZ = (915000000, 928000000)

TX_PARAM_SETUP = True
DWELL = 1

ADR_ACK_LIMIT = 64
ADR_ACK_DELAY = 32
