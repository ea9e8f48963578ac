"""Readings to an MQTT broker: every one at least once and in the order of its node, the latest one retained.

| topic | retained payload |
| --- | --- |
| `<prefix>/<town>/status` | `online`, and `offline` by the broker itself when the nest is gone |
| `<prefix>/<town>/<node>/reading` | each reading; see `nest.publish.messages` |
| `<prefix>/<town>/<node>/earlier` | not retained: each reading that was lost, and came another way than by its frame |
| `<prefix>/<town>/<node>/status` | who heard the node's latest frame; at most one a second, none is waited for |

How nothing is lost: every reading stands in the outbox before it is offered here. `done` is the number up to which the
broker has acknowledged all of them; the engine stores it and the outbox forgets what lies below. What is offered goes
the short way, through memory, as long as that is not too much; else, and after each new connection, it is read from the
outbox until there is nothing left between it and memory. Messages are streamed, at most `WINDOW` of them without their
PUBACK; those are sent again, marked as such, when the connection was lost.

What is sent first: readings; when none waits, the latest of each node of which none was sent on this connection yet
(the broker may have lost what it retained), and removed nodes' messages are taken back; then who heard whom. So a
node's latest reading never goes out before an earlier one that waits. A reading that came late, after later ones of
its node, is published but not retained.

A broker that is away is tried again, for ever and with growing pauses; the nest never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from nest.errors import UserError
from nest.live import ReadingEvent
from nest.model import Uplink
from nest.publish import mqtt_wire
from nest.publish.connection import Connection, open_connection
from nest.publish.login import Broker, RefusedError, check_broker, in_words
from nest.publish.messages import is_earlier, reading_json, status_json

__all__ = ["Broker", "MqttPublisher", "Outbox", "check_broker"]

_log = logging.getLogger(__name__)

WINDOW = 1000
"""Messages without their PUBACK. One at a time would wait 40 ms for each (performance.md 1.4)."""

QUEUE_MOST = 20_000
"""Readings kept in memory; what is more is read from the outbox."""

PAGE = 500
"""Readings read from the outbox at a time."""

RETRY_FIRST_S = 0.5
RETRY_MOST_S = 30.0
STATUS_S = 1.0
_SLICE = 250  # messages written before the rest of the nest has its turn
_TRUTH_SLICE = 50
_FAREWELL_S = 0.5
_TOPICS_MOST = 200_000


class Outbox(Protocol):
    """Readings that are stored and not known to be published."""

    def after(self, seq: int, limit: int = PAGE) -> Sequence[tuple[int, ReadingEvent]]:
        """The first `limit` with a number greater than `seq`, in the order of their numbers."""
        ...


class MqttPublisher:
    """Publishes what is offered, and what the outbox holds beyond `mark`, from `run` on until that is cancelled.

    `latest` gives every node's latest reading, and is best a generator that asks the archive for a few at a time;
    `removed` gives the slugs whose retained messages must go. Both are asked after each new connection.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        outbox: Outbox,
        mark: int,
        latest: Callable[[], Iterable[ReadingEvent]] = tuple,
        removed: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._broker, self._topic = broker, topic  # <prefix>/<town>
        self._outbox, self._latest, self._removed = outbox, latest, removed
        self.done = mark
        self.connected = False
        self.published = 0  # readings acknowledged
        self.trouble: str | None = None  # why there is no connection

        self._connection: Connection | None = None
        self._in_flight: deque[tuple[int, int, bytes]] = deque()  # packet id, number in the outbox or 0, packet
        self._early: set[int] = set()  # packet ids acknowledged before an earlier one
        self._packet_id = 0
        self._queue: deque[tuple[int, ReadingEvent]] = deque()
        self._newest = mark  # number of the last one in the queue, or sent
        self._behind = True  # there may be readings in the outbox that are not in the queue
        self._fresh: dict[str, float] = {}  # node -> time of its newest reading that was sent on this connection
        self._truth: Iterator[ReadingEvent] | None = None  # None: told, on this connection
        self._forget: dict[str, None] = {}  # slugs, in order
        self._heard: dict[str, Uplink] = {}
        self._statuses: deque[Uplink] = deque()
        self._statuses_at, self._statuses_wait = -math.inf, False
        self._pump_waits, self._outbox_rests = False, False
        self._all_acknowledged = asyncio.Event()
        self._topics: dict[str, bytes] = {}

    def status(self) -> dict[str, object]:
        """For `nest status`."""
        return {
            "broker": f"{self._broker.host}:{self._broker.port}",
            "connected": self.connected,
            "published": self.published,
            "trouble": self.trouble,
        }

    # what the engine says; each of these only notes it, whatever the broker does

    def offer(self, items: Sequence[tuple[int, ReadingEvent]]) -> None:
        """Readings that have just been stored, with their numbers in the outbox, rising."""
        if self._behind or not items:
            return  # they are read from the outbox
        if len(self._queue) + len(items) > QUEUE_MOST:
            self._behind = True
            return
        if items[0][0] <= self._newest:  # read from the outbox before they were offered
            items = [item for item in items if item[0] > self._newest]
            if not items:
                return
        if items[0][0] > self._newest + 1:  # numbers have no gaps: something stands there that nobody has offered
            self._behind = True
            self._pump_soon()
            return
        if self._forget:
            for _, event in items:
                self._forget.pop(event.node_slug, None)  # there is a node of that name again
        self._queue.extend(items)
        self._newest = items[-1][0]
        self._pump_soon()

    def heard(self, uplink: Uplink) -> None:
        """Who heard a node's frame. Only the latest of each node is kept."""
        self._heard[uplink.node] = uplink
        if not self._statuses_wait:
            self._take_statuses_soon()

    def forget(self, slug: str) -> None:
        """Take back a removed node's retained messages."""
        self._forget[slug] = None
        self._heard.pop(slug, None)
        self._statuses = deque(uplink for uplink in self._statuses if uplink.node != slug)
        self._pump_soon()

    # the connection

    async def run(self) -> None:
        """Connect, publish, and connect again, until cancelled."""
        pause = RETRY_FIRST_S
        while True:
            connected_at = None
            try:
                will = mqtt_wire.Will(f"{self._topic}/status", b"offline")
                connection = await open_connection(self._broker, will, self._acknowledged, self._pump)
                connected_at = time.monotonic()
                _log.info("connected to the MQTT broker %s:%d", self._broker.host, self._broker.port)
                await self._publish_until_lost(connection)
            except (OSError, ValueError, RefusedError, mqtt_wire.ProtocolError, UserError) as error:
                self._note(in_words(self._broker, error))
            except Exception as error:  # a mistake of ours: no reason to end the nest
                _log.exception("publishing by MQTT was cut off")
                self.trouble = type(error).__name__
            if connected_at is not None and time.monotonic() - connected_at > RETRY_MOST_S:
                pause = RETRY_FIRST_S
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  only spreads the attempts
            pause = min(pause * 2, RETRY_MOST_S)

    def _note(self, told: UserError) -> None:
        """Say why there is no connection: once per absence and reason, not once per attempt."""
        if self.trouble != told.message:
            _log.warning("%s %s", told.message, told.next_step)
        self.trouble = told.message

    async def _publish_until_lost(self, connection: Connection) -> None:
        """Raises what ended the connection. Cancelled, its last word is `offline`."""
        self._connection = connection
        self.connected, self.trouble = True, None
        self._begin(connection)
        try:
            await asyncio.shield(connection.lost)
        except asyncio.CancelledError:
            self._connection = None  # nothing more is begun
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._say_farewell(connection)
            raise
        finally:
            connection.fail(ConnectionError())
            self.connected, self._connection = False, None
            self._queue.clear()  # the outbox has them
            self._behind, self._newest = True, max([self.done, *(seq for _, seq, _ in self._in_flight)])

    def _begin(self, connection: Connection) -> None:
        connection.write([mqtt_wire.again(packet) for _, _, packet in self._in_flight])
        self._early.clear()
        self._fresh.clear()
        self._truth, self._outbox_rests = self._whole_truth(), False
        connection.write([self._packet("status", b"online")])
        if self._heard and not self._statuses_wait:
            self._take_statuses_soon()
        self._pump_soon()

    async def _say_farewell(self, connection: Connection) -> None:
        connection.write([self._packet("status", b"offline")])
        self._all_acknowledged.clear()
        await self._all_acknowledged.wait()
        await connection.close()

    # sending

    def _pump_soon(self) -> None:
        if not self._pump_waits and self._connection is not None:
            self._pump_waits = True
            self._connection.loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._pump_waits = False
        self._pump()

    def _pump(self) -> None:
        """Write what may be written now, at most a slice of it; the rest of the nest has its turn before the next."""
        connection = self._connection
        room = min(_SLICE, WINDOW - len(self._in_flight))
        if connection is None or connection.paused or room <= 0:
            return
        if self._behind and not self._queue and not self._outbox_rests:
            self._read_on(connection)
        packets: list[bytes] = []
        queue = self._queue
        while queue and len(packets) < room:
            seq, event = queue.popleft()
            self._add_reading(packets, event, seq)
        if not queue and not self._behind:
            self._add_the_less_urgent(packets, room, connection)
        if packets:
            connection.write(packets)
        if queue or self._truth or self._forget or self._statuses or (self._behind and not self._outbox_rests):
            self._pump_soon()  # in vain when the window is full: its PUBACKs come here again

    def _read_on(self, connection: Connection) -> None:
        """Fill the queue from the outbox; a page that is not full was the last: from here on memory has all."""
        try:
            page = self._outbox.after(self._newest, PAGE)
        except Exception:
            _log.exception("the outbox cannot be read")
            self._outbox_rests = True
            connection.loop.call_later(RETRY_FIRST_S, self._read_again)
            return
        if page:
            self._queue.extend(page)
            self._newest = page[-1][0]
        self._behind = len(page) >= PAGE

    def _read_again(self) -> None:
        self._outbox_rests = False
        self._pump_soon()

    def _add_reading(self, packets: list[bytes], event: ReadingEvent, seq: int = 0) -> None:
        slug, moment = event.node_slug, event.time
        earlier = is_earlier(event)
        newest = not earlier and moment >= self._fresh.get(slug, moment)
        try:
            name = f"{slug}/earlier" if earlier else f"{slug}/reading"
            packets.append(self._packet(name, reading_json(event), seq, retain=newest))
        except Exception:  # a quantity that nobody knows, for example; the others shall come through
            _log.exception("a reading of %s cannot be published", slug)
            return
        if newest:
            self._fresh[slug] = moment

    def _add_the_less_urgent(self, packets: list[bytes], room: int, connection: Connection) -> None:
        if self._truth is not None:
            self._add_truth(packets, room, connection)
        while self._forget and len(packets) < room:
            slug = next(iter(self._forget))
            del self._forget[slug]
            packets += [self._packet(f"{slug}/{part}", b"") for part in ("reading", "status")]
        while self._statuses and len(packets) < room:
            uplink = self._statuses.popleft()
            packets.append(self._packet(f"{uplink.node}/status", status_json(uplink)))

    def _whole_truth(self) -> Iterator[ReadingEvent]:
        for slug in self._removed():
            self._forget[slug] = None
        yield from self._latest()

    def _add_truth(self, packets: list[bytes], room: int, connection: Connection) -> None:
        truth = self._truth
        assert truth is not None  # noqa: S101  for the type checker
        try:
            for _ in range(min(_TRUTH_SLICE, room - len(packets))):
                event = next(truth, None)
                if event is None:
                    self._truth = None
                    return
                if event.time > self._fresh.get(event.node_slug, -math.inf):
                    self._add_reading(packets, event)
        except Exception:
            _log.exception("the latest readings cannot be read")
            self._truth = None
            connection.loop.call_later(RETRY_FIRST_S, self._tell_truth_again, connection)

    def _tell_truth_again(self, connection: Connection) -> None:
        if connection is self._connection:
            self._truth = self._whole_truth()
            self._pump_soon()

    def _take_statuses_soon(self) -> None:
        if self._connection is not None:
            self._statuses_wait = True
            loop = self._connection.loop
            loop.call_at(max(loop.time(), self._statuses_at + STATUS_S), self._take_statuses, loop)

    def _take_statuses(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was heard since the last time, unless there are still some of that left."""
        self._statuses_wait, self._statuses_at = False, loop.time()
        if self._statuses:
            self._take_statuses_soon()
        else:
            self._statuses.extend(self._heard.values())
            self._heard.clear()
        self._pump_soon()

    def _packet(self, name: str, payload: bytes, seq: int = 0, *, retain: bool = True) -> bytes:
        """The next PUBLISH; from now on it is in flight."""
        topic = self._topics.get(name)
        if topic is None:
            if len(self._topics) >= _TOPICS_MOST:
                self._topics.clear()
            topic = self._topics[name] = mqtt_wire.topic_name(f"{self._topic}/{name}")
        packet_id = self._packet_id = self._packet_id % mqtt_wire.MOST_PACKET_ID + 1
        packet = mqtt_wire.publish(topic, packet_id, payload, retain=retain)
        self._in_flight.append((packet_id, seq, packet))
        return packet

    # what the broker says

    def _acknowledged(self, packet_ids: Sequence[int]) -> None:
        """PUBACKs. Raises ProtocolError: nobody waits for one of them."""
        in_flight = self._in_flight
        for packet_id in packet_ids:
            if not in_flight or in_flight[0][0] != packet_id or self._early:
                self._acknowledged_early(packet_id)
                continue
            seq = in_flight.popleft()[1]
            if seq:
                self.done = seq
                self.published += 1
        if not in_flight:
            self._all_acknowledged.set()
        self._pump()

    def _acknowledged_early(self, packet_id: int) -> None:
        """Not in the order of sending, as 4.6.0-2 wants it: `done` waits until those before it are acknowledged."""
        if packet_id in self._early or all(packet_id != entry[0] for entry in self._in_flight):
            raise mqtt_wire.ProtocolError(f"PUBACK for packet identifier {packet_id}, which is not in use", "2.3.1")
        self._early.add(packet_id)
        while self._in_flight and self._in_flight[0][0] in self._early:
            first, seq, _ = self._in_flight.popleft()
            self._early.discard(first)
            if seq:
                self.done = seq
                self.published += 1
