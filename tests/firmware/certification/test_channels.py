"""Channels: default ones, NewChannelReq, DlChannelReq, choice at random (TS001-1.0.4 5.6; RP002-1.0.4 2.4.2;
CR1.0 section 2.5)."""

from __future__ import annotations

import pytest
from cert_lab import Lab
from cert_terms import DEFAULT_CHANNELS, EXTRA_HZ, dl_channel, link_adr, new_channel


def used(lab: Lab, count: int) -> list[int]:
    return [lab.uplink().up.sent.freq_hz for _ in range(count)]


def test_default_channels_are_there_from_the_start(lab: Lab) -> None:
    """A device without a CFList uses 868.1, 868.3 and 868.5 MHz."""
    assert set(used(lab, 9)) == set(DEFAULT_CHANNELS.values())


@pytest.mark.parametrize("extra", range(1, 6))
def test_each_channel_once_before_any_again(lab: Lab, extra: int) -> None:
    """Every enabled channel is used once before any is used twice, in an order that changes."""
    block = b"".join(new_channel(index, freq) for index, freq in enumerate(EXTRA_HZ[:extra], 3))
    lab.channels.update(enumerate(EXTRA_HZ[:extra], 3))
    lab.uplink(rx1=lab.down(port=0, payload=block))
    count = 3 + extra
    seen = used(lab, 6 * count + count)
    aligned = [
        [tuple(seen[start : start + count]) for start in range(at, at + 5 * count, count)] for at in range(count)
    ]
    rounds = next(rounds for rounds in aligned if all(len({*one}) == count for one in rounds))
    assert set(rounds[0]) == set(lab.channels.values())
    assert len(set(rounds)) > 1


def test_no_channel_is_preferred(lab: Lab) -> None:
    """Over many uplinks each channel carries its share."""
    seen = used(lab, 90)
    assert {seen.count(freq) for freq in DEFAULT_CHANNELS.values()} <= {29, 30, 31}


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("freq", [0, 867100000, 868100000])
def test_default_channels_cannot_be_changed(lab: Lab, index: int, freq: int) -> None:
    """NewChannelReq for a default channel is refused, and the channel stays as it is (CR1.0 2.5.2.b.i)."""
    answer = lab.command(new_channel(index, freq))
    assert answer[:1] == b"\x07"
    assert len(answer) == 2
    assert answer[1] & 3 != 3
    assert set(used(lab, 6)) == set(DEFAULT_CHANNELS.values())


def test_a_new_channel_is_used(lab: Lab) -> None:
    """An added channel is accepted, switched on by that, and used beside the others (2.5.2.b.ii)."""
    lab.channels[3] = EXTRA_HZ[0]
    assert lab.command(new_channel(3, EXTRA_HZ[0])) == b"\x07\x03"
    assert set(used(lab, 8)) == {*DEFAULT_CHANNELS.values(), EXTRA_HZ[0]}


def test_a_channel_is_removed_with_frequency_0(lab: Lab) -> None:
    """A channel that was added is removed by frequency 0 and used no more (2.5.2.b.iii)."""
    lab.channels[4] = EXTRA_HZ[1]
    lab.command(new_channel(4, EXTRA_HZ[1]))
    assert lab.command(new_channel(4, 0)) == b"\x07\x03"
    assert set(used(lab, 8)) == set(DEFAULT_CHANNELS.values())


def test_many_channels_in_one_frame(lab: Lab) -> None:
    """Several NewChannelReq in one downlink are answered one by one, in order (2.5.2.b.iv)."""
    lab.channels.update(enumerate(EXTRA_HZ, 3))
    assert lab.command(b"".join(new_channel(index, freq) for index, freq in enumerate(EXTRA_HZ, 3))) == b"\x07\x03" * 5
    assert set(used(lab, 16)) == set(lab.channels.values())
    assert lab.command(b"".join(new_channel(index, 0) for index in range(3, 8))) == b"\x07\x03" * 5
    assert set(used(lab, 6)) == set(DEFAULT_CHANNELS.values())


def test_sixteen_channels(lab: Lab) -> None:
    """A device in EU868 holds at least 16 channels."""
    freqs = {index: 865_100_000 + 200_000 * (index - 3) for index in range(3, 16)}
    lab.channels.update(freqs)
    indices = list(freqs)
    for at in range(0, len(indices), 5):
        some = indices[at : at + 5]
        assert lab.command(b"".join(new_channel(i, freqs[i]) for i in some)) == b"\x07\x03" * len(some)
    assert set(used(lab, 40)) == set(lab.channels.values())


@pytest.mark.parametrize(
    ("what", "block", "status"),
    [
        ("below the band", new_channel(3, 862900000), 2),
        ("above the band", new_channel(3, 870100000), 2),
        ("another region's", new_channel(3, 915000000), 2),
        ("where no sub-band is", new_channel(3, 868650000), 2),
        ("data rates the wrong way round", new_channel(3, 867100000, max_dr=2, min_dr=3), 1),
        ("RFU data rates", new_channel(3, 867100000, max_dr=15, min_dr=0), 1),
        ("both wrong", new_channel(3, 862900000, max_dr=2, min_dr=3), 0),
    ],
)
def test_refused_new_channel(lab: Lab, what: str, block: bytes, status: int) -> None:
    """NewChannelReq with a frequency or data rates that the device cannot use is refused bit by bit."""
    assert lab.command(block) == bytes([7, status]), what
    assert set(used(lab, 6)) == set(DEFAULT_CHANNELS.values())


@pytest.mark.parametrize("index", [16, 17, 128, 255])
def test_channel_index_out_of_range(lab: Lab, index: int) -> None:
    """NewChannelReq and DlChannelReq for a channel that the device cannot hold are refused and harm nothing."""
    answer = lab.command(new_channel(index, 867100000))
    assert answer[0] == 7
    assert answer[1] & 3 != 3
    answer = lab.command(dl_channel(index, 867100000))
    assert answer[0] == 10
    assert answer[1] & 2 == 0
    assert set(used(lab, 6)) == set(DEFAULT_CHANNELS.values())


def test_a_channel_for_slow_uplinks_only(lab: Lab) -> None:
    """A channel whose data rates exclude the current one is not used, and is used when the data rate is in them."""
    assert lab.command(new_channel(3, 867100000, max_dr=2)) == b"\x07\x03"
    assert set(used(lab, 9)) == set(DEFAULT_CHANNELS.values())
    lab.set(dr=2)
    lab.dr = 2
    lab.channels[3] = 867100000
    assert set(used(lab, 9)) == set(lab.channels.values())


def test_masked_channels_are_not_used(lab: Lab) -> None:
    """Channels that ChMask switches off are silent, default ones included, until it switches them on again."""
    assert lab.command(link_adr(5, 0, 0b100)) == b"\x03\x07"
    assert set(used(lab, 5)) == {868500000}
    assert lab.command(link_adr(5, 0, 0b011)) == b"\x03\x07"
    assert set(used(lab, 6)) == {868100000, 868300000}


def test_dl_channel_moves_rx1(lab: Lab) -> None:
    """DlChannelReq moves RX1 of one channel, and of no other, from the next uplink on."""
    lab.uplink(rx1=lab.down(fopts=dl_channel(1, 868900000)))
    lab.dl_hz[1] = 868900000
    for _ in range(6):
        assert lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == 1


def test_dl_channel_answer_is_repeated(lab: Lab) -> None:
    """DlChannelAns is repeated in every uplink until a class A downlink."""
    lab.uplink(rx1=lab.down(fopts=dl_channel(0, 868500000)))
    lab.dl_hz[0] = 868500000
    for _ in range(3):
        assert lab.uplink().up.fopts == b"\x0a\x03"
    assert lab.uplink(rx2=lab.down()).up.fopts == b"\x0a\x03"
    assert lab.uplink().up.fopts == b""


@pytest.mark.parametrize(
    ("block", "status"),
    [(dl_channel(0, 862900000), 2), (dl_channel(7, 868300000), 1), (dl_channel(7, 862900000), 0)],
)
def test_refused_dl_channel(lab: Lab, block: bytes, status: int) -> None:
    """DlChannelReq for a channel that is not there, or a frequency that cannot be used, is refused bit by bit."""
    assert lab.command(block) == bytes([10, status])
    assert lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == 1


def test_a_channel_defined_anew_has_rx1_on_its_frequency(lab: Lab) -> None:
    """NewChannelReq undoes an earlier DlChannelReq of that channel."""
    lab.channels[3] = 867100000
    lab.command(new_channel(3, 867100000))
    lab.uplink(rx1=lab.down(fopts=dl_channel(3, 868900000)))
    lab.dl_hz[3] = 868900000
    lab.uplink(rx1=lab.down(fopts=new_channel(3, 867300000)))
    lab.channels[3] = 867300000
    lab.dl_hz.clear()
    assert all(lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == 1 for _ in range(8))


def test_channels_survive_reset_and_power_cut(lab: Lab) -> None:
    """Channels, RX1 frequencies and mask are what they were after a reset and after a power cut."""
    lab.channels[3] = 867100000
    lab.command(new_channel(3, 867100000) + dl_channel(3, 868300000))
    lab.dl_hz[3] = 868300000
    lab.command(link_adr(5, 0, 0b1100))
    for power_cut in (False, True):
        lab.restart(power_cut=power_cut)
        for _ in range(4):
            exchange = lab.uplink(rx1=lab.down(port=1, payload=b"x"))
            assert exchange.outcome.window == 1
            assert exchange.up.sent.freq_hz in ((868500000, 867100000) if not power_cut else lab.channels.values())
