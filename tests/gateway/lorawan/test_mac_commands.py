"""MAC commands as bytes: published vectors, the standard's own example, and the node's firmware as the other side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.lorawan import mac_commands as mac

ROOT = Path(__file__).resolve().parents[3]
for _folder in (ROOT / "firmware", ROOT / "tests/firmware/cpython"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from lorawan import commands as firmware  # noqa: E402
from lorawan import eu868  # noqa: E402
from lorawan.results import Outcome  # noqa: E402
from lorawan.session import Session  # noqa: E402

VECTORS: dict[str, Any] = json.loads((ROOT / "tests/vectors/lorawan.json").read_text(encoding="utf-8"))
UP = [v for v in VECTORS["mac_commands"] if v["dir"] == 0]
DOWN = [v for v in VECTORS["mac_commands"] if v["dir"] == 1]

# What a vector calls a field, and what we do.
FIELDS = {
    "chMaskAck": "ch_mask_ok",
    "dataRateAck": "dr_ok",
    "powerAck": "power_ok",
    "rx2DataRateAck": "rx2_dr_ok",
    "rx1DrOffsetAck": "rx1_dr_offset_ok",
    "battery": "battery",
    "margin": "margin_db",
    "channelFreqOk": "freq_ok",
    "channelAck": "freq_ok",
    "dataRateRangeOk": "dr_range_ok",
    "uplinkFreqExists": "uplink_freq_exists",
}
BUILT = {
    "LinkCheckAns": lambda f: mac.link_check_ans(f["margin"], f["gwCnt"]),
    "LinkADRReq": lambda f: mac.link_adr_req(f["dr"], f["txPower"], f["chMaskValue"], f["chMaskCntl"], f["nbTrans"]),
    "DutyCycleReq": lambda f: mac.duty_cycle_req(f["maxDutyCycle"]),
    "RXParamSetupReq": lambda f: mac.rx_param_setup_req(f["rx1DrOffset"], f["rx2DataRate"], f["hz"]),
    "DevStatusReq": lambda f: mac.dev_status_req(),
    "NewChannelReq": lambda f: mac.new_channel_req(f["chIndex"], f["hz"], f["minDr"], f["maxDr"]),
    "RXTimingSetupReq": lambda f: mac.rx_timing_setup_req(f["delay"]),
    "DlChannelReq": lambda f: mac.dl_channel_req(f["chIndex"], f["hz"]),
}


def named(v: dict[str, Any]) -> str:
    return v["name"]


@pytest.mark.parametrize("v", [v for v in UP if "cids" not in v["fields"]], ids=named)
def test_what_nodes_say_is_read_as_others_read_it(v: dict[str, Any]) -> None:
    (command,), malformed = mac.parse_up(bytes.fromhex(v["wire"]))
    assert not malformed
    for name, value in v["fields"].items():
        assert getattr(command, FIELDS[name]) == value, name


@pytest.mark.parametrize("v", [v for v in UP if "cids" in v["fields"]], ids=named)
def test_several_commands_are_told_apart(v: dict[str, Any]) -> None:
    commands, malformed = mac.parse_up(bytes.fromhex(v["wire"]))
    assert [command.cid for command in commands] == v["fields"]["cids"]
    assert not malformed


@pytest.mark.parametrize("v", [v for v in DOWN if v["name"].split()[0] in BUILT], ids=named)
def test_what_the_network_says_is_built_as_others_build_it(v: dict[str, Any]) -> None:
    assert BUILT[v["name"].split()[0]](v["fields"]).hex() == v["wire"]


def test_reserved_bits_of_the_margin_are_not_read() -> None:
    assert mac.parse_up(bytes.fromhex("0600e2")) == ([mac.DevStatusAns(6, 0, -30)], False)


def test_an_unknown_command_hides_what_follows_it_and_nothing_else() -> None:
    commands, malformed = mac.parse_up(bytes.fromhex("0307" + "7f" + "06ff00"))
    assert commands == [mac.LinkAdrAns(3, True, True, True)]
    assert malformed


def test_a_cut_off_command_does_not_count() -> None:
    commands, malformed = mac.parse_up(bytes.fromhex("02" + "06ff"))
    assert commands == [mac.LinkCheckReq(2)]
    assert malformed


@given(st.binary(max_size=242))
def test_no_block_breaks_the_parser_and_the_firmware_reads_the_same(block: bytes) -> None:
    commands, malformed = mac.parse_up(block)
    theirs = firmware.parse(block, firmware.UP_SIZES)
    assert [command.cid for command in commands] == [cid for cid, _ in theirs]
    assert malformed == (sum(1 + len(data) for _, data in theirs) < len(block))


def test_both_sides_know_the_same_commands() -> None:
    assert {cid: size for cid, (size, _) in mac.UP.items()} == firmware.UP_SIZES


def test_gps_time_is_that_of_the_standards_example() -> None:
    answer = mac.device_time_ans(1_455_287_071.0, leap_s=17)  # 2016-02-12T14:24:31Z (TS001-1.0.3 section 5.9)
    assert int.from_bytes(answer[1:5], "little") == 1_139_322_288
    assert (answer[0], answer[5]) == (0x0D, 0)


@given(st.floats(1.5e9, 2.5e9))
def test_a_node_gets_the_time_to_a_256th_of_a_second(unix_s: float) -> None:
    answer = mac.device_time_ans(unix_s)
    told = int.from_bytes(answer[1:5], "little") + answer[5] / 256
    assert 0 <= unix_s - 315964800 + 18 - told < 1 / 256


@pytest.mark.parametrize(
    "build",
    [
        lambda: mac.link_adr_req(16, 0, 0xFF, 0, 1),
        lambda: mac.link_adr_req(0, 0, 0x10000, 0, 1),
        lambda: mac.link_check_ans(255, 1),
        lambda: mac.rx_timing_setup_req(0),
        lambda: mac.rx_param_setup_req(0, 0, 869_525_050),
        lambda: mac.dl_channel_req(0, -100),
    ],
)
def test_a_number_that_does_not_fit_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|steps"):
        build()


# -- the firmware carries out what is built here


def node() -> Session:
    session = Session(0x26011234, 0, bytes(16), bytes(16), eu868)
    for index, freq_hz in enumerate((867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)):
        session.set_channel(3 + index, freq_hz, eu868.DR_RANGE)
    return session


def carried_out(session: Session, block: bytes, asked: bytes = b"") -> tuple[list[mac.Command], Outcome]:
    outcome = Outcome(False)
    outcome.asked = asked
    answers = firmware.apply(session, eu868, block, 5.4, 200, True, outcome)
    commands, malformed = mac.parse_up(answers)
    assert not malformed
    return commands, outcome


@given(st.integers(0, 5), st.integers(0, 7), st.integers(1, 15))
def test_the_firmware_takes_a_link_adr_req(dr: int, tx_power: int, nb_trans: int) -> None:
    session = node()
    answers, _ = carried_out(session, mac.link_adr_req(dr, tx_power, 0x00FF, 0, nb_trans))
    assert answers == [mac.LinkAdrAns(3, True, True, True)]
    assert (session.dr, session.tx_power, session.nb_trans) == (dr, tx_power, nb_trans)
    assert session.channel_mask == 0xFF


def test_the_firmware_refuses_what_it_cannot() -> None:
    session = Session(0x26011234, 0, bytes(16), bytes(16), eu868)  # without the CFList's channels
    answers, _ = carried_out(session, mac.link_adr_req(5, 0, 0x00FF, 0, 1))
    assert answers == [mac.LinkAdrAns(3, False, True, True)]


@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 15))
def test_the_firmware_takes_other_windows(offset: int, rx2_dr: int, delay: int) -> None:
    session = node()
    block = mac.rx_param_setup_req(offset, rx2_dr, 869_525_000) + mac.rx_timing_setup_req(delay)
    answers, _ = carried_out(session, block)
    assert answers == [mac.RxParamSetupAns(5, True, True, True), mac.RxTimingSetupAns(8)]
    assert (session.rx1_dr_offset, session.rx2_dr, session.rx2_freq_hz) == (offset, rx2_dr, 869_525_000)
    assert session.rx1_delay_s == delay


def test_the_firmware_takes_the_rest() -> None:
    session = node()
    block = mac.dev_status_req() + mac.duty_cycle_req(3)
    block += mac.new_channel_req(8, 869_900_000, 0, 5) + mac.dl_channel_req(1, 869_525_000)
    answers, _ = carried_out(session, block)
    assert answers == [
        mac.DevStatusAns(6, 200, 5),
        mac.DutyCycleAns(4),
        mac.NewChannelAns(7, True, True),
        mac.DlChannelAns(10, True, True),
    ]
    assert session.max_duty == 3
    assert session.channels[8] == 869_900_000
    assert session.dl_channels[1] == 869_525_000


def test_the_firmware_hears_the_answers_it_asked_for() -> None:
    block = mac.link_check_ans(21, 3) + mac.device_time_ans(1_800_000_000.5)
    _, outcome = carried_out(node(), block, asked=bytes((mac.LINK_CHECK, mac.DEVICE_TIME)))
    assert outcome.link_check == (21, 3)
    assert outcome.device_time == (1_800_000_000 - 315_964_800 + 18, 128)
