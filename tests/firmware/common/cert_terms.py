"""What the scenarios of the virtual laboratory talk about: the device's identity, EU868, and MAC commands as bytes."""

from __future__ import annotations

APP_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
DEV_EUI = bytes.fromhex("70b3d5fffe123456")
JOIN_EUI = bytes.fromhex("70b3d57ed0000001")
NET_ID = 0x000013
DEV_ADDR = 0x26011BDA
DEFAULT_CHANNELS = {0: 868100000, 1: 868300000, 2: 868500000}
EXTRA_HZ = (867100000, 867300000, 867500000, 867700000, 867900000)
RX2_HZ = 869525000
DATA_RATES = {0: (12, 125000), 1: (11, 125000), 2: (10, 125000), 3: (9, 125000), 4: (8, 125000), 5: (7, 125000),
              6: (7, 250000)}  # fmt: skip
MAX_PAYLOAD = {0: 51, 1: 51, 2: 51, 3: 115, 4: 242, 5: 242}
MAX_EIRP_DBM = 16
SUB_BANDS = ((863e6, 865e6, 0.001), (865e6, 868e6, 0.01), (868e6, 868.6e6, 0.01), (868.7e6, 869.2e6, 0.001),
             (869.4e6, 869.65e6, 0.1), (869.7e6, 870e6, 0.01))  # fmt: skip

ADR, ADR_ACK_REQ, ACK, FPENDING = 0x80, 0x40, 0x20, 0x10


def link_adr(dr: int, power: int, mask: int, nb_trans: int = 1, control: int = 0) -> bytes:
    """LinkADRReq (TS001-1.0.4 5.2)."""
    return bytes([0x03, dr << 4 | power]) + mask.to_bytes(2, "little") + bytes([control << 4 | nb_trans])


def hz(freq: int) -> bytes:
    """A frequency as on air."""
    return (freq // 100).to_bytes(3, "little")


def rx_param_setup(offset: int, dr: int, freq: int) -> bytes:
    """RXParamSetupReq (5.4)."""
    return bytes([0x05, offset << 4 | dr]) + hz(freq)


def new_channel(index: int, freq: int, max_dr: int = 5, min_dr: int = 0) -> bytes:
    """NewChannelReq (5.6)."""
    return bytes([0x07, index]) + hz(freq) + bytes([max_dr << 4 | min_dr])


def dl_channel(index: int, freq: int) -> bytes:
    """DlChannelReq (5.6)."""
    return bytes([0x0A, index]) + hz(freq)
