"""The messages of LoRa Basics Station: every spelling that stations use, frames byte for byte, and nothing escapes."""

from __future__ import annotations

import contextlib
import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.forwarders import station_messages as messages
from nest.forwarders.station_clock import StationClock
from nest.forwarders.station_config import router_config
from nest.forwarders.station_messages import UPLINKS, MalformedError
from nest.model import Downlink

GATEWAY = "58a0cbfffe800f8a"
XTIME = 69524345096022996  # of a real station; a float would make 69524345096022990-something else of it
NOW = 1_770_000_000.25

# what a real station sent [basicstation issue 74], and the frame that its log shows
UPDF = {
    "msgtype": "updf", "MHdr": 64, "DevAddr": 654311497, "FCtrl": 128, "FCnt": 44, "FOpts": "", "FPort": 102,
    "FRMPayload": "B9", "MIC": 1355550607, "RefTime": 1596649302.323966, "DR": 5, "Freq": 867900000,
    "upinfo": {"rctx": 0, "xtime": 67835476298353940, "gpstime": 0, "fts": -1, "rssi": -37, "snr": 9.25,
               "rxtime": 1596649302.316173},
}  # fmt: skip
UPDF_PHY = bytes.fromhex("4049000027802C0066B98F0FCC50")
UPINFO = {"rctx": 0, "xtime": XTIME, "gpstime": 0, "fts": -1, "rssi": -104, "snr": -7.5, "rxtime": 1.5}
DOWNLINK = Downlink(
    GATEWAY, 1, 868_100_000, 7, 125_000, 16.0, bytes.fromhex("60490000278505000354ff0001ef560a74"),
    bytes.fromhex("70b3d57ed0012345"), 1, id=453, delay_s=1, context=(3, XTIME),
    fallback=(869_525_000, 9, 125_000, 27.0),
)  # fmt: skip


def signed(four: bytes) -> int:
    return struct.unpack("<i", four)[0]


def taken_apart(phy: bytes, *, capital: bool = False) -> dict[str, Any]:
    """A frame as a station tells it. [basicstation src/lora.c]"""
    kind = phy[0] >> 5
    eui = "EUI" if capital else "Eui"
    common = {"DR": 5, "Freq": 868_100_000, "RefTime": 0.0, "upinfo": UPINFO}
    if kind == 7:
        return {"msgtype": "propdf", "FRMPayload": phy.hex().upper()} | common
    if kind == 0:
        return {
            "msgtype": "jreq",
            "MHdr": phy[0],
            f"Join{eui}": phy[1:9][::-1].hex("-").upper(),
            f"Dev{eui}": phy[9:17][::-1].hex("-").upper(),
            "DevNonce": struct.unpack("<H", phy[17:19])[0],
            "MIC": signed(phy[-4:]),
        } | common
    port = 8 + (phy[5] & 15)
    return {
        "msgtype": "updf",
        "MHdr": phy[0],
        "DevAddr": signed(phy[1:5]),
        "FCtrl": phy[5],
        "FCnt": struct.unpack("<H", phy[6:8])[0],
        "FOpts": phy[8:port].hex().upper(),
        "FPort": -1 if port == len(phy) - 4 else phy[port],
        "FRMPayload": phy[port + 1 : -4].hex().upper(),
        "MIC": signed(phy[-4:]),
    } | common


def reassembled(message: dict[str, Any]) -> bytes:
    kind, parsed = messages.parse(json.dumps(message))
    return messages.parse_uplink(kind, parsed, GATEWAY, NOW).phy


def frames() -> st.SearchStrategy[bytes]:
    join = st.binary(min_size=22, max_size=22).map(lambda rest: b"\x00" + rest)
    proprietary = st.binary(max_size=254).map(lambda rest: b"\xe0" + rest)

    @st.composite
    def data(draw: st.DrawFn) -> bytes:
        mhdr = draw(st.sampled_from((0x40, 0x80)))
        fopts = draw(st.binary(max_size=15))
        fctrl = draw(st.integers(0, 15)) << 4 | len(fopts)
        body = draw(st.binary(max_size=220))  # FPort and FRMPayload, or neither
        return (
            bytes((mhdr,))
            + draw(st.binary(min_size=4, max_size=4))
            + bytes((fctrl,))
            + draw(st.binary(min_size=2, max_size=2))
            + fopts
            + body
            + draw(st.binary(min_size=4, max_size=4))
        )

    return st.one_of(join, data(), proprietary)


@given(phy=frames(), capital=st.booleans())
def test_a_frame_is_put_together_again_byte_for_byte(phy: bytes, capital: bool) -> None:
    assert reassembled(taken_apart(phy, capital=capital)) == phy


def test_what_a_real_station_sent() -> None:
    kind, message = messages.parse(json.dumps(UPDF))
    frame = messages.parse_uplink(kind, message, GATEWAY, NOW)
    assert frame.phy == UPDF_PHY
    assert (frame.gateway, frame.received_at, frame.freq_hz) == (GATEWAY, NOW, 867_900_000)
    assert (frame.sf, frame.bw_hz, frame.rssi, frame.snr) == (7, 125_000, -37, 9.25)
    assert (frame.tmst, frame.context) == (67835476298353940 & 0xFFFFFFFF, (0, 67835476298353940))
    assert (frame.crc_ok, frame.buffered) == (True, False)


def test_numbers_may_be_negative_or_not() -> None:
    phy = bytes.fromhex("40ffffff9f80ffff01") + b"\x05" + bytes.fromhex("fffffff0")
    message = taken_apart(phy)
    assert message["DevAddr"] < 0
    assert message["MIC"] < 0
    assert reassembled(message) == phy
    assert reassembled(message | {"DevAddr": 0x9FFFFFFF, "MIC": 0xF0FFFFFF}) == phy


@pytest.mark.parametrize(("dr", "rate"), [(0, (12, 125_000)), (3, (9, 125_000)), (6, (7, 250_000))])
def test_data_rates_are_those_of_the_region(dr: int, rate: tuple[int, int]) -> None:
    frame = messages.parse_uplink("updf", UPDF | {"DR": dr}, GATEWAY, NOW)
    assert (frame.sf, frame.bw_hz) == rate


def test_fsk_is_told_from_what_cannot_be_understood() -> None:
    with pytest.raises(MalformedError) as error:
        messages.parse_uplink("updf", UPDF | {"DR": 7}, GATEWAY, NOW)
    assert error.value.kind == "station_fsk"


@pytest.mark.parametrize("xtime", [None, 0, -5, 6.9e16, "69524345096022996", 1 << 63, True])
def test_without_a_whole_xtime_a_frame_counts_but_cannot_be_answered(xtime: Any) -> None:
    frame = messages.parse_uplink("updf", UPDF | {"upinfo": UPINFO | {"xtime": xtime}}, GATEWAY, NOW)
    assert (frame.phy, frame.tmst, frame.context) == (UPDF_PHY, None, None)
    with pytest.raises(ValueError, match="no reception"):
        messages.dnmsg(replace(DOWNLINK, context=frame.context), NOW)


BAD_UPDF: list[dict[str, Any]] = [
    {"FCtrl": 3},  # says three bytes of FOpts, has none
    {"FOpts": "03"},
    {"FOpts": "0"},
    {"FOpts": None},
    {"FPort": -1},  # no port, but a payload
    {"FPort": -2},
    {"FPort": 256},
    {"FPort": None},
    {"FRMPayload": "b9 b9"},
    {"FRMPayload": "é9"},
    {"FRMPayload": 9},
    {"FRMPayload": "00" * 300},
    {"MHdr": 256},
    {"MHdr": -1},
    {"MHdr": True},
    {"DevAddr": 1 << 32},
    {"DevAddr": -(1 << 31) - 1},
    {"DevAddr": "27000049"},
    {"FCnt": 65536},
    {"FCnt": 44.5},
    {"MIC": None},
    {"MIC": 1 << 40},
    {"DR": 8},
    {"DR": -1},
    {"DR": None},
    {"DR": [5]},
    {"Freq": None},
    {"Freq": 868.1},  # MHz
    {"Freq": float("nan")},
    {"Freq": 10**400},
    {"upinfo": None},
    {"upinfo": []},
    {"upinfo": "rssi"},
    {"upinfo": {}},
    {"upinfo": {"rssi": "-37"}},
    {"upinfo": {"rssi": float("inf")}},
]


@pytest.mark.parametrize("wrong", BAD_UPDF)
def test_a_frame_that_cannot_be_whole_is_malformed(wrong: dict[str, Any]) -> None:
    with pytest.raises(MalformedError) as error:
        messages.parse_uplink("updf", UPDF | wrong, GATEWAY, NOW)
    assert error.value.kind == "station_malformed"


def test_every_field_of_a_frame_is_needed() -> None:
    whole = taken_apart(b"\x00" + bytes(range(22)))
    optional = {"msgtype", "RefTime"}
    for base in (UPDF, whole):
        for name in base.keys() - optional:
            with pytest.raises(MalformedError):
                messages.parse_uplink(base["msgtype"], {k: v for k, v in base.items() if k != name}, GATEWAY, NOW)


SPELLINGS = [
    (GATEWAY, GATEWAY),
    (GATEWAY.upper(), GATEWAY),
    ("58-a0-cb-ff-fe-80-0f-8a", GATEWAY),
    ("58:A0:CB:FF:FE:80:0F:8A", GATEWAY),
    ("58a0:cbff:fe80:f8a", GATEWAY),
    ("router-58a0:cbff:fe80:f8a", GATEWAY),
    ("eui-58A0CBFFFE800F8A", GATEWAY),
    (0x58A0CBFFFE800F8A, GATEWAY),
    ("::1", "0000000000000001"),
    ("::", "0000000000000000"),
    ("1::", "0001000000000000"),
    ("1::2", "0001000000000002"),
    ("1:2::3", "0001000200000003"),
    ("::fe80:f8a", "00000000fe800f8a"),
    (1, "0000000000000001"),
    (-1, "f" * 16),
    (-0x5F345_00000_00001, f"{(1 << 64) - 0x5F345_00000_00001:016x}"),
    (0xFFFFFFFFFFFFFFFE, "fffffffffffffffe"),
]


@pytest.mark.parametrize(("said", "eui"), SPELLINGS)
def test_an_eui_is_known_in_each_of_its_spellings(said: Any, eui: str) -> None:
    assert messages.parse_router(json.dumps({"router": said})) == eui


@given(eui=st.binary(min_size=8, max_size=8))
def test_id6_comes_back_as_the_same_eui(eui: bytes) -> None:
    assert messages.parse_eui(messages.id6(eui.hex())) == int.from_bytes(eui, "big")


@pytest.mark.parametrize(
    "said",
    [None, True, 1.5, "", "-", ":", ":::", "1:2:3", "1:2:3:4:5", "1::2::3", "12345::", "1:2:3:4::5", "g::1", "58a0",
     "58-a0-cb-ff-fe-80-0f", "58-a0-cb-ff-fe-80-0f-8a-00", [1], {}, 1 << 64, -(1 << 63) - 1, "１２" * 8, "0" * 5000],
)  # fmt: skip
def test_what_is_no_eui_is_refused(said: Any) -> None:
    with pytest.raises(MalformedError) as error:
        messages.parse_router(json.dumps({"router": said}))
    assert error.value.kind == "station_router"


BAD_TEXTS = [
    "", "{", "null", "[]", "1", '"updf"', "{}", '{"msgtype":null}', '{"msgtype":1}', '{"msgtype":["updf"]}', "\ud800",
    "[" * 100_000, '{"msgtype":' + "9" * 5000 + "}", b"\xff\xfe", b"\x00", "NaN",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_what_is_no_message_is_named(text: str | bytes) -> None:
    with pytest.raises(MalformedError) as error:
        messages.parse(text)
    assert error.value.kind == "station_json"
    with pytest.raises(MalformedError):
        messages.parse_router(text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["updf", "::1", "00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from([*UPDF, *UPINFO, "JoinEui", "JOINEUI", "DevEui", "DevNonce", "diid", "seqno", "station",
                               "model", "txtime", "router"])  # fmt: skip


@given(
    base=st.sampled_from([UPDF, taken_apart(bytes(23)), taken_apart(b"\xe0abc")]),
    changed=st.dictionaries(field_names, json_values, max_size=4),
    upinfo=st.dictionaries(field_names, json_values, max_size=3),
)
def test_nothing_but_malformed_error_escapes(
    base: dict[str, Any], changed: dict[str, Any], upinfo: dict[str, Any]
) -> None:
    message = {**base, "upinfo": {**UPINFO, **upinfo}, **changed}
    for parse in (
        lambda: messages.parse(json.dumps(message)),
        lambda: messages.parse_router(json.dumps(message)),
        lambda: messages.parse_version(message),
        lambda: messages.parse_dntxed(message),
        lambda: messages.timesync(NOW, message),
        *(lambda kind=kind: messages.parse_uplink(kind, message, GATEWAY, NOW) for kind in UPLINKS),
    ):
        with contextlib.suppress(MalformedError):
            parse()


@given(text=st.text() | st.binary())
def test_any_text_at_all(text: str | bytes) -> None:
    for parse in (messages.parse, messages.parse_router):
        with contextlib.suppress(MalformedError):
            parse(text)


# -- version and router_config


@pytest.mark.parametrize(
    ("station", "region"),
    [
        ("2.0.6(rpi/std)", "EU868"),
        ("2.0.10(linux/debug)", "EU868"),
        ("2.1.0", "EU868"),
        ("v3.0.0", "EU868"),
        ("2.0.5(rpi/std)", "EU863"),
        ("1.9.9", "EU863"),
        ("something of their own", "EU863"),
        (None, "EU863"),
    ],
)
def test_the_region_has_the_name_that_the_station_knows(station: Any, region: str) -> None:
    assert messages.parse_version({"station": station}).region == region


def test_what_a_station_runs_is_told_in_printable_words() -> None:
    message = {"station": "2.0.6(rpi/std)", "firmware": None, "model": "rak\x1b[31m\n" + "x" * 200}
    software = messages.parse_version(message).software
    assert software.startswith("2.0.6(rpi/std) rak[31mxxx")
    assert len(software) < 130


def test_the_configuration_covers_what_nodes_use() -> None:
    config = json.loads(router_config("EU863", 0, NOW))
    assert (config["msgtype"], config["region"], config["hwspec"]) == ("router_config", "EU863", "sx1301/1")
    assert (config["NetID"], config["JoinEui"], config["freq_range"]) == ([0], None, [863_000_000, 870_000_000])
    assert config["MuxTime"] == NOW
    assert len(config["DRs"]) == 16
    assert config["DRs"][:8] == [[12, 125, 0], [11, 125, 0], [10, 125, 0], [9, 125, 0], [8, 125, 0], [7, 125, 0],
                                 [7, 250, 0], [0, 0, 0]]  # fmt: skip
    assert config["DRs"][8:] == [[-1, 0, 0]] * 8
    (board,) = config["sx1301_conf"]
    heard = []
    for number in range(8):
        channel = board[f"chan_multiSF_{number}"]
        assert channel["enable"] is True
        assert abs(channel["if"]) <= 400_000
        heard.append(board[f"radio_{channel['radio']}"]["freq"] + channel["if"])
    assert sorted(heard) == [*range(867_100_000, 868_000_000, 200_000), 868_100_000, 868_300_000, 868_500_000]
    fast = board["chan_Lora_std"]
    assert board[f"radio_{fast['radio']}"]["freq"] + fast["if"] == 868_300_000
    assert (fast["bandwidth"], fast["spread_factor"]) == (250_000, 7)
    assert len(router_config("EU868", 0, NOW)) < 40_000  # a station's buffer


@pytest.mark.parametrize(
    ("net_id", "filtered"), [(0, [0]), (0x13, [0x13]), (0x3F, [0x3F]), (0x40, None), (0x600001, None)]
)
def test_a_station_filters_by_netid_only_where_it_can(net_id: int, filtered: list[int] | None) -> None:
    assert json.loads(router_config("EU868", net_id, NOW))["NetID"] == filtered


# -- discovery, downlinks, time


def test_the_discovery_answers_with_text_only() -> None:
    answer = json.loads(messages.router_info(GATEWAY, "ws://nest:8887/station/" + GATEWAY))
    assert answer == {"router": "58a0:cbff:fe80:f8a", "muxs": "::0", "uri": "ws://nest:8887/station/" + GATEWAY}
    refused = json.loads(messages.router_info(GATEWAY, None))
    assert refused.keys() == {"router", "error"}


def test_a_downlink_in_rx1_brings_rx2_to_fall_back_on() -> None:
    assert json.loads(messages.dnmsg(DOWNLINK, NOW)) == {
        "msgtype": "dnmsg",
        "DevEui": "70-b3-d5-7e-d0-01-23-45",
        "dC": 0,
        "diid": 453,
        "pdu": "60490000278505000354ff0001ef560a74",
        "RxDelay": 1,
        "RX1DR": 5,
        "RX1Freq": 868_100_000,
        "RX2DR": 3,
        "RX2Freq": 869_525_000,
        "priority": 10,
        "xtime": XTIME,
        "rctx": 3,
        "MuxTime": NOW,
    }


def test_a_downlink_for_rx2_alone_is_counted_from_rx1() -> None:
    downlink = replace(DOWNLINK, window=2, delay_s=6, freq_hz=869_525_000, sf=12, fallback=None)
    message = json.loads(messages.dnmsg(downlink, NOW))
    assert (message["RxDelay"], message["RX2DR"], message["RX2Freq"]) == (5, 0, 869_525_000)
    assert not {"RX1DR", "RX1Freq", "DR", "Freq"} & message.keys()
    only_rx1 = json.loads(messages.dnmsg(replace(DOWNLINK, fallback=None), NOW))
    assert not {"RX2DR", "RX2Freq"} & only_rx1.keys()


def test_a_downlink_is_always_reported() -> None:
    message = json.loads(messages.dnmsg(replace(DOWNLINK, dev_eui=bytes(8)), NOW))
    assert message["DevEui"] == "00-00-00-00-00-00-00-01"


def test_a_data_rate_of_another_region_is_not_sent() -> None:
    with pytest.raises(ValueError, match="data rate"):
        messages.dnmsg(replace(DOWNLINK, bw_hz=500_000), NOW)


@pytest.mark.parametrize(
    ("said", "window"),
    [
        ({"diid": 453, "Freq": 868_100_000, "DR": 5}, 1),
        ({"diid": 453, "Freq": 869_525_000, "DR": 3}, 2),
        ({"seqno": 453, "Freq": 869_525_000}, 2),
        ({"diid": 453}, 1),
    ],
)
def test_a_station_tells_in_which_window_it_sent(said: dict[str, Any], window: int) -> None:
    sent = messages.parse_dntxed(said)
    assert sent.diid == 453
    assert messages.window_of(sent, DOWNLINK) == window
    assert messages.window_of(sent, replace(DOWNLINK, fallback=None, window=2)) == 2


def test_windows_on_one_frequency_are_told_apart_by_the_data_rate() -> None:
    downlink = replace(DOWNLINK, freq_hz=869_525_000)
    for dr, window in ((5, 1), (3, 2)):
        sent = messages.parse_dntxed({"diid": 453, "Freq": 869_525_000, "DR": dr})
        assert messages.window_of(sent, downlink) == window


def test_gps_time_for_a_station_that_asks() -> None:
    answer = json.loads(messages.timesync(1_000_000_000.0, {"msgtype": "timesync", "txtime": 123}))
    # 2001-09-09T01:46:40Z: GPS week and second by the definition of GPS time, with today's 18 leap seconds
    assert answer == {
        "msgtype": "timesync", "txtime": 123, "gpstime": 684_035_218_000_000, "MuxTime": 1_000_000_000.0,
    }  # fmt: skip
    assert json.loads(messages.timesync(NOW)) == {"msgtype": "timesync", "MuxTime": NOW}


# -- the age of frames

SESSION = 0x17 << 48


def xtime(seconds: float, session: int = SESSION) -> int:
    return session | round(seconds * 1e6)


def test_frames_that_waited_for_the_connection_are_as_old_as_they_are() -> None:
    clock = StationClock()
    assert clock.age_s(xtime(100), 5000.3) == 0
    assert clock.age_s(xtime(110), 5010.1) == 0  # on a faster way
    assert clock.age_s(xtime(120), 5060.1) == pytest.approx(40, abs=0.01)
    assert clock.moment(xtime(121)) == pytest.approx(5021.1, abs=0.01)
    assert clock.moment(xtime(121, 0x18 << 48)) is None
    assert clock.age_s(xtime(3, 0x18 << 48), 5100.0) == 0  # its counter began again


@given(st.floats(-90e-6, 90e-6), st.lists(st.floats(0.01, 20_000), max_size=20))
def test_clocks_that_drift_make_no_fresh_frame_old(drift: float, pauses: list[float]) -> None:
    clock, now = StationClock(), 1000.0
    for pause in pauses:
        now += pause
        assert clock.age_s(xtime(now * (1 + drift)), now) < 0.01
