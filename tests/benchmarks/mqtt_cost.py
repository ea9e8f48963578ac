"""What a reading costs on its way to the broker: 60 000 of 1 000 nodes, QoS 1, every PUBACK awaited.

Processor time of the publisher's thread (JSON, packet, socket, PUBACK) per message, its broker being mosquitto in a
process of its own; and, beside it, paho with its thread and as many messages in flight, in processor time of all its
threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from nest.live import ReadingEvent
from nest.publish.mqtt import Broker, MqttPublisher
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

MESSAGES = 60_000
NODES = 1000
COST_US = 12
RATE = 10_000
_PAHO = 20_000
_BURST = 64  # readings of one commit
_AHEAD = 5000  # readings offered and not yet acknowledged: the nest is not faster than its broker for long
_LIMIT_S = 60.0


def rows() -> Iterator[tuple[str, str, str]]:
    mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/sbin")
    if mosquitto is None:
        yield "MQTT QoS 1 to mosquitto", "", "mosquitto is not installed"
        return
    with tempfile.TemporaryDirectory() as folder, _running(mosquitto, Path(folder)) as port:
        for name, offered in (("offered as they are stored", True), ("read from an outbox", False)):
            wall_s, processor_s = asyncio.run(_publish(port, offered=offered))
            yield f"us of processor per reading, {name}", f"<= {COST_US}", f"{processor_s / MESSAGES * 1e6:.1f}"
            yield f"readings/s to mosquitto, {name}", f">= {RATE}", f"{MESSAGES / wall_s:.0f}"
        wall_s, processor_s = _with_paho(port)
        yield "us of processor per reading, paho", "", f"{processor_s / _PAHO * 1e6:.1f}"
        yield "readings/s to mosquitto, paho", "", f"{_PAHO / wall_s:.0f}"


class _Outbox:
    def __init__(self, readings: Sequence[tuple[int, ReadingEvent]]) -> None:
        self._readings = readings

    def after(self, seq: int, limit: int = 500) -> Sequence[tuple[int, ReadingEvent]]:
        return self._readings[seq : seq + limit]


def _readings(count: int) -> list[tuple[int, ReadingEvent]]:
    values = {"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87}
    qualities = dict.fromkeys(values, "good")
    return [
        (seq, ReadingEvent(f"node-{seq % NODES}", 1_777_636_800 + seq * 0.54, values, qualities, (), seq))
        for seq in range(1, count + 1)
    ]


async def _publish(port: int, *, offered: bool) -> tuple[float, float]:
    """Seconds on the clock and of this thread."""
    readings = _readings(MESSAGES)
    publisher = MqttPublisher(Broker("127.0.0.1", port), "funkspatz/bench", _Outbox([] if offered else readings), 0)
    begin, spent = time.perf_counter(), time.thread_time()
    task = asyncio.create_task(publisher.run())
    async with asyncio.timeout(_LIMIT_S):
        while offered and not publisher.connected:  # noqa: ASYNC110  it is the publisher's attribute
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)  # until it has seen that the outbox is empty
        for at in range(0, MESSAGES if offered else 0, _BURST):
            while at - publisher.done > _AHEAD:  # noqa: ASYNC110
                await asyncio.sleep(0.0005)
            publisher.offer(readings[at : at + _BURST])
            await asyncio.sleep(0)
        while publisher.done < MESSAGES:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    result = time.perf_counter() - begin, time.thread_time() - spent
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return result


def _with_paho(port: int) -> tuple[float, float]:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    begin, spent = time.perf_counter(), time.process_time()
    client.loop_start()
    sent = []
    for _, event in _readings(_PAHO):
        values = {name: {"value": value, "unit": "x"} for name, value in event.values.items()}
        text = json.dumps({"time": event.time, "node": event.node_slug, "values": values})
        sent.append(client.publish(f"funkspatz/bench/{event.node_slug}/reading", text, qos=1, retain=True))
    for message in sent:
        message.wait_for_publish(_LIMIT_S)
    result = time.perf_counter() - begin, time.process_time() - spent
    client.disconnect()
    client.loop_stop()
    return result


@contextlib.contextmanager
def _running(mosquitto: str, folder: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n")
    process = subprocess.Popen([mosquitto, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _LIMIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("mosquitto does not start")
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()
