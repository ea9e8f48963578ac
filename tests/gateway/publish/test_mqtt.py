"""What reaches a broker: every reading, in order, whatever the broker does; and what it retains.

A broker that does as it is told shows what is on the wire; test_mosquitto.py does the same with a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from gateway.running import free_port
from nest.live import ReadingEvent
from nest.publish import mqtt
from nest.publish.broker import EmbeddedBroker
from nest.publish.mqtt import Broker, MqttPublisher, Outbox

from .peers import (
    NOON,
    TOPIC,
    FakeBroker,
    Stored,
    Told,
    event,
    puback,
    readings,
    subscribed,
    until,
    uplink,
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost broker is tried again soon."""
    monkeypatch.setattr(mqtt, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(mqtt, "RETRY_MOST_S", 0.05)


@contextlib.asynccontextmanager
async def fake(code: int = 0) -> AsyncIterator[tuple[FakeBroker, int]]:
    broker = FakeBroker(code)
    port = await broker.listen()
    try:
        yield broker, port
    finally:
        broker.close()


@contextlib.asynccontextmanager
async def publishing(
    port: int,
    outbox: Outbox | None = None,
    latest: Callable[[], Iterable[ReadingEvent]] = tuple,
    removed: Callable[[], Iterable[str]] = tuple,
    mark: int = 0,
    **login: Any,
) -> AsyncIterator[MqttPublisher]:
    publisher = MqttPublisher(Broker("127.0.0.1", port, **login), TOPIC, outbox or Stored(), mark, latest, removed)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def said(told: Sequence[Told]) -> list[float]:
    """The temperatures of the readings among `told`."""
    return [one.temperature for one in told if one.temperature is not None]


def repeated(told: Sequence[Told]) -> list[Told]:
    """The readings among `told` that were told before."""
    seen = set[float]()
    found = []
    for one in told:
        if one.temperature is not None:
            if one.temperature in seen:
                found.append(one)
            seen.add(one.temperature)
    return found


def firsts(values: Iterable[float]) -> list[float]:
    """Each value where it stands first."""
    return list(dict.fromkeys(values))


async def caught_up(publisher: MqttPublisher, port: int) -> None:
    """Connected, and everything in the outbox is read: from now on readings go the short way."""
    await until(lambda: publisher.connected and not publisher._behind, "the connection")


# what is on the wire


async def test_what_is_said_first_is_who_and_whether_it_lives() -> None:
    async with fake() as (broker, port), publishing(port, username="me", password="päss") as publisher:
        await until(lambda: publisher.connected and broker.told)
        hello = broker.hellos[0]
        assert hello.startswith(b"\x00\x04MQTT\x04")
        assert f"{TOPIC}/status".encode() in hello
        assert b"\x00\x07offline" in hello
        assert hello.endswith(b"\x00\x02me\x00\x05p\xc3\xa4ss")
        first = broker.told[0]
        assert (first.topic, first.payload, first.qos, first.retain) == (f"{TOPIC}/status", b"online", 1, True)


async def test_a_reading_that_is_offered_is_retained_with_qos_1_and_done_when_acknowledged() -> None:
    async with fake() as (broker, port), publishing(port, mark=4) as publisher:
        await caught_up(publisher, port)
        broker.acknowledge = lambda *_: None
        publisher.offer([(5, event(temperature=1.0)), (6, event(temperature=2.0))])
        await until(lambda: said(broker.told) == [1.0, 2.0])
        assert publisher.done == 4
        two, one = broker.told[-1], broker.told[-2]
        assert (one.qos, one.retain, one.dup, one.topic) == (1, True, False, f"{TOPIC}/amsel/reading")
        puback(one, broker.transports[0].write)
        await until(lambda: publisher.done == 5)
        puback(two, broker.transports[0].write)
        await until(lambda: publisher.done == 6)
        assert publisher.published == 2


async def test_done_waits_for_an_earlier_one_that_is_not_acknowledged() -> None:
    async with fake() as (broker, port), publishing(port) as publisher:
        await caught_up(publisher, port)
        await until(lambda: not publisher._in_flight)
        kept: list[Told] = []
        broker.acknowledge = lambda told, _: kept.append(told)
        publisher.offer(readings(4))
        await until(lambda: len(kept) == 4)
        for place in (3, 1, 2):
            puback(kept[place], broker.transports[0].write)
        await asyncio.sleep(0.05)
        assert publisher.done == 0
        puback(kept[0], broker.transports[0].write)
        await until(lambda: publisher.done == 4)


async def test_what_was_stored_before_is_read_from_the_outbox_beyond_the_mark() -> None:
    outbox = Stored(readings(1700, 7))
    async with fake() as (broker, port), publishing(port, outbox, mark=100) as publisher:
        await until(lambda: publisher.done == 1700)
        assert said(broker.told) == [float(seq) for seq in range(101, 1701)]
        assert not any(told.dup for told in broker.told)
        assert outbox.asked == [100, 600, 1100, 1600], "it reads more, or more often, than it must"


async def test_what_is_offered_while_nobody_listens_comes_from_the_outbox() -> None:
    rows, port = readings(50), free_port()
    outbox = Stored()
    async with publishing(port, outbox) as publisher:
        await until(lambda: publisher.trouble)
        for row in rows:
            outbox.rows.append(row)
            publisher.offer([row])
        assert not publisher._queue, "memory grows while the broker is away"
        broker = FakeBroker()
        await broker.listen(port)
        await until(lambda: publisher.done == 50)
        assert said(broker.told) == [float(seq) for seq in range(1, 51)]
        assert publisher.trouble is None
        broker.close()


async def test_what_was_read_from_the_outbox_is_not_taken_again_when_it_is_offered() -> None:
    rows = readings(10)
    async with fake() as (broker, port), publishing(port, Stored(rows[:7])) as publisher:
        await until(lambda: publisher.done == 7)
        publisher.offer(rows[:5])
        publisher.offer(rows[3:])
        await until(lambda: publisher.done == 10)
        assert said(broker.told) == [float(seq) for seq in range(1, 11)]


async def test_what_nobody_offered_is_read_from_the_outbox() -> None:
    """Another program has written a reading, or an offer was lost by a mistake: `done` may not pass over it."""
    rows = readings(6)
    outbox = Stored()
    async with fake() as (broker, port), publishing(port, outbox) as publisher:
        await caught_up(publisher, port)
        outbox.rows += rows[:3]
        publisher.offer(rows[:1])
        publisher.offer(rows[2:3])  # and never the second
        await until(lambda: publisher.done == 3)
        outbox.rows += rows[3:]
        publisher.offer(rows[3:5])
        publisher.offer(rows[5:])
        await until(lambda: publisher.done == 6)
        assert said(broker.told) == [float(seq) for seq in range(1, 7)]


async def test_more_than_memory_may_hold_is_read_from_the_outbox_without_gap_or_repetition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt, "QUEUE_MOST", 40)
    monkeypatch.setattr(mqtt, "WINDOW", 10)
    rows = readings(500, 3)
    outbox = Stored()
    async with fake() as (broker, port), publishing(port, outbox) as publisher:
        await caught_up(publisher, port)
        await until(lambda: not publisher._in_flight)
        held: list[tuple[Told, Callable[[bytes], None]]] = []
        broker.acknowledge = lambda told, send: held.append((told, send))
        for at in range(0, 500, 20):
            outbox.rows += rows[at : at + 20]
            publisher.offer(rows[at : at + 20])
            assert len(publisher._queue) <= 40
            await asyncio.sleep(0)
        await until(lambda: len(held) == 10)
        await asyncio.sleep(0.05)
        assert len(held) == 10, "more than the window without a PUBACK"
        broker.acknowledge = puback
        for told, send in held:
            puback(told, send)
        await until(lambda: publisher.done == 500)
        assert said(broker.told) == [float(seq) for seq in range(1, 501)]


async def test_a_broker_that_takes_nothing_makes_nothing_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "QUEUE_MOST", 2000)
    monkeypatch.setattr(mqtt, "WINDOW", 10**6)
    async with fake() as (broker, port), publishing(port) as publisher:
        await caught_up(publisher, port)
        await until(lambda: not publisher._in_flight)
        broker.transports[0].pause_reading()
        for at in range(1, 200_000, 200):
            publisher.offer(readings(200, 50, at))
            await asyncio.sleep(0)
        assert publisher._connection is not None
        assert publisher._connection.paused
        assert publisher._connection._transport.get_write_buffer_size() < 1 << 20
        assert len(publisher._queue) <= 2000


# connections that end


async def test_unacknowledged_messages_are_sent_again_with_dup() -> None:
    rows = readings(30, 2)
    async with fake() as (broker, port), publishing(port, Stored(rows)) as publisher:

        def half(told: Told, send: Callable[[bytes], None]) -> None:
            if told.temperature is None or told.temperature <= 10 or broker.connections > 1:
                puback(told, send)

        broker.acknowledge = half
        await until(lambda: publisher.done == 10 and len(said(broker.told)) == 30)
        seen = len(broker.told)
        broker.cut()
        await until(lambda: publisher.done == 30)
        later = [told for told in broker.told[seen:] if told.temperature is not None]
        assert [told.temperature for told in later] == [float(seq) for seq in range(11, 31)]
        assert all(told.dup for told in later)
        assert {told.packet_id for told in later} == {
            t.packet_id for t in broker.told[:seen] if t.temperature in said(later)
        }


@pytest.mark.parametrize("seed", range(12))
async def test_whenever_the_connection_ends_every_reading_comes_in_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offers, PUBACKs and cuts in any order."""
    monkeypatch.setattr(mqtt, "WINDOW", 50)
    monkeypatch.setattr(mqtt, "QUEUE_MOST", 60)
    chance = random.Random(seed)  # noqa: S311  to be repeated
    rows = readings(400, 5)
    outbox = Stored()
    cuts = chance.sample(range(400), 5)

    def acknowledge(told: Told, send: Callable[[bytes], None]) -> None:
        if len(broker.told) in cuts:
            broker.cut()
        else:
            puback(told, send)

    async with fake() as (broker, port), publishing(port, outbox) as publisher:
        broker.acknowledge = acknowledge
        at = 0
        while at < len(rows):
            size = chance.randint(1, 40)
            outbox.rows += rows[at : at + size]
            publisher.offer(rows[at : at + size])
            at += size
            await asyncio.sleep(chance.choice((0, 0, 0.002)))
        await until(lambda: publisher.done == 400, "the end")
        assert broker.connections > 1
        assert firsts(said(broker.told)) == [float(seq) for seq in range(1, 401)]
        assert all(told.dup for told in repeated(broker.told)), "sent again, and not marked as such"


async def test_a_broker_that_speaks_nonsense_is_left_and_tried_again() -> None:
    async with fake() as (broker, port), publishing(port) as publisher:
        await until(lambda: publisher.connected)
        broker.transports[0].write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await until(lambda: broker.connections > 1 and publisher.connected)


async def test_an_acknowledgement_that_nobody_waits_for_ends_the_connection() -> None:
    async with fake() as (broker, port), publishing(port) as publisher:
        await until(lambda: publisher.connected)
        broker.transports[0].write(b"\x40\x02\x12\x34")
        await until(lambda: broker.connections > 1 and publisher.connected)


async def test_a_broker_without_a_sign_of_life_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nest.publish.connection._PING_S", 0.1)
    async with fake() as (broker, port), publishing(port) as publisher:
        await until(lambda: publisher.connected)
        await asyncio.sleep(0.3)
        assert broker.connections == 1, "a broker that answers pings was left"
        broker.silent = True
        await until(lambda: publisher.trouble, "the doubt")
        assert "no answer" in str(publisher.trouble)


async def test_trouble_is_told_once_and_not_once_per_attempt(caplog: pytest.LogCaptureFixture) -> None:
    async with publishing(free_port(), username="me", password="geheim") as publisher:
        await until(lambda: publisher.trouble)
        await asyncio.sleep(0.3)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "is away (Connection refused)" in told[0]
    assert "Start it, or correct url under [mqtt] in town.toml." in told[0]
    assert publisher.status()["connected"] is False
    assert "geheim" not in str(told) + str(publisher.status()) + repr(publisher._broker)


@pytest.mark.parametrize(
    ("code", "words"), [(4, "refuses this user name and password"), (5, "refuses this"), (3, "server unavailable")]
)
async def test_a_broker_that_lets_nobody_in_says_why(code: int, words: str) -> None:
    async with fake(code) as (broker, port), publishing(port, username="me", password="geheim") as publisher:
        await until(lambda: publisher.trouble)
        assert words in str(publisher.trouble)
        broker.code = 0
        await until(lambda: publisher.connected)
        assert publisher.trouble is None


async def test_stopping_does_not_wait_for_a_broker_that_never_answers() -> None:
    """A listener whose queue is full answers nothing at all, like a firewall that drops."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as mute:
        async with asyncio.timeout(5):
            async with publishing(mute.getsockname()[1]) as publisher:
                await asyncio.sleep(0.2)
                assert not publisher.connected


async def test_stopping_does_not_wait_for_a_name_that_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_: object, **__: object) -> Iterator[None]:
        loop.call_soon_threadsafe(asked.set)
        time.sleep(30)
        raise OSError

    monkeypatch.setattr("nest.publish.login.socket.getaddrinfo", hang)
    publisher = MqttPublisher(Broker("broker.example", 1883), TOPIC, Stored(), 0)
    task = asyncio.create_task(publisher.run())
    await asked.wait()
    task.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(task, return_exceptions=True)
        await loop.shutdown_default_executor()  # what asyncio.run does at the end


async def test_the_last_word_is_offline_after_everything_else() -> None:
    async with fake() as (broker, port):
        async with publishing(port, Stored(readings(300))) as publisher:
            await until(lambda: len(said(broker.told)) > 50)
        await until(lambda: broker.farewells)
        last = broker.told[-1]
        assert (last.topic, last.payload, last.retain) == (f"{TOPIC}/status", b"offline", True)
        assert publisher.done == max(said(broker.told)), "what was acknowledged at the end is not noted"


async def test_without_an_answer_to_the_last_word_the_will_stands() -> None:
    async with fake() as (broker, port):
        async with publishing(port) as publisher:
            await until(lambda: publisher.connected and not publisher._in_flight and broker.told)
            broker.acknowledge = lambda *_: None
        await asyncio.sleep(0.05)
        assert broker.told[-1].payload == b"offline"
        assert broker.farewells == 0, "DISCONNECT takes the will back"


# what is retained


async def test_after_each_connection_every_node_s_latest_reading_is_told_that_was_not_told_yet() -> None:
    outbox = Stored(readings(20, 2))  # node-0, node-1

    def latest() -> Iterator[ReadingEvent]:
        yield event("node-0", temperature=20.0, moment=NOON + 20)
        yield event("meise", temperature=7.0)
        yield event("node-1", temperature=19.0, moment=NOON + 19)

    async with fake() as (broker, port), publishing(port, outbox, latest) as publisher:
        await until(lambda: 7.0 in said(broker.told))
        await asyncio.sleep(0.02)
        assert said(broker.told) == [*(float(seq) for seq in range(1, 21)), 7.0]
        assert publisher.published == 20
        broker.cut()
        await until(lambda: broker.connections == 2 and said(broker.told[-3:]) == [20.0, 7.0, 19.0])


async def test_the_latest_reading_is_not_told_before_those_that_wait() -> None:
    outbox = Stored(readings(2000))
    latest = lambda: [event("node-0", temperature=2000.0, moment=NOON + 2000)]  # noqa: E731
    async with fake() as (broker, port), publishing(port, outbox, latest) as publisher:
        await until(lambda: publisher.done == 2000)
        await asyncio.sleep(0.05)
        assert said(broker.told) == [float(seq) for seq in range(1, 2001)]


async def test_a_new_reading_does_not_wait_until_all_the_old_ones_are_told() -> None:
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    latest = lambda: (event(f"node-{number}", temperature=float(number)) for number in range(20_000))  # noqa: E731
    async with fake() as (broker, port), publishing(port, latest=latest) as publisher:
        watching = asyncio.create_task(watch())
        await until(lambda: len(said(broker.told)) > 100)
        publisher.offer([(1, event("meise", temperature=-1.0))])
        await until(lambda: publisher.done == 1)
        assert len(broker.told) < 10_000
        await until(lambda: len(broker.told) > 20_000)
        watching.cancel()
        assert turns > 20_000 / mqtt._SLICE, "the rest of the nest has no turn"


async def test_a_reading_that_was_lost_and_came_back_is_told_apart_and_not_retained() -> None:
    async with fake() as (broker, port), publishing(port) as publisher:
        await caught_up(publisher, port)
        publisher.offer([(1, event(temperature=2.0, moment=NOON))])
        lost = [event(temperature=float(3 + number), moment=NOON + 1 + number) for number in range(2)]
        for one, origin in zip(lost, ("recovered", "backfilled"), strict=True):
            one.origin = origin
        publisher.offer([(2, lost[0]), (3, lost[1]), (4, event(temperature=5.0, moment=NOON))])
        await until(lambda: publisher.done == 4)
        topic = f"{TOPIC}/amsel"
        by = {
            json.loads(told.payload)["values"]["temperature"]["value"]: (told.topic, told.retain)
            for told in broker.told
            if told.topic in (f"{topic}/reading", f"{topic}/earlier")
        }
        assert by == {
            2.0: (f"{topic}/reading", True),
            3.0: (f"{topic}/earlier", False),
            4.0: (f"{topic}/earlier", False),
            5.0: (f"{topic}/reading", True),
        }


async def test_a_reading_that_comes_late_is_told_but_not_retained() -> None:
    async with fake() as (broker, port), publishing(port) as publisher:
        await caught_up(publisher, port)
        publisher.offer([(1, event(temperature=2.0, moment=NOON))])
        publisher.offer([(2, event(temperature=1.0, moment=NOON - 3600)), (3, event("meise", moment=NOON - 7200))])
        publisher.offer([(4, event(temperature=3.0, moment=NOON + 60))])
        await until(lambda: publisher.done == 4)
        by = {told.temperature: told.retain for told in broker.told if told.temperature is not None}
        assert by == {2.0: True, 1.0: False, 21.4: True, 3.0: True}


async def test_an_archive_that_fails_once_does_not_end_the_publishing() -> None:
    answers = iter([RuntimeError("disk"), [event(temperature=1.5)]])

    def latest() -> Iterable[ReadingEvent]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with fake() as (broker, port), publishing(port, latest=latest):
        await until(lambda: said(broker.told) == [1.5])
        assert broker.connections == 1


async def test_an_outbox_that_cannot_be_read_is_read_again() -> None:
    class Locked(Stored):
        refusals = 2

        def after(self, seq: int, limit: int = 500) -> list[tuple[int, ReadingEvent]]:
            if self.refusals:
                self.refusals -= 1
                raise OSError("database is locked")
            return super().after(seq, limit)

    latest = lambda: [event("node-0", temperature=5.0, moment=NOON + 5), event("meise", temperature=7.0)]  # noqa: E731
    async with fake() as (broker, port), publishing(port, Locked(readings(5)), latest) as publisher:
        await until(lambda: 7.0 in said(broker.told) and publisher.done == 5)
        assert said(broker.told) == [1.0, 2.0, 3.0, 4.0, 5.0, 7.0], "the latest was told before those that wait"
        assert broker.connections == 1


async def test_a_reading_that_cannot_be_written_stops_no_other() -> None:
    rows = [
        (1, event(temperature=1.0)),
        (2, ReadingEvent("amsel", NOON, {"happiness": 1.0})),
        (3, event(temperature=3.0)),
    ]
    async with fake() as (broker, port), publishing(port, Stored(rows)) as publisher:
        await until(lambda: publisher.done == 3)
        assert said(broker.told) == [1.0, 3.0]


async def test_a_removed_node_is_taken_back_after_what_it_had_sent() -> None:
    async with fake() as (broker, port), publishing(port, removed=lambda: ["star"]) as publisher:
        await caught_up(publisher, port)
        publisher.offer([(1, event("amsel"))])
        publisher.heard(uplink("amsel"))
        publisher.forget("amsel")
        await until(lambda: f"{TOPIC}/amsel/status" in {told.topic for told in broker.told})
        await until(lambda: publisher.done == 1)
        last = {told.topic: told.payload for told in broker.told}
        for slug in ("amsel", "star"):
            assert last[f"{TOPIC}/{slug}/reading"] == last[f"{TOPIC}/{slug}/status"] == b""
        assert all(told.retain for told in broker.told)


async def test_a_node_of_the_same_name_is_not_taken_back() -> None:
    async with fake() as (broker, port), publishing(port) as publisher:
        await caught_up(publisher, port)
        publisher.forget("amsel")
        publisher.offer([(1, event("amsel", temperature=4.0))])
        await until(lambda: publisher.done == 1)
        await asyncio.sleep(0.02)
        assert [told.payload for told in broker.told if told.topic.endswith("amsel/reading") and not told.payload] == []


async def test_who_heard_a_node_is_told_at_once_and_then_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "STATUS_S", 0.3)
    async with fake() as (broker, port), publishing(port) as publisher:
        await caught_up(publisher, port)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        sent = 0
        while loop.time() - begin < 0.5:
            publisher.heard(uplink("amsel", sent))
            publisher.heard(uplink("meise", sent))
            sent += 1
            await asyncio.sleep(0.001)
        statuses = lambda: [  # noqa: E731
            json.loads(told.payload)["fcnt"] for told in broker.told if told.topic == f"{TOPIC}/amsel/status"
        ]
        await until(lambda: statuses()[-1] == sent - 1, "the latest")
        assert statuses()[0] == 0
        assert 2 <= len(statuses()) <= 2 + (loop.time() - begin) / 0.3
        assert statuses() == sorted(statuses())


async def test_who_heard_a_node_while_the_broker_was_away_is_told_later_and_only_the_latest() -> None:
    async with fake() as (broker, port):
        broker.silent = True
        async with publishing(port) as publisher:
            for fcnt in range(100):
                publisher.heard(uplink(fcnt=fcnt))
            broker.silent = False
            broker.cut()
            await until(lambda: any(told.topic.endswith("amsel/status") for told in broker.told))
            assert [json.loads(t.payload)["fcnt"] for t in broker.told if t.topic.endswith("amsel/status")] == [99]


# the embedded broker


async def test_the_embedded_broker_retains_what_is_published() -> None:
    embedded = EmbeddedBroker()
    await embedded.start("127.0.0.1", 0)
    try:
        async with publishing(embedded.port, Stored(readings(30, 3))) as publisher:
            await until(lambda: publisher.done == 30)
            publisher.heard(uplink("node-1"))
            async with subscribed(embedded.port) as subscriber:
                await until(lambda: len(subscriber.latest()) == 5)
                assert subscriber.latest()[f"{TOPIC}/status"] == "online"
                assert subscriber.temperatures("node-2") == [29.0]
        async with subscribed(embedded.port, f"{TOPIC}/status") as subscriber:
            await until(lambda: subscriber.latest().get(f"{TOPIC}/status") == "offline")
    finally:
        await embedded.stop()


async def test_nothing_of_a_lost_connection_is_kept() -> None:
    """A thousand reconnects must not leave a thousand connections in memory."""
    from nest.publish.connection import Connection

    async with fake() as (broker, port), publishing(port) as publisher:
        for count in range(1, 6):
            await until(lambda: publisher.connected and broker.connections == count)  # noqa: B023
            broker.cut()
            await until(lambda: not publisher.connected or broker.connections > count)  # noqa: B023
        await until(lambda: publisher.connected)
        gc.collect()
        assert sum(isinstance(one, Connection) for one in gc.get_objects()) <= 2
