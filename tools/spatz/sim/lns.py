"""The station's side of the LNS protocol: what it says as text, and what a network server may say to it. No sockets.

Strict: a server that a real station would misunderstand is told so by LnsError. Written from the station's source and
manual, not from the nest. [basicstation v2.0.6: src/tc.c, s2e.c, lora.c, sx130xconf.c; manual, "The LNS Protocol"]
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import Any

VERSION = "2.0.6(virtual/std)"
REGIONS = {"EU863", "EU868"}
OLD_REGIONS = {"EU863"}
"""Before 2.0.6."""

HWSPEC = "sx1301/1"
URI_SIZE = 127
MAX_AHEAD_US = 600_000_000

_URI = re.compile(r"wss?://(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):[0-9]{1,5}/\S*")
_KNOWN_CONFIG = {
    "msgtype", "freq_range", "DRs", "upchannels", "NetID", "JoinEui", "JoinEUI", "region", "max_eirp", "MuxTime",
    "hwspec", "nocca", "nodc", "nodwell", "device_mode", "sx1301_conf", "SX1301_conf", "sx1302_conf", "SX1302_conf",
    "radio_conf", "bcning",
}  # fmt: skip

BAND_REST = {"deci": 10, "centi": 100, "milli": 1000}
"""How many times its airtime a transmission closes its sub-band."""


class LnsError(ValueError):
    """What the server said is of no use to a station; the text says why."""


@dataclass(frozen=True, slots=True)
class Config:
    """What matters of a router_config. `rates`: data rate -> (SF, bandwidth in Hz), LoRa only."""

    region: str
    rates: dict[int, tuple[int, int]]
    freq_range: tuple[int, int]
    net_ids: frozenset[int] | None
    join_euis: tuple[tuple[int, int], ...]
    unknown: tuple[str, ...]

    def lets_through(self, phy: bytes) -> bool:
        """False: a frame that the server does not want to see."""
        kind = phy[0] >> 5
        if kind == 0 and self.join_euis:
            join_eui = int.from_bytes(phy[1:9], "little")
            return any(low <= join_eui <= high for low, high in self.join_euis)
        if kind in (2, 4) and self.net_ids is not None:
            return phy[4] >> 1 in {net_id & 0x7F for net_id in self.net_ids}
        return True


@dataclass(frozen=True, slots=True)
class Window:
    """One way to send a downlink; `after_us` from the xtime of the message."""

    after_us: int
    dr: int
    freq_hz: int


@dataclass(frozen=True, slots=True)
class Dnmsg:
    """A downlink of class A."""

    dev_eui: str
    diid: int
    pdu: bytes
    xtime: int
    windows: tuple[Window, ...]


# -- what the station says


def router_question(eui: bytes) -> str:
    """The discovery's question."""
    return _dump({"router": id6(eui)})


def version(station: str, *, gps: bool) -> str:
    """The first message of a connection."""
    return _dump(
        {
            "msgtype": "version", "station": station, "firmware": None, "package": None, "model": "virtual",
            "protocol": 2, "features": "rmtsh gps" if gps else "rmtsh",
        }
    )  # fmt: skip


def taken_apart(phy: bytes) -> dict[str, Any] | None:
    """A frame as the station tells it; None: no LoRaWAN frame, or none that it forwards."""
    kind = phy[0] >> 5
    if phy[0] & 0x1F or (len(phy) < 12 and kind != 7):
        return None
    if kind == 7:
        return {"msgtype": "propdf", "FRMPayload": phy.hex().upper()}
    if kind == 0:
        if len(phy) != 23:
            return None
        return {
            "msgtype": "jreq",
            "MHdr": phy[0],
            "JoinEui": phy[1:9][::-1].hex("-").upper(),
            "DevEui": phy[9:17][::-1].hex("-").upper(),
            "DevNonce": int.from_bytes(phy[17:19], "little"),
            "MIC": struct.unpack("<i", phy[-4:])[0],
        }
    port = 8 + (phy[5] & 0x0F)
    if kind not in (2, 4) or port > len(phy) - 4:
        return None
    return {
        "msgtype": "updf",
        "MHdr": phy[0],
        "DevAddr": struct.unpack("<i", phy[1:5])[0],
        "FCtrl": phy[5],
        "FCnt": int.from_bytes(phy[6:8], "little"),
        "FOpts": phy[8:port].hex().upper(),
        "FPort": -1 if port == len(phy) - 4 else phy[port],
        "FRMPayload": phy[port + 1 : -4].hex().upper(),
        "MIC": struct.unpack("<i", phy[-4:])[0],
    }


def id6(eui: bytes) -> str:
    """a:b:c:d, with :: for the longest row of zeros at its beginning or end."""
    groups = [f"{int.from_bytes(eui[at : at + 2], 'big'):x}" for at in range(0, 8, 2)]
    if groups[:3] == ["0"] * 3:
        return f"::{groups[3]}"
    return f"{groups[0]}::" if groups[1:] == ["0"] * 3 else ":".join(groups)


# -- what the server says


def parse(text: str | bytes) -> dict[str, Any]:
    """A message. Raises LnsError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LnsError("not JSON") from error
    if not isinstance(message, dict):
        raise LnsError("not an object")
    return message


def parse_router_info(text: str | bytes) -> str:
    """The address to go to. Raises LnsError: the server refuses, or it is no address that a station takes."""
    answer = parse(text)
    for name in ("router", "muxs", "uri", "error"):
        if name in answer and not isinstance(answer[name], str):
            raise LnsError(f"{name} is not a text")
    if answer.get("error") or "uri" not in answer:
        raise LnsError(answer.get("error") or "no uri")
    uri = answer["uri"]
    if not _URI.fullmatch(uri) or len(uri) > URI_SIZE:
        raise LnsError("the uri needs ws:// or wss://, host, port and path")
    return uri


def parse_config(message: dict[str, Any], station: str) -> Config:
    """A router_config for a station of this version. Raises LnsError."""
    number = tuple(int(part) for part in re.findall(r"\d+", station)[:3])
    known = OLD_REGIONS if number < (2, 0, 6) else REGIONS
    if message.get("region") not in known:
        raise LnsError(f"unknown region {message.get('region')!r}")
    if message.get("hwspec") != HWSPEC:
        raise LnsError("unsupported hwspec")
    low, high = _ints(message.get("freq_range"), 2, "freq_range")
    boards = message.get("sx1301_conf")
    if not isinstance(boards, list) or len(boards) != 1 or not isinstance(boards[0], dict):
        raise LnsError("sx1301_conf is no list of one board")
    _check_board(boards[0])
    net_ids, ranges = message.get("NetID"), message.get("JoinEui", message.get("JoinEUI"))
    return Config(
        region=message["region"],
        rates=_rates(message.get("DRs")),
        freq_range=(low, high),
        net_ids=None if net_ids is None else frozenset(_ints(net_ids, None, "NetID")),
        join_euis=tuple((first, last) for first, last in (_ints(pair, 2, "JoinEui") for pair in _list(ranges or []))),
        unknown=tuple(message.keys() - _KNOWN_CONFIG),
    )


def parse_dnmsg(message: dict[str, Any], config: Config) -> Dnmsg:
    """A downlink. Raises LnsError: a field is missing or wrong, or it is not of class A."""
    if message.get("dC") != 0:
        raise LnsError("not of class A")
    dev_eui, pdu = message.get("DevEui", message.get("DevEUI")), message.get("pdu")
    if not isinstance(dev_eui, str) or not re.fullmatch(r"[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){7}", dev_eui):
        raise LnsError("DevEui")
    try:
        data = bytes.fromhex(pdu) if isinstance(pdu, str) else b""
    except ValueError:
        data = b""
    if not 0 < len(data) <= 255:
        raise LnsError("pdu")
    diid, xtime, delay_s = (_int(message.get(name), name) for name in ("diid", "xtime", "RxDelay"))
    _int(message.get("rctx"), "rctx")
    if not 0 <= _int(message.get("priority", 0), "priority") <= 255 or not 0 <= delay_s <= 15 or xtime <= 0:
        raise LnsError("priority, RxDelay or xtime out of range")
    windows = []
    for number in (1, 2):
        dr, freq_hz = message.get(f"RX{number}DR"), message.get(f"RX{number}Freq")
        if (dr is None) != (freq_hz is None):
            raise LnsError(f"only one of RX{number}DR and RX{number}Freq")
        if dr is None:
            continue
        if dr not in config.rates or not config.freq_range[0] <= _int(freq_hz, "Freq") <= config.freq_range[1]:
            raise LnsError(f"RX{number} out of range")
        windows.append(Window((max(delay_s, 1) + number - 1) * 1_000_000, dr, _int(freq_hz, "Freq")))
    if not windows:
        raise LnsError("neither RX1 nor RX2")
    return Dnmsg(dev_eui, diid, data, xtime, tuple(windows))


def band_of(freq_hz: int) -> str:
    """The sub-band as the station divides EU863-870: a key of BAND_REST."""
    if 869_400_000 <= freq_hz <= 869_650_000:
        return "deci"
    if 868_000_000 <= freq_hz <= 868_600_000 or 869_700_000 <= freq_hz <= 870_000_000:
        return "centi"
    return "milli"


def eirp_dbm(freq_hz: int) -> float:
    """With what power the station sends: its own choice."""
    return 27.0 if band_of(freq_hz) == "deci" else 16.0


# -- inside


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _int(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise LnsError(f"{name} is not a whole number")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise LnsError("not a list")
    return value


def _ints(value: Any, count: int | None, name: str) -> list[int]:
    numbers = [_int(one, name) for one in _list(value)]
    if count is not None and len(numbers) != count:
        raise LnsError(f"{name} has not {count} entries")
    return numbers


def _rates(value: Any) -> dict[int, tuple[int, int]]:
    rows = [_ints(row, 3, "DRs") for row in _list(value)]
    if len(rows) != 16:
        raise LnsError("DRs has not 16 entries")
    rates = {}
    for number, (sf, bw_khz, down_only) in enumerate(rows):
        if sf in (-1, 0):
            continue
        if not 7 <= sf <= 12 or bw_khz not in (125, 250, 500) or down_only not in (0, 1):
            raise LnsError(f"DR{number}")
        rates[number] = (sf, bw_khz * 1000)
    if len(set(rates.values())) != len(rates):
        raise LnsError("one data rate twice")
    return rates


def _check_board(board: dict[str, Any]) -> None:
    """Each channel lies within 400 kHz of its radio, and each radio is where it says."""
    radios = {}
    for number in (0, 1):
        radio = board.get(f"radio_{number}")
        if not isinstance(radio, dict) or radio.get("enable") is not True:
            raise LnsError(f"radio_{number}")
        radios[number] = _int(radio.get("freq"), "freq")
    for name in [f"chan_multiSF_{number}" for number in range(8)] + ["chan_Lora_std", "chan_FSK"]:
        channel = board.get(name, {})
        if not isinstance(channel, dict) or not isinstance(channel.get("enable", False), bool):
            raise LnsError(name)
        if channel.get("enable"):
            if channel.get("radio") not in radios or abs(_int(channel.get("if"), "if")) > 400_000:
                raise LnsError(name)
            if name == "chan_Lora_std" and channel.get("bandwidth") not in (125_000, 250_000, 500_000):
                raise LnsError(name)
