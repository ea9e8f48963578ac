"""NbTrans and retransmission (TS001-1.0.4 4.3.1.3, 5.2; RP002-1.0.4 3.1; TR007-1.1 4.9; CR1.0 sections 2.3, 2.5)."""

from __future__ import annotations

import pytest
from cert_lab import Exchange, Lab, Reply
from cert_terms import ACK, link_adr


def pauses(exchange: Exchange) -> list[float]:
    """Seconds from the end of RX2 to each repetition."""
    ends = [windows[-1].close_us for windows in exchange.windows]
    return [(up.sent.start_us - end) / 1e6 for end, up in zip(ends, exchange.ups[1:], strict=False)]


@pytest.mark.parametrize("nb_trans", range(1, 16))
@pytest.mark.parametrize("confirmed", [False, True])
def test_nb_trans(lab: Lab, nb_trans: int, confirmed: bool) -> None:
    """Without a downlink an uplink is transmitted NbTrans times, confirmed or not: the same frame, the same FCntUp."""
    lab.uplink(rx1=lab.down(fopts=link_adr(5, 0, 7, nb_trans)))
    lab.answer()
    for _ in range(2):
        exchange = lab.uplink(b"x", confirmed=confirmed, gap_s=300)
        assert len(exchange.ups) == nb_trans
        assert exchange.outcome.repeats == nb_trans
        assert exchange.outcome.acked is (False if confirmed else None)


def test_nb_trans_0_is_the_default(lab: Lab) -> None:
    """NbTrans 0 in LinkADRReq means the default, 1."""
    lab.uplink(rx1=lab.down(fopts=link_adr(5, 0, 7, 3)))
    assert lab.command(link_adr(5, 0, 7, 0)) == b"\x03\x07"
    assert len(lab.uplink().ups) == 1


def test_nb_trans_counts_from_the_next_uplink(lab: Lab) -> None:
    """NbTrans of a LinkADRReq holds for the uplink that answers it."""
    lab.uplink(rx1=lab.down(fopts=link_adr(5, 0, 7, 4)))
    exchange = lab.uplink()
    assert [up.fopts for up in exchange.ups] == [b"\x03\x07"] * 4


def test_repetitions_hop(lab: Lab) -> None:
    """Each repetition goes out on another channel, chosen as for a new frame."""
    lab.set(nb_trans=9)
    seen = [up.sent.freq_hz for up in lab.uplink(b"x", gap_s=300).ups]
    for start in (0, 3, 6):
        assert len(set(seen[start : start + 3])) == 3


def test_repetition_follows_rx2(lab: Lab) -> None:
    """A repetition comes only after RX2 was opened and closed."""
    lab.set(nb_trans=15)
    exchange = lab.uplink(b"x")
    assert all(len(windows) == 2 for windows in exchange.windows)
    assert min(pauses(exchange)) >= 0


def test_retransmit_timeout(lab: Lab) -> None:
    """A confirmed uplink without ACK is repeated RETRANSMIT_TIMEOUT after RX2: 1 to 3 s, at random."""
    lab.set(nb_trans=15)
    waited = [pause for _ in range(4) for pause in pauses(lab.uplink(b"x", confirmed=True, gap_s=600))]
    assert len(waited) == 56
    assert min(waited) >= 0.99
    assert max(waited) <= 3.01
    assert max(waited) - min(waited) > 1
    assert len({round(pause, 2) for pause in waited}) > 40


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("at", [1, 2, 5])
@pytest.mark.parametrize("window", [1, 2])
def test_a_downlink_ends_the_repetitions(lab: Lab, confirmed: bool, at: int, window: int) -> None:
    """A class A downlink in any window of any repetition ends them; for a confirmed uplink it has the ACK."""
    lab.set(nb_trans=8)
    down = lab.down(fctrl=ACK if confirmed else 0, port=1, payload=b"x")
    replies: list[tuple[Reply, Reply]] = [(None, None)] * (at - 1)
    replies.append((down, None) if window == 1 else (None, down))
    exchange = lab.uplink(b"x", confirmed=confirmed, replies=replies)
    assert len(exchange.ups) == at
    assert exchange.outcome.window == window
    assert exchange.outcome.acked is (True if confirmed else None)
    assert exchange.downlinks == [(1, b"x", 0)]
    assert lab.uplink(rx1=lab.down(fctrl=ACK)).up.fcnt == 1


def test_a_frame_that_does_not_pass_does_not_end_the_repetitions(lab: Lab) -> None:
    """Noise, another device's frame and a replay do not end the repetitions."""
    old = lab.down(port=1, payload=b"old")
    lab.uplink(rx1=old)
    lab.set(nb_trans=4)
    foreign = lab.down(fcnt=1, dev_addr=0x12345678, port=1, payload=b"x")
    exchange = lab.uplink(replies=[(bytes(20), foreign), (old, old), (foreign, None)])
    assert len(exchange.ups) == 4
    assert exchange.outcome.window == 0


def test_new_data_has_a_new_counter(lab: Lab) -> None:
    """After giving up, the next frame has the next FCntUp, though its payload be the same."""
    lab.set(nb_trans=3)
    assert lab.uplink(b"same", confirmed=True).up.fcnt == 0
    assert lab.uplink(b"same", confirmed=True).up.fcnt == 1


def test_windows_of_every_repetition(lab: Lab) -> None:
    """Every repetition has its two windows, at the data rate and on the frequency of its own transmission."""
    lab.set(nb_trans=3, rx1_dr_offset=2, dr=4)
    lab.rx1_dr_offset, lab.dr = 2, 4
    for at in range(3):
        replies: list[tuple[Reply, Reply]] = [(None, None)] * at
        exchange = lab.uplink(replies=[*replies, (lab.down(port=1, payload=b"x"), None)])
        assert (len(exchange.ups), exchange.outcome.window) == (at + 1, 1)


def test_device_time_counts_from_the_last_transmission(lab: Lab) -> None:
    """With repetitions, DeviceTimeAns belongs to the end of the transmission that was answered."""
    lab.set(nb_trans=3)
    lab.order("request", cid=0x0D)
    answer = lab.down(fopts=b"\x0d" + (1_400_000_000).to_bytes(4, "little") + b"\x40")
    exchange = lab.uplink(replies=[(None, None), (None, answer)])
    assert exchange.outcome.device_time == [1_400_000_000, 64]
    assert exchange.outcome.ended == exchange.ups[-1].sent.end_us % (1 << 30)
