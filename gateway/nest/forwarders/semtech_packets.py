"""The packets of the Semtech UDP protocol, versions 1 and 2, as bytes (PROTOCOL.TXT v1.4, PROTOCOL.md v1.6). Pure.

Every packet begins: version, token (2), type; those from the gateway go on with its EUI (8) and a JSON object. Gateways
in the field bend the protocol: base64 without padding or URL-safe, null fields, frequencies such as 868.0999755859375,
signal values per antenna in `rsig`, frames with a bad checksum, FSK beside LoRa. All that is understood; what cannot be
used is named by a kind of `KINDS` and left out. Nothing here raises anything but MalformedError.

A gateway sends up to 130 frames a second, a backlog thousands, so the usual spelling of everything is tried first.
"""

from __future__ import annotations

import base64
import json
import math
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nest.forwarders.gateway_clock import GatewayClock
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
    "rxpk_buffered": "frame that the gateway has held back, taken with the time it was heard",
    "stat_malformed": "statistics that cannot be understood, ignored",
    "tx_ack_error": "gateway refused a downlink",
    "tx_ack_warning": "gateway sent a downlink, but changed it (for instance its power)",
    "tx_ack_malformed": "answer to a downlink that cannot be understood; the downlink counts as sent",
    "tx_ack_unknown": "answer to a downlink that was never sent, or long ago",
    "source_locked": "datagram in the name of a gateway that speaks from another address, not taken",
    "path_moved": "downlinks of a gateway go to another address from now on",
    "path_contested": "two ports of one address speak in one gateway's name; downlinks go to the older one",
}

WEAKEST_DBM, STRONGEST_DBM = -200.0, 100.0
"""What is said to be beyond is taken for this: a frame with a valid MIC is not lost to a nonsensical RSSI."""

_RATES = {f"SF{sf}BW{khz}": (sf, khz * 1000) for sf in range(5, 13) for khz in (125, 250, 500)}
_DATR = {(sf, bw_hz): datr for datr, (sf, bw_hz) in _RATES.items()}
_PLAIN = (int, float)
_decode_json = json.JSONDecoder().raw_decode  # json.loads, less what it looks at before and after
_URL_SAFE = str.maketrans("-_", "+/")
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GPS_EPOCH_S = 315_964_800 - 18  # 1980-01-06, less the leap seconds since; 18 from 2017 on (IERS Bulletin C)
_POWER_SLACK_DB = 0.001  # 16 - 2.15 + 2.15 must give 16 again

_PULL_RESP_HEAD = '{"txpk":{"imme":false,"tmst":%d,"freq":%s,"rfch":0,"powe":%d,"modu":"LORA","datr":"%s",'
_PULL_RESP_TAIL = '"codr":"4/5","ipol":true,"prea":8,"ncrc":true,"size":%d,"data":"%s"}}'


class MalformedError(Exception):
    """A datagram that is no packet of this protocol; `kind` is one of `KINDS`."""

    def __init__(self, kind: str) -> None:
        super().__init__(KINDS[kind])
        self.kind = kind


@dataclass(slots=True)
class PushBody:
    """What a PUSH_DATA holds: the frames that could be taken, how many could not, the statistics, and a kind for
    everything odd."""

    frames: list[RadioFrame]
    stat: dict[str, Any] | None
    problems: list[str]
    unusable: int = 0


@dataclass(frozen=True, slots=True)
class TxResult:
    """What a TX_ACK says. `error` None: the gateway took the downlink; `value`: what it used, with a warning."""

    error: str | None = None
    warning: str | None = None
    value: float | None = None


def header_problem(datagram: bytes) -> str | None:
    """Why this is no packet of a gateway, a kind; None: it is one. Version, token, type and EUI can be read then."""
    if len(datagram) < 4:
        return "datagram_short"
    if datagram[0] not in VERSIONS:
        return "datagram_version"
    if datagram[3] not in FROM_GATEWAY:
        return "datagram_type"
    return "datagram_short" if len(datagram) < HEADER_SIZE else None


def parse_push(datagram: bytes, eui: str, arrival: float, clock: GatewayClock | None = None) -> PushBody:
    """The body of a PUSH_DATA that came at `arrival` (Unix s). Raises MalformedError("datagram_json").

    `clock`: that of the gateway, to judge by which frames it has held back; None: all are live.
    """
    body = _json_object(datagram)
    push = PushBody([], None, [])
    stat = body.get("stat")
    if stat is not None:
        if isinstance(stat, dict):
            push.stat = _stat(stat)
            if clock is not None and (told := _unix_time(stat.get("time"))) is not None:
                clock.statistics(told, arrival)
        else:
            push.problems.append("stat_malformed")
    received = body.get("rxpk")
    if received is not None:
        for rxpk in received if isinstance(received, list) else [received]:
            try:
                _take(push, rxpk, eui, arrival, clock)
            except (ValueError, TypeError, OverflowError):
                push.problems.append("rxpk_malformed")
                push.unusable += 1
    return push


def parse_tx_ack(datagram: bytes) -> TxResult:
    """The body of a TX_ACK; an empty one means success. Raises MalformedError("tx_ack_malformed")."""
    if not datagram[HEADER_SIZE:].strip(b"\0 \r\n\t"):
        return TxResult()
    try:
        ack = _json_object(datagram).get("txpk_ack")
    except MalformedError:
        raise MalformedError("tx_ack_malformed") from None
    if ack is None:
        return TxResult()
    if not isinstance(ack, dict):
        raise MalformedError("tx_ack_malformed")
    error, warning = (_word(ack.get(name)) for name in ("error", "warn"))
    return TxResult(error, warning, _number(ack.get("value")))


def push_ack(datagram: bytes) -> bytes:
    """The answer to a PUSH_DATA, 4 bytes."""
    return datagram[:3] + b"\x01"


def pull_ack(datagram: bytes) -> bytes:
    """The answer to a PULL_DATA, 4 bytes."""
    return datagram[:3] + b"\x04"


def pull_resp(version: int, token: int, downlink: Downlink, antenna_gain_dbi: float = 0.0) -> bytes:
    """A downlink as the gateway is to send it: LoRa, polarisation inverted, without radio checksum, class A timing.

    Gateways take whole dB, not below 0, and the antenna adds its gain; so the EIRP asked for is not exceeded, but may
    be missed by less than 1 dB, and an antenna with more gain than that exceeds it.
    """
    head = _PULL_RESP_HEAD % (
        downlink.tmst & 0xFFFFFFFF,
        round(downlink.freq_hz / 1e6, 6),
        max(math.floor(downlink.power_dbm - antenna_gain_dbi + _POWER_SLACK_DB), 0),
        _DATR[downlink.sf, downlink.bw_hz],
    )
    tail = _PULL_RESP_TAIL % (len(downlink.phy), base64.b64encode(downlink.phy).decode())
    return bytes((version, token >> 8, token & 0xFF, PULL_RESP)) + (head + tail).encode()


def decode_base64(text: str) -> bytes:
    """Base64 as gateways write it: padded or not, the standard or the URL-safe alphabet. Raises ValueError."""
    text = text.strip().rstrip("=").translate(_URL_SAFE)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _json_object(datagram: bytes) -> dict[str, Any]:
    """What stands behind the header. A gateway's description may hold a degree sign in any alphabet: no matter."""
    text = str(datagram[HEADER_SIZE:], "utf-8", "replace").rstrip("\0")
    try:
        value, end = _decode_json(text)
        if end != len(text):
            value = json.loads(text)  # white space, or something that ought not to be there
    except (ValueError, RecursionError):
        try:  # raw_decode takes no white space in front
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise MalformedError("datagram_json") from None
    if not isinstance(value, dict):
        raise MalformedError("datagram_json")
    return value


def _take(push: PushBody, rxpk: Any, eui: str, arrival: float, clock: GatewayClock | None) -> None:
    """Add one frame, or why it cannot be used. Raises ValueError or TypeError for what cannot be understood."""
    if not isinstance(rxpk, dict):
        raise TypeError
    get: Callable[[str], Any] = rxpk.get
    datr: Any = get("datr")
    if isinstance(datr, int | float) or (get("modu") != "LORA" and str(get("modu") or "LORA").upper() != "LORA"):
        push.problems.append("rxpk_fsk")
        push.unusable += 1
        return
    rate = _RATES.get(datr) or _RATES.get(str(datr).strip().upper())
    freq_mhz: Any = get("freq")
    if rate is None or not 100 < freq_mhz < 3000:
        raise ValueError
    phy = _data(get("data"))
    rssi: Any = get("rssi")
    snr: Any = get("lsnr")
    if not (type(rssi) in _PLAIN and type(snr) in _PLAIN and WEAKEST_DBM <= rssi <= STRONGEST_DBM and -100 < snr < 100):
        rssi, snr = _signal(rxpk)
    tmst = get("tmst")
    if type(tmst) is int:
        tmst &= 0xFFFFFFFF
    elif tmst is not None:
        counter = _number(tmst)
        tmst = None if counter is None else int(counter) & 0xFFFFFFFF
    stat, size = get("stat"), get("size")
    if size is not None and size != len(phy):
        push.problems.append("rxpk_size")
    held = 0.0
    if clock is not None and ("time" in rxpk or "tmms" in rxpk) and (told := _told_time(rxpk)) is not None:
        held = clock.held_back(told, tmst, arrival)
        if held:
            push.problems.append("rxpk_buffered")
    push.frames.append(
        RadioFrame(
            phy,
            eui,
            arrival - held,
            round(freq_mhz * 10_000) * 100,
            rate[0],
            rate[1],
            rssi,
            snr,
            tmst,
            None if stat == 0 else stat != -1,
            held > 0,
        )
    )


def _data(text: Any) -> bytes:
    """A PHYPayload. Raises ValueError or TypeError."""
    if not isinstance(text, str):
        raise TypeError
    try:
        phy = a2b_base64(text, strict_mode=True)
    except ValueError:
        phy = decode_base64(text)
    if not 0 < len(phy) <= 255:
        raise ValueError
    return phy


def _signal(rxpk: dict[str, Any]) -> tuple[float, float | None]:
    """(RSSI, SNR): given for the whole frame, or per antenna in `rsig`, of which the best counts. Raises ValueError."""
    rssi, snr = _number(rxpk.get("rssi")), _number(rxpk.get("lsnr"))
    antennas = rxpk.get("rsig")
    if antennas is not None and (rssi is None or snr is None) and isinstance(antennas, list):
        pairs = [(_number(a.get("lsnr")), _number(a.get("rssic"))) for a in antennas if isinstance(a, dict)]
        heard = [(-math.inf if s is None else s, r, s) for s, r in pairs if r is not None]
        if heard:
            _, best_rssi, best_snr = max(heard, key=lambda antenna: antenna[:2])
            rssi = best_rssi if rssi is None else rssi
            snr = best_snr if snr is None else snr
    if rssi is None:
        raise ValueError
    if not WEAKEST_DBM <= rssi <= STRONGEST_DBM:
        rssi = min(max(rssi, WEAKEST_DBM), STRONGEST_DBM)
    if snr is not None and not -100 < snr < 100:
        snr = None
    return rssi, snr


def _told_time(rxpk: dict[str, Any]) -> float | None:
    """When the gateway says that it heard a frame, Unix s: `time`, or `tmms` in milliseconds of GPS time."""
    told = _unix_time(rxpk.get("time"))
    if told is None and (tmms := _number(rxpk.get("tmms"))):
        return tmms / 1000 + _GPS_EPOCH_S
    return told


def _unix_time(text: Any) -> float | None:
    """Unix s of a time in ISO 8601, expanded or compact, or as the statistics have it: "2014-01-12 08:59:28 GMT"."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.removesuffix(" GMT"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _UNIX_EPOCH).total_seconds()
    except (ValueError, OverflowError):
        return None


def _stat(stat: dict[str, Any]) -> dict[str, Any]:
    """The known fields of a "stat" object that hold what they should."""
    numbers = ("lati", "long", "alti", "rxnb", "rxok", "rxfw", "ackr", "dwnb", "txnb", "temp")
    clean: dict[str, Any] = {name: value for name in numbers if (value := _number(stat.get(name))) is not None}
    told = stat.get("time")
    if isinstance(told, str) and len(told) <= 40 and told.isascii() and told.isprintable():
        clean["time"] = told
    return clean


def _number(value: Any) -> float | None:
    """A finite number, or None for everything else, null included."""
    if type(value) is int:
        return value if -(1 << 53) < value < 1 << 53 else None
    return value if type(value) is float and math.isfinite(value) else None


def _word(value: Any) -> str | None:
    """An error name of a TX_ACK; older gateways write NONE for none."""
    word = value.strip().upper()[:40] if isinstance(value, str) else ""
    return word if word not in ("", "NONE") and word.isascii() and word.isprintable() else None
