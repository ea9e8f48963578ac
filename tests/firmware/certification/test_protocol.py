"""The certification protocol over the air: FPort 224 through MAC and memory (TS009-1.0.0 to 1.2.0)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cert_lab import Exchange, Lab
from cert_terms import ACK

VERSION = bytes((1, 2, 3, 0))


class Tool:
    """The test tool: one command in a downlink, and the uplink after it."""

    def __init__(self, lab: Lab, *, lab_switch: bool = False) -> None:
        self.lab = lab
        lab.order("tool", version=VERSION.hex(), lab=lab_switch)

    def say(self, command: bytes, *, window: int = 1) -> Exchange:
        down = self.lab.down(port=224, payload=command)
        return self.uplink(rx1=down if window == 1 else None, rx2=down if window == 2 else None)

    def uplink(self, **fields: Any) -> Exchange:
        return self.lab.uplink(b"reading", port=1, certified=True, **fields)

    def answer(self, command: bytes) -> tuple[int | None, bytes]:
        self.say(command)
        up = self.uplink().up
        return up.port, up.payload


@pytest.fixture
def tool(lab: Lab) -> Tool:
    return Tool(lab)


def wishes(exchange: Exchange) -> SimpleNamespace:
    return SimpleNamespace(**{name[5:]: got for name, got in vars(exchange.outcome).items() if name[:5] == "tool_"})


def test_package_version(tool: Tool) -> None:
    """PackageVersionReq is answered on FPort 224 with package 6, version 1, once."""
    assert tool.answer(b"\x00") == (224, b"\x00\x06\x01")
    assert tool.uplink().up.port == 1


def test_versions(tool: Tool) -> None:
    """DutVersionsReq is answered with the versions of firmware, TS001-1.0.4 and RP002-1.0.4."""
    assert tool.answer(b"\x7f") == (224, b"\x7f" + VERSION + b"\1\0\4\0\1\0\4\0")


@pytest.mark.parametrize("window", [1, 2])
def test_echo(tool: Tool, window: int) -> None:
    """EchoPayloadReq is answered with each byte one higher, modulo 256."""
    tool.say(b"\x08\x00\x7f\xff", window=window)
    up = tool.uplink().up
    assert (up.port, up.payload) == (224, b"\x08\x01\x80\x00")


def test_echo_is_cut_to_the_data_rate(tool: Tool) -> None:
    """An echo that is longer than the data rate allows is cut to the greatest payload that goes."""
    tool.lab.set(dr=0)
    tool.lab.dr = 0
    port, payload = tool.answer(b"\x08" + bytes(100))
    assert (port, payload) == (224, b"\x08" + b"\x01" * 50)


def test_rx_app_cnt(tool: Tool) -> None:
    """RxAppCnt counts downlinks with FPort 1 and above, and acknowledgements, not MAC commands; it can be reset."""
    tool.uplink(rx1=tool.lab.down(port=1, payload=b"x"))
    tool.uplink(rx1=tool.lab.down(port=0, payload=b"\x06"))
    tool.uplink(rx1=tool.lab.down(fopts=b"\x06"))
    tool.uplink(rx1=tool.lab.down(port=1, payload=b"x")[:-1] + b"?")
    assert tool.answer(b"\x09") == (224, b"\x09\x02\x00")
    tool.say(b"\x0a")
    assert tool.answer(b"\x09") == (224, b"\x09\x01\x00")


def test_tx_frames_ctrl(tool: Tool) -> None:
    """TxFramesCtrlReq makes every uplink confirmed, answers included, and unconfirmed again."""
    tool.say(b"\x07\x02")
    assert tool.uplink(rx1=tool.lab.down(fctrl=ACK)).up.confirmed
    tool.say(b"\x07\x00")
    assert tool.uplink().up.confirmed
    tool.say(b"\x07\x01")
    assert not tool.uplink().up.confirmed


def test_adr_bit_change(tool: Tool) -> None:
    """AdrBitChangeReq switches the ADR bit of all following uplinks off and on."""
    assert tool.uplink().up.adr
    tool.say(b"\x04\x00")
    assert not tool.uplink().up.adr
    tool.say(b"\x04\x01")
    assert tool.uplink().up.adr


def test_link_check_and_device_time(tool: Tool) -> None:
    """LinkCheckReq and DeviceTimeReq of the protocol make the device send these MAC commands once."""
    for command, cid in ((b"\x20", b"\x02"), (b"\x21", b"\x0d")):
        tool.say(command)
        up = tool.uplink().up
        assert (up.port, up.fopts) == (1, cid)
        assert tool.uplink().up.fopts == b""


def test_periodicity(tool: Tool) -> None:
    """TxPeriodicityChangeReq asks for 5 to 480 s, or for what is configured."""
    for index, seconds in ((1, 5), (7, 60), (10, 480), (11, 480), (0, 0)):
        assert wishes(tool.say(bytes((6, index)))).period_s == seconds


@pytest.mark.parametrize(("command", "wish"), [(b"\x01", 1), (b"\x02", 2), (b"\x7e", 0x7E)])
def test_reset_join_and_disable(tool: Tool, command: bytes, wish: int) -> None:
    """DutResetReq, DutJoinReq and DutFPort224DisableReq are handed on to the node."""
    assert wishes(tool.say(command)).wish == wish


def test_the_law_cannot_be_switched_off(tool: Tool) -> None:
    """RegionalDutyCycleCtrlReq does nothing outside a laboratory."""
    assert wishes(tool.say(b"\x05\x00")).duty_cycle is True


def test_the_law_can_be_put_aside_in_a_laboratory(lab: Lab) -> None:
    """With the configuration's "lab" RegionalDutyCycleCtrlReq is obeyed."""
    tool = Tool(lab, lab_switch=True)
    assert wishes(tool.say(b"\x05\x00")).duty_cycle is False
    assert wishes(tool.say(b"\x05\x01")).duty_cycle is True


@pytest.mark.parametrize("command", [b"\x03\x01", b"\x03\x02", b"\x7d\x08\x00\xd8\xb2\x83\x0e", b"\x40\x01", b"\x55"])
def test_what_is_not_done(tool: Tool, command: bytes) -> None:
    """Class B, class C and the continuous wave are passed over, and the device goes on."""
    exchange = tool.say(command)
    assert wishes(exchange).wish == 0
    assert tool.uplink().up.port == 1


def test_not_configured(lab: Lab) -> None:
    """Without the switch FPort 224 is a reserved port: commands on it do nothing."""
    exchange = lab.uplink(rx1=lab.down(port=224, payload=b"\x00"))
    assert exchange.downlinks == []
    assert lab.uplink().up.port == 1


def test_commands_of_another_key_or_an_old_counter(tool: Tool) -> None:
    """The protocol obeys only what has passed MIC and counter."""
    down = tool.lab.down(port=224, payload=b"\x07\x02")
    assert not wishes(tool.uplink(rx1=down[:-1] + bytes([down[-1] ^ 1]))).confirmed
    reset = tool.lab.down(port=224, payload=b"\x0a")
    assert wishes(tool.uplink(rx1=reset)).wish == 0
    assert tool.uplink(rx1=down).outcome.window == 0
