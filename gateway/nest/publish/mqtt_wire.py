"""The client's side of MQTT 3.1.1 as bytes: what a publisher sends and what a broker answers it. No I/O.

Rules that stand behind the code (OASIS MQTT 3.1.1; numbers are its sections and statements):

* every packet is: one byte of type and flags, the remaining length (7 bits a byte, least significant first, at most
  four bytes, 2.2.3), the rest;
* text is UTF-8 with two bytes of length in front, without U+0000 and surrogates (1.5.3); a topic that is published to
  has no wildcards (3.3.2-2);
* the broker speaks first with CONNACK (3.2.0-1), and only once; to somebody who subscribes to nothing it then sends
  PUBACK and PINGRESP and nothing else. Whatever else comes is a `ProtocolError`: there is no going on after it;
* PUBACKs come in the order of the PUBLISHes (4.6.0-2); they are read in bulk, for there are thousands a second.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

MOST_LENGTH = 268_435_455
"""Greatest remaining length, bytes (2.2.3)."""

MOST_TEXT = 65_535
"""Longest text or binary field, bytes (1.5.3)."""

MOST_PACKET_ID = 65_535
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

REFUSALS = {
    1: "unacceptable protocol version",
    2: "identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}
"""CONNACK return codes, table 3.1."""

BAD_LOGIN, NOT_AUTHORISED = 4, 5

_CONNECT = 0x10
_CONNACK = 0x20
_PUBLISH_QOS1 = 0x32
_PUBACK = 0x40
_PINGRESP = 0xD0
_RETAIN, _DUP = 0x01, 0x08
_PUBACK_HEAD = 0x4002  # type and remaining length of each PUBACK
_TAKEN = {_CONNACK: ("CONNACK", 2, "3.2.1"), _PUBACK: ("PUBACK", 2, "3.4.1"), _PINGRESP: ("PINGRESP", 0, "3.13.1")}


class ProtocolError(Exception):
    """The other side broke the rules of MQTT 3.1.1. `section` says which one."""

    def __init__(self, what: str, section: str) -> None:
        super().__init__(f"{what} (MQTT 3.1.1 section {section})")
        self.section = section


@dataclasses.dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, with QoS 1 and retained, when this client is gone without a word."""

    topic: str
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Connack:
    """The answer to CONNECT; `code` 0: accepted, else a key of `REFUSALS`."""

    code: int


@dataclasses.dataclass(frozen=True, slots=True)
class Pubacks:
    """One or more PUBACKs, in the order they came."""

    packet_ids: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Pingresp:
    """The broker lives."""


Answer = Connack | Pubacks | Pingresp


def encode_length(length: int) -> bytes:
    """The remaining length as its one to four bytes (2.2.3). Raises ValueError: it does not fit."""
    if length < 128:
        return bytes((length,))  # raises ValueError below 0
    if length < 16_384:
        return bytes((length & 127 | 128, length >> 7))
    if length > MOST_LENGTH:
        raise ValueError(f"a packet of {length} bytes is too long for MQTT")
    coded = bytearray()
    while length > 127:
        coded.append(length & 127 | 128)
        length >>= 7
    coded.append(length)
    return bytes(coded)


def decode_length(data: bytes | bytearray, at: int = 0) -> tuple[int, int] | None:
    """(remaining length, where the rest begins) of what begins at `at`; None: not all of it is there yet.

    Raises ProtocolError: a fifth byte would follow.
    """
    length = 0
    for place in range(4):
        if at + place >= len(data):
            return None
        byte = data[at + place]
        length |= (byte & 127) << 7 * place
        if byte < 128:
            return length, at + place + 1
    raise ProtocolError("a remaining length of more than four bytes", "2.2.3")


def text(value: str) -> bytes:
    """UTF-8 with its length in front (1.5.3). Raises ValueError: too long, or a character that may not stand in it."""
    if "\x00" in value:
        raise ValueError("U+0000 may not stand in a text of MQTT")
    return _field(value.encode())  # raises UnicodeEncodeError, a ValueError, at a surrogate


def topic_name(topic: str) -> bytes:
    """A topic to publish to, with its length in front. Raises ValueError: empty, with a wildcard, or no text."""
    if not topic or "+" in topic or "#" in topic:
        raise ValueError(f"{topic!r} is no topic to publish to")
    return text(topic)


def connect(
    client_id: str,
    *,
    keep_alive_s: int,
    username: str | None = None,
    password: str | None = None,
    will: Will | None = None,
    clean_session: bool = True,
) -> bytes:
    """CONNECT (3.1). Raises ValueError: a password without a user name (3.1.2-22), or a text that is none."""
    if password is not None and username is None:
        raise ValueError("MQTT knows no password without a user name")
    flags = 0x02 if clean_session else 0
    payload = text(client_id)
    if will is not None:
        flags |= 0x04 | 1 << 3 | 0x20  # will, with QoS 1, retained
        payload += topic_name(will.topic) + _field(will.payload)
    if username is not None:
        flags |= 0x80
        payload += text(username)
    if password is not None:
        flags |= 0x40
        payload += _field(password.encode())
    rest = b"\x00\x04MQTT\x04" + struct.pack(">BH", flags, keep_alive_s) + payload
    return bytes((_CONNECT,)) + encode_length(len(rest)) + rest


def publish(topic: bytes, packet_id: int, payload: bytes, *, retain: bool = True, dup: bool = False) -> bytes:
    """PUBLISH with QoS 1 (3.3). `topic` is from `topic_name`, so that it is made once and not for each message."""
    kind = _PUBLISH_QOS1 | (_RETAIN if retain else 0) | (_DUP if dup else 0)
    length = len(topic) + 2 + len(payload)
    return b"%c%b%b%c%c%b" % (kind, encode_length(length), topic, packet_id >> 8, packet_id & 255, payload)


def again(packet: bytes) -> bytes:
    """The same PUBLISH with DUP set: it is sent once more (3.3.1-1)."""
    return bytes((packet[0] | _DUP,)) + packet[1:]


class Reader:
    """Takes a broker's bytes in any pieces, gives back its answers. Keeps at most one packet's beginning."""

    def __init__(self) -> None:
        self._rest = b""
        self._connected = False

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are complete with `data`. Raises ProtocolError, and then the connection is of no use."""
        data = self._rest + data if self._rest else data
        if not len(data) & 3 and self._connected and (many := _only_pubacks(data)) is not None:
            self._rest = b""
            return [many]
        answers: list[Answer] = []
        acknowledged: list[int] = []
        at = 0
        while at < len(data):
            kind, length, section = _known(data[at])
            self._in_order(data[at])
            header = decode_length(data, at + 1)
            if header is None:
                break
            told, begin = header
            if told != length:
                raise ProtocolError(f"{kind} with {told} bytes", section)
            if begin + length > len(data):
                break
            body = data[begin : begin + length]
            if data[at] == _PUBACK:
                acknowledged.append(_packet_id(body))
            else:
                if acknowledged:
                    answers.append(Pubacks(tuple(acknowledged)))
                    acknowledged.clear()
                answers.append(self._connack(body) if body else Pingresp())
            at = begin + length
        if acknowledged:
            answers.append(Pubacks(tuple(acknowledged)))
        self._rest = data[at:]
        return answers

    def _in_order(self, kind: int) -> None:
        if self._connected == (kind == _CONNACK):
            what = "a second CONNACK" if self._connected else f"{_TAKEN[kind][0]} before CONNACK"
            raise ProtocolError(what, "3.2")

    def _connack(self, body: bytes) -> Connack:
        flags, code = body
        if flags & 0xFE:
            raise ProtocolError(f"CONNACK with flags {flags:#04x}", "3.2.2.1")
        if flags and code:
            raise ProtocolError("CONNACK that refuses and still knows a session", "3.2.2.2")
        if code and code not in REFUSALS:
            raise ProtocolError(f"CONNACK with return code {code}", "3.2.2.3")
        self._connected = True
        return Connack(code)


def _known(first: int) -> tuple[str, int, str]:
    known = _TAKEN.get(first)
    if known is None:
        raise ProtocolError(f"a packet that begins with {first:#04x}, which nobody sends to a publisher", "2.2")
    return known


def _only_pubacks(data: bytes) -> Pubacks | None:
    """`data` read as nothing but whole PUBACKs, or None where it is not that (or one of them is wrong)."""
    words = struct.unpack(f">{len(data) >> 1}H", data)
    heads, packet_ids = words[::2], words[1::2]
    if heads.count(_PUBACK_HEAD) != len(heads) or 0 in packet_ids:
        return None
    return Pubacks(packet_ids)


def _packet_id(body: bytes) -> int:
    packet_id = body[0] << 8 | body[1]
    if packet_id == 0:
        raise ProtocolError("PUBACK for packet identifier 0", "2.3.1")
    return packet_id


def _field(value: bytes) -> bytes:
    if len(value) > MOST_TEXT:
        raise ValueError(f"a field of {len(value)} bytes is too long for MQTT")
    return len(value).to_bytes(2, "big") + value
