"""Frames: format, encryption, MIC, sizes, ports (TS001-1.0.4 4; RP002-1.0.4 2.4.6; CR1.0 sections 2.3, 2.6)."""

from __future__ import annotations

import lorawan_network as network
import pytest
from cert_air import Down, Sent
from cert_devices import DutError
from cert_lab import Lab
from cert_terms import ACK, DEV_ADDR, FPENDING, MAX_PAYLOAD


def test_uplink_format(lab: Lab) -> None:
    """MHDR, DevAddr, FCtrl, FCnt, FPort, encrypted FRMPayload and MIC stand where they should."""
    up = lab.uplink(b"\x00" * 20, port=42).up
    phy = up.sent.frame
    assert phy[0] == 0x40
    assert phy[1:5] == DEV_ADDR.to_bytes(4, "little")
    assert phy[6:9] == b"\0\0\x2a"
    assert len(phy) == 12 + 1 + 20
    assert up.payload == bytes(20)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 33, 51, 115, 242])
def test_encryption_of_every_length(lab: Lab, size: int) -> None:
    """The payload is encrypted with AppSKey block by block, and its length is kept."""
    payload = bytes(range(size))
    exchange = lab.uplink(payload, port=7, rx1=lab.down(port=7, payload=payload))
    assert exchange.up.payload == payload
    assert exchange.downlinks == [(7, payload, 0)]


@pytest.mark.parametrize("port", [1, 2, 100, 222, 223])
def test_application_ports(lab: Lab, port: int) -> None:
    """FPort 1 to 223 belong to the application, in both directions."""
    exchange = lab.uplink(b"x", port=port, rx1=lab.down(port=port, payload=b"y"))
    assert exchange.up.port == port
    assert exchange.downlinks == [(port, b"y", 0)]


@pytest.mark.parametrize("port", [0, 224, 225, 255])
def test_reserved_ports_are_no_application_ports(lab: Lab, port: int) -> None:
    """The application cannot send on FPort 0 or above 223, and nothing goes on air when it tries."""
    count = len(lab.air.log)
    with pytest.raises(DutError):
        lab.uplink(b"x", port=port)
    assert len(lab.air.log) == count
    assert lab.uplink().up.fcnt == 0


@pytest.mark.parametrize("port", [224, 225, 255])
def test_downlink_on_a_reserved_port(lab: Lab, port: int) -> None:
    """A downlink on a reserved port counts and closes RX2, and is nothing for the application."""
    exchange = lab.uplink(rx1=lab.down(port=port, payload=b"\x01"))
    assert exchange.outcome.window == 1
    assert exchange.downlinks == []
    assert lab.session().fcnt_down == 0


@pytest.mark.parametrize("dr", range(6))
def test_maximum_payload(lab: Lab, dr: int) -> None:
    """The longest payload of a data rate is sent; one byte more is refused, costs no FCntUp and does not go on air."""
    lab.set(dr=dr)
    lab.dr = dr
    most = MAX_PAYLOAD[dr]
    assert lab.order("room") == most
    count = len(lab.air.log)
    with pytest.raises(DutError, match="PayloadTooLong"):
        lab.uplink(bytes(most + 1))
    assert len(lab.air.log) == count
    assert len(lab.uplink(bytes(most)).up.sent.frame) == most + 13


def test_maximum_payload_with_mac_answers(lab: Lab) -> None:
    """FOpts take their room from the payload: together they never exceed the maximum of the data rate."""
    for dr in (0, 3, 5):
        lab.set(dr=dr)
        lab.dr = dr
        lab.uplink(rx1=lab.down(fopts=b"\x06\x06"))
        room = lab.order("room")
        assert room == MAX_PAYLOAD[dr] - 6
        exchange = lab.uplink(bytes(room))
        assert exchange.up.fopts == b"\x06\xff\x07" * 2
        assert len(exchange.up.sent.frame) == MAX_PAYLOAD[dr] + 13


def test_a_payload_that_fills_the_frame_and_mac_answers(lab: Lab) -> None:
    """A payload that leaves no room for the answers goes; they follow at the latest ahead of the next uplink."""
    lab.set(dr=0)
    lab.dr = 0
    lab.uplink(rx1=lab.down(fopts=b"\x06\x08\x01"))
    first = lab.uplink(bytes(51))
    assert first.up.fopts == b""
    assert first.ahead == []
    second = lab.uplink(bytes(51))
    assert [(up.port, up.payload) for up in second.ahead] == [(0, b"\x06\xff\x07\x08")]
    assert second.up.payload == bytes(51)
    assert second.up.fopts == b""


def waiting(lab: Lab) -> None:
    """Bring the device to where MAC answers go ahead of the next uplink of 51 bytes."""
    lab.set(dr=0)
    lab.dr = 0
    lab.uplink(rx1=lab.down(fopts=b"\x06"))
    lab.uplink(bytes(51))


def test_downlink_after_a_frame_of_answers(lab: Lab) -> None:
    """What comes in the windows of a frame of MAC answers is handed on, and the payload goes all the same."""
    waiting(lab)
    down = lab.down(port=4, payload=b"x", confirmed=True)
    exchange = lab.uplink(bytes(51), replies=[(down, None)])
    assert len(exchange.ahead) == 1
    assert exchange.downlinks == [(4, b"x", 1)]
    assert not exchange.ahead[0].ack
    assert exchange.up.ack


def test_ack_after_a_frame_of_answers_is_not_for_the_payload(lab: Lab) -> None:
    """An ACK in answer to a frame of MAC answers does not acknowledge the confirmed uplink behind it."""
    waiting(lab)
    exchange = lab.uplink(bytes(51), confirmed=True, replies=[(lab.down(fctrl=ACK), None)])
    assert [up.confirmed for up in (*exchange.ahead, exchange.up)] == [False, True]
    assert exchange.outcome.acked is False


def test_downlink_after_a_frame_of_answers_without_airtime_for_more(lab: Lab) -> None:
    """Where the frame of MAC answers uses up the airtime, what came in its windows is handed on sooner or later."""
    lab.uplink(rx1=lab.down(fopts=b"\x04\x0a"))
    lab.answer()
    lab.wait(3600)
    waiting(lab)
    lab.wait(3600)
    down = lab.down(port=4, payload=b"x")
    got = []
    frames: list[bytes] = []

    def answer(sent: Sent) -> None:
        frames.append(sent.frame)
        if len(frames) == 1:
            lab.air.add(Down(sent.end_us + 1_000_000, sent.freq_hz, sent.sf, sent.bw_hz, down))

    lab.air.on_transmit = answer
    for _ in range(3):
        outcome = lab.patiently(lambda: lab.order("uplink", port=1, payload="00" * 51))
        got += outcome["downlinks"]
        lab.wait(7200)
    assert lab.session().fcnt_down == 3
    assert got == [[4, "78", 3]]


def test_mac_answers_beside_a_short_payload(lab: Lab) -> None:
    """Answers go in FOpts, in clear, beside the payload."""
    lab.uplink(rx1=lab.down(fopts=b"\x06"))
    up = lab.uplink(b"hello", port=9).up
    assert up.sent.frame[8:11] == b"\x06\xff\x07"
    assert (up.port, up.payload) == (9, b"hello")


def test_commands_on_port_0_are_encrypted_with_the_nwk_skey(lab: Lab) -> None:
    """Commands on FPort 0 are decrypted with NwkSKey, obeyed, and are nothing for the application."""
    exchange = lab.uplink(rx1=lab.down(port=0, payload=b"\x06\x08\x02"))
    assert exchange.downlinks == []
    lab.rx1_delay_s = 2
    assert lab.uplink().up.fopts == b"\x06\xff\x07\x08"


def test_commands_on_port_0_with_the_wrong_key(lab: Lab) -> None:
    """A FPort 0 payload that was encrypted with AppSKey is other bytes, and is not obeyed as it stands."""
    body = network.crypt(lab.app_skey, DEV_ADDR, 0, 1, b"\x08\x02")
    plain = network.crypt(lab.nwk_skey, DEV_ADDR, 0, 1, body)
    assert plain[0] != 8
    lab.uplink(rx1=lab.down(port=0, payload=plain))
    lab.uplink()
    assert lab.session().rx1_delay_s == 1


def test_empty_downlinks(lab: Lab) -> None:
    """A downlink without FPort, and one with an FPort and no payload, are taken."""
    assert lab.uplink(rx1=lab.down()).outcome.window == 1
    assert lab.uplink(rx1=lab.down(port=5)).downlinks == [(5, b"", 1)]


MALFORMED = (
    "too short", "empty", "one byte", "RFU major 1", "RFU major 3", "JoinRequest", "unconfirmed up", "confirmed up",
    "rejoin", "proprietary", "FOpts longer than the frame", "FOpts with FPort 0", "tampered FPort", "tampered FCtrl",
    "tampered payload", "wrong DevAddr", "wrong DevAddr with a good MIC", "wrong direction", "one byte more", "no MIC",
)  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_downlink_is_dropped(lab: Lab, case: str) -> None:
    """A frame that breaks a rule is dropped without a trace, and RX2 is opened for one that keeps them."""
    good = lab.down(port=1, payload=b"abcd", confirmed=True)
    keys = lab.nwk_skey, lab.app_skey, DEV_ADDR, 0

    def remade(body: bytes, fcnt: int = 0, direction: int = 1) -> bytes:
        """A body that breaks a rule, with the MIC it should have."""
        b0 = b"\x49" + bytes(4) + bytes([direction]) + DEV_ADDR.to_bytes(4, "little") + fcnt.to_bytes(4, "little")
        return body + network.cmac(lab.nwk_skey, b0 + bytes([0, len(body)]) + body)[:4]

    body = good[:-4]
    bad = {
        "too short": remade(body[:7]),
        "empty": b"",
        "one byte": b"\xa0",
        "RFU major 1": remade(b"\xa1" + body[1:]),
        "RFU major 3": remade(b"\xa3" + body[1:]),
        "JoinRequest": remade(b"\x00" + body[1:]),
        "unconfirmed up": remade(b"\x40" + body[1:]),
        "confirmed up": remade(b"\x80" + body[1:]),
        "rejoin": remade(b"\xc0" + body[1:]),
        "proprietary": remade(b"\xe0" + body[1:]),
        "FOpts longer than the frame": remade(body[:5] + b"\x0f" + body[6:]),
        "FOpts with FPort 0": network.data_frame(*keys, direction=1, port=0, payload=b"\x06", fopts=b"\x06"),
        "tampered FPort": good[:8] + b"\x02" + good[9:],
        "tampered FCtrl": good[:5] + b"\x20" + good[6:],
        "tampered payload": good[:9] + bytes([good[9] ^ 1]) + good[10:],
        "wrong DevAddr": good[:1] + bytes([good[1] ^ 1]) + good[2:],
        "wrong DevAddr with a good MIC": remade(good[:1] + bytes([good[1] ^ 1]) + body[2:]),
        "wrong direction": remade(body, direction=0),
        "one byte more": good + b"\0",
        "no MIC": body,
    }[case]
    before = lab.session()
    exchange = lab.uplink(confirmed=True, rx1=bad)
    after = lab.session()
    assert exchange.outcome.window == 0
    assert exchange.outcome.acked is False
    assert exchange.downlinks == []
    assert (after.fcnt_down, after.ack_owed, after.answers) == (before.fcnt_down, before.ack_owed, before.answers)
    exchange = lab.uplink(rx1=bad, rx2=good)
    assert exchange.outcome.window == 2
    assert exchange.downlinks == [(1, b"abcd", 0)]


def test_rfu_bits_of_a_downlink_are_ignored(lab: Lab) -> None:
    """The RFU bit of FCtrl and the RFU bits of MHDR do not make a frame unreadable."""
    assert lab.uplink(rx1=lab.down(port=1, payload=b"x", fctrl=0x40)).downlinks == [(1, b"x", 0)]


def test_rfu_bits_of_an_uplink_are_zero(lab: Lab) -> None:
    """A class A device leaves the class B bit of FCtrl and the RFU bits of MHDR at 0."""
    for confirmed in (False, True):
        phy = lab.uplink(confirmed=confirmed).up.sent.frame
        assert phy[0] & 0x1F == 0
        assert phy[5] & 0x10 == 0


def test_fpending_is_told(lab: Lab) -> None:
    """FPending of a downlink is handed on, and nothing is sent by itself because of it."""
    assert lab.uplink(rx1=lab.down(port=1, payload=b"x", fctrl=FPENDING)).outcome.pending
    assert not lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.pending
    assert not lab.uplink().outcome.pending


def test_signal_of_the_downlink_is_told(lab: Lab) -> None:
    """RSSI and SNR are those of the frame that was taken."""
    outcome = lab.uplink(rx1=bytes(20), rx2=lab.down()).outcome
    assert (outcome.rssi, outcome.snr) == (-97, 7.25)
