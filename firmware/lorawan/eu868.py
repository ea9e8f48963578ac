"""EU863-870 as a table (RP002-1.0.4 section 2.4; sub-bands: ETSI EN 300 220, ERC/REC 70-03).

A region is a module with these names; `mac.Mac` is given one, `region` reads it.

DATA_RATES           by DR: (spreading factor, bandwidth in Hz), or None for what our radios are not asked to do
MAX_MAC_PAYLOAD      M by DR, bytes: FHDR, FPort and FRMPayload together; no repeater in between
MAX_MAC_PAYLOAD_DWELL  the same under an uplink dwell time of 400 ms, 0 for "not at all"; or None
DEFAULT_CHANNELS_HZ  what every device has; joins use only them, and no command changes them
DR_RANGE             of default and CFList channels, as in NewChannelReq: highest DR << 4 | lowest
JOIN_DR, JOIN_DRS    data rate of the first join, and of successive ones, over and over
RX1_DR               row: DR of the uplink, column: RX1DROffset, value: DR of the downlink in RX1
RX1_DR_DWELL         the same under a downlink dwell time of 400 ms; or None
RX1_DELAY_S          after data, JOIN_RX1_DELAY_S after a JoinRequest; RX2 is always a second later
TX_POWER_STEP_DB     TXPower n, 0..MAX_TX_POWER, means the highest EIRP less n steps
CFLIST_TYPE          0 is a list of frequencies, for the channels from CFLIST_FIRST on
SUB_BANDS            where a node may transmit: (from Hz, to Hz, duty cycle in 1/1000), …
LISTEN_HZ            where downlinks may come: (from, to)
TX_PARAM_SETUP       whether the region has TxParamSetupReq; DWELL: what holds before one came, as in the session
"""

NAME = "EU868"

DATA_RATES = (
    (12, 125000),
    (11, 125000),
    (10, 125000),
    (9, 125000),
    (8, 125000),
    (7, 125000),
    (7, 250000),
    None,  # FSK
)
MAX_MAC_PAYLOAD = b"\x3b\x3b\x3b\x7b\xfa\xfa\xfa\xfa"
MAX_MAC_PAYLOAD_DWELL = None

DEFAULT_CHANNELS_HZ = (868100000, 868300000, 868500000)
DR_RANGE = 0x50
JOIN_DR = 5
JOIN_DRS = b"\5\5\4\3\2\1\0"  # mostly fast ones, because most failures are collisions

RX1_DR = (
    b"\0\0\0\0\0\0",
    b"\1\0\0\0\0\0",
    b"\2\1\0\0\0\0",
    b"\3\2\1\0\0\0",
    b"\4\3\2\1\0\0",
    b"\5\4\3\2\1\0",
    b"\6\5\4\3\2\1",
    b"\7\6\5\4\3\2",
)
RX1_DR_DWELL = None
RX2_FREQ_HZ = 869525000
RX2_DR = 0
RX1_DELAY_S = 1
JOIN_RX1_DELAY_S = 5

MAX_EIRP_DBM = 16
TX_POWER_STEP_DB = 2
MAX_TX_POWER = 7

CFLIST_TYPE = 0
CFLIST_FIRST = 3

SUB_BANDS = (
    (863000000, 865000000, 1),
    (865000000, 868000000, 10),
    (868000000, 868600000, 10),
    (868700000, 869200000, 1),
    (869400000, 869650000, 100),
    (869700000, 870000000, 10),
)
LISTEN_HZ = (863000000, 870000000)

TX_PARAM_SETUP = False
DWELL = 0

ADR_ACK_LIMIT = 64
ADR_ACK_DELAY = 32
