"""The Semtech UDP packets, with what gateways in the field make of them (`corpus/`)."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.forwarders import semtech_packets as packets
from nest.forwarders.gateway_clock import GatewayClock
from nest.model import Downlink, RadioFrame

CORPUS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(Path(__file__).with_name("corpus").glob("*.json"))
}
EUI = "a84041ffff1ec39f"
PHY = bytes.fromhex("40f17dbe4900020001954378762b11ff0d")

# A PUSH_DATA's rxpk as PROTOCOL.TXT v1.4 section 4 shows it, with our payload.
RXPK: dict[str, Any] = {
    "time": "2013-03-31T16:21:17.528002Z",
    "tmst": 3512348611,
    "chan": 2,
    "rfch": 0,
    "freq": 866.349812,
    "stat": 1,
    "modu": "LORA",
    "datr": "SF7BW125",
    "codr": "4/6",
    "rssi": -35,
    "lsnr": 5.1,
    "size": len(PHY),
    "data": base64.b64encode(PHY).decode(),
}


def push(*rxpks: Any, version: int = 2, **more: Any) -> bytes:
    body = json.dumps({"rxpk": list(rxpks), **more}).encode()
    return bytes([version, 0x12, 0x34, 0]) + bytes.fromhex(EUI) + body


def one(**changes: Any) -> RadioFrame:
    body = packets.parse_push(push(RXPK | changes), EUI, 5.0)
    assert body.problems == []
    return body.frames[0]


def problems(rxpk: Any) -> tuple[str, ...]:
    body = packets.parse_push(push(rxpk), EUI, 5.0)
    assert body.frames == []
    assert body.unusable == 1
    return tuple(body.problems)


def test_a_frame_as_the_protocol_shows_it() -> None:
    assert one() == RadioFrame(PHY, EUI, 5.0, 866_349_800, 7, 125_000, -35, 5.1, 3512348611, True)


@pytest.mark.parametrize("name", [name for name, case in CORPUS.items() if "frames" in case])
def test_what_real_forwarders_push(name: str) -> None:
    case = CORPUS[name]
    datagram = bytes.fromhex(case["datagram"])
    assert packets.header_problem(datagram) is None
    body = packets.parse_push(datagram, EUI, case["arrival"], GatewayClock())
    expect = [RadioFrame(gateway=EUI, **(frame | {"phy": bytes.fromhex(frame["phy"])})) for frame in case["frames"]]
    assert [dataclasses.asdict(frame) for frame in body.frames] == [dataclasses.asdict(frame) for frame in expect]
    assert (body.problems, body.stat) == (case["problems"], case["stat"])


@pytest.mark.parametrize("name", [name for name, case in CORPUS.items() if "tx" in case])
def test_what_real_forwarders_say_of_a_downlink(name: str) -> None:
    datagram = bytes.fromhex(CORPUS[name]["datagram"])
    assert packets.header_problem(datagram) is None
    assert packets.parse_tx_ack(datagram) == packets.TxResult(**CORPUS[name]["tx"])


@pytest.mark.parametrize("version", [1, 2])
def test_header_and_acknowledgement(version: int) -> None:
    datagram = push(RXPK, version=version)
    assert packets.header_problem(datagram) is None
    assert packets.push_ack(datagram) == bytes([version, 0x12, 0x34, 1])
    assert packets.pull_ack(datagram) == bytes([version, 0x12, 0x34, 4])


@given(st.binary(min_size=1, max_size=255), st.booleans(), st.booleans())
def test_base64_in_every_spelling(data: bytes, padded: bool, url_safe: bool) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    assert packets.decode_base64(text if padded else text.rstrip("=")) == data


@given(st.text())
def test_base64_raises_only_value_error(text: str) -> None:
    try:
        packets.decode_base64(text)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("written", "meant"),
    [(868.0999755859375, 868_100_000), (867.1, 867_100_000), (869.525, 869_525_000), (925.0999755859375, 925_100_000)],
)
def test_frequencies_are_rounded_to_100_hz(written: float, meant: int) -> None:
    assert one(freq=written).freq_hz == meant


@pytest.mark.parametrize(("stat", "crc_ok"), [(1, True), (-1, False), (0, None), (None, True)])
def test_radio_checksum(stat: int | None, crc_ok: bool | None) -> None:
    assert one(stat=stat).crc_ok is crc_ok


def test_nulls_and_missing_fields_do_not_matter_where_nothing_hangs_on_them() -> None:
    nulls = dict.fromkeys(("time", "chan", "rfch", "stat", "modu", "codr", "lsnr", "size", "tmst"))
    frame = one(**nulls)
    assert (frame.phy, frame.snr, frame.tmst) == (PHY, None, None)
    rxpk = {name: RXPK[name] for name in ("freq", "datr", "rssi", "data")}
    assert packets.parse_push(push(rxpk), EUI, 5.0).frames == [frame]


def test_signal_per_antenna() -> None:
    rsig = [{"ant": 0, "rssic": -101, "lsnr": -3.5}, {"ant": 1, "rssic": -92, "lsnr": 2.25}, None, {"ant": 2}]
    frame = one(rssi=None, lsnr=None, rsig=rsig)
    assert (frame.rssi, frame.snr) == (-92, 2.25)


def test_several_frames_and_statistics_in_one_datagram() -> None:
    stat = {"time": "2014-01-12 08:59:28 GMT", "lati": 46.24, "long": 3.2523, "rxnb": 2, "ackr": 100.0}
    odd = {"alti": None, "unknown": [], "txnb": "7"}
    body = packets.parse_push(push(RXPK, {"no": 1}, RXPK | {"tmst": 1}, stat=stat | odd), EUI, 5.0)
    assert [frame.tmst for frame in body.frames] == [3512348611, 1]
    assert body.problems == ["rxpk_malformed"]
    assert body.stat == stat


def test_fsk_is_known_and_left_out() -> None:
    assert problems(RXPK | {"modu": "FSK", "datr": 50000}) == ("rxpk_fsk",)
    assert problems(RXPK | {"datr": 50000}) == ("rxpk_fsk",)
    assert problems(RXPK | {"modu": "LR_FHSS", "datr": "M0CW137"}) == ("rxpk_fsk",)


def test_a_wrong_size_is_counted_and_the_data_believed() -> None:
    body = packets.parse_push(push(RXPK | {"size": 5}), EUI, 5.0)
    assert body.frames[0].phy == PHY
    assert body.problems == ["rxpk_size"]


@pytest.mark.parametrize(
    "rxpk",
    [
        None,
        7,
        [],
        "x",
        RXPK | {"data": None},
        RXPK | {"data": ""},
        RXPK | {"data": "A"},
        RXPK | {"data": "äö=="},
        RXPK | {"data": "\ud800"},
        RXPK | {"data": 7},
        RXPK | {"data": "A" * 344},
        RXPK | {"datr": "SF4BW125"},
        RXPK | {"datr": None},
        RXPK | {"datr": "SF٧BW125"},
        RXPK | {"freq": None},
        RXPK | {"freq": True},
        RXPK | {"freq": "868.1"},
        RXPK | {"freq": -868.1},
        RXPK | {"freq": 1e308},
        RXPK | {"freq": 10**400},
        RXPK | {"rssi": None},
        RXPK | {"rssi": float("inf")},
        RXPK | {"datr": ["SF7BW125"]},
        RXPK | {"datr": {}},
    ],
    ids=repr,
)
def test_frames_that_cannot_be_understood(rxpk: Any) -> None:
    assert problems(rxpk) == ("rxpk_malformed",)


@pytest.mark.parametrize("tmst", [float("nan"), 1e300, -1, 2**32 + 5, 5.0, "5", []])
def test_odd_counters_do_not_cost_the_frame(tmst: Any) -> None:
    frame = one(tmst=tmst)
    assert frame.tmst is None or 0 <= frame.tmst <= 0xFFFFFFFF


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"", "datagram_short"),
        (b"\x02\0\0", "datagram_short"),
        (b"\x02\0\0\x00" + bytes(7), "datagram_short"),
        (b"\x03\0\0\x00" + bytes(8), "datagram_version"),
        (b"\x02\0\0\x01" + bytes(8), "datagram_type"),
        (b"\x02\0\0\x03" + bytes(8), "datagram_type"),
        (b"\x02\0\0\x99" + bytes(8), "datagram_type"),
    ],
)
def test_malformed_headers(datagram: bytes, kind: str) -> None:
    assert packets.header_problem(datagram) == kind


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"{\xff}", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_malformed_bodies(body: bytes) -> None:
    with pytest.raises(packets.MalformedError) as caught:
        packets.parse_push(bytes(12) + body, EUI, 5.0)
    assert caught.value.kind == "datagram_json"


@pytest.mark.parametrize("body", [{"rxpk": {}}, {"rxpk": 5}, {"rxpk": [[]]}, {"stat": []}, {}, {"rxpk": None}])
def test_odd_bodies_are_taken_apart(body: Any) -> None:
    got = packets.parse_push(bytes(12) + json.dumps(body).encode() + b"\0", EUI, 5.0)
    assert got.frames == []
    assert set(got.problems) <= packets.KINDS.keys()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(RXPK)), inner, max_size=3),
    max_leaves=6,
)
rxpks = st.dictionaries(st.sampled_from([*sorted(RXPK), "rsig"]), json_values).map(lambda odd: RXPK | odd)


@given(st.lists(rxpks | json_values, max_size=3), json_values)
def test_any_json_body_gives_frames_and_problems(rxpk: list[Any], stat: Any) -> None:
    body = packets.parse_push(push(*rxpk, stat=stat), EUI, 5.0, GatewayClock())
    assert len(body.frames) + body.unusable == len(rxpk)
    assert set(body.problems) <= packets.KINDS.keys()
    for frame in body.frames:
        assert isinstance(frame.freq_hz, int)
        assert 0 < len(frame.phy) <= 255
        assert -200 <= frame.rssi <= 100
        assert frame.received_at <= 5.0


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x02\0\0\0", b"\x01\0\0\x05", b"\x02\0\0\x02"]))
def test_any_datagram_raises_nothing_else(tail: bytes, head: bytes) -> None:
    assert packets.header_problem(head + tail) in {None, *packets.KINDS}
    for parse in (lambda d: packets.parse_push(d, EUI, 5.0, GatewayClock()), packets.parse_tx_ack):
        try:
            parse(head + tail)
        except packets.MalformedError as error:
            kind = error.kind
        else:
            continue
        assert kind in packets.KINDS


@pytest.mark.parametrize(
    ("body", "expect"),
    [
        (b"", packets.TxResult()),
        (b"\0", packets.TxResult()),
        (b"{}", packets.TxResult()),
        (b'{"txpk_ack":{"error":"NONE"}}', packets.TxResult()),
        (b'{"txpk_ack":{"error":null}}', packets.TxResult()),
        (b'{"txpk_ack":{"error":"COLLISION_PACKET"}}', packets.TxResult("COLLISION_PACKET")),
        (b'{"txpk_ack":{"error":"too_late"}}', packets.TxResult("TOO_LATE")),
        (b'{"txpk_ack":{"warn":"TX_POWER","value":20}}', packets.TxResult(None, "TX_POWER", 20)),
    ],
)
def test_tx_ack(body: bytes, expect: packets.TxResult) -> None:
    assert packets.parse_tx_ack(bytes(12) + body) == expect


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"txpk_ack":7}'])
def test_malformed_tx_ack(body: bytes) -> None:
    with pytest.raises(packets.MalformedError) as caught:
        packets.parse_tx_ack(bytes(12) + body)
    assert caught.value.kind == "tx_ack_malformed"


def test_pull_resp() -> None:
    downlink = Downlink(EUI, 4294967295, 869_525_000, 12, 125_000, 16.0, PHY, bytes(8), 2)
    datagram = packets.pull_resp(2, 0xBEEF, downlink)
    assert datagram[:4] == b"\x02\xbe\xef\x03"
    assert json.loads(datagram[4:]) == {
        "txpk": {
            "imme": False,
            "tmst": 4294967295,
            "freq": 869.525,
            "rfch": 0,
            "powe": 16,
            "modu": "LORA",
            "datr": "SF12BW125",
            "codr": "4/5",
            "ipol": True,
            "prea": 8,
            "ncrc": True,
            "size": len(PHY),
            "data": base64.b64encode(PHY).decode(),
        }
    }


@pytest.mark.parametrize(
    ("eirp_dbm", "gain_dbi", "powe"),
    [(16.0, 0.0, 16), (16.0, 2.15, 13), (16.15, 2.15, 14), (14.0 + 2.15, 2.15, 14), (16.0, 5.0, 11), (14.0, 20.0, 0)],
)
def test_the_antenna_s_gain_is_taken_off_and_the_eirp_never_exceeded(
    eirp_dbm: float, gain_dbi: float, powe: int
) -> None:
    downlink = Downlink(EUI, 2**32 + 7, 868_100_000, 7, 250_000, eirp_dbm, PHY, bytes(8), 1)
    txpk = json.loads(packets.pull_resp(1, 0, downlink, gain_dbi)[4:])["txpk"]
    assert (txpk["powe"], txpk["datr"], txpk["tmst"]) == (powe, "SF7BW250", 7)


def test_a_nonsensical_signal_does_not_cost_the_frame() -> None:
    assert one(rssi=1e300, lsnr=-1e300).rssi == packets.STRONGEST_DBM
    assert one(rssi=-(2**40), lsnr=1e9).rssi == packets.WEAKEST_DBM
    assert one(lsnr=1e9).snr is None


def test_statistics_hold_no_text_that_could_do_harm() -> None:
    told = ["\ud800", "\x1b[2J", "x" * 41, "ä", 7]
    for text in told:
        assert packets.parse_push(push(stat={"time": text, "desc": "<b>", "rxnb": 1}), EUI, 5.0).stat == {"rxnb": 1}


def test_the_time_in_the_statistics_tells_of_a_slow_clock() -> None:
    clock, noon = GatewayClock(), 1_760_011_200.0  # 2025-10-09T12:00:00Z; the gateway says 11
    for minute in range(3):
        stat = {"time": f"2025-10-09 11:0{minute}:00 GMT"}
        packets.parse_push(push(stat=stat), EUI, noon + 60 * minute, clock)
    frames = packets.parse_push(push(RXPK | {"time": "2025-10-09T11:02:01Z"}), EUI, noon + 121, clock).frames
    assert [(frame.buffered, frame.received_at) for frame in frames] == [(False, noon + 121)]
