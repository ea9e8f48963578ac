"""The packets of the Semtech UDP protocol, versions 1 and 2, as bytes (PROTOCOL.TXT v1.4, PROTOCOL.md v1.6). Pure.

Every packet begins: version, token (2), type; those from the gateway go on with its EUI (8) and a JSON object. Gateways
in the field bend the protocol: base64 without padding or URL-safe, null fields, frequencies such as 868.0999755859375,
signal values per antenna in `rsig`, frames with a bad checksum, FSK beside LoRa. All that is understood; what cannot be
used is named by a kind of `KINDS` and left out. Nothing here raises anything but MalformedError.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from nest.model import Downlink, RadioFrame

PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)
VERSIONS = (1, 2)
FROM_GATEWAY = (PUSH_DATA, PULL_DATA, TX_ACK)
HEADER_SIZE = 12

KINDS: dict[str, str] = {
    "push_data": "datagram with frames or statistics",
    "pull_data": "gateway keeping its way open for downlinks",
    "tx_ack": "gateway's word on a downlink",
    "datagram_short": "datagram shorter than its header",
    "datagram_version": "unknown protocol version",
    "datagram_type": "not a packet that gateways send",
    "datagram_json": "body is not a JSON object",
    "rxpk_malformed": "frame description that cannot be understood, ignored",
    "rxpk_size": "frame whose stated size is not that of its data; taken by its data",
    "rxpk_fsk": "frame that is not LoRa modulated, ignored",
    "stat_malformed": "statistics that cannot be understood, ignored",
    "tx_ack_error": "gateway refused a downlink",
    "tx_ack_warning": "gateway sent a downlink, but changed it (for instance its power)",
    "tx_ack_malformed": "answer to a downlink that cannot be understood; the downlink counts as sent",
    "tx_ack_unknown": "answer to a downlink that was never sent, or long ago",
    "no_downlink_path": "downlink for a gateway that has sent no PULL_DATA",
    "send_error": "the network refused a datagram",
}

_DATR = re.compile(r"SF([5-9]|1[0-2])BW(125|250|500)")
_URL_SAFE = str.maketrans("-_", "+/")


class MalformedError(Exception):
    """A datagram that is no packet of this protocol; `kind` is one of `KINDS`."""

    def __init__(self, kind: str) -> None:
        super().__init__(KINDS[kind])
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of every packet from a gateway. `eui`: 16 lower-case hex digits."""

    version: int
    token: int
    kind: int
    eui: str


@dataclass(frozen=True, slots=True)
class PushBody:
    """What a PUSH_DATA holds: the frames that could be taken, the statistics, and a kind for everything odd."""

    frames: tuple[RadioFrame, ...] = ()
    stat: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TxResult:
    """What a TX_ACK says. `error` None: the gateway took the downlink; `value`: what it used, with a warning."""

    error: str | None = None
    warning: str | None = None
    value: float | None = None


def parse_header(datagram: bytes) -> Header:
    """The header of a packet from a gateway. Raises MalformedError."""
    if len(datagram) < 4:
        raise MalformedError("datagram_short")
    if datagram[0] not in VERSIONS:
        raise MalformedError("datagram_version")
    if datagram[3] not in FROM_GATEWAY:
        raise MalformedError("datagram_type")
    if len(datagram) < HEADER_SIZE:
        raise MalformedError("datagram_short")
    return Header(datagram[0], int.from_bytes(datagram[1:3], "big"), datagram[3], datagram[4:12].hex())


def parse_push(datagram: bytes, eui: str, received_at: float) -> PushBody:
    """The body of a PUSH_DATA. Raises MalformedError("datagram_json")."""
    body = _json_object(datagram[HEADER_SIZE:])
    frames, problems = [], []
    received = body.get("rxpk")
    for rxpk in received if isinstance(received, list) else [] if received is None else [received]:
        try:
            frame, problem = _frame(rxpk, eui, received_at)
        except (ValueError, TypeError, OverflowError):
            frame, problem = None, "rxpk_malformed"
        if frame is not None:
            frames.append(frame)
        if problem is not None:
            problems.append(problem)
    stat = body.get("stat")
    if stat is not None and not isinstance(stat, dict):
        problems.append("stat_malformed")
        stat = None
    return PushBody(tuple(frames), None if stat is None else _stat(stat), tuple(problems))


def parse_tx_ack(datagram: bytes) -> TxResult:
    """The body of a TX_ACK; an empty one means success. Raises MalformedError("tx_ack_malformed")."""
    body = datagram[HEADER_SIZE:].strip(b"\0 \r\n\t")
    if not body:
        return TxResult()
    try:
        ack = _json_object(body).get("txpk_ack")
    except MalformedError:
        raise MalformedError("tx_ack_malformed") from None
    if ack is None:
        return TxResult()
    if not isinstance(ack, dict):
        raise MalformedError("tx_ack_malformed")
    error, warning = (_word(ack.get(name)) for name in ("error", "warn"))
    return TxResult(error, warning, _number(ack.get("value")))


def push_ack(header: Header) -> bytes:
    """The answer to a PUSH_DATA, 4 bytes."""
    return bytes((header.version,)) + header.token.to_bytes(2, "big") + bytes((PUSH_ACK,))


def pull_ack(header: Header) -> bytes:
    """The answer to a PULL_DATA, 4 bytes."""
    return bytes((header.version,)) + header.token.to_bytes(2, "big") + bytes((PULL_ACK,))


def pull_resp(version: int, token: int, downlink: Downlink) -> bytes:
    """A downlink as the gateway is to send it: LoRa, polarisation inverted, without radio checksum, class A timing."""
    txpk = {
        "imme": False,
        "tmst": downlink.tmst,
        "freq": round(downlink.freq_hz / 1e6, 6),
        "rfch": 0,
        "powe": round(downlink.power_dbm),
        "modu": "LORA",
        "datr": f"SF{downlink.sf}BW{downlink.bw_hz // 1000}",
        "codr": "4/5",
        "ipol": True,
        "prea": 8,
        "ncrc": True,
        "size": len(downlink.phy),
        "data": base64.b64encode(downlink.phy).decode(),
    }
    body = json.dumps({"txpk": txpk}, separators=(",", ":")).encode()
    return bytes((version,)) + token.to_bytes(2, "big") + bytes((PULL_RESP,)) + body


def decode_base64(text: str) -> bytes:
    """Base64 as gateways write it: padded or not, the standard or the URL-safe alphabet. Raises ValueError."""
    text = text.strip().rstrip("=").translate(_URL_SAFE)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.rstrip(b"\0"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise MalformedError("datagram_json") from None
    if not isinstance(value, dict):
        raise MalformedError("datagram_json")
    return value


def _frame(rxpk: Any, eui: str, received_at: float) -> tuple[RadioFrame | None, str | None]:
    """(frame or None, kind of problem or None). Raises ValueError or TypeError for what cannot be understood."""
    if not isinstance(rxpk, dict):
        raise TypeError
    datr = rxpk.get("datr")
    if str(rxpk.get("modu") or "LORA").upper() != "LORA" or isinstance(datr, int | float):
        return None, "rxpk_fsk"
    rate = _DATR.fullmatch(datr.strip().upper()) if isinstance(datr, str) else None
    freq_mhz = _number(rxpk.get("freq"))
    if rate is None or freq_mhz is None or not 100 < freq_mhz < 3000:
        raise ValueError
    phy = decode_base64(rxpk["data"] if isinstance(rxpk.get("data"), str) else "")
    if not 0 < len(phy) <= 255:
        raise ValueError
    size = _number(rxpk.get("size"))
    rssi, snr = _signal(rxpk)
    if rssi is None:
        raise ValueError
    tmst = _number(rxpk.get("tmst"))
    stat = _number(rxpk.get("stat"))
    frame = RadioFrame(
        phy=phy,
        gateway=eui,
        received_at=received_at,
        freq_hz=round(freq_mhz * 10_000) * 100,
        sf=int(rate[1]),
        bw_hz=int(rate[2]) * 1000,
        rssi=rssi,
        snr=snr,
        tmst=None if tmst is None else int(tmst) & 0xFFFFFFFF,
        crc_ok=None if stat == 0 else stat != -1,
    )
    return frame, "rxpk_size" if size is not None and size != len(phy) else None


def _signal(rxpk: dict[str, Any]) -> tuple[float | None, float | None]:
    """(RSSI, SNR): given for the whole frame, or per antenna in `rsig`, of which the best counts."""
    rssi, snr = _number(rxpk.get("rssi")), _number(rxpk.get("lsnr"))
    antennas = rxpk.get("rsig")
    antennas = [a for a in antennas if isinstance(a, dict)] if isinstance(antennas, list) else []
    if rssi is None:
        rssi = max((v for a in antennas if (v := _number(a.get("rssic"))) is not None), default=None)
    if snr is None:
        snr = max((v for a in antennas if (v := _number(a.get("lsnr"))) is not None), default=None)
    return rssi, snr


def _stat(stat: dict[str, Any]) -> dict[str, Any]:
    """The known fields of a "stat" object that hold what they should."""
    numbers = ("lati", "long", "alti", "rxnb", "rxok", "rxfw", "ackr", "dwnb", "txnb", "temp")
    clean: dict[str, Any] = {name: value for name in numbers if (value := _number(stat.get(name))) is not None}
    if isinstance(stat.get("time"), str):
        clean["time"] = stat["time"][:40]
    return clean


def _number(value: Any) -> float | None:
    """A finite number, or None for everything else, null included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else None
    return value if math.isfinite(value) else None


def _word(value: Any) -> str | None:
    """An error name of a TX_ACK; older gateways write NONE for none."""
    word = value.strip().upper()[:40] if isinstance(value, str) else ""
    return word if word not in ("", "NONE") else None
