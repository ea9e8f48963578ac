"""LoRaWAN 1.0.x frames as bytes: parse what devices send, build what the server sends (TS001-1.0.4 sections 4 and 6.2).

Nothing here knows keys. Multi-byte fields are little-endian on air; EUIs are turned into their printed order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

JOIN_REQUEST, JOIN_ACCEPT = 0, 1
UNCONFIRMED_UP, UNCONFIRMED_DOWN, CONFIRMED_UP, CONFIRMED_DOWN = 2, 3, 4, 5
REJOIN_REQUEST, PROPRIETARY = 6, 7

ADR, ADR_ACK_REQ, ACK, F_PENDING = 0x80, 0x40, 0x20, 0x10  # FCtrl (4.3.1); the second means nothing down, the last up

_DATA_HEAD = struct.Struct("<BIBH")  # MHDR, DevAddr, FCtrl, FCnt

MIN_DATA_FRAME = 12  # MHDR 1, DevAddr 4, FCtrl 1, FCnt 2, MIC 4
MAX_FRAME = 255  # what a LoRa radio can carry
MAX_FOPTS = 15


class FrameError(Exception):
    """Not a frame of LoRaWAN 1.0.x; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A JoinRequest (6.2.2)."""

    join_eui: bytes
    dev_eui: bytes
    dev_nonce: int
    mic: bytes


@dataclass(slots=True)
class DataFrame:
    """A data frame, still encrypted (4.1 to 4.3). `fcnt16` is the counter's lower half; `fport` None when absent."""

    mtype: int
    dev_addr: int
    fctrl: int
    fcnt16: int
    fopts: bytes
    fport: int | None
    frm_payload: bytes
    mic: bytes


def message_type(phy: bytes) -> int:
    """The MType of a PHYPayload. Raises FrameError: empty, or not major version 0 (LoRaWAN R1)."""
    if not phy:
        raise FrameError("empty")
    if phy[0] & 0x03:
        raise FrameError(f"major version {phy[0] & 0x03}")
    return phy[0] >> 5


def parse_join_request(phy: bytes) -> JoinRequest:
    """Raises FrameError when it is not one."""
    if message_type(phy) != JOIN_REQUEST or len(phy) != 23:
        raise FrameError(f"a JoinRequest has 23 bytes, not {len(phy)}")
    return JoinRequest(phy[8:0:-1], phy[16:8:-1], phy[17] | phy[18] << 8, phy[19:])


def parse_data(phy: bytes) -> DataFrame:
    """Parse a data frame, up or down. Raises FrameError for anything else and for what section 4.3.1 forbids."""
    size = len(phy)
    if not MIN_DATA_FRAME <= size <= MAX_FRAME:
        raise FrameError(f"{size} bytes")
    mhdr, dev_addr, fctrl, fcnt16 = _DATA_HEAD.unpack_from(phy)
    mtype = mhdr >> 5
    if mhdr & 0x03 or not UNCONFIRMED_UP <= mtype <= CONFIRMED_DOWN:
        raise FrameError(f"MHDR {mhdr:02x} is that of no data frame")
    port_at, end = 8 + (fctrl & 0x0F), size - 4
    if port_at >= end:
        if port_at > end:
            raise FrameError("FOptsLen reaches beyond the frame")
        return DataFrame(mtype, dev_addr, fctrl, fcnt16, phy[8:end], None, b"", phy[end:])
    fport = phy[port_at]
    if fport == 0 and port_at > 8:
        raise FrameError("FOpts together with FPort 0")
    return DataFrame(mtype, dev_addr, fctrl, fcnt16, phy[8:port_at], fport, phy[port_at + 1 : end], phy[end:])


def build_data_down(
    dev_addr: int,
    fcnt: int,
    *,
    confirmed: bool = False,
    adr: bool = False,
    ack: bool = False,
    f_pending: bool = False,
    fopts: bytes = b"",
    fport: int | None = None,
    frm_payload: bytes = b"",
) -> bytes:
    """A data frame down, MHDR to FRMPayload (already encrypted), without the MIC. `adr`: the network is in a position
    to set the device's data rate; a device that sees the bit unset may leave ADR (4.3.1.1)."""
    if len(fopts) > MAX_FOPTS or (fopts and fport == 0) or (frm_payload and fport is None):
        raise ValueError("at most 15 bytes of FOpts, none with FPort 0, and no payload without FPort")
    fctrl = adr * ADR | ack * ACK | f_pending * F_PENDING | len(fopts)
    mhdr = (CONFIRMED_DOWN if confirmed else UNCONFIRMED_DOWN) << 5
    port = b"" if fport is None else bytes((fport,))
    return _DATA_HEAD.pack(mhdr, dev_addr, fctrl, fcnt & 0xFFFF) + fopts + port + frm_payload


def build_join_accept(
    join_nonce: int,
    net_id: int,
    dev_addr: int,
    *,
    rx1_dr_offset: int,
    rx2_dr: int,
    rx_delay_s: int,
    cf_list: bytes = b"",
) -> bytes:
    """A JoinAccept in clear, MHDR to CFList (empty or 16 bytes), without the MIC (6.2.3)."""
    return (
        bytes((JOIN_ACCEPT << 5,))
        + struct.pack("<I", join_nonce)[:3]
        + struct.pack("<I", net_id)[:3]
        + struct.pack("<IBB", dev_addr, rx1_dr_offset << 4 | rx2_dr, rx_delay_s)
        + cf_list
    )


def rebuild_fcnt(last: int, fcnt16: int) -> tuple[int, int]:
    """The 32-bit counters that the 16 bits on air can stand for: (the next above `last`, the newest not above it).

    `last` is the last accepted counter, -1 for none. The second is negative when there is none. LoRaWAN 1.0.4 knows no
    largest gap: the MIC, made with all 32 bits, decides (TS001-1.0.4 section 4.3.1.5).
    """
    above = last + 1 + ((fcnt16 - last - 1) & 0xFFFF)
    return above, above - 0x10000
