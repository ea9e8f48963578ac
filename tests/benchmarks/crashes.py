"""SIGKILL at random moments under load, and what is left afterwards.

A gateway sends uplinks of joined nodes, one in five confirmed, and keeps every datagram until it is acknowledged. The
nest, the real `nest run`, is killed again and again. At the end: every acknowledged uplink is in the archive once,
every reading was published at least once, and no FCntDown has carried two different frames.
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import select
import socket
import sqlite3
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.benchmarks.broker import Mosquitto
from tests.benchmarks.town_load import LoadNode, make_town, push_data, rxpk
from tests.gateway.running import RunningNest, free_port

Row = tuple[str, str, str]
KILLS = 200
NODES = 60
RATE = 300.0  # uplinks per second
CONFIRMED = 0.2
REPEAT_S = 0.25
GATEWAY = "aa" * 8


@dataclass(slots=True)
class Report:
    """What was found; the lists are of what must not be."""

    kills: int = 0
    acknowledged: int = 0
    downlinks: int = 0
    back_s: list[float] = field(default_factory=list)  # from the start of the process to the first acknowledgement
    lost: list[tuple[int, int]] = field(default_factory=list)  # (node, FCnt)
    doubled: list[tuple[int, int]] = field(default_factory=list)
    unpublished: int = 0
    out_of_order: int = 0
    reused: list[tuple[int, int]] = field(default_factory=list)  # (DevAddr, FCntDown) of two different frames


class PatientGateway:
    """Keeps every PUSH_DATA until its PUSH_ACK; answers PULL_RESP with TX_ACK and notes what was to be sent."""

    def __init__(self, nodes: list[LoadNode], port: int, chance: random.Random) -> None:
        self.nodes, self.chance = nodes, chance
        self.acknowledged: set[tuple[int, int]] = set()
        self.sent: dict[tuple[int, int], set[bytes]] = defaultdict(set)  # (DevAddr, FCntDown) -> frames
        self.first_ack_at: float | None = None
        self._open: dict[int, tuple[tuple[int, int], bytes, float]] = {}
        self._token = 0
        self._next_at = self._pull_at = 0.0
        self._eui = bytes.fromhex(GATEWAY)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._to = ("127.0.0.1", port)

    @property
    def waiting(self) -> int:
        return len(self._open)

    def work(self, until: float, *, load: bool = True) -> None:
        """Go on until the moment on time.monotonic(); without `load` only what is still open is repeated."""
        while (now := time.monotonic()) < until:
            if now >= self._pull_at:
                self._socket.sendto(b"\x02" + secrets.token_bytes(2) + b"\x02" + self._eui, self._to)
                self._pull_at = now + 0.5
            if load and now >= self._next_at:
                self._next_at = max(self._next_at + 1 / RATE, now - 0.1)
                self._uplink(now)
            for token, (what, datagram, sent) in list(self._open.items()):
                if now - sent > REPEAT_S:
                    self._socket.sendto(datagram, self._to)
                    self._open[token] = (what, datagram, now)
            select.select([self._socket], [], [], 0.002)
            self._receive()

    def _uplink(self, now: float) -> None:
        if len(self._open) > 2000:
            return
        node = self.chance.choice(self.nodes)
        what = (node.number, node.fcnt)
        phy = node.uplink(confirmed=self.chance.random() < CONFIRMED)
        self._token = (self._token + 1) & 0xFFFF
        datagram = push_data(GATEWAY, self._token, [rxpk(phy, int(now * 1e6), channel=self.chance.randrange(8))])
        self._open[self._token] = (what, datagram, now)
        self._socket.sendto(datagram, self._to)

    def _receive(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if datagram[3] == 1:
                done = self._open.pop(int.from_bytes(datagram[1:3], "big"), None)
                if done:
                    self.acknowledged.add(done[0])
                    self.first_ack_at = self.first_ack_at or time.monotonic()
            elif datagram[3] == 3:
                self._socket.sendto(b"\x02" + datagram[1:3] + b"\x05" + self._eui, self._to)
                phy = base64.b64decode(json.loads(datagram[4:])["txpk"]["data"])
                self.sent[int.from_bytes(phy[1:5], "little"), int.from_bytes(phy[6:8], "little")].add(phy)

    def close(self) -> None:
        self._socket.close()


class Listener:
    """Every reading that the broker was given, by node; a persistent session, so none is missed."""

    def __init__(self, port: int) -> None:
        self.times: dict[str, list[str]] = defaultdict(list)
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        self.client.on_connect = self._subscribe
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe("+/+/+/reading", qos=1)

    def _take(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self.times[message.topic.split("/")[2]].append(json.loads(message.payload)["time"])


def run(kills: int, seed: int, folder: Path) -> Report:
    """Kill `kills` times and look at what is left."""
    chance = random.Random(seed)  # noqa: S311
    report = Report()
    with Mosquitto() as broker:
        udp_port = free_port(socket.SOCK_DGRAM)
        nodes = make_town(folder / "town", NODES, [GATEWAY], udp_port=udp_port, mqtt_url=broker.url)
        gateway, listener = PatientGateway(nodes, udp_port, chance), Listener(broker.port)
        with RunningNest(folder / "town") as nest:
            for _ in range(kills):
                gateway.work(time.monotonic() + chance.uniform(0.02, 1.0))
                nest.kill()
                report.kills += 1
                gateway.first_ack_at, started = None, time.monotonic()
                nest.start(wait=False)
                while gateway.first_ack_at is None:
                    if time.monotonic() - started > 30:
                        raise TimeoutError(f"the nest is not back: {nest.log()[-2000:]}")
                    gateway.work(time.monotonic() + 0.01)
                report.back_s.append(gateway.first_ack_at - started)
            end = time.monotonic() + 30
            while gateway.waiting and time.monotonic() < end:
                gateway.work(time.monotonic() + 0.2, load=False)
            _look(report, gateway, listener, nest, end)
        gateway.close()
        listener.client.loop_stop()
    return report


def _look(report: Report, gateway: PatientGateway, listener: Listener, nest: RunningNest, end: float) -> None:
    with sqlite3.connect(f"file:{nest.folder}/nest.db?mode=ro", uri=True) as database:
        found = Counter((node_id - 1, fcnt) for node_id, fcnt in database.execute("select node_id, fcnt from frames"))
        readings = Counter(node_id - 1 for (node_id,) in database.execute("select node_id from readings"))
    report.acknowledged = len(gateway.acknowledged)
    report.lost = sorted(gateway.acknowledged - set(found))
    report.doubled = sorted(what for what, count in found.items() if count > 1)
    report.doubled += [(node, -1) for node, count in readings.items() if count != sum(n == node for n, _ in found)]
    wanted = sum(found.values())
    while time.monotonic() < end + 30 and sum(len(set(times)) for times in listener.times.values()) < wanted:
        gateway.work(time.monotonic() + 0.2, load=False)
    report.unpublished = wanted - sum(len(set(times)) for times in listener.times.values())
    report.downlinks = len(gateway.sent)
    report.reused = sorted(what for what, frames in gateway.sent.items() if len(frames) > 1)


def rows() -> Iterator[Row]:
    seed = int(os.environ.get("SPATZ_SEED", random.SystemRandom().randrange(10_000)))
    kills = int(os.environ.get("SPATZ_KILLS", KILLS))
    with tempfile.TemporaryDirectory(prefix="funkspatz-crashes-") as folder:
        report = run(kills, seed, Path(folder))
    yield (
        f"acknowledged uplinks lost or doubled, {report.kills} SIGKILLs (seed {seed})",
        "0",
        f"{len(report.lost)} lost, {len(report.doubled)} doubled of {report.acknowledged}",
    )
    yield "readings not published", "0", str(report.unpublished)
    yield "FCntDown used twice", "0", f"{len(report.reused)} of {report.downlinks}"
    worst = max(report.back_s)
    median = sorted(report.back_s)[len(report.back_s) // 2]
    yield "seconds until it acknowledges again", "<= 2", f"{median:.2f} (median; worst {worst:.2f})"
