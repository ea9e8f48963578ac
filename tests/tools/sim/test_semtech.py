"""The gateway's datagrams, byte by byte as PROTOCOL.TXT has them."""

from __future__ import annotations

import json

import pytest
from spatz.sim import semtech
from spatz.sim.semtech import Ack, MalformedError, PullResp

EUI = bytes.fromhex("0253a1b2c3d4e5f6")
TXPK = {
    "imme": False,
    "tmst": 3_512_348_611,
    "freq": 868.1,
    "rfch": 0,
    "powe": 14,
    "modu": "LORA",
    "datr": "SF9BW125",
    "codr": "4/5",
    "ipol": True,
    "prea": 8,
    "size": 12,
    "data": "IHhJ7ihR5vZMLC0K",
}


def pull_resp(txpk: object) -> bytes:
    return bytes((2, 0xAB, 0xCD, 3)) + json.dumps({"txpk": txpk}).encode()


def test_what_a_gateway_sends() -> None:
    assert semtech.pull_data(b"\x12\x34", EUI) == bytes.fromhex("02123402") + EUI
    assert semtech.push_data(b"\x12\x34", EUI, {"rxpk": [{"size": 1}]}) == (
        bytes.fromhex("02123400") + EUI + b'{"rxpk":[{"size":1}]}'
    )
    assert semtech.tx_ack(b"\xab\xcd", EUI) == bytes.fromhex("02abcd05") + EUI
    assert semtech.tx_ack(b"\xab\xcd", EUI, {"error": "TOO_LATE"}) == (
        bytes.fromhex("02abcd05") + EUI + b'{"txpk_ack":{"error":"TOO_LATE"}}'
    )


def test_acknowledgements() -> None:
    assert semtech.parse(bytes.fromhex("02123401")) == Ack(semtech.PUSH_ACK, b"\x12\x34")
    assert semtech.parse(bytes.fromhex("02123404")) == Ack(semtech.PULL_ACK, b"\x12\x34")


def test_a_downlink() -> None:
    message = semtech.parse(pull_resp(TXPK))
    assert isinstance(message, PullResp)
    assert message.token == b"\xab\xcd"
    txpk = message.txpk
    assert (txpk.tmst, txpk.freq_hz, txpk.sf, txpk.bw_hz, txpk.cr) == (3_512_348_611, 868_100_000, 9, 125_000, 5)
    assert (txpk.power_dbm, txpk.preamble, txpk.iq_inverted, txpk.crc_on) == (14.0, 8, True, True)
    assert txpk.data == bytes.fromhex("207849ee2851e6f64c2c2d0a")


@pytest.mark.parametrize("data", ["AAECAw==", "AAECAw", "-_-_AA", "+/+/AA=="])
def test_base64_padded_or_not_standard_or_url_safe(data: str) -> None:
    message = semtech.parse(pull_resp({**TXPK, "data": data, "size": 4}))
    assert isinstance(message, PullResp)
    assert message.txpk.data in (bytes(range(4)), bytes.fromhex("fbffbf00"))


def test_a_frequency_that_is_not_exact_and_null_for_absent() -> None:
    message = semtech.parse(pull_resp({**TXPK, "freq": 867.0999755859375, "prea": None, "ncrc": None, "powe": None}))
    assert isinstance(message, PullResp)
    assert (message.txpk.freq_hz, message.txpk.preamble, message.txpk.power_dbm) == (867_100_000, 8, 14.0)


def test_immediate_gps_and_without_crc() -> None:
    at_once = semtech.parse_txpk({**TXPK, "imme": True, "ncrc": True})
    assert (at_once.tmst, at_once.gps, at_once.crc_on) == (None, False, False)
    by_gps = semtech.parse_txpk({**{k: v for k, v in TXPK.items() if k != "tmst"}, "tmms": 1_250_000_000_000})
    assert (by_gps.tmst, by_gps.gps) == (None, True)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x02\x00\x00",
        bytes.fromhex("03000001"),
        bytes.fromhex("02000000"),
        bytes.fromhex("020000ff"),
        bytes.fromhex("02000003"),
        bytes.fromhex("02000003") + b"{",
        bytes.fromhex("02000003") + b"[]",
        bytes.fromhex("02000003") + b'{"txpk":7}',
        bytes.fromhex("02000003") + b"[" * 100_000,
        bytes.fromhex("02000003") + b"\xff\xfe",
        pull_resp({**TXPK, "datr": "SF13BW125"}),
        pull_resp({**TXPK, "datr": 50_000, "modu": "FSK"}),
        pull_resp({**TXPK, "codr": "4/9"}),
        pull_resp({**TXPK, "size": 11}),
        pull_resp({**TXPK, "data": "!!!!"}),
        pull_resp({**TXPK, "data": 7}),
        pull_resp({**TXPK, "data": "", "size": 0}),
        pull_resp({**TXPK, "freq": "here"}),
        pull_resp({**TXPK, "freq": 1e400}),
        pull_resp({**TXPK, "tmst": "soon"}),
        pull_resp({k: v for k, v in TXPK.items() if k != "tmst"}),
    ],
    ids=lambda datagram: repr(datagram[:24]),
)
def test_what_cannot_be_understood(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        semtech.parse(datagram)
