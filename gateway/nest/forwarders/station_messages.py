"""The messages of LoRa Basics Station: JSON objects as text, and what they mean. Pure.

A station takes a frame apart before it sends it; here it is put together again, byte for byte, or its MIC would not
fit: EUIs little-endian, DevAddr and MIC are signed 32-bit numbers, FPort -1 stands for none. `xtime` (64 bits: unit,
session, microseconds) is beyond 2^53 and stays an int all the way. Parsing raises nothing but MalformedError.
[basicstation v2.0.6: src/tc.c, s2e.c, lora.c, timesync.c; its manual, "The LNS Protocol"]
"""

from __future__ import annotations

import binascii
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from nest.forwarders.station_config import FSK_DR
from nest.lorawan.eu868 import DATA_RATES, DR_OF
from nest.model import Downlink, RadioFrame

KINDS: dict[str, str] = {
    "station_frame": "frame heard by a Basics Station",
    "station_json": "message of a Basics Station that is not a JSON object with a msgtype",
    "station_router": "discovery that names no gateway",
    "station_malformed": "message of a Basics Station that cannot be understood, ignored",
    "station_fsk": "frame that is not LoRa modulated, ignored",
    "station_unknown": "message of a Basics Station that says nothing to a network server, ignored",
    "dntxed": "downlink that a Basics Station has sent",
    "dntxed_unknown": "word on a downlink that was never given to this Basics Station, or long ago",
    "dntxed_missing": "downlink that a Basics Station did not say it has sent: taken as lost",
}

UPLINKS = ("updf", "jreq", "propdf", "rejoin")

PRIORITY = 10  # of 0..255; the nest plans without collisions, so it decides nothing
EU868_SINCE = (2, 0, 6)

GPS_EPOCH_S = 315_964_800  # 1980-01-06 as Unix time
LEAP_S = 18  # GPS is ahead of UTC by this much since 2017; no further leap second has been announced

_STATION_VERSION = re.compile(r"\D*(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_EUI_HEX = re.compile(r"[0-9a-fA-F]{16}")
_EUI_PAIRS = re.compile(r"[0-9a-fA-F]{2}(?:[-:][0-9a-fA-F]{2}){7}")
_ID6_GROUP = re.compile(r"[0-9a-fA-F]{1,4}")
_PREFIX = re.compile(r"(?:eui|router|muxs)-", re.IGNORECASE)


class MalformedError(Exception):
    """A message that cannot be used; `kind` is one of `KINDS`."""

    def __init__(self, kind: str) -> None:
        super().__init__(KINDS[kind])
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Version:
    """What a station says of itself. `software`: for people; `region`: the name that it has for EU863-870."""

    software: str
    region: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What a dntxed says: which downlink, and how it went out. `freq_hz`, `rate` (SF, bandwidth in Hz) None: unsaid."""

    diid: int
    freq_hz: int | None
    rate: tuple[int, int] | None


# -- from the station


def parse(text: str | bytes) -> tuple[str, dict[str, Any]]:
    """(msgtype, the whole message). Raises MalformedError("station_json")."""
    message = _object(text)
    kind = message.get("msgtype") if message is not None else None
    if message is None or not isinstance(kind, str):
        raise MalformedError("station_json")
    return kind, message


def parse_router(text: str | bytes) -> str:
    """The EUI (16 hex digits) in the question of the discovery. Raises MalformedError("station_router")."""
    message = _object(text) or {}
    try:
        return f"{parse_eui(message.get('router')):016x}"
    except ValueError:
        raise MalformedError("station_router") from None


def parse_eui(value: Any) -> int:
    """An EUI as its 64-bit number, in any spelling: "::1", "a:b:c:d" (ID6), "xx-xx-…", 16 hex digits, a number, which
    may be negative. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        if -(1 << 63) <= value < 1 << 64:
            return value & 0xFFFFFFFFFFFFFFFF
        raise ValueError
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError
    text = _PREFIX.sub("", value.strip(), count=1)
    if _EUI_HEX.fullmatch(text):
        return int(text, 16)
    if _EUI_PAIRS.fullmatch(text):
        return int(text.replace("-", "").replace(":", ""), 16)
    return _parse_id6(text)


def parse_version(message: dict[str, Any]) -> Version:
    """What the version message says; whatever is missing is unknown.

    EU863-870 has two names: stations before 2.0.6 know "EU863" only, and take any other name for a region without
    rules: 14 dBm everywhere, RX2 included, and no duty cycle. 2.0.6 says "EU868" and keeps the old name as obsolete.
    """
    station, model = (_text(message.get(name)) for name in ("station", "model"))
    found = _STATION_VERSION.match(station)
    new = found is not None and tuple(map(int, found.groups())) >= EU868_SINCE
    return Version(" ".join(part for part in (station, model) if part), "EU868" if new else "EU863")


def parse_uplink(kind: str, message: dict[str, Any], gateway: str, received_at: float) -> RadioFrame:
    """The frame that a message of a kind of `UPLINKS` describes. Raises MalformedError: "station_malformed",
    "station_fsk". `tmst` is the lower half of xtime, `context` (rctx, xtime); both None without a usable xtime."""
    try:
        dr = message["DR"]
        if dr == FSK_DR:
            raise MalformedError("station_fsk")
        sf, bw_hz = DATA_RATES[_integer(dr, 0, 15)]
        upinfo = message["upinfo"]
        freq, rssi, snr = _number(message["Freq"]), _number(upinfo["rssi"]), _number(upinfo.get("snr"))
        if freq is None or rssi is None or not 100e6 < freq < 3e9:
            raise ValueError
        phy = _BUILDERS[kind](message)
        if not 0 < len(phy) <= 255:
            raise ValueError
        context = _context(upinfo)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):  # binascii.Error is a ValueError
        raise MalformedError("station_malformed") from None
    return RadioFrame(
        phy=phy,
        gateway=gateway,
        received_at=received_at,
        freq_hz=round(freq),
        sf=sf,
        bw_hz=bw_hz,
        rssi=rssi,
        snr=snr,
        tmst=None if context is None else context[1] & 0xFFFFFFFF,
        context=context,
    )


def parse_dntxed(message: dict[str, Any]) -> Sent:
    """A station's word on a downlink. Raises MalformedError("station_malformed")."""
    diid = _field(message, "diid")
    if diid is None:
        diid = _field(message, "seqno")  # old stations
    if not isinstance(diid, int) or isinstance(diid, bool):
        raise MalformedError("station_malformed")
    freq, dr = _number(_field(message, "Freq")), _field(message, "DR")
    return Sent(diid, None if freq is None else round(freq), DATA_RATES.get(dr) if isinstance(dr, int) else None)


# -- to the station


def router_info(eui: str, uri: str | None) -> str:
    """The answer to the discovery: where to go, or, with `uri` None, that this gateway is not let in."""
    answer: dict[str, Any] = {"router": id6(eui)}
    return _dump(answer | ({"error": "not admitted"} if uri is None else {"muxs": "::0", "uri": uri}))


def dnmsg(downlink: Downlink, now: float) -> str:
    """A downlink of class A, with RX2 to fall back on where there is one. Raises ValueError: it answers no reception of
    a Basics Station, or its data rate is not the region's.

    The station sends in RX2 a second after `RxDelay`; it takes 0 for 1. Its power is its own: 16 dBm EIRP, 27 dBm in
    the RX2 sub-band. A DevEui of zero would leave the transmission unreported.
    """
    context = downlink.context
    if not (isinstance(context, tuple) and len(context) == 2):
        raise ValueError("no reception to answer")
    rctx, xtime = context
    message: dict[str, Any] = {
        "msgtype": "dnmsg",
        "DevEui": (downlink.dev_eui if any(downlink.dev_eui) else bytes(7) + b"\x01").hex("-"),
        "dC": 0,
        "diid": downlink.id,
        "pdu": downlink.phy.hex(),
        "RxDelay": downlink.delay_s - (downlink.window == 2),
        "priority": PRIORITY,
        "xtime": xtime,
        "rctx": rctx,
        "MuxTime": round(now, 6),
    }
    first = (downlink.freq_hz, downlink.sf, downlink.bw_hz)
    windows = {downlink.window: first}
    if downlink.window == 1 and downlink.fallback is not None:
        windows[2] = downlink.fallback[:3]
    for window, (freq_hz, sf, bw_hz) in windows.items():
        if (sf, bw_hz) not in DR_OF:
            raise ValueError("no data rate of this region")
        message[f"RX{window}DR"] = DR_OF[sf, bw_hz]
        message[f"RX{window}Freq"] = freq_hz
    return _dump(message)


def window_of(sent: Sent, downlink: Downlink) -> int:
    """In which window the station has sent this downlink, by frequency and data rate."""
    if downlink.fallback is None or sent.freq_hz is None:
        return downlink.window
    first = (downlink.freq_hz, (downlink.sf, downlink.bw_hz))
    second = (downlink.fallback[0], downlink.fallback[1:3])
    said = (sent.freq_hz, sent.rate or first[1])
    return 2 if said in (second, (second[0], first[1])) and said != first else downlink.window


def timesync(now: float, message: dict[str, Any] | None = None) -> str:
    """The answer to a station's timesync, or one unasked for, which only tells UTC. `now` is Unix time.

    A station takes the second for its GPS pulse from here, once; it refines nothing else by it.
    """
    answer: dict[str, Any] = {"msgtype": "timesync"}
    txtime = None if message is None else _field(message, "txtime")
    if isinstance(txtime, int) and not isinstance(txtime, bool) and abs(txtime) < 1 << 63:
        answer["txtime"] = txtime
        answer["gpstime"] = round((now - GPS_EPOCH_S + LEAP_S) * 1_000_000)
    answer["MuxTime"] = round(now, 6)
    return _dump(answer)


def id6(eui: str) -> str:
    """16 hex digits as a:b:c:d, each without leading zeros."""
    return ":".join(f"{int(eui[at : at + 4], 16):x}" for at in range(0, 16, 4))


# -- inside


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return value if isinstance(value, dict) else None


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _field(message: dict[str, Any], name: str) -> Any:
    """A field under its name in any case, for JoinEui is JoinEUI elsewhere; None: not there."""
    if name in message:
        return message[name]
    small = name.lower()
    return next((value for key, value in message.items() if key.lower() == small), None)


def _parse_id6(text: str) -> int:
    left, gap, right = text.partition("::")
    before, after = (side.split(":") if side else [] for side in (left, right))
    missing = 4 - len(before) - len(after)
    if (missing < 0) if gap else missing != 0:
        raise ValueError
    number = 0
    for group in (*before, *["0"] * missing, *after):
        if not _ID6_GROUP.fullmatch(group):
            raise ValueError
        number = number << 16 | int(group, 16)
    return number


def _integer(value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError
    return value


def _number(value: Any) -> float | None:
    """A finite number, or None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else None
    return value if math.isfinite(value) else None


def _text(value: Any) -> str:
    """A word for people, at most 60 printable characters."""
    return "".join(c for c in value[:60] if c.isprintable()).strip() if isinstance(value, str) else ""


def _signed(value: Any) -> bytes:
    """A 32-bit number that may be negative, as it stands in a frame."""
    return (_integer(value, -(1 << 31), 0xFFFFFFFF) & 0xFFFFFFFF).to_bytes(4, "little")


def _hex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError
    return binascii.unhexlify(value)


def _context(upinfo: dict[str, Any]) -> tuple[int, int] | None:
    """(rctx, xtime) as the station wants them back; a number that went through a float is of no use."""
    rctx, xtime = upinfo.get("rctx", 0), upinfo.get("xtime")
    if not isinstance(xtime, int) or isinstance(xtime, bool) or not 0 < xtime < 1 << 63:
        return None
    if not isinstance(rctx, int) or isinstance(rctx, bool) or abs(rctx) >= 1 << 63:
        rctx = 0
    return rctx, xtime


def _join_request(message: dict[str, Any]) -> bytes:
    """MHDR 1, JoinEUI 8, DevEUI 8, DevNonce 2, MIC 4 (TS001-1.0.4 section 6.2.2); a rejoin in the same words."""
    return b"".join(
        (
            _integer(_field(message, "MHdr"), 0, 255).to_bytes(1, "little"),
            parse_eui(_field(message, "JoinEui")).to_bytes(8, "little"),
            parse_eui(_field(message, "DevEui")).to_bytes(8, "little"),
            _integer(_field(message, "DevNonce"), 0, 0xFFFF).to_bytes(2, "little"),
            _signed(_field(message, "MIC")),
        )
    )


def _data(message: dict[str, Any]) -> bytes:
    """MHDR 1, DevAddr 4, FCtrl 1, FCnt 2, FOpts, FPort 0..1, FRMPayload, MIC 4 (TS001-1.0.4 section 4)."""
    fctrl = _integer(_field(message, "FCtrl"), 0, 255)
    fopts, payload = _hex(_field(message, "FOpts")), _hex(_field(message, "FRMPayload"))
    fport = _integer(_field(message, "FPort"), -1, 255)
    if len(fopts) != fctrl & 0x0F or (fport < 0 and payload):
        raise ValueError
    return b"".join(
        (
            _integer(_field(message, "MHdr"), 0, 255).to_bytes(1, "little"),
            _signed(_field(message, "DevAddr")),
            fctrl.to_bytes(1, "little"),
            _integer(_field(message, "FCnt"), 0, 0xFFFF).to_bytes(2, "little"),
            fopts,
            b"" if fport < 0 else fport.to_bytes(1, "little") + payload,
            _signed(_field(message, "MIC")),
        )
    )


def _proprietary(message: dict[str, Any]) -> bytes:
    """The whole frame stands in FRMPayload."""
    return _hex(_field(message, "FRMPayload"))


_BUILDERS = {"updf": _data, "jreq": _join_request, "rejoin": _join_request, "propdf": _proprietary}
