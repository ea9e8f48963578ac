"""The bytes of MQTT: against amqtt's and paho's own parsers, byte by byte, and whatever a broken broker may send."""

from __future__ import annotations

import asyncio
import struct

import pytest
from amqtt.adapters import ReaderAdapter
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.packet import MQTTFixedHeader
from amqtt.mqtt.publish import PublishPacket
from hypothesis import given
from hypothesis import strategies as st
from nest.publish import mqtt_wire as wire

from .peers import Told, packets

CONNACK = b"\x20\x02\x00\x00"
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1, max_size=50)
TOPICS = TEXTS.filter(lambda text: "+" not in text and "#" not in text)


class _Bytes(ReaderAdapter):
    """amqtt's idea of a stream."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def feed_eof(self) -> None:
        pass

    async def read(self, n: int = -1) -> bytes:
        end = len(self._data) if n < 0 else self._at + n
        part, self._at = self._data[self._at : end], min(end, len(self._data))
        return part


def parsed(data: bytes, kind: type) -> object:
    """What amqtt reads in `data`."""

    async def read() -> object:
        reader = _Bytes(data)
        header = await MQTTFixedHeader.from_stream(reader)
        assert header is not None
        return await kind.from_stream(reader, fixed_header=header)

    return asyncio.run(read())


def all_of(reader: wire.Reader, data: bytes, size: int) -> list[object]:
    """What the reader says when `data` comes in pieces of `size`; PUBACKs one by one."""
    found: list[object] = []
    for at in range(0, len(data), size):
        for answer in reader.feed(data[at : at + size]):
            found += list(answer.packet_ids) if isinstance(answer, wire.Pubacks) else [answer]
    return found


@given(st.integers(0, wire.MOST_LENGTH))
def test_a_length_is_read_as_it_was_written(length: int) -> None:
    coded = wire.encode_length(length)
    assert wire.decode_length(coded) == (length, len(coded))
    assert len(coded) == 1 + (length > 127) + (length > 16_383) + (length > 2_097_151)
    assert wire.decode_length(coded[:-1]) is None


# table 2.4: the first and the last value of each size
@pytest.mark.parametrize(
    ("length", "coded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (2_097_151, "ffff7f"),
     (2_097_152, "80808001"), (268_435_455, "ffffff7f")],
)  # fmt: skip
def test_lengths_are_those_of_table_2_4(length: int, coded: str) -> None:
    assert wire.encode_length(length).hex() == coded


def test_a_length_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        wire.encode_length(wire.MOST_LENGTH + 1)
    with pytest.raises(wire.ProtocolError, match=r"2\.2\.3"):
        wire.decode_length(b"\xff\xff\xff\xff\x01")


@given(TOPICS, st.integers(1, 65_535), st.binary(max_size=20_000), st.booleans(), st.booleans())
def test_a_publish_is_what_amqtt_reads_in_it(
    topic: str, packet_id: int, payload: bytes, retain: bool, dup: bool
) -> None:
    packet = wire.publish(wire.topic_name(topic), packet_id, payload, retain=retain, dup=dup)
    read = parsed(packet, PublishPacket)
    assert isinstance(read, PublishPacket)
    assert (read.topic_name, read.packet_id, bytes(read.data or b"")) == (topic, packet_id, payload)
    assert (read.qos, read.retain_flag, read.dup_flag) == (1, retain, dup)
    assert wire.again(packet) == wire.publish(wire.topic_name(topic), packet_id, payload, retain=retain, dup=True)


@given(TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.booleans(), st.integers(0, 65_535))
def test_a_connect_is_what_amqtt_reads_in_it(
    client_id: str,
    username: str | None,
    password: str | None,
    with_will: bool,
    keep_alive_s: int,
) -> None:
    password = password if username is not None else None
    will = wire.Will("a/status", b"offline") if with_will else None
    packet = wire.connect(
        client_id, keep_alive_s=keep_alive_s, username=username, password=password, will=will, clean_session=True
    )
    read = parsed(packet, ConnectPacket)
    assert isinstance(read, ConnectPacket)
    assert (read.proto_name, read.proto_level, read.client_id) == ("MQTT", 4, client_id)
    assert (read.username, read.password, read.keep_alive) == (username, password, keep_alive_s)
    assert read.clean_session_flag
    assert read.will_flag is with_will
    if with_will:
        assert (read.will_topic, bytes(read.will_message or b""), read.will_qos, read.will_retain_flag) == (
            "a/status", b"offline", 1, True,
        )  # fmt: skip


def test_what_mqtt_cannot_say_is_refused() -> None:
    for topic in ("", "a/+/b", "a/#", "a\x00b", "a" * 65_536, "a\ud800"):
        with pytest.raises(ValueError, match=r"topic|U\+0000|too long|surrogate"):
            wire.topic_name(topic)
    with pytest.raises(ValueError, match="without a user name"):
        wire.connect("x", keep_alive_s=30, password="secret")


@given(st.lists(st.integers(1, 65_535) | st.just("ping"), max_size=40), st.integers(1, 50))
def test_answers_are_read_in_whatever_pieces_they_come(answers: list[int | str], size: int) -> None:
    data = CONNACK
    for answer in answers:
        data += b"\xd0\x00" if isinstance(answer, str) else struct.pack(">BBH", 0x40, 2, answer)
    found = all_of(wire.Reader(), data, size)
    assert found == [wire.Connack(0), *(wire.Pingresp() if one == "ping" else one for one in answers)]


@given(st.binary(max_size=60), st.booleans(), st.integers(1, 8))
def test_any_bytes_give_answers_or_a_protocol_error(data: bytes, connected: bool, size: int) -> None:
    reader = wire.Reader()
    if connected:
        reader.feed(CONNACK)
    try:
        found = all_of(reader, data, size)
    except wire.ProtocolError:
        return
    whole, rest = packets(data)
    assert len(found) == len(whole)
    assert len(rest) < 6, "it keeps more than the beginning of one packet"


@pytest.mark.parametrize(
    ("data", "section"),
    [
        ("40020001", "3.2"),  # PUBACK before CONNACK
        ("2002000020020000", "3.2"),  # a second CONNACK
        ("20020200", "3.2.2.1"),  # reserved flags
        ("20020105", "3.2.2.2"),  # refused, and yet a session
        ("20020006", "3.2.2.3"),  # unknown return code
        ("2003000000", "3.2.1"),  # CONNACK of three bytes
        ("2002000040020000", "2.3.1"),  # packet identifier 0
        ("200200004002000540020000", "2.3.1"),  # the same, in bulk
        ("2002000040030001ff", "3.4.1"),  # PUBACK of MQTT 5
        ("20020000d00100", "3.13.1"),  # PINGRESP with a byte
        ("20020000300500016178", "2.2"),  # PUBLISH to somebody who has not subscribed
        ("2002000042020001", "2.2"),  # reserved flags of PUBACK
        ("200200004082808080", "2.2.3"),  # a length without an end
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_whatever_else_a_broker_says_is_an_error_with_its_section(data: str, section: str, size: int) -> None:
    with pytest.raises(wire.ProtocolError) as caught:
        all_of(wire.Reader(), bytes.fromhex(data), size)
    assert caught.value.section == section
    assert f"section {section})" in str(caught.value)


@pytest.mark.parametrize("code", wire.REFUSALS)
def test_a_refusal_is_told(code: int) -> None:
    assert wire.Reader().feed(bytes((0x20, 2, 0, code))) == [wire.Connack(code)]


def test_the_parser_of_these_tests_reads_what_is_written() -> None:
    packet = wire.publish(wire.topic_name("a/b"), 258, b"x" * 200, dup=True)
    [(first, rest)], remains = packets(packet)
    told = Told(first, rest)
    assert (told.topic, told.packet_id, told.payload, remains) == ("a/b", 258, b"x" * 200, b"")
    assert (told.qos, told.dup, told.retain) == (1, True, True)
