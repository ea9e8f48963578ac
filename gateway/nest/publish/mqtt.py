"""Readings to an MQTT broker: one retained message per node, always the latest.

| topic | retained payload |
| --- | --- |
| `<prefix>/<town>/status` | `online`, and `offline` by the broker itself when the nest is gone |
| `<prefix>/<town>/<node>/reading` | {"time": ISO 8601 UTC, "node": slug, "values": {quantity: {"value", "unit"}}} |
| `<prefix>/<town>/<node>/status` | {"time", "node", "fcnt", "heard": [{"gateway", "rssi", "snr"}]} |

A quantity whose sensor failed or was out of range has the value null and says which in "quality".

A broker that is away is tried again, for ever and with growing pauses; the nest never waits for it. After each new
connection every node's latest reading is published again, so that what is retained is true.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import random
import time
from collections.abc import Callable, Iterable
from urllib.parse import unquote, urlsplit

import aiomqtt

from nest.errors import UserError
from nest.i18n import tr
from nest.live import Live, ReadingEvent
from nest.moments import iso
from nest.quantities import by_name

_log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MOST_S = 30.0
KEEPALIVE_S = 30
_TIMEOUT_S = 10.0
_FAREWELL_S = 0.5
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclasses.dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is. The password is never printed."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """`mqtt://[user[:password]@]host[:port]` or `mqtts://…`, as `town.toml` has already checked it."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password is not None else None,
        )


def broker_away(broker: Broker, trouble: str) -> UserError:
    """What to tell the operator. The nest goes on without a broker; `nest check` ends with this."""
    return UserError(
        tr("The MQTT broker {host}:{port} is away ({trouble}).", host=broker.host, port=broker.port, trouble=trouble),
        tr("Start it, or correct url under [mqtt] in town.toml. The nest keeps every reading and connects by itself."),
    )


async def check_broker(broker: Broker) -> None:
    """Raise UserError unless something accepts connections where the broker should be."""
    try:
        await _reach(broker)
    except (OSError, ValueError) as error:
        raise broker_away(broker, str(error) or type(error).__name__) from None


async def _reach(broker: Broker) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        _, writer = await asyncio.open_connection(broker.host, broker.port)
    writer.close()


class MqttPublisher:
    """Publishes what `live` tells to one broker, from `run` on until it is cancelled.

    `latest` gives every node's latest reading, `removed` the slugs whose retained messages must go; both are asked
    after each new connection.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        live: Live,
        latest: Callable[[], Iterable[ReadingEvent]],
        removed: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._broker = broker
        self._topic = topic  # <prefix>/<town>
        self._live = live
        self._latest = latest
        self._removed = removed
        self._forget: asyncio.Queue[str] = asyncio.Queue()
        self.connected = False
        self.published = 0
        self.trouble: str | None = None  # why there is no connection, in the broker's or the system's words

    def status(self) -> dict[str, object]:
        """For `nest status`."""
        return {
            "broker": f"{self._broker.host}:{self._broker.port}",
            "connected": self.connected,
            "published": self.published,
            "trouble": self.trouble,
        }

    def forget(self, slug: str) -> None:
        """Take back a removed node's retained messages."""
        self._forget.put_nowait(slug)

    async def run(self) -> None:
        """Connect, publish, and connect again, until cancelled."""
        pause = RETRY_FIRST_S
        while True:
            connected_at = None
            try:
                # Fails early and cancellably: the client's own connect holds a thread for as long as nobody answers.
                await _reach(self._broker)
                async with self._client() as client:
                    connected_at = time.monotonic()
                    self.connected, self.trouble = True, None
                    _log.info("connected to the MQTT broker %s:%d", self._broker.host, self._broker.port)
                    await self._publish_for_ever(client)
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                trouble = str(error) or type(error).__name__
                if self.trouble is None:  # once per absence, not once per attempt
                    away = broker_away(self._broker, trouble)
                    _log.warning("%s %s", away.message, away.next_step)
                self.trouble = trouble
            except Exception as error:  # the archive, or a library's mistake: no reason to end the nest
                _log.exception("publishing by MQTT was cut off")
                self.trouble = type(error).__name__
            finally:
                self.connected = False
            if connected_at is not None and time.monotonic() - connected_at > RETRY_MOST_S:
                pause = RETRY_FIRST_S
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  only spreads the attempts
            pause = min(pause * 2, RETRY_MOST_S)

    def _client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._broker.password,
            identifier=f"funkspatz-{random.getrandbits(48):012x}",
            will=aiomqtt.Will(f"{self._topic}/status", "offline", qos=1, retain=True),
            tls_params=aiomqtt.TLSParameters() if self._broker.tls else None,
            timeout=_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
        )

    async def _publish_for_ever(self, client: aiomqtt.Client) -> None:
        """Until the connection ends (MqttError), or until cancelled: then the last word is `offline`."""
        with self._live.subscribe() as events:  # before the archive is asked: nothing falls between
            await self._send(client, f"{self._topic}/status", "online")
            for slug in self._removed():
                await self._clear(client, slug)
            for event in self._latest():
                await self._publish(client, event)
            tasks = {
                asyncio.create_task(self._publish_events(client, events)),
                asyncio.create_task(self._clear_removed(client)),
                asyncio.create_task(self._watch(client)),
            }
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            except asyncio.CancelledError:
                with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(_FAREWELL_S):
                        await self._send(client, f"{self._topic}/status", "offline")
                raise
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish_events(self, client: aiomqtt.Client, events: asyncio.Queue[ReadingEvent]) -> None:
        while True:
            await self._publish(client, await events.get())

    async def _clear_removed(self, client: aiomqtt.Client) -> None:
        while True:
            await self._clear(client, await self._forget.get())

    async def _watch(self, client: aiomqtt.Client) -> None:
        """Ends with an MqttError as soon as the connection does; we subscribe to nothing, so nothing else comes."""
        async for _ in client.messages:
            pass

    async def _clear(self, client: aiomqtt.Client, slug: str) -> None:
        for part in ("reading", "status"):
            await client.publish(f"{self._topic}/{slug}/{part}", b"", qos=1, retain=True)

    async def _publish(self, client: aiomqtt.Client, event: ReadingEvent) -> None:
        topic = f"{self._topic}/{event.node_slug}"
        await self._send(client, f"{topic}/reading", json.dumps(reading_message(event), ensure_ascii=False))
        if event.heard:
            await self._send(client, f"{topic}/status", json.dumps(status_message(event)))
        self.published += 1

    async def _send(self, client: aiomqtt.Client, topic: str, text: str) -> None:
        await client.publish(topic, text.encode(), qos=1, retain=True)


def reading_message(event: ReadingEvent) -> dict[str, object]:
    """The JSON of `…/reading`."""
    values: dict[str, dict[str, object]] = {}
    for name, value in event.values.items():
        values[name] = {"value": value, "unit": by_name()[name].unit}
        quality = event.qualities.get(name, "good")
        if quality != "good":
            values[name]["quality"] = quality
    return {"time": iso(event.time), "node": event.node_slug, "values": values}


def status_message(event: ReadingEvent) -> dict[str, object]:
    """The JSON of `…/status`."""
    heard = [{"gateway": one.gateway, "rssi": one.rssi, "snr": one.snr} for one in event.heard]
    return {"time": iso(event.time), "node": event.node_slug, "fcnt": event.fcnt, "heard": heard}
