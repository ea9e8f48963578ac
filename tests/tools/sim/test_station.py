"""The virtual Basics Station against a strict server: discovery, configuration, frames, both windows, and silence."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.errors import UserError
from nest.model import GatewayInfo
from nest.tokens import fingerprint
from spatz.sim import lns, simulate
from spatz.sim import station as station_module
from spatz.sim.air import Position, Reception, Station, Transmission
from spatz.sim.airserver import monotonic_us
from spatz.sim.lns import LnsError
from spatz.sim.simulate import Request, register_gateways
from spatz.sim.simulation import Plan
from spatz.sim.station import StationServer, VirtualStation, parse_address, read_tokens
from tools.sim.fake_lns import CONFIG, FakeLns, fake_lns

EUI = bytes.fromhex("0253a1b2c3d4e5f6")
STATION = Station("g", Position(51.1, 10.2), gain_dbi=3.0)
HEARD = Reception(-97, 6.25)
JOIN = bytes.fromhex("00" + "f1e2d3c4b5a69788" + "0123456789abcdef" + "0a0b" + "ffeeddcc")
DATA = bytes.fromhex("40" + "04030299" + "80" + "ff00" + "0a" + "c0ffee" + "ddccbbaa")


def uplink(**changes: Any) -> Transmission:
    fields: dict[str, Any] = {
        "sender": "amsel",
        "start_us": monotonic_us() - 61_696,
        "airtime_us": 61_696,
        "freq_hz": 867_500_010,
        "sf": 7,
        "bw_hz": 125_000,
        "eirp_dbm": 14.0,
        "data": DATA,
    }
    return Transmission(**{**fields, **changes})


@asynccontextmanager
async def connected(
    sent: list[Transmission] | None = None, lns_settings: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[VirtualStation, FakeLns]]:
    async with fake_lns(**lns_settings or {}) as server:
        station = VirtualStation(
            EUI, STATION, StationServer(server.address, "s3cret"), ([] if sent is None else sent).append, **settings
        )
        await station.start()
        try:
            assert await station.wait_connected(5)
            yield station, server
        finally:
            await station.stop()
        assert station.counters.malformed == []


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


async def heard(station: VirtualStation, server: FakeLns, **changes: Any) -> dict[str, Any]:
    """The message that a frame becomes."""
    count = len(server.told("updf")) + len(server.told("jreq"))
    station.heard(uplink(**changes), HEARD)
    await server.until(lambda: len(server.told("updf")) + len(server.told("jreq")) > count)
    return server.messages[-1]


def dnmsg(answered: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "msgtype": "dnmsg",
        "DevEui": "01-23-45-67-89-ab-cd-ef",
        "dC": 0,
        "diid": 7,
        "pdu": "60aabbccdd00010001020304",
        "RxDelay": 1,
        "RX1DR": 5,
        "RX1Freq": 868_100_000,
        "RX2DR": 3,
        "RX2Freq": 869_525_000,
        "priority": 0,
        "xtime": answered["upinfo"]["xtime"],
        "rctx": answered["upinfo"]["rctx"],
    } | changes


async def test_it_asks_where_to_go_and_goes_there_with_its_token(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with connected() as (station, server):
            assert server.questions == [{"router": "253:a1b2:c3d4:e5f6"}]
            assert server.paths == ["/router-info", "/here/it/is"]
            assert server.headers == ["Bearer s3cret"] * 2
            version = server.messages[0]
            assert (version["msgtype"], version["protocol"]) == ("version", 2)
            assert "s3cret" not in repr(station._server)
    mine = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")]
    assert not any("s3cret" in line for line in mine)


async def test_an_uplink_is_taken_apart_as_the_real_one_does() -> None:
    async with connected() as (station, server):
        message = await heard(station, server)
        upinfo = message.pop("upinfo")
        message.pop("RefTime")
        assert message == {
            "msgtype": "updf", "MHdr": 64, "DevAddr": 0x99020304 - (1 << 32), "FCtrl": 0x80, "FCnt": 255, "FOpts": "",
            "FPort": 10, "FRMPayload": "C0FFEE", "MIC": 0xAABBCCDD - (1 << 32), "DR": 5, "Freq": 867_500_000,
        }  # fmt: skip
        assert upinfo["xtime"] > 1 << 53
        assert (upinfo["rctx"], upinfo["rssi"], upinfo["snr"], upinfo["gpstime"]) == (0, -97, 6.25, 0)
        join = await heard(station, server, data=JOIN, sf=12)
        assert (join["msgtype"], join["JoinEui"], join["DevEui"]) == (
            "jreq", "88-97-A6-B5-C4-D3-E2-F1", "EF-CD-AB-89-67-45-23-01",
        )  # fmt: skip
        assert (join["DevNonce"], join["MIC"], join["DR"]) == (0x0B0A, 0xCCDDEEFF - (1 << 32), 0)
        assert station.counters.rxfw == 2


async def test_a_session_of_the_counter_lasts_as_long_as_a_configuration() -> None:
    async with connected() as (station, server):
        first = (await heard(station, server))["upinfo"]["xtime"]
        second = (await heard(station, server))["upinfo"]["xtime"]
        assert second >> 48 == first >> 48
        await server.say(CONFIG)
        await until(lambda: station.counters.configured == 2)
        assert (await heard(station, server))["upinfo"]["xtime"] >> 48 != first >> 48
        sent = dnmsg({"upinfo": {"xtime": second, "rctx": 0}})
        await server.say(sent)  # answers a frame of before
        await until(lambda: station.counters.refused)
        assert station.counters.refused == {"obsolete session": 1}


async def test_what_was_heard_without_a_connection_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_module, "RETRY_S", 0.01)
    async with connected() as (station, server):
        first = await heard(station, server)
        station.break_connection()
        await until(lambda: station._connection is None)
        for number in range(70):
            station.heard(uplink(data=DATA[:6] + bytes((number, 0)) + DATA[8:]), HEARD)
        await server.until(lambda: len(server.told("updf")) == 65)
        assert [message["FCnt"] for message in server.told("updf")[1:]] == list(range(6, 70))
        assert server.told("updf")[-1]["upinfo"]["xtime"] >> 48 == first["upinfo"]["xtime"] >> 48
        assert len(server.told("version")) == 2


async def test_the_server_may_filter() -> None:
    config = CONFIG | {"NetID": [0x13], "JoinEui": [[0x1000, 0x2000]]}
    async with connected(lns_settings={"config": config}) as (station, server):
        assert (await heard(station, server, data=DATA[:1] + b"\0\0\0\x27" + DATA[5:]))["DevAddr"] >> 25 == 0x13
        station.heard(uplink(), HEARD)
        station.heard(uplink(data=JOIN), HEARD)
        await heard(station, server, data=b"\0" + (0x1234).to_bytes(8, "little") + JOIN[9:])
        assert station.counters.filtered == 2
        assert len(server.messages) == 3


async def test_a_downlink_goes_out_in_rx1_and_is_reported_when_it_does() -> None:
    sent: list[Transmission] = []
    async with connected(sent) as (station, server):
        answered = await heard(station, server)
        await server.say(dnmsg(answered))
        await server.until(lambda: server.told("dntxed"))
        (tx,) = sent
        assert (tx.freq_hz, tx.sf, tx.eirp_dbm, tx.iq_inverted, tx.crc_on) == (868_100_000, 7, 16.0, True, False)
        assert tx.start_us & 0xFFFFFFFF == (answered["upinfo"]["xtime"] + 1_000_000) & 0xFFFFFFFF
        assert monotonic_us() >= tx.start_us
        report = server.told("dntxed")[0]
        assert (report["diid"], report["DR"], report["Freq"]) == (7, 5, 868_100_000)
        assert report["xtime"] == answered["upinfo"]["xtime"] + 1_000_000


@pytest.mark.parametrize("why", ["late", "busy", "duty cycle", "only rx2"])
async def test_it_falls_back_on_rx2_by_itself(why: str) -> None:
    sent: list[Transmission] = []
    async with connected(sent) as (station, server):
        ago_us = 0 if why == "busy" else 980_000  # then it is too late for RX1
        answered = await heard(station, server, start_us=monotonic_us() - 61_696 - ago_us)
        message = dnmsg(answered)
        if why == "only rx2":
            message = {name: value for name, value in message.items() if not name.startswith("RX1")}
        elif why == "busy":
            start_us = (answered["upinfo"]["xtime"] & ((1 << 48) - 1)) + 1_000_000
            assert station._queue.add(start_us, 50_000, monotonic_us()) is None
        elif why == "duty cycle":
            station._closed_until_us["centi"] = monotonic_us() + 60_000_000
        await server.say(message)
        await server.until(lambda: server.told("dntxed"))
        (tx,) = sent
        assert (tx.freq_hz, tx.sf, tx.eirp_dbm) == (869_525_000, 9, 27.0)
        assert server.told("dntxed")[0]["xtime"] == answered["upinfo"]["xtime"] + 2_000_000


async def test_what_cannot_be_sent_is_never_spoken_of() -> None:
    sent: list[Transmission] = []
    async with connected(sent) as (station, server):
        answered = await heard(station, server, start_us=monotonic_us() - 5_000_000)
        await server.say(dnmsg(answered))
        fresh = await heard(station, server)
        await server.say(dnmsg(fresh, DevEui="00-00-00-00-00-00-00-00", diid=8))  # sent, but not reported
        await server.say(dnmsg(fresh, diid=9, RX1Freq=869_525_000, RX1DR=3))
        await server.until(lambda: server.told("dntxed"))
        assert station.counters.refused == {"TOO_LATE": 1}
        assert [report["diid"] for report in server.told("dntxed")] == [9]
        assert len(sent) == 2


async def test_its_own_duty_cycle_can_be_switched_off() -> None:
    async with connected(duty_cycle=False) as (station, server):
        for diid in range(2):
            await server.say(dnmsg(await heard(station, server), diid=diid, RxDelay=1 + diid))
        await server.until(lambda: len(server.told("dntxed")) == 2)
        assert {report["Freq"] for report in server.told("dntxed")} == {868_100_000}


async def test_nothing_is_sent_before_it_is_configured() -> None:
    async with fake_lns(config=None) as server:
        station = VirtualStation(EUI, STATION, StationServer(server.address, "t"), lambda _: pytest.fail("sent"))
        await station.start()
        await server.until(lambda: server.messages)
        station.heard(uplink(), HEARD)
        await server.say(dnmsg({"upinfo": {"xtime": 1 << 54, "rctx": 0}}))
        await until(lambda: station.counters.refused)
        assert station.counters.refused == {"before router_config": 1}
        assert (station.counters.rxnb, station.counters.rxfw) == (1, 0)
        await station.stop()


async def test_with_gps_it_asks_for_the_time_until_it_knows_it() -> None:
    async with connected(gps=True) as (station, server):
        await server.until(lambda: server.told("timesync"))
        asked = server.told("timesync")[0]["txtime"]
        await server.say({"msgtype": "timesync", "MuxTime": 1.5})
        await server.say({"msgtype": "timesync", "txtime": asked, "gpstime": 1_400_000_000_000_000})
        await until(lambda: station._gps_offset_us is not None)
        gpstime = (await heard(station, server))["upinfo"]["gpstime"]
        assert 1_399_999_990_000_000 < gpstime < 1_400_000_010_000_000
        assert station.counters.timesyncs == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"router": "::1", "error": "not admitted"}, "not admitted"),
        ({"router": 1, "muxs": "::0", "uri": "{uri}"}, "router is not a text"),
        ({"router": "::1", "muxs": "::0"}, "no uri"),
        ({"router": "::1", "uri": "ws://nest.example/path"}, "the uri needs"),
        ({"router": "::1", "uri": "ws://nest.example:8887"}, "the uri needs"),
        ({"router": "::1", "uri": "http://nest.example:8887/path"}, "the uri needs"),
        ({"router": "::1", "uri": "ws://nest.example:8887/" + "x" * 200}, "the uri needs"),
    ],
)
async def test_why_there_is_no_connection_is_told(answer: dict[str, Any], said: str) -> None:
    async with fake_lns(answer=answer) as server:
        station = VirtualStation(EUI, STATION, StationServer(server.address, None), lambda _: None)
        await station.start()
        await server.until(lambda: server.questions)
        assert not await station.wait_connected(0.2)
        assert station.trouble
        assert said in station.trouble
        assert server.headers[0] is None
        await station.stop()


def changed(*path: Any, to: Any) -> dict[str, Any]:
    config: Any = copy.deepcopy(CONFIG)
    *inner, last = path
    place = config
    for name in inner:
        place = place[name]
    place[last] = to
    return config


@pytest.mark.parametrize(
    "config",
    [
        changed("region", to="EU433"),
        changed("region", to=None),
        changed("hwspec", to="sx1302/1"),
        changed("freq_range", to=[863_000_000]),
        changed("DRs", to=CONFIG["DRs"][:15]),
        changed("DRs", 0, to=[13, 125, 0]),
        changed("DRs", 0, to=[12, 125_000, 0]),
        changed("DRs", 0, to=[12, 125]),
        changed("DRs", 0, to=[7, 125, 0]),
        changed("sx1301_conf", to={}),
        changed("sx1301_conf", 0, "radio_1", "enable", to=False),
        changed("sx1301_conf", 0, "radio_1", to=None),
        changed("sx1301_conf", 0, "chan_multiSF_3", "if", to=600_000),
        changed("sx1301_conf", 0, "chan_multiSF_3", "radio", to=2),
        changed("sx1301_conf", 0, "chan_Lora_std", "bandwidth", to=250),
        changed("NetID", to=0),
        changed("NetID", to=["0"]),
        changed("JoinEui", to=[[1, 2, 3]]),
    ],
)
def test_a_configuration_that_a_real_one_would_not_take(config: dict[str, Any]) -> None:
    lns.parse_config(CONFIG, lns.VERSION)
    with pytest.raises(LnsError):
        lns.parse_config(config, lns.VERSION)


def test_an_old_station_does_not_know_the_new_name_of_its_region() -> None:
    assert lns.parse_config(changed("region", to="EU863"), "2.0.5(x)").region == "EU863"
    assert lns.parse_config(changed("region", to="EU863"), "2.0.6(x)").region == "EU863"
    assert lns.parse_config(CONFIG, "2.0.10(x)").region == "EU868"
    with pytest.raises(LnsError, match="unknown region"):
        lns.parse_config(CONFIG, "2.0.5(x)")
    assert lns.parse_config(CONFIG | {"colour": "red"}, lns.VERSION).unknown == ("colour",)


@pytest.mark.parametrize(
    "changes",
    [
        {"dC": 1}, {"dC": None}, {"DevEui": None}, {"DevEui": "0123456789abcdef"}, {"pdu": ""}, {"pdu": "xyz"},
        {"pdu": None}, {"diid": "7"}, {"diid": None}, {"xtime": 6.9e16}, {"xtime": 0}, {"rctx": None}, {"RxDelay": 16},
        {"RxDelay": None}, {"priority": 256}, {"RX1DR": 9}, {"RX1DR": None}, {"RX1Freq": None},
        {"RX2Freq": 870_000_001}, {"RX1Freq": 868.1}, {"RX1DR": None, "RX1Freq": None, "RX2DR": None, "RX2Freq": None},
    ],
)  # fmt: skip
def test_a_downlink_that_a_real_one_would_not_take(changes: dict[str, Any]) -> None:
    config = lns.parse_config(CONFIG, lns.VERSION)
    message = dnmsg({"upinfo": {"xtime": 1 << 54, "rctx": 0}})
    assert [window.after_us for window in lns.parse_dnmsg(message, config).windows] == [1_000_000, 2_000_000]
    with pytest.raises(LnsError):
        lns.parse_dnmsg(message | changes, config)


@given(text=st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_nothing_but_lns_error_comes_of_what_a_server_says(text: str) -> None:
    for parse in (lns.parse, lns.parse_router_info):
        try:
            parse(text)
        except LnsError:
            continue


@pytest.mark.parametrize(
    ("eui", "text"),
    [("0000000000000001", "::1"), ("0001000000000000", "1::"), ("58a0cbfffe800f8a", "58a0:cbff:fe80:f8a")],
)
def test_id6(eui: str, text: str) -> None:
    assert lns.id6(bytes.fromhex(eui)) == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x40",
        b"\x60" + bytes(20),
        b"\x01" + bytes(22),
        b"\x00" + bytes(21),
        b"\x40" + bytes(4) + b"\x0f" + bytes(10),
    ],
)
def test_what_is_no_uplink_is_not_forwarded(data: bytes) -> None:
    assert not data or lns.taken_apart(data) is None
    assert lns.taken_apart(b"\xe0\x01") == {"msgtype": "propdf", "FRMPayload": "E001"}


# -- settings


@pytest.mark.parametrize("text", ["ws://127.0.0.1:8887", "wss://nest.example:443", "ws://[::1]:8887"])
def test_addresses_of_stations(text: str) -> None:
    assert parse_address(text) == text
    assert parse_address(text + "/") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nest.example:8887",
        "ws://nest.example",
        "http://x:1",
        "ws://x:0",
        "ws://x:99999",
        "ws://x:1/p",
        "ws://u@x:1",
    ],
)
def test_what_is_no_address_of_a_station(text: str) -> None:
    with pytest.raises(UserError, match="not an address"):
        parse_address(text)


def test_tokens_are_read_as_tc_key_has_them(tmp_path: Path) -> None:
    file = tmp_path / "tc.key"
    file.write_bytes(b"Authorization: Bearer abc\r\n\r\n")
    assert read_tokens(file) == ["abc"]
    file.write_text("abc\ndef\n")
    assert read_tokens(file) == ["abc", "def"]
    for content in (b"", b"\n", b"\xff", "Schlüssel".encode()):
        file.write_bytes(content)
        with pytest.raises(UserError):
            read_tokens(file)
    with pytest.raises(UserError):
        read_tokens(tmp_path / "missing")


async def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        server = StationServer("wss://127.0.0.1:1", None, tmp_path / name)
        with pytest.raises(UserError, match=name):
            await VirtualStation(EUI, STATION, server, lambda _: None).start()


def test_simulated_gateways_are_registered_as_they_speak(tmp_path: Path) -> None:
    from nest.archive.database import open_database
    from nest.gateways import GatewayRegistry
    from nest.town import create

    town = create(tmp_path / "town", "Town")
    stations = Plan(nodes=1, gateways=2).gateway_stations()

    def registered() -> list[GatewayInfo]:
        engine = open_database(town.database)
        try:
            return GatewayRegistry(engine).list()
        finally:
            engine.dispose()

    register_gateways(town.path, stations[:1])
    register_gateways(town.path, stations, ["one", "two"])
    assert {info.eui: info.token for info in registered()} == {
        eui.hex(): fingerprint(token) for (eui, _), token in zip(stations, ("one", "two"), strict=True)
    }
    info = next(info for info in registered() if info.eui == stations[0][0].hex())
    assert (info.name, info.antenna_gain_dbi) == (stations[0][1].name, stations[0][1].gain_dbi)
    assert info.latitude == stations[0][1].position.latitude
    register_gateways(town.path, stations)  # Semtech UDP knows no tokens
    assert [info.token for info in registered()] == [None, None]


def test_every_gateway_has_a_token(tmp_path: Path) -> None:
    request = Request(Plan(gateways=2), "ws://127.0.0.1:8887", tokens=("s3cret",))
    assert simulate._tokens(request, 2) == ["s3cret", "s3cret"]
    assert simulate._tokens(replace(request, tokens=("one", "two", "three")), 2) == ["one", "two"]
    fresh = simulate._tokens(replace(request, tokens=(), town=tmp_path), 2)
    assert len(set(fresh)) == 2
    assert "s3cret" not in repr(request)
    for tokens in ((), ("one", "two")):
        with pytest.raises(UserError, match="token"):
            simulate._tokens(replace(request, tokens=tokens), 3)
