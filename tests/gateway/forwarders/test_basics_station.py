"""The LNS endpoint on a real socket: who is let in, frames in, downlinks out, and what strangers try."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nest.errors import UserError
from nest.forwarders import basics_station, station_door
from nest.forwarders.basics_station import NO_TX_CONFIRMATION
from nest.forwarders.station_door import FAILURES, Failures, address_to, tls_context, token_of
from nest.model import GatewayInfo
from nest.tokens import fingerprint, new_token
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .stations import EUI, NOW, Nest, certificate, received
from .test_station_messages import DOWNLINK, UPDF, UPDF_PHY, UPINFO

STRANGER = "00000000000000aa"
SESSION = 0x17 << 48


@pytest.fixture
async def nest() -> AsyncIterator[Nest]:
    nest = await Nest().open()
    yield nest
    await nest.close()


def updf(seconds: float = 1000.0, **changes: Any) -> str:
    """An uplink heard when the station's counter said so."""
    return json.dumps(UPDF | {"upinfo": UPINFO | {"xtime": SESSION | round(seconds * 1e6)}} | changes)


async def asked(nest: Nest, router: Any, token: str | None = "", **settings: Any) -> dict[str, Any]:
    client = await nest.connect("/router-info", token, **settings)
    await client.send(json.dumps({"router": router}))
    answer = await received(client)
    with pytest.raises(ConnectionClosed):
        await received(client)  # the nest hangs up
    return answer


async def refused(nest: Nest, path: str, token: str | None = "") -> int:
    with pytest.raises(InvalidStatus) as error:
        await nest.connect(path, token)
    assert error.value.response.body == b""
    return error.value.response.status_code


# -- discovery


async def test_a_station_is_told_where_to_go(nest: Nest) -> None:
    for spelling in (EUI, "58a0:cbff:fe80:f8a", "58-a0-cb-ff-fe-80-0f-8a", int(EUI, 16)):
        answer = await asked(nest, spelling)
        assert answer["uri"] == nest.uri(f"/station/{EUI}")
        assert isinstance(answer["router"], str)
        assert isinstance(answer["muxs"], str)
    client = await nest.connect("", uri=answer["uri"])  # it is a way that works
    await client.send('{"msgtype":"version"}')
    assert (await received(client))["msgtype"] == "router_config"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("nest.example:443", "ws://nest.example:443/p"),
        ("nest.example", "ws://nest.example:80/p"),
        ("[2001:db8::1]:8887", "ws://[2001:db8::1]:8887/p"),
        ("2001:db8::1:8887", "ws://[2001:db8::1]:8887/p"),  # as stations write it
        ("", "ws://10.0.0.1:8887/p"),
        ("nest.example:0", "ws://10.0.0.1:8887/p"),
        ("nest.example:99999", "ws://10.0.0.1:8887/p"),
        ('nest"example', "ws://10.0.0.1:8887/p"),
        ("evil.example/path", "ws://10.0.0.1:8887/p"),
        ("user@evil.example", "ws://10.0.0.1:8887/p"),
        ("x" * 100, "ws://10.0.0.1:8887/p"),
    ],
)
def test_the_way_back_is_the_one_it_came_by_and_nothing_else(host: str, expected: str) -> None:
    assert address_to("/p", host, ("10.0.0.1", 8887), tls=False) == expected
    assert address_to("/p", host, ("10.0.0.1", 8887), tls=True).startswith("wss://")


@pytest.mark.parametrize(("router", "token"), [(EUI, "wrong"), (EUI, None), (STRANGER, ""), (STRANGER, None)])
async def test_the_discovery_sends_strangers_away_without_saying_why(
    nest: Nest, router: str, token: str | None
) -> None:
    answer = await asked(nest, router, token)
    assert "uri" not in answer
    assert answer["error"] == "not admitted"
    assert nest.counted == {"station_refused": 1}
    assert list(nest.gateways.strangers) == ([STRANGER] if router == STRANGER else [])


async def test_a_question_without_an_eui_is_not_answered(nest: Nest) -> None:
    client = await nest.connect("/router-info")
    await client.send("{}")
    with pytest.raises(ConnectionClosed):
        await received(client)
    assert nest.counted == {"station_router": 1}


# -- the door


async def test_only_the_right_token_opens_the_connection(nest: Nest, caplog: pytest.LogCaptureFixture) -> None:
    nest.gateways.admit(GatewayInfo("00" * 7 + "02", "Tower", token=None))
    other = new_token()
    nest.gateways.admit(GatewayInfo("00" * 7 + "03", "Mill", token=fingerprint(other)))
    with caplog.at_level(logging.DEBUG):
        assert await refused(nest, f"/station/{EUI}", None) == 401
        assert await refused(nest, f"/station/{EUI}", "wrong") == 403
        assert await refused(nest, f"/station/{EUI}", other) == 403
        assert await refused(nest, f"/station/{'00' * 7}02") == 403  # registered without a token
        assert await refused(nest, f"/station/{STRANGER}") == 403
        assert await refused(nest, "/station/nonsense") == 403
        assert await refused(nest, "/") == 403
    assert nest.counted == {"station_refused": 7}
    stranger = nest.gateways.strangers[STRANGER]
    assert (stranger.protocol, stranger.address, stranger.count) == ("basics_station", "127.0.0.1", 1)
    assert list(nest.gateways.strangers) == [STRANGER]
    said = " ".join(record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client"))
    assert "Church" in said
    for secret in (nest.token, other, "wrong"):
        assert secret not in said


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer  ", "Token "])
async def test_the_token_may_stand_behind_any_word(nest: Nest, prefix: str) -> None:
    client = await nest.connect(f"/station/{EUI}", None, additional_headers={"Authorization": prefix + nest.token})
    await client.send('{"msgtype":"version"}')
    assert (await received(client))["msgtype"] == "router_config"


@pytest.mark.parametrize(
    ("headers", "token"), [([], ""), ([""], ""), (["Bearer a"], "a"), (["a", "b"], "a"), (["x" * 600], "")]
)
def test_tokens_of_headers(headers: list[str], token: str) -> None:
    assert token_of(headers) == token


async def test_an_address_that_fails_too_often_is_not_listened_to_but_the_right_token_is(nest: Nest) -> None:
    for _ in range(FAILURES):
        assert await refused(nest, f"/station/{STRANGER}", "guess") == 403
    assert await refused(nest, f"/station/{EUI}", "guess") == 429
    assert await refused(nest, "/router-info", "guess") == 429
    assert nest.counted == {"station_refused": FAILURES, "station_throttled": 2}
    assert "uri" in await asked(nest, EUI)  # a good gateway behind the same router
    await nest.station()


def test_failures_are_forgotten_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = Failures()
    for _ in range(FAILURES):
        assert not failures.too_many("10.0.0.1", 5.0)
        failures.note("10.0.0.1", 5.0)
    assert failures.too_many("10.0.0.1", 64.0)
    assert not failures.too_many("10.0.0.2", 64.0)
    assert not failures.too_many("10.0.0.1", 65.0)
    for _ in range(FAILURES):
        assert not failures.too_many("10.0.0.1", 66.0)
        failures.note("10.0.0.1", 66.0)
    assert failures.too_many("10.0.0.1", 66.0)
    for number in range(FAILURES):  # one owner, many addresses
        failures.note(f"2001:db8:0:1::{number:x}", 70.0)
    assert failures.too_many("2001:db8:0:1:ffff::1", 70.0)
    assert not failures.too_many("2001:db8:0:2::1", 70.0)
    monkeypatch.setattr(station_door, "MOST_ADDRESSES", 10)
    for number in range(100):
        failures.note(f"10.1.0.{number}", 80.0)
    assert len(failures._seen) <= 10
    failures.note("fe80::1%eth0", 80.0)
    failures.note("?:", 80.0)


async def test_strangers_that_say_nothing_make_room(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basics_station, "MOST_STRANGERS", 5)
    station = await nest.station()
    silent = [await asyncio.open_connection("127.0.0.1", nest.endpoint.port) for _ in range(5)]
    await nest.until(lambda: nest.endpoint._server and len(nest.endpoint._server.handlers) == 6)
    newcomer = await nest.station()  # pushes out the first of the silent ones, and replaces the older connection
    assert await asyncio.wait_for(silent[0][0].read(), 5) == b""
    assert nest.counted["station_crowded"] == 1
    await newcomer.send(updf())
    await nest.until(lambda: nest.frames)
    with pytest.raises(ConnectionClosed):
        await received(station)
    for _, writer in silent:
        writer.close()


async def test_what_is_no_websocket_disturbs_nobody(nest: Nest, caplog: pytest.LogCaptureFixture) -> None:
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\xff" * 5000):
        reader, writer = await asyncio.open_connection("127.0.0.1", nest.endpoint.port)
        writer.write(nonsense)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    await nest.station()
    assert caplog.text == ""


async def test_who_does_not_even_begin_with_tls_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basics_station, "HANDSHAKE_S", 0.2)
    crt, key = certificate(tmp_path)
    nest = await Nest(tls=tls_context(tmp_path, crt.name, key.name)).open()
    reader, writer = await asyncio.open_connection("127.0.0.1", nest.endpoint.port)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    await nest.close()


# -- a configured station


async def test_frames_are_handed_on_as_they_were_on_the_air(nest: Nest) -> None:
    station = await nest.station(version="2.0.5(rpi/std)")
    for _ in range(3):
        await station.send(updf())
    await nest.until(lambda: len(nest.frames) == 3 and nest.drained)
    frame = nest.frames[0]
    assert (frame.phy, frame.gateway, frame.received_at, frame.buffered) == (UPDF_PHY, EUI, NOW, False)
    assert frame.context == (0, SESSION | 1_000_000_000)
    gateway = nest.gateways.known[EUI]
    assert (gateway.frames, gateway.useless, gateway.protocol, gateway.reachable) == (3, 0, "basics_station", True)
    assert (gateway.software, gateway.last_seen) == ("2.0.5(rpi/std) virtual", NOW)
    assert nest.counted == {"station_connected": 1, "station_frame": 3}


async def test_what_cannot_be_understood_is_counted_and_the_connection_stays(nest: Nest) -> None:
    nest.answers = lambda _frame: 0
    station = await nest.station()
    for text in (
        "nonsense",
        "[]",
        updf(DR=99),
        updf(DR=7),
        '{"msgtype":"event"}',
        b"\x00rmtsh",
        '{"msgtype":"dntxed"}',
    ):
        await station.send(text)
    await station.send(updf())
    await nest.until(lambda: nest.frames)
    assert nest.counted == {
        "station_connected": 1, "station_json": 3, "station_malformed": 2, "station_fsk": 1, "station_unknown": 1,
        "station_frame": 3, "dntxed": 1,
    }  # fmt: skip
    assert nest.gateways.known[EUI].useless == 1


async def test_a_mistake_of_ours_stands_in_the_log(nest: Nest, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_frame: object) -> int:
        raise ZeroDivisionError

    station = await nest.station()
    nest.answers = broken
    await station.send(updf())
    with pytest.raises(ConnectionClosed):
        await received(station)
    assert "ZeroDivisionError" in caplog.text
    await nest.station()  # it comes again


async def test_a_station_that_asks_gets_the_time(nest: Nest) -> None:
    station = await nest.station()
    await station.send('{"msgtype":"timesync","txtime":77}')
    answer = await received(station)
    assert (answer["msgtype"], answer["txtime"]) == ("timesync", 77)
    assert answer["gpstime"] == round((NOW - 315_964_800 + 18) * 1e6)


async def test_a_timesync_comes_soon_and_again_and_again(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basics_station, "FIRST_TIMESYNC_S", 0.01)
    monkeypatch.setattr(basics_station, "TIMESYNC_S", 0.01)
    station = await nest.station()
    for _ in range(3):
        assert await received(station) == {"msgtype": "timesync", "MuxTime": NOW}


async def test_old_frames_after_a_broken_connection_keep_their_time(nest: Nest) -> None:
    station = await nest.station()
    await station.send(updf(1000))
    await nest.until(lambda: nest.frames)
    await station.close()
    station = await nest.station()
    await station.send(updf(900))  # what waited in the station: its counter says 100 s before
    await station.send(updf(1000))
    await nest.until(lambda: len(nest.frames) == 3)
    assert [frame.buffered for frame in nest.frames] == [False, True, False]
    assert nest.frames[1].received_at == pytest.approx(NOW - 100, abs=5)
    assert nest.frames[1].received_at < NOW - 99


async def test_a_newer_connection_takes_the_place_of_the_older(nest: Nest) -> None:
    older = await nest.station()
    newer = await nest.station()
    with pytest.raises(ConnectionClosed):
        await received(older)
    assert nest.gateways.known[EUI].reachable
    assert nest.endpoint.send(DOWNLINK)
    assert (await received(newer))["msgtype"] == "dnmsg"
    assert nest.counted["station_replaced"] == 1
    await newer.close()
    await nest.until(lambda: not nest.gateways.known[EUI].reachable)
    assert not nest.endpoint.send(DOWNLINK)


@pytest.mark.parametrize("change", ["dismissed", "new token"])
async def test_a_gateway_that_lost_its_right_is_cut_off(nest: Nest, change: str) -> None:
    station = await nest.station()
    if change == "dismissed":
        nest.gateways.dismiss(EUI)
    else:
        nest.gateways.admit(GatewayInfo(EUI, "Church", token=fingerprint("another")))
    assert not nest.endpoint.send(DOWNLINK)
    await station.send(updf())
    with pytest.raises(ConnectionClosed):
        await received(station)
    assert await refused(nest, f"/station/{EUI}") == 403


async def test_frames_that_cannot_be_taken_now_are_kept_and_too_late_to_answer(
    nest: Nest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basics_station, "RETRY_S", 0.01)
    monkeypatch.setattr(basics_station, "HELD_BACK_S", 0.05)
    tries = 0

    def answers(_frame: Any) -> int | None:
        nonlocal tries
        tries += 1
        return None if tries < 10 else 1

    nest.answers = answers
    station = await nest.station()
    for number in range(100):  # more than the nest reads ahead
        await station.send(updf(1000 + number / 1000))
    await nest.until(lambda: len(nest.frames) == 100)
    xtimes = [frame.context[1] & 0xFFFFFFFFFFFF for frame in nest.frames]  # type: ignore[index]
    assert xtimes == sorted(xtimes)
    assert nest.frames[0].buffered
    assert nest.counted["frames_refused"] == 1


async def test_a_station_that_floods_is_slowed_down_not_lost(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basics_station, "RETRY_S", 0.001)
    nest.answers = lambda _frame: 0
    gateway = nest.gateways.known[EUI]
    gateway.charge(2000, asyncio.get_running_loop().time())
    station = await nest.station()
    for _ in range(20):
        await station.send(updf())
    await nest.until(lambda: len(nest.frames) == 20)
    assert nest.counted["rate_limited"] > 10


# -- downlinks


async def test_a_downlink_goes_out_whole_and_its_result_comes_back(nest: Nest) -> None:
    station = await nest.station()
    await station.send(updf())
    await nest.until(lambda: nest.frames)
    downlink = replace(DOWNLINK, context=nest.frames[0].context)
    assert nest.endpoint.send(downlink)
    message = await received(station)
    ((_, timer),) = nest.endpoint._in_flight.values()
    assert (message["diid"], message["pdu"]) == (453, DOWNLINK.phy.hex())
    assert (message["rctx"], message["xtime"]) == nest.frames[0].context
    await station.send(
        json.dumps({"msgtype": "dntxed", "diid": 453, "Freq": message["RX2Freq"], "DR": message["RX2DR"]})
    )
    await station.send(json.dumps({"msgtype": "dntxed", "diid": 453}))
    await nest.until(lambda: nest.counted.get("dntxed_unknown"))
    assert nest.results == [(downlink, None, 2)]
    assert timer.cancelled()
    gateway = nest.gateways.known[EUI]
    assert (gateway.downlinks, gateway.refused) == (1, 0)


async def test_a_station_cannot_speak_for_another(nest: Nest) -> None:
    token, eui = new_token(), "00" * 7 + "03"
    nest.gateways.admit(GatewayInfo(eui, "Mill", token=fingerprint(token)))
    await nest.station()
    mill = await nest.station(eui, token)
    assert nest.endpoint.send(DOWNLINK)
    await mill.send('{"msgtype":"dntxed","diid":453,"Freq":868100000,"DR":5}')
    await nest.until(lambda: nest.counted.get("dntxed_unknown"))
    assert nest.results == []


async def test_silence_means_that_a_downlink_was_not_sent(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basics_station, "CONFIRM_S", 0.05)
    await nest.station()
    downlink = replace(DOWNLINK, delay_s=0, fallback=None)
    asked_at = time.monotonic()
    assert nest.endpoint.send(downlink)
    assert nest.endpoint.send(downlink)  # once more under the same number: one result
    await nest.until(lambda: nest.results)
    assert time.monotonic() - asked_at >= 0.05
    await asyncio.sleep(0.01)  # the first one's time has passed as well
    assert nest.results == [(downlink, NO_TX_CONFIRMATION, None)]
    assert nest.counted["dntxed_missing"] == 1
    assert nest.gateways.known[EUI].refused == 1


async def test_the_time_for_silence_counts_from_the_moment_of_the_downlink(nest: Nest) -> None:
    station = await nest.station()
    await station.send(updf(1000))
    await nest.until(lambda: nest.frames)
    loop = asyncio.get_running_loop()
    for delay_s, fallback, expected in ((1, None, 4.0), (5, DOWNLINK.fallback, 9.0)):
        nest.endpoint.send(replace(DOWNLINK, context=nest.frames[0].context, delay_s=delay_s, fallback=fallback))
        ((_, timer),) = nest.endpoint._in_flight.values()
        assert timer.when() - loop.time() == pytest.approx(expected, abs=1)


async def test_nothing_is_sent_to_a_station_before_it_is_configured(nest: Nest) -> None:
    client = await nest.connect(f"/station/{EUI}")
    await client.send(updf())
    await nest.until(lambda: nest.frames)
    assert not nest.gateways.known[EUI].reachable
    assert not nest.endpoint.send(DOWNLINK)
    await client.send('{"msgtype":"version"}')
    assert (await received(client))["msgtype"] == "router_config"
    assert nest.endpoint.send(DOWNLINK)
    assert (await received(client))["msgtype"] == "dnmsg"


@pytest.mark.parametrize("downlink", [replace(DOWNLINK, context=None), replace(DOWNLINK, gateway=STRANGER)])
async def test_a_downlink_without_a_way_is_said_to_have_none(nest: Nest, downlink: Any) -> None:
    await nest.station()
    assert not nest.endpoint.send(downlink)
    assert nest.counted["no_downlink_path"] == 1


async def test_a_station_that_does_not_read_stops_no_one(nest: Nest) -> None:
    station = await nest.station()
    station.transport.pause_reading()
    sent = sum(nest.endpoint.send(replace(DOWNLINK, id=number, phy=bytes(255))) for number in range(200))
    assert sent <= basics_station.DOWNLINKS_WAITING
    assert nest.counted["no_downlink_path"] == 200 - sent


# -- the end, and TLS


async def test_it_ends_at_once_whoever_is_connected(nest: Nest) -> None:
    station = await nest.station()
    _, writer = await asyncio.open_connection("127.0.0.1", nest.endpoint.port)
    await nest.until(lambda: nest.endpoint._server and len(nest.endpoint._server.handlers) == 2)
    deaf = await nest.connect("/router-info")
    deaf.transport.pause_reading()
    nest.endpoint.send(DOWNLINK)
    async with asyncio.timeout(2):
        await nest.endpoint.close()
    await nest.endpoint.close()
    assert (await received(station))["msgtype"] == "dnmsg"
    with pytest.raises(ConnectionClosed) as error:
        await received(station)
    assert error.value.rcvd is not None
    assert error.value.rcvd.code == 1001
    writer.close()
    assert nest.results == []


async def test_over_tls_with_the_certificate_of_the_town(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path)
    nest = Nest(tls=tls_context(tmp_path, crt.name, key.name))
    assert nest.tls
    assert nest.tls.minimum_version >= ssl.TLSVersion.TLSv1_2  # whatever the library's own limits are
    await nest.open()
    try:
        trusting = ssl.create_default_context(cafile=str(crt))
        settings: dict[str, Any] = {"ssl": trusting, "uri": nest.uri("/router-info", "wss")}
        answer = await asked(nest, EUI, **settings)
        assert answer["uri"] == nest.uri(f"/station/{EUI}", "wss")
        client = await nest.connect("", uri=answer["uri"], ssl=trusting)
        await client.send('{"msgtype":"version"}')
        assert (await received(client))["msgtype"] == "router_config"
        with pytest.raises(ssl.SSLCertVerificationError):
            await nest.connect("", uri=answer["uri"], ssl=ssl.create_default_context())
        old = ssl.create_default_context(cafile=str(crt))
        with warnings.catch_warnings(action="ignore"):  # nobody else should set this
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)):
            await nest.connect("", uri=answer["uri"], ssl=old)
        with pytest.raises(Exception, match="did not receive a valid HTTP response"):
            await nest.connect(f"/station/{EUI}")  # not without TLS
    finally:
        await nest.close()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path)
    assert tls_context(tmp_path, "", "") is None
    (tmp_path / "other").mkdir()
    _, other = certificate(tmp_path / "other")
    (tmp_path / "empty").touch()
    locked = tmp_path / "locked.key"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for names in (
        (crt.name, ""), ("", key.name), (crt.name, "missing"), (crt.name, f"other/{other.name}"), ("empty", key.name),
        (crt.name, "empty"), (crt.name, "locked.key"), ("other", key.name),
    ):  # fmt: skip
        with pytest.raises(UserError):
            tls_context(tmp_path, *names)
