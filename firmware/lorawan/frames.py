"""PHYPayloads: built for the way up, taken apart on the way down. Nothing that came off the air raises here.

EUIs are 8 bytes big-endian, as people write them; the air has them the other way round. Source: TS001-1.0.4 4 and 6.2.
"""

import struct

from micropython import const

from lorawan import crypto

JOIN_REQUEST = const(0)  # MType
JOIN_ACCEPT = const(1)
UNCONFIRMED_UP = const(2)
UNCONFIRMED_DOWN = const(3)
CONFIRMED_UP = const(4)
CONFIRMED_DOWN = const(5)

ADR = const(0x80)  # bits of FCtrl
ADR_ACK_REQ = const(0x40)
ACK = const(0x20)
FPENDING = const(0x10)  # downlink only

MAX_FOPTS = const(15)
_MAJOR = const(0x03)  # bits of MHDR, 0 for LoRaWAN R1
_HEADER_SIZE = const(8)  # MHDR and FHDR without FOpts
_MIC_SIZE = const(4)
_LAST_FCNT = 0xFFFFFFFF


def join_request(join_eui, dev_eui, dev_nonce, app_key):
    """A JoinRequest, 23 bytes. dev_nonce: 0..65535, never used before with this JoinEUI."""
    body = b"\x00" + bytes(reversed(join_eui)) + bytes(reversed(dev_eui)) + struct.pack("<H", dev_nonce)
    return body + crypto.join_mic(app_key, body)


def parse_join_accept(app_key, phy):
    """A JoinAccept whose MIC is good, as a dict; anything else gives None.

    join_nonce, net_id, dev_addr: int; rx1_dr_offset, rx2_dr: as sent; rx_delay_s: 1..15 (0 on air means 1);
    cflist: 16 bytes or None.
    """
    if len(phy) not in (17, 33) or phy[0] >> 5 != JOIN_ACCEPT or phy[0] & _MAJOR:
        return None
    body = crypto.decrypt_join_accept(app_key, phy[1:])
    end = len(body) - _MIC_SIZE
    if crypto.join_mic(app_key, phy[:1] + body[:end]) != body[end:]:
        return None
    return {
        "join_nonce": int.from_bytes(body[0:3], "little"),
        "net_id": int.from_bytes(body[3:6], "little"),
        "dev_addr": int.from_bytes(body[6:10], "little"),
        "rx1_dr_offset": body[10] >> 4 & 0x07,
        "rx2_dr": body[10] & 0x0F,
        "rx_delay_s": body[11] & 0x0F or 1,
        "cflist": body[12:28] if end == 28 else None,
    }


def cflist_freqs(cflist):
    """The five frequencies in Hz of a CFList of type 0, for channels 3 to 7; 0 is a channel left out."""
    return [int.from_bytes(cflist[i : i + 3], "little") * 100 for i in range(0, 15, 3)]


def data_up(nwk_skey, app_skey, dev_addr, fcnt, port, payload, fctrl=0, fopts=b"", confirmed=False):
    """An uplink data frame.

    port: 0..255, or None for a frame without FPort and payload; payload: in clear; fctrl: ADR, ADR_ACK_REQ, ACK bits.
    Raises ValueError for what TS001-1.0.4 4.3.1.6 forbids: FOpts over 15 bytes, FOpts with FPort 0.
    """
    if len(fopts) > MAX_FOPTS or (fopts and port == 0):
        raise ValueError("FOpts too long or with FPort 0")
    mhdr = (CONFIRMED_UP if confirmed else UNCONFIRMED_UP) << 5
    msg = struct.pack("<BIBH", mhdr, dev_addr, fctrl | len(fopts), fcnt & 0xFFFF) + fopts
    if port is not None:
        key = app_skey if port else nwk_skey
        msg += bytes((port,)) + crypto.crypt_payload(key, dev_addr, fcnt, crypto.UP, payload)
    return msg + crypto.data_mic(nwk_skey, dev_addr, fcnt, crypto.UP, msg)


def data_fields(phy):
    """The fields of a data frame as they lie on the air, or None when it cannot be one.

    (mtype, dev_addr, fctrl, fcnt16, fopts, port or None, encrypted FRMPayload). Nothing is verified.
    """
    end = len(phy) - _MIC_SIZE
    if end < _HEADER_SIZE or phy[0] & _MAJOR:
        return None
    body = _HEADER_SIZE + (phy[5] & 0x0F)
    if body > end:
        return None
    dev_addr = struct.unpack_from("<I", phy, 1)[0]
    port = phy[body] if body < end else None
    return phy[0] >> 5, dev_addr, phy[5], phy[6] | phy[7] << 8, phy[_HEADER_SIZE:body], port, phy[body + 1 : end]


def rebuild_fcnt(last, fcnt16):
    """The smallest 32-bit counter above `last` (-1: none yet) whose low half is fcnt16.

    There is no MAX_FCNT_GAP in 1.0.4: the MIC, which covers all 32 bits, decides. A replay is rebuilt to a counter it
    was not signed with.
    """
    fcnt = (last & ~0xFFFF) | fcnt16 if last >= 0 else fcnt16
    return fcnt if fcnt > last else fcnt + 0x10000


class DataDown:
    """A downlink that passed: fcnt (32 bit), fctrl, confirmed, port (None without), payload and commands in clear.

    commands are the MAC commands, from FOpts or from FPort 0; payload is of FPort 1 and above.
    """

    __slots__ = ("commands", "confirmed", "fcnt", "fctrl", "payload", "port")

    def __init__(self, fcnt, fctrl, confirmed, port, payload, commands):
        self.fcnt = fcnt
        self.fctrl = fctrl
        self.confirmed = confirmed
        self.port = port
        self.payload = payload
        self.commands = commands


def parse_data_down(nwk_skey, app_skey, dev_addr, fcnt_down, phy):
    """A downlink for this device with a good MIC and a fresh counter, as DataDown; anything else gives None.

    fcnt_down: the last counter accepted, -1 for none.
    """
    fields = data_fields(phy)
    if fields is None:
        return None
    mtype, to, fctrl, fcnt16, fopts, port, body = fields
    if to != dev_addr or mtype not in (UNCONFIRMED_DOWN, CONFIRMED_DOWN) or (fopts and port == 0):
        return None
    fcnt = rebuild_fcnt(fcnt_down, fcnt16)
    end = len(phy) - _MIC_SIZE
    if fcnt > _LAST_FCNT or crypto.data_mic(nwk_skey, dev_addr, fcnt, crypto.DOWN, phy[:end]) != phy[end:]:
        return None
    payload = crypto.crypt_payload(app_skey if port else nwk_skey, dev_addr, fcnt, crypto.DOWN, body)
    commands = fopts
    if port == 0:
        commands = payload
        payload = b""
    return DataDown(fcnt, fctrl, mtype == CONFIRMED_DOWN, port, payload, commands)
