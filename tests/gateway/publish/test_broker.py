"""Where a broker is, what is said when it is not there, and the nest's own one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from gateway.running import free_port
from nest.errors import UserError
from nest.publish.broker import EmbeddedBroker, open_to_others
from nest.publish.mqtt import Broker, check_broker


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
    assert Broker.from_url(url, Path("ca.pem")).ca_file == Path("ca.pem")
    assert "p@ss" not in repr(Broker.from_url(url))


async def test_the_own_broker_passes_the_check() -> None:
    embedded = EmbeddedBroker()
    await embedded.start("127.0.0.1", 0)
    await check_broker(Broker("127.0.0.1", embedded.port))
    await embedded.stop()


async def test_a_broker_that_is_away_is_told_with_the_next_step() -> None:
    port = free_port()
    with pytest.raises(UserError, match=rf"127.0.0.1:{port} is away \(Connection refused\)") as caught:
        await check_broker(Broker("127.0.0.1", port))
    assert "correct url under [mqtt]" in caught.value.next_step


async def test_a_name_that_nobody_has_is_told() -> None:
    with pytest.raises(UserError, match=r"no-such-host\.invalid:1883 is away"):
        await check_broker(Broker("no-such-host.invalid", 1883))


async def test_a_broker_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nest.publish.login.TIMEOUT_S", 0.2)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    with pytest.raises(UserError, match="is away"):
        await check_broker(Broker("127.0.0.1", server.sockets[0].getsockname()[1]))
    server.close()


async def test_an_occupied_port_is_an_os_error() -> None:
    embedded = EmbeddedBroker()
    await embedded.start("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await EmbeddedBroker().start("127.0.0.1", embedded.port)
    await embedded.stop()


@pytest.mark.parametrize(
    ("host", "others"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("127.0.0.2", False), ("0.0.0.0", True), ("::", True),
     ("192.168.1.7", True), ("nest.example", True)],
)  # fmt: skip
def test_a_broker_without_passwords_that_others_reach_is_told(host: str, others: bool) -> None:
    told = open_to_others(host)
    assert (told is not None) is others
    if told:
        assert host in told.message
        assert "passwords" in told.next_step


async def test_the_warning_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        caplog.clear()
        embedded = EmbeddedBroker()
        with caplog.at_level(logging.WARNING):
            await embedded.start(host, 0)
        await embedded.stop()
        assert ("whoever reaches it may read and write" in caplog.text) is warned
