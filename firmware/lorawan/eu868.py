"""EU868 as a table (RP002-1.0.4 section 2.4, sub-bands of ETSI EN 300 220 and ERC 70-03).

A region is a module with these names; `mac.Mac` is given one.
"""

from micropython import const

NAME = "EU868"

# Indexed by DR: (sf, bw_hz), or None for what our radios are not asked to do (DR7 is FSK).
DATA_RATES = (
    (12, 125000),
    (11, 125000),
    (10, 125000),
    (9, 125000),
    (8, 125000),
    (7, 125000),
    (7, 250000),
    None,
)
MAX_MAC_PAYLOAD = bytes((59, 59, 59, 123, 250, 250, 250, 250))  # M by DR: FHDR, FPort and FRMPayload together

DEFAULT_CHANNELS_HZ = (868100000, 868300000, 868500000)  # every device has them; joins use only them
DR_RANGE = const(0x50)  # of default and CFList channels, as in NewChannelReq: highest DR 5 << 4 | lowest DR 0
JOIN_DR = const(5)

# Row: DR of the uplink; column: RX1DROffset; value: DR of the downlink in RX1.
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
RX2_FREQ_HZ = const(869525000)
RX2_DR = const(0)

RX1_DELAY_S = const(1)  # RX2 is always one second after RX1
JOIN_RX1_DELAY_S = const(5)

MAX_EIRP_DBM = const(16)
TX_POWER_STEP_DB = const(2)  # TXPower n, 0..7, means MAX_EIRP_DBM - 2 n

CFLIST_TYPE = const(0)  # a list of frequencies; type 1, channel masks, is ignored here

# Where a node may transmit: (from_hz, up_to_hz, duty cycle in 1/1000).
SUB_BANDS = (
    (863000000, 865000000, 1),
    (865000000, 868000000, 10),
    (868000000, 868600000, 10),
    (868700000, 869200000, 1),
    (869400000, 869650000, 100),
    (869700000, 870000000, 10),
)
_KEPT_PERMILLE = const(10)  # what a node keeps to in the sum of all sub-bands (node/schedule.py)


def sub_band(freq_hz):
    """Index in SUB_BANDS of the band a channel at `freq_hz` lies in, or -1 where a node may not transmit."""
    for index, band in enumerate(SUB_BANDS):
        if band[0] <= freq_hz <= band[1]:
            return index
    return -1


def can_transmit(freq_hz):
    """Whether the network may give us a channel at `freq_hz`: only where 1 % of the time is allowed, because that is
    what a node keeps to as long as it keeps no ledger for each sub-band."""
    index = sub_band(freq_hz)
    return index >= 0 and SUB_BANDS[index][2] >= _KEPT_PERMILLE


def can_receive(dr):
    """Whether a downlink may come at data rate `dr`, 0..15 as on air."""
    return dr < len(DATA_RATES) and DATA_RATES[dr] is not None


def can_listen(freq_hz):
    """Whether a downlink may come at `freq_hz`."""
    return 863000000 <= freq_hz <= 870000000
