"""A steady load: many nodes, several gateways that all hear every frame, one uplink in twenty confirmed.

One thread, one `select` loop: sends each copy at its moment, takes PUSH_ACK and PULL_RESP (answered with TX_ACK), and
counts what arrives at an MQTT subscriber. Latencies are of the same clock.
"""

from __future__ import annotations

import base64
import heapq
import json
import random
import secrets
import select
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.benchmarks.town_load import LoadNode, push_data, rxpk

CONFIRMED = 0.05
COPY_WITHIN_S = 0.1  # backhauls differ
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    sent: int
    answers: str
    published: str


class _Subscriber:
    """When each node's readings arrived."""

    def __init__(self, port: int) -> None:
        self.at: dict[str, list[float]] = defaultdict(list)
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._ready.wait(10):
            raise TimeoutError("no subscription")

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe("+/+/+/reading", qos=1)

    def _take(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        if not message.retain:
            self.at[message.topic.split("/")[2]].append(time.perf_counter())

    def close(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()


def drive(
    nodes: Sequence[LoadNode], gateways: Sequence[str], udp_port: int, mqtt_port: int, *, seconds: float, rate: float
) -> Seen:
    """Drive the load; `rate` uplinks/s before each gateway adds its copy."""
    chance = random.Random(4)  # noqa: S311
    subscriber = _Subscriber(mqtt_port)
    sockets = [_connected(udp_port) for _ in gateways]
    for eui, up in zip(gateways, sockets, strict=True):
        up.send(b"\x02" + secrets.token_bytes(2) + b"\x02" + bytes.fromhex(eui))
    plan: list[tuple[float, int, int, bytes]] = []  # when, gateway, number, PHYPayload
    total = int(seconds * rate)
    due = [number / rate for number in range(total)]
    confirmed = {number for number in range(total) if chance.random() < CONFIRMED}
    for number in range(total):
        phy = nodes[number % len(nodes)].uplink(confirmed=number in confirmed)
        first = chance.randrange(len(gateways))
        for which in range(len(gateways)):
            late = 0.0 if which == first else chance.uniform(0.001, COPY_WITHIN_S)
            plan.append((due[number] + late, which, number, phy))
    heapq.heapify(plan)
    sent_at = [0.0] * total
    by_address = {node.dev_addr: deque[int]() for node in nodes}
    for number in sorted(confirmed):
        by_address[nodes[number % len(nodes)].dev_addr].append(number)
    answers: list[float] = []
    started = time.perf_counter()
    until = started + seconds + SETTLE_S
    while (now := time.perf_counter()) < until:
        while plan and started + plan[0][0] <= now:
            _, which, number, phy = heapq.heappop(plan)
            tmst = int((now - started) * 1e6) + 5_000_000
            snr = chance.uniform(-5, 9)
            frame = rxpk(phy, tmst, channel=number % 8, snr=round(snr, 1))
            sockets[which].send(push_data(gateways[which], number & 0xFFFF, [frame]))
            sent_at[number] = sent_at[number] or now
        wait = min(0.01, max(0.0, started + plan[0][0] - time.perf_counter())) if plan else 0.01
        for up in select.select(sockets, [], [], wait)[0]:
            _take(up, gateways[sockets.index(up)], by_address, sent_at, answers)
    time.sleep(0.5)
    subscriber.close()
    for up in sockets:
        up.close()
    delays = []
    for position, node in enumerate(nodes):
        numbers = range(position, total, len(nodes))
        arrived = subscriber.at[node.slug]
        delays += [at - sent_at[number] for number, at in zip(numbers, arrived, strict=False)]
    lost = total - len(delays)
    return Seen(
        total,
        f"{_ms(answers, 0.99)} (median {_ms(answers, 0.5)}, worst {_ms(answers, 1)}; {len(answers)} answers to "
        f"{len(confirmed)} confirmed)",
        f"{_ms(delays, 0.99)} (median {_ms(delays, 0.5)}, worst {_ms(delays, 1)}; {lost} not published)",
    )


def _take(
    up: socket.socket, eui: str, by_address: dict[int, deque[int]], sent_at: list[float], answers: list[float]
) -> None:
    while True:
        try:
            datagram = up.recv(4096)
        except BlockingIOError:
            return
        if datagram[3] != 3:
            continue
        up.send(b"\x02" + datagram[1:3] + b"\x05" + bytes.fromhex(eui))
        phy = base64.b64decode(json.loads(datagram[4:])["txpk"]["data"])
        waiting = by_address.get(int.from_bytes(phy[1:5], "little"))
        now = time.perf_counter()
        while waiting and sent_at[waiting[0]] and now - sent_at[waiting[0]] > 4.0:
            waiting.popleft()  # it was not answered: no airtime
        if waiting and sent_at[waiting[0]]:
            answers.append(now - sent_at[waiting.popleft()])


def _connected(port: int) -> socket.socket:
    up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    up.connect(("127.0.0.1", port))
    up.setblocking(False)
    return up


def _ms(values: Sequence[float], share: float) -> str:
    ordered = sorted(values)
    return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3:.0f}" if ordered else "none"
