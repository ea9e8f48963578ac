"""The same against mosquitto: what a subscriber hears, brokers that are killed, TLS and passwords."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from nest.live import ReadingEvent
from nest.publish import mqtt
from nest.publish.mqtt import Broker, MqttPublisher

from .peers import (
    NOON,
    TOPIC,
    Authority,
    Mosquitto,
    Stored,
    Subscriber,
    Wire,
    event,
    needs_mosquitto,
    readings,
    subscribed,
    until,
    uplink,
)

pytestmark = needs_mosquitto


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost broker is tried again soon."""
    monkeypatch.setattr(mqtt, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(mqtt, "RETRY_MOST_S", 0.1)


@contextlib.asynccontextmanager
async def publishing(
    broker: Broker,
    outbox: Stored | None = None,
    latest: Callable[[], Iterable[ReadingEvent]] = tuple,
) -> AsyncIterator[MqttPublisher]:
    publisher = MqttPublisher(broker, TOPIC, outbox or Stored(), 0, latest)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def at(mosquitto: Mosquitto, host: str = "127.0.0.1", **how: Any) -> Broker:
    return Broker(host, mosquitto.port, **how)


def in_order(subscriber: Subscriber, nodes: int) -> bool:
    return all(
        (heard := list(dict.fromkeys(subscriber.temperatures(f"node-{number}")))) == sorted(heard)
        for number in range(nodes)
    )


def all_heard(subscriber: Subscriber) -> set[float]:
    return {
        json.loads(text)["values"]["temperature"]["value"]
        for topic, text, _ in list(subscriber.messages)
        if topic.endswith("/reading")
    }


async def test_a_subscriber_hears_every_reading_once_and_in_order(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        outbox = Stored(readings(3000, 20))
        async with subscribed(mosquitto.port) as subscriber, publishing(at(mosquitto), outbox) as publisher:
            await until(lambda: publisher.done == 3000)
            live = readings(3000, 20, 3001)
            for start in range(0, 3000, 64):
                publisher.offer(live[start : start + 64])
                await asyncio.sleep(0)
            publisher.heard(uplink("node-3", 4242))
            await until(lambda: len(all_heard(subscriber)) == 6000)
            await until(lambda: any(topic == f"{TOPIC}/node-3/status" for topic, _, _ in subscriber.messages))
            for number in range(20):
                expected = [float(seq) for seq in range(1, 6001) if seq % 20 == number]
                assert subscriber.temperatures(f"node-{number}") == expected
        async with subscribed(mosquitto.port) as later:
            await until(lambda: len(later.latest()) == 22)
            assert later.latest()[f"{TOPIC}/status"] == "offline"
            assert later.temperatures("node-0") == [6000.0]
            assert all(retained for _, _, retained in later.messages)


async def test_the_broker_says_offline_when_the_nest_is_gone_without_a_word(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        wire = Wire(mosquitto.port)
        port = await wire.listen()
        async with subscribed(mosquitto.port, f"{TOPIC}/status") as subscriber, publishing(Broker("127.0.0.1", port)):
            await until(lambda: [text for _, text, _ in subscriber.messages] == ["online"])
            wire.close()
            await until(lambda: [text for _, text, _ in subscriber.messages] == ["online", "offline"])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_reading_is_lost_on_a_wire_that_is_cut_again_and_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  to be repeated
    count, nodes = 4000, 10
    rows = readings(count, nodes)
    outbox = Stored()
    with Mosquitto(tmp_path) as mosquitto:
        wire = Wire(mosquitto.port)
        port = await wire.listen()
        async with (
            subscribed(mosquitto.port) as subscriber,
            publishing(Broker("127.0.0.1", port), outbox) as publisher,
        ):
            cuts, next_cut, start = 0, 100, 0
            while publisher.done < count:
                if start < count:
                    size = chance.randint(1, 64)
                    outbox.rows += rows[start : start + size]
                    publisher.offer(rows[start : start + size])
                    start += size
                if len(wire.told) > next_cut:
                    wire.cut()
                    cuts, next_cut = cuts + 1, len(wire.told) + chance.randint(100, 1500)
                await asyncio.sleep(chance.choice((0, 0.001)))
            await until(lambda: len(all_heard(subscriber)) == count, "every reading")
            assert cuts >= 3
            assert in_order(subscriber, nodes)
        wire.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_broker_that_is_killed_gets_every_reading_and_then_knows_the_latest(tmp_path: Path, seed: int) -> None:
    """What a broker has acknowledged and then forgets, killed, no publisher can mend; but each reading is
    acknowledged by one, and in the end the last one knows the latest of every node."""
    chance = random.Random(seed)  # noqa: S311  to be repeated
    count, nodes = 4000, 10
    rows = readings(count, nodes)
    outbox = Stored()

    def latest() -> list[ReadingEvent]:
        return [*{item.node_slug: item for _, item in outbox.rows}.values(), event("silent", temperature=-5.0)]

    with Mosquitto(tmp_path) as mosquitto:
        wire = Wire(mosquitto.port)
        port = await wire.listen()
        async with publishing(Broker("127.0.0.1", port), outbox, latest) as publisher:
            kills = sorted(chance.sample(range(100, count), 3))
            for start in range(0, count, 50):
                outbox.rows += rows[start : start + 50]
                publisher.offer(rows[start : start + 50])
                await asyncio.sleep(0.001)
                if kills and start >= kills[0]:
                    kills.pop(0)
                    mosquitto.kill()
                    await asyncio.sleep(chance.choice((0, 0.1)))
                    mosquitto.start()
            await until(lambda: publisher.done == count)
            assert {told.temperature for told in wire.acknowledged} >= {float(seq) for seq in range(1, count + 1)}
            async with subscribed(mosquitto.port) as subscriber:
                await until(lambda: len(subscriber.latest()) == nodes + 2, "what is retained")
                found = {topic.split("/")[2]: text for topic, text in subscriber.latest().items() if "reading" in topic}
                for number in range(nodes):
                    told = json.loads(found[f"node-{number}"])["values"]["temperature"]["value"]
                    assert told == max(seq for seq in range(1, count + 1) if seq % nodes == number)
                assert json.loads(found["silent"])["values"]["temperature"]["value"] == -5.0
        wire.close()


# passwords and TLS


@pytest.fixture
def passwords(tmp_path: Path) -> list[str]:
    """Settings of a broker that lets in `nest` with `right one` and nobody else."""
    file = tmp_path / "passwords"
    file.write_text("nest:right one\n")
    done = subprocess.run(["mosquitto_passwd", "-U", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file.chmod(0o600)
    return [f"password_file {file}"]


async def test_a_password_is_asked_for(tmp_path: Path, passwords: list[str]) -> None:
    with Mosquitto(tmp_path, *passwords, anonymous=False) as mosquitto:
        right = at(mosquitto, username="nest", password="right one")
        await mqtt.check_broker(right)
        async with publishing(right, Stored(readings(5))) as publisher:
            await until(lambda: publisher.done == 5)


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ({"username": "nest", "password": "Geheim!"}, "refuses this user name and password"),
        ({"username": "amsel", "password": "Geheim!"}, "refuses this user name and password"),
        ({}, "lets nobody in without a user name and a password"),
    ],
)
async def test_a_wrong_password_is_told_and_never_shown(
    tmp_path: Path, passwords: list[str], login: dict[str, str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, *passwords, anonymous=False) as mosquitto:
        broker = at(mosquitto, **login)
        with pytest.raises(mqtt.UserError, match=words) as caught:
            await mqtt.check_broker(broker)
        assert "mqtts://user:password@host" in caught.value.next_step
        async with publishing(broker) as publisher:
            await until(lambda: publisher.trouble)
            assert words in str(publisher.trouble)
    assert "mqtts://user:password@host" in caplog.text
    assert "Geheim" not in caplog.text + str(caught.value) + repr(broker) + str(publisher.status())


class Tls:
    """A broker with TLS; `authority` has signed its certificate for `names`."""

    def __init__(self, folder: Path, *names: str, days: tuple[int, int] = (-1, 1)) -> None:
        self.authority = Authority(folder)
        certificate, key = self.authority.server(*names, days=days)
        self.mosquitto = Mosquitto(folder, f"certfile {certificate}", f"keyfile {key}")

    def __enter__(self) -> Tls:
        return self

    def __exit__(self, *_: object) -> None:
        self.mosquitto.kill()

    def broker(self, host: str = "localhost", ca_file: Path | None = None) -> Broker:
        return at(self.mosquitto, host, tls=True, ca_file=ca_file or self.authority.file)


async def refusal(broker: Broker) -> mqtt.UserError:
    """What `nest check` and the running nest say, which must be the same."""
    with pytest.raises(mqtt.UserError) as caught:
        await mqtt.check_broker(broker)
    async with publishing(broker) as publisher:
        await until(lambda: publisher.trouble)
        assert publisher.trouble == caught.value.message
        assert not publisher.connected
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_readings_go_through_tls(tmp_path: Path, host: str) -> None:
    with Tls(tmp_path, "localhost", "127.0.0.1") as tls:
        await mqtt.check_broker(tls.broker(host))
        async with publishing(tls.broker(host), Stored(readings(2500))) as publisher:
            await until(lambda: publisher.done == 2500)


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    with Tls(tmp_path, "broker.example") as tls:
        assert "for another name" in (await refusal(tls.broker("localhost"))).message
        assert "for another name" in (await refusal(tls.broker("127.0.0.1"))).message


async def test_a_certificate_that_nobody_known_has_signed_is_refused(tmp_path: Path) -> None:
    with Tls(tmp_path, "localhost") as tls:
        other = Authority(tmp_path, "somebody else")
        told = await refusal(tls.broker(ca_file=other.file))
        assert "has signed the certificate" in told.message
        assert "ca_file" in told.next_step
        told = await refusal(Broker("localhost", tls.mosquitto.port, tls=True))
        assert "has signed the certificate" in told.message


async def test_a_certificate_that_has_run_out_is_refused(tmp_path: Path) -> None:
    with Tls(tmp_path, "localhost", days=(-3, -2)) as tls:
        assert "has run out" in (await refusal(tls.broker())).message


async def test_a_broker_without_tls_is_told_apart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        told = await refusal(at(mosquitto, "localhost", tls=True))
        assert "No TLS" in told.message or "is away" in told.message
        assert "mqtt" in told.next_step


async def test_a_ca_file_that_is_none_is_told_with_its_name(tmp_path: Path) -> None:
    with Tls(tmp_path, "localhost") as tls:
        assert "missing.pem" in (await refusal(tls.broker(ca_file=tmp_path / "missing.pem"))).message
        (tmp_path / "letter.pem").write_text("Dear broker")
        assert "letter.pem holds no certificate" in (await refusal(tls.broker(ca_file=tmp_path / "letter.pem"))).message


async def test_what_is_no_broker_is_told(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with publishing(Broker("127.0.0.1", server.sockets[0].getsockname()[1])) as publisher:
        await until(lambda: publisher.trouble)
        assert "does not speak MQTT 3.1.1" in str(publisher.trouble)
    server.close()


async def test_no_moment_is_lost_at_the_end(tmp_path: Path) -> None:
    """Readings acknowledged while the nest says farewell are known to be."""
    with Mosquitto(tmp_path) as mosquitto:
        async with subscribed(mosquitto.port) as subscriber:
            async with publishing(at(mosquitto)) as publisher:
                await until(lambda: publisher.connected and not publisher._behind)
                publisher.offer([(1, event(temperature=1.0, moment=NOON))])
                await asyncio.sleep(0)
            assert publisher.done == 1
            await until(lambda: subscriber.latest().get(f"{TOPIC}/status") == "offline")
            assert subscriber.temperatures("amsel") == [1.0]
