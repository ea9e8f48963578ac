"""MQTT against a real broker (amqtt) and a real client (paho): what is retained, and a broker that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable

import aiomqtt
import pytest
from gateway.running import free_port
from nest.live import Live, ReadingEvent
from nest.model import Heard
from nest.publish.broker import EmbeddedBroker
from nest.publish.mqtt import Broker, MqttPublisher

LIMIT_S = 15.0
TOPIC = "funkspatz/stadt"
HEARD = Heard("aa" * 8, -80.0, 7.5, 868_100_000, 1000.0)


def event(slug: str = "amsel", *, time: float = 1_777_636_800.25, temperature: float = 21.4) -> ReadingEvent:
    return ReadingEvent(
        slug,
        time,
        {"temperature": temperature, "humidity": None},
        {"temperature": "good", "humidity": "failed"},
        (HEARD,),
        7,
    )


@contextlib.asynccontextmanager
async def broker(port: int = 0) -> AsyncIterator[EmbeddedBroker]:
    embedded = EmbeddedBroker()
    await embedded.start("127.0.0.1", port)
    try:
        yield embedded
    finally:
        await embedded.stop()


@contextlib.asynccontextmanager
async def publishing(
    port: int,
    live: Live,
    latest: Callable[[], Iterable[ReadingEvent]] = tuple,
    removed: Callable[[], Iterable[str]] = tuple,
) -> AsyncIterator[MqttPublisher]:
    publisher = MqttPublisher(Broker("127.0.0.1", port), TOPIC, live, latest, removed)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  it is somebody else's attribute that is waited for
            await asyncio.sleep(0.01)


async def retained(port: int, topic: str = f"{TOPIC}/#", *, wanted: int) -> dict[str, str]:
    """What a subscriber that comes now is given, once `wanted` messages have come."""
    found: dict[str, str] = {}
    async with asyncio.timeout(LIMIT_S), aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            found[str(message.topic)] = message.payload.decode()
            if len(found) >= wanted:
                break
    return found


async def test_a_reading_is_retained_with_its_units_and_what_failed() -> None:
    live = Live()
    async with broker() as embedded, publishing(embedded.port, live) as publisher:
        await until(lambda: live.subscribers == 1)
        live.publish(event())
        await until(lambda: publisher.published == 1)
        found = await retained(embedded.port, wanted=3)
    assert found[f"{TOPIC}/status"] == "online"
    assert json.loads(found[f"{TOPIC}/amsel/reading"]) == {
        "time": "2026-05-01T12:00:00.250Z",
        "node": "amsel",
        "values": {
            "temperature": {"value": 21.4, "unit": "°C"},
            "humidity": {"value": None, "unit": "%", "quality": "failed"},
        },
    }
    assert json.loads(found[f"{TOPIC}/amsel/status"]) == {
        "time": "2026-05-01T12:00:00.250Z",
        "node": "amsel",
        "fcnt": 7,
        "heard": [{"gateway": "aa" * 8, "rssi": -80.0, "snr": 7.5}],
    }


async def test_a_subscriber_hears_every_reading_in_order() -> None:
    live = Live()
    heard: list[float] = []
    async with broker() as embedded, publishing(embedded.port, live), asyncio.timeout(LIMIT_S):
        await until(lambda: live.subscribers == 1)
        async with aiomqtt.Client("127.0.0.1", embedded.port) as client:
            await client.subscribe(f"{TOPIC}/amsel/reading", qos=1)
            for number in range(50):
                live.publish(event(temperature=float(number)))
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                heard.append(json.loads(message.payload)["values"]["temperature"]["value"])
                if len(heard) == 50:
                    break
    assert heard == [float(number) for number in range(50)]


async def test_a_broker_that_is_away_at_the_start_is_found_when_it_comes() -> None:
    live, port = Live(), free_port()
    async with publishing(port, live, lambda: [event(temperature=1.5)]) as publisher:
        await until(lambda: publisher.trouble is not None)
        assert publisher.status()["connected"] is False
        live.publish(event())  # nobody waits for it
        async with broker(port):
            found = await retained(port, f"{TOPIC}/amsel/reading", wanted=1)
            await until(lambda: publisher.published == 1)
            assert publisher.status() == {
                "broker": f"127.0.0.1:{port}", "connected": True, "published": 1, "trouble": None,
            }  # fmt: skip
    assert json.loads(found[f"{TOPIC}/amsel/reading"])["values"]["temperature"]["value"] == 1.5


async def test_after_an_absence_the_latest_reading_of_every_node_is_retained_again() -> None:
    live, port, state = Live(), free_port(), {"amsel": 1.0, "meise": 2.0}
    latest = lambda: [event(slug, temperature=value) for slug, value in state.items()]  # noqa: E731
    async with publishing(port, live, latest) as publisher:
        async with broker(port):
            await until(lambda: publisher.published == 2)
        await until(lambda: publisher.trouble is not None and not publisher.connected)
        state["amsel"] = 9.0
        live.publish(event(temperature=9.0))
        async with broker(port):
            found = await retained(port, f"{TOPIC}/+/reading", wanted=2)
    temperatures = {topic: json.loads(text)["values"]["temperature"]["value"] for topic, text in found.items()}
    assert temperatures == {f"{TOPIC}/amsel/reading": 9.0, f"{TOPIC}/meise/reading": 2.0}


async def test_an_archive_that_fails_once_does_not_end_the_publishing() -> None:
    answers = iter([RuntimeError("disk"), [event(temperature=1.5)]])

    def latest() -> Iterable[ReadingEvent]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with broker() as embedded, publishing(embedded.port, Live(), latest) as publisher:
        await until(lambda: publisher.published == 1)
        assert publisher.trouble is None


async def test_the_last_word_is_offline() -> None:
    async with broker() as embedded:
        async with publishing(embedded.port, Live()) as publisher:
            await until(lambda: publisher.connected)
            await retained(embedded.port, f"{TOPIC}/status", wanted=1)
        assert await retained(embedded.port, f"{TOPIC}/status", wanted=1) == {f"{TOPIC}/status": "offline"}


async def test_a_removed_node_is_taken_back() -> None:
    live, removed = Live(), list[str]()
    async with broker() as embedded:
        async with publishing(embedded.port, live) as publisher:
            await until(lambda: live.subscribers == 1)
            for slug in ("amsel", "meise", "star"):
                live.publish(event(slug))
            await until(lambda: publisher.published == 3)
            publisher.forget("amsel")
            live.publish(event("fink"))
            await until(lambda: publisher.published == 4)
        removed.append("meise")  # while the nest was not connected
        async with publishing(embedded.port, live, removed=lambda: removed) as publisher:
            await until(lambda: live.subscribers == 1)
            live.publish(event("zeisig"))
            await until(lambda: publisher.published == 1)
            found = await retained(embedded.port, f"{TOPIC}/+/reading", wanted=3)
            more = await retained(embedded.port, wanted=7)
    assert {topic.split("/")[2] for topic in found} == {"star", "fink", "zeisig"}
    assert not [topic for topic in more if "amsel" in topic or "meise" in topic]


async def test_an_occupied_port_is_an_os_error() -> None:
    async with broker() as embedded:
        with pytest.raises(OSError, match="in use"):
            await EmbeddedBroker().start("127.0.0.1", embedded.port)


async def test_stopping_does_not_wait_for_a_broker_that_never_answers() -> None:
    """A listener whose queue is full answers nothing at all, like a firewall that drops."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as mute:
        port = mute.getsockname()[1]
        async with publishing(port, Live()) as publisher:
            await asyncio.sleep(0.2)
            assert not publisher.connected
        # leaving the block cancels the publisher; the test ends at once or runs into pytest's patience


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", Broker("host", 1883)),
        ("mqtts://host", Broker("host", 8883, tls=True)),
        ("mqtt://me:p%40ss@host:1234", Broker("host", 1234, username="me", password="p@ss")),
        ("mqtt://[::1]:1884/", Broker("::1", 1884)),
    ],
)
def test_the_broker_s_address_is_read_from_its_url(url: str, expected: Broker) -> None:
    assert Broker.from_url(url) == expected
    assert "p@ss" not in repr(Broker.from_url(url))


async def test_a_slow_subscriber_loses_its_oldest_events_and_nobody_else_s() -> None:
    live = Live(limit=2)
    with live.subscribe() as slow, live.subscribe() as quick:
        heard = []
        for number in range(3):
            live.publish(event(temperature=float(number)))
            heard.append(quick.get_nowait().values["temperature"])
        assert heard == [0.0, 1.0, 2.0]
        assert [slow.get_nowait().values["temperature"] for _ in range(2)] == [1.0, 2.0]
    assert live.subscribers == 0
