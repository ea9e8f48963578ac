"""The gateway's side of the Semtech UDP protocol, version 2: datagrams to bytes and back. No sockets.

| type      | id   | direction | bytes |
| PUSH_DATA | 0x00 | to server | version, token (2), id, EUI (8), JSON {"rxpk": [...], "stat": {...}} |
| PUSH_ACK  | 0x01 | to gateway| version, same token, id |
| PULL_DATA | 0x02 | to server | version, token, id, EUI |
| PULL_RESP | 0x03 | to gateway| version, token, id, JSON {"txpk": {...}} |
| PULL_ACK  | 0x04 | to gateway| version, same token, id |
| TX_ACK    | 0x05 | to server | version, token of the PULL_RESP, id, EUI, nothing or JSON {"txpk_ack": {...}} |

[Semtech packet_forwarder PROTOCOL.TXT 1.4, sections 3 to 6; sx1302_hal PROTOCOL.md 1.6]
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

VERSION = 2
PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)

_DATR = re.compile(r"SF(1[0-2]|[5-9])BW(125|250|500)")
_CODR = re.compile(r"4/([5-8])")


class MalformedError(ValueError):
    """A datagram from the server that a gateway cannot understand; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Ack:
    """PUSH_ACK or PULL_ACK."""

    kind: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Txpk:
    """What to transmit. `tmst` is None for "at once"; `gps` is set when a GPS time was asked for."""

    tmst: int | None
    gps: bool
    freq_hz: int
    power_dbm: float
    sf: int
    bw_hz: int
    cr: int
    iq_inverted: bool
    crc_on: bool
    preamble: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PullResp:
    """A downlink, with the token that the TX_ACK gives back."""

    token: bytes
    txpk: Txpk


def push_data(token: bytes, eui: bytes, content: dict[str, Any]) -> bytes:
    """PUSH_DATA with `rxpk` and/or `stat`."""
    return _header(token, PUSH_DATA) + eui + json.dumps(content, separators=(",", ":")).encode()


def pull_data(token: bytes, eui: bytes) -> bytes:
    """PULL_DATA: opens the way for downlinks and keeps it open."""
    return _header(token, PULL_DATA) + eui


def tx_ack(token: bytes, eui: bytes, result: dict[str, Any] | None = None) -> bytes:
    """TX_ACK; without `result` (`{"error": ...}` or `{"warn": ..., "value": ...}`) it says that all is well."""
    body = json.dumps({"txpk_ack": result}, separators=(",", ":")).encode() if result else b""
    return _header(token, TX_ACK) + eui + body


def parse(datagram: bytes) -> Ack | PullResp:
    """A datagram from the server. Raises MalformedError."""
    if len(datagram) < 4:
        raise MalformedError("shorter than a header")
    if datagram[0] not in (1, VERSION):
        raise MalformedError(f"protocol version {datagram[0]}")
    token, kind = datagram[1:3], datagram[3]
    if kind in (PUSH_ACK, PULL_ACK):
        return Ack(kind, token)
    if kind != PULL_RESP:
        raise MalformedError(f"packet type {kind}")
    try:
        txpk = json.loads(datagram[4:])["txpk"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedError("no txpk") from error
    return PullResp(token, parse_txpk(txpk))


def parse_txpk(txpk: Any) -> Txpk:
    """A `txpk` object; null stands for absent, base64 may be unpadded or URL-safe. Raises MalformedError."""
    if not isinstance(txpk, dict):
        raise MalformedError("txpk is not an object")
    fields = {name: value for name, value in txpk.items() if value is not None}
    if fields.get("modu", "LORA") != "LORA":
        raise MalformedError("not LoRa")
    datr, codr = _DATR.fullmatch(str(fields.get("datr", ""))), _CODR.fullmatch(str(fields.get("codr", "4/5")))
    if not datr or not codr:
        raise MalformedError("datr or codr")
    try:
        freq_hz = round(float(fields["freq"]) * 1e4) * 100
        power_dbm, preamble, size = float(fields.get("powe", 14)), int(fields.get("prea", 8)), int(fields["size"])
        tmst = None if fields.get("imme") is True or "tmst" not in fields else int(fields["tmst"]) & 0xFFFFFFFF
        data = decode_base64(str(fields["data"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MalformedError("a field of the txpk") from error
    if len(data) != size or not 0 < size <= 255:
        raise MalformedError("size does not fit the data")
    if tmst is None and fields.get("imme") is not True and "tmms" not in fields:
        raise MalformedError("no time to send at")
    return Txpk(
        tmst=tmst,
        gps=tmst is None and fields.get("imme") is not True,
        freq_hz=freq_hz,
        power_dbm=power_dbm,
        sf=int(datr[1]),
        bw_hz=int(datr[2]) * 1000,
        cr=int(codr[1]),
        iq_inverted=fields.get("ipol") is True,
        crc_on=fields.get("ncrc") is not True,
        preamble=preamble,
        data=data,
    )


def decode_base64(text: str) -> bytes:
    """Standard or URL-safe, padded or not. Raises ValueError."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _header(token: bytes, kind: int) -> bytes:
    return bytes((VERSION, *token, kind))
