"""What stands at the other end in these tests: mosquitto, paho as a subscriber, a wire that can be cut and watched, a
broker that misbehaves as told, and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import getpass
import ipaddress
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateway.running import free_port
from nest.live import ReadingEvent
from nest.model import Heard, Uplink
from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

LIMIT_S = 20.0
TOPIC = "funkspatz/stadt"
NOON = 1_777_636_800.25  # 2026-05-01T12:00:00.250Z
HEARD = Heard("aa" * 8, -80.0, 7.5, 868_100_000, NOON)

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed on this machine")


def event(slug: str = "amsel", *, temperature: float = 21.4, moment: float = NOON) -> ReadingEvent:
    return ReadingEvent(
        slug, moment, {"temperature": temperature, "humidity": None}, {"temperature": "good", "humidity": "failed"}
    )


def uplink(slug: str = "amsel", fcnt: int = 7, heard: tuple[Heard, ...] = (HEARD,)) -> Uplink:
    return Uplink(slug, bytes(8), NOON, fcnt, 1, b"", False, heard, 7, 125_000, 868_100_000, b"")


def readings(count: int, nodes: int = 1, first: int = 1) -> list[tuple[int, ReadingEvent]]:
    """`count` numbered readings of `nodes` nodes in turn; each says its number as its temperature."""
    return [
        (seq, event(f"node-{seq % nodes}", temperature=float(seq), moment=NOON + seq))
        for seq in range(first, first + count)
    ]


class Stored:
    """An outbox in memory."""

    def __init__(self, rows: Sequence[tuple[int, ReadingEvent]] = ()) -> None:
        self.rows = list(rows)
        self.asked: list[int] = []

    def after(self, seq: int, limit: int = 500) -> list[tuple[int, ReadingEvent]]:
        self.asked.append(seq)
        return [row for row in self.rows if row[0] > seq][:limit]


async def until(condition: Callable[[], object], what: str = "it") -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        await asyncio.sleep(0.005)


class Mosquitto:
    """A real broker on a port of its own; `lines` are added to its settings."""

    def __init__(self, folder: Path, *lines: str, anonymous: bool = True) -> None:
        self.port = free_port()
        self.folder = folder
        settings = [
            f"listener {self.port} 127.0.0.1",
            f"user {getpass.getuser()}",
            f"allow_anonymous {str(anonymous).lower()}",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            *lines,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")
        self.start()

    def start(self) -> None:
        """Until it listens."""
        assert MOSQUITTO
        log = (self.folder / "mosquitto.log").open("a")
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log)
        log.close()
        end = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
            assert time.monotonic() < end, "mosquitto does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Mosquitto:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Subscriber:
    """paho, in its own thread: (topic, payload, retained) of all that comes."""

    def __init__(self, port: int, topic: str = f"{TOPIC}/#") -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self.subscribed, self._topic = False, topic
        self._client = client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect("127.0.0.1", port)
        client.loop_start()

    def _on_connect(self, client: Client, *_: object) -> None:
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed = True

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.messages.append((message.topic, message.payload.decode(), message.retain))

    def latest(self) -> dict[str, str]:
        """Topic -> payload, without those that were taken back."""
        return {topic: text for topic, text in {t: p for t, p, _ in self.messages}.items() if text}

    def temperatures(self, slug: str) -> list[float]:
        """In the order they came."""
        topic = f"{TOPIC}/{slug}/reading"
        return [
            json.loads(text)["values"]["temperature"]["value"] for t, text, _ in self.messages if t == topic and text
        ]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.asynccontextmanager
async def subscribed(port: int, topic: str = f"{TOPIC}/#") -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(port, topic)
    try:
        await until(lambda: subscriber.subscribed, "the subscription")
        yield subscriber
    finally:
        subscriber.close()


def packets(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(first byte, rest) of each whole packet in `data`, and what remains. Written from MQTT 3.1.1 section 2.2."""
    found = []
    at = 0
    while at + 1 < len(data):
        length = shift = 0
        place = at + 1
        while place < len(data):
            length |= (data[place] & 127) << shift
            shift += 7
            place += 1
            if data[place - 1] < 128:
                break
        else:
            break
        if place + length > len(data):
            break
        found.append((data[at], data[place : place + length]))
        at = place + length
    return found, data[at:]


class Told:
    """One PUBLISH as it was seen on the wire."""

    def __init__(self, first: int, rest: bytes) -> None:
        size = int.from_bytes(rest[:2], "big")
        self.topic = rest[2 : 2 + size].decode()
        self.packet_id = int.from_bytes(rest[2 + size : 4 + size], "big")
        self.payload = rest[4 + size :]
        self.qos, self.dup, self.retain = first >> 1 & 3, bool(first & 8), bool(first & 1)

    @property
    def temperature(self) -> float | None:
        if not self.topic.endswith("/reading") or not self.payload:
            return None
        return json.loads(self.payload)["values"]["temperature"]["value"]


class FakeBroker:
    """A broker that does as it is told: `acknowledge(told, send)` decides about each PUBLISH (default: PUBACK)."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.told: list[Told] = []
        self.connections = 0
        self.hellos: list[bytes] = []
        self.farewells = 0
        self.silent = False
        self.acknowledge: Callable[[Told, Callable[[bytes], None]], None] = puback
        self.transports: list[asyncio.Transport] = []

    async def listen(self, port: int = 0) -> int:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Peer(self), "127.0.0.1", port)
        return self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End every connection without a word."""
        for transport in self.transports:
            transport.abort()
        self.transports.clear()

    def close(self) -> None:
        self._server.close()
        self.cut()


def puback(told: Told, send: Callable[[bytes], None]) -> None:
    send(b"\x40\x02" + told.packet_id.to_bytes(2, "big"))


class _Peer(asyncio.Protocol):
    def __init__(self, broker: FakeBroker) -> None:
        self._broker, self._rest = broker, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._broker.connections += 1
        self._broker.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        broker, send = self._broker, self._transport.write
        found, self._rest = packets(self._rest + data)
        for first, rest in found:
            match first >> 4:
                case 1:
                    broker.hellos.append(rest)
                    if not broker.silent:
                        send(bytes((0x20, 2, 0, broker.code)))
                case 3:
                    told = Told(first, rest)
                    broker.told.append(told)
                    broker.acknowledge(told, send)
                case 12 if not broker.silent:
                    send(b"\xd0\x00")
                case 14:
                    broker.farewells += 1
                    self._transport.close()


class Wire:
    """A wire between the nest and a broker: everything that passes is noted, and it can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.told: list[Told] = []
        self.acknowledged: list[Told] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def close(self) -> None:
        self._server.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        waiting: dict[int, Told] = {}

        def up(first: int, rest: bytes) -> None:
            if first >> 4 == 3:
                told = Told(first, rest)
                self.told.append(told)
                waiting[told.packet_id] = told

        def down(first: int, rest: bytes) -> None:
            if first == 0x40:
                self.acknowledged.append(waiting.pop(int.from_bytes(rest, "big")))

        with contextlib.suppress(OSError):
            await asyncio.gather(_carry(reader, back, up), _carry(there, writer, down))
        self._open -= {writer, back}


async def _carry(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, note: Callable[[int, bytes], None]
) -> None:
    rest = b""
    try:
        while data := await source.read(4096):
            found, rest = packets(rest + data)
            for packet in found:
                note(*packet)
            target.write(data)
            await target.drain()
    finally:
        target.transport.abort()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path, name: str = "the test's authority") -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(self._name, self._key.public_key(), (-1, 1), ca=True).sign(self._key, hashes.SHA256())
        self.file = folder / f"{name.split()[-1]}-{id(self)}.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, days: tuple[int, int] = (-1, 1)) -> tuple[Path, Path]:
        """Certificate and key files of a server; `days` from now: valid from, until."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
        alternatives = [_alternative(name) for name in names]
        made = (
            self._certificate(subject, key.public_key(), days, ca=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate, private = self._folder / "server.pem", self._folder / "server.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: tuple[int, int], *, ca: bool
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)
