"""The UDP endpoint: who is answered, when, and where downlinks go. In virtual time, without sockets."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from nest.forwarders import semtech_udp
from nest.forwarders.gateways import USELESS_BURST
from nest.model import Downlink, GatewayInfo, RadioFrame

from .fake_forwarder import PlainForwarder
from .test_semtech_packets import EUI, PHY, RXPK, push
from .udp_nest import AWAY, DOWNLINK, HOME, HOME_AGAIN, HOME_MOVED, HOME_UP, LIVE, PULL, PULL_ACK, PUSH_ACK, Nest


@pytest.fixture
def nest() -> Nest:
    return Nest()


# -- who is answered, and when


def test_acknowledged_means_on_the_disk(nest: Nest) -> None:
    assert nest.hear(push(LIVE, LIVE | {"tmst": 7}, LIVE | {"modu": "FSK"}, stat={"rxnb": 3})) == []
    assert [(frame.tmst, frame.received_at, frame.buffered) for frame in nest.frames] == [
        (3512348611, nest.now + nest.unix_ahead, False),
        (7, nest.now + nest.unix_ahead, False),
    ]
    nest.commit()
    assert nest.wire.sent == [(PUSH_ACK, HOME)]
    gateway = nest.gateway
    assert (gateway.frames, gateway.useless, gateway.stat, gateway.protocol) == (2, 0, {"rxnb": 3}, "semtech_udp")
    assert gateway.last_seen == nest.now + nest.unix_ahead
    assert nest.counted() == {"push_data": 1, "rxpk_fsk": 1}


def test_what_is_not_taken_is_not_acknowledged(nest: Nest) -> None:
    nest.useful = lambda count: None
    assert nest.hear(push(LIVE)) == []
    nest.commit()
    assert nest.wire.sent == []
    assert nest.counted() == {"push_data": 1, "frames_refused": 1}
    assert nest.gateway.frames == 0


@pytest.mark.parametrize(
    "datagram",
    [
        push(stat={"rxnb": 0}),
        push(LIVE | {"modu": "FSK", "datr": 50000}),
        push(LIVE | {"data": "!"}),
        push()[:12] + b"{broken",
        push()[:12],
    ],
)
def test_what_holds_no_frames_is_acknowledged_at_once(nest: Nest, datagram: bytes) -> None:
    assert nest.hear(datagram) == [PUSH_ACK]
    assert nest.frames == []


def test_strangers_get_no_answer_and_are_remembered(nest: Nest) -> None:
    stranger = bytes(8)
    for datagram in (push(LIVE), PULL, bytes([2, 0, 7, 5]) + bytes(8)):
        assert nest.hear(datagram[:4] + stranger + datagram[12:], AWAY) == []
    assert nest.frames == []
    known = nest.gateways.strangers["00" * 8]
    assert (known.protocol, known.count, known.address) == ("semtech_udp", 3, AWAY[0])
    nest.hear(PULL[:4] + stranger, (f"::ffff:{HOME[0]}", 7, 0, 0))
    assert known.address == HOME[0]  # as people write it
    assert nest.counted() == {"unknown_gateway": 4}


def test_a_gateway_is_heard_once_it_is_admitted_and_no_more_when_it_is_dismissed(nest: Nest) -> None:
    other = "00000000000000aa"
    pull = PULL[:4] + bytes.fromhex(other)
    downlink = Downlink(other, 1, 868_100_000, 7, 125_000, 16.0, PHY, bytes(8), 1)
    assert nest.hear(pull) == []
    nest.gateways.admit(GatewayInfo(other, "Kirche"))
    assert nest.hear(pull) == [PULL_ACK]
    assert nest.udp.send(downlink)
    nest.gateways.dismiss(other)
    assert not nest.udp.send(downlink)
    assert nest.hear(pull) == []
    nest.gateways.admit(GatewayInfo(other, "Kirche"))
    assert not nest.udp.send(downlink)  # it has to open its way anew
    assert nest.hear(pull, AWAY) == [PULL_ACK]


def test_a_gateway_with_a_token_is_not_heard_without_it() -> None:
    nest = Nest(GatewayInfo(EUI, "Rathaus", token="ab" * 32))
    assert nest.hear(PULL) == nest.hear(push(LIVE)) == []
    nest.gateways.admit(GatewayInfo(EUI, "Rathaus"))
    assert nest.hear(PULL) == [PULL_ACK]
    nest.gateways.admit(GatewayInfo(EUI, "Rathaus", token="ab" * 32))
    assert nest.hear(PULL) == []
    assert nest.counted() == {"token_needed": 3, "pull_data": 1}


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"", "datagram_short"),
        (b"\x02\0\0\0" + bytes(7), "datagram_short"),
        (b"\x07\0\0\0" + bytes(8), "datagram_version"),
        (b"\x02\0\0\x04" + bytes(8), "datagram_type"),
    ],
)
def test_what_is_no_packet_is_counted(nest: Nest, datagram: bytes, kind: str) -> None:
    assert nest.hear(datagram) == []
    assert nest.counted() == {kind: 1}


# -- how much


def test_frames_of_no_use_stop_at_a_gateway_s_allowance(nest: Nest) -> None:
    nest.useful = lambda count: 0
    for _ in range(5000):
        nest.hear(push(LIVE))
    assert nest.counted()["push_data"] == USELESS_BURST
    assert nest.counted()["rate_limited"] == 3000
    assert nest.gateway.useless == USELESS_BURST
    nest.now += 1
    nest.hear(push(LIVE))
    assert nest.counted()["push_data"] == USELESS_BURST + 1


@pytest.mark.parametrize(
    "datagram",
    [
        push(*[None] * 100),
        push(*[LIVE | {"modu": "FSK"}] * 100),
        push(stat={}),
        push()[:12] + b"{",
        PULL,
        bytes([2, 0, 0, 5]) + bytes.fromhex(EUI),
    ],
)
def test_every_kind_of_nonsense_has_its_price(nest: Nest, datagram: bytes) -> None:
    nest.hear(PULL)
    for _ in range(2500):
        nest.hear(datagram)
    assert nest.counted()["rate_limited"] >= 500


def test_a_backlog_of_our_own_frames_passes_at_full_speed(nest: Nest) -> None:
    datagram = push(RXPK | {"time": "2025-10-09T00:00:00Z"}, LIVE)
    for _ in range(5000):
        nest.hear(datagram)
    assert nest.counted() == {"push_data": 5000, "rxpk_buffered": 5000}


def test_a_flood_does_not_open_the_way_for_others(nest: Nest) -> None:
    nest.hear(PULL)
    for _ in range(200):
        nest.now += 1
        nest.gateway.charge(10_000, nest.now)
        assert nest.hear(PULL) == []
    assert nest.hear(PULL, AWAY) == []
    assert (nest.counted()["rate_limited"], nest.counted()["source_locked"]) == (200, 1)


# -- where downlinks go


def test_downlinks_go_to_where_pull_data_came_from(nest: Nest) -> None:
    nest.hear(push(LIVE), HOME_UP)
    assert nest.downlink_goes_to() is None  # PUSH_DATA opens no way back
    assert not nest.gateway.reachable
    assert nest.hear(PULL, HOME) == [PULL_ACK]
    nest.hear(push(LIVE), HOME_UP)
    assert nest.downlink_goes_to() == HOME
    assert nest.gateway.reachable
    assert (nest.gateway.downlinks, nest.counted()["no_downlink_path"]) == (1, 1)


def test_another_port_is_followed_at_once(nest: Nest) -> None:
    nest.hear(PULL, HOME)
    nest.now += 5
    assert nest.hear(PULL, HOME_MOVED) == [PULL_ACK]  # a router gave it a new one
    assert nest.downlink_goes_to() == HOME_MOVED
    assert nest.counted()["path_moved"] == 1


def test_of_two_ports_that_speak_on_the_older_keeps_the_downlinks(nest: Nest) -> None:
    for _ in range(6):
        nest.hear(PULL, HOME)
        nest.now += 5
    nest.hear(PULL, HOME_MOVED)
    nest.hear(PULL, HOME_AGAIN)  # and a third, before the first speaks again
    nest.hear(PULL, HOME)
    assert nest.downlink_goes_to() == HOME
    for _ in range(100):
        nest.now += 5
        for port in (HOME_MOVED, HOME_AGAIN, HOME, HOME_MOVED):
            nest.hear(PULL, port)
        assert nest.downlink_goes_to() == HOME
    assert nest.counted()["path_contested"] == 301
    nest.now += 60  # the older is gone
    nest.hear(PULL, HOME_MOVED)
    assert nest.downlink_goes_to() == HOME_MOVED


def test_a_port_for_every_pull_data_is_strange_but_works(nest: Nest) -> None:
    for port in range(5000, 5100):
        nest.hear(PULL, ("192.0.2.1", port))
        assert nest.downlink_goes_to() == ("192.0.2.1", port)
        nest.now += 10
    assert "path_contested" not in nest.counted()


@pytest.mark.parametrize(("keep_alive", "patience"), [(2, 15), (10, 30), (30, 90), (60, 90)])
def test_another_address_must_wait_until_the_gateway_has_been_silent(
    nest: Nest, keep_alive: int, patience: int
) -> None:
    for _ in range(30):
        nest.now += keep_alive
        nest.hear(PULL, HOME)
    nest.now += patience - 0.1
    for datagram in (PULL, push(LIVE), bytes([2, 0, 7, 5]) + bytes.fromhex(EUI)):
        assert nest.hear(datagram, AWAY) == []
    assert (nest.frames, nest.counted()["source_locked"]) == ([], 3)
    assert nest.downlink_goes_to() == HOME
    nest.now += 0.2
    assert nest.hear(PULL, AWAY) == [PULL_ACK]
    assert nest.downlink_goes_to() == AWAY
    assert nest.hear(PULL, HOME) == []  # and now the same holds for the old one


def test_uplinks_alone_keep_the_address_tied(nest: Nest) -> None:
    nest.hear(PULL, HOME)
    for _ in range(60):
        nest.now += 10
        nest.hear(push(LIVE), HOME_UP)
        assert nest.hear(PULL, AWAY) == []


def test_a_lost_keep_alive_now_and_then_is_not_silence(nest: Nest) -> None:
    for i in range(51):
        nest.now += 10
        if i % 3:
            nest.hear(PULL, HOME)
    nest.now += 45
    assert nest.hear(PULL, AWAY) == []


def test_uplinks_of_who_opens_no_way_are_taken_from_anywhere(nest: Nest) -> None:
    for address in (HOME, AWAY, HOME_UP):
        nest.hear(push(LIVE), address)
    assert len(nest.frames) == 3
    nest.hear(PULL, HOME)
    nest.hear(push(LIVE), AWAY)
    assert len(nest.frames) == 3


def test_a_way_that_nobody_keeps_open_is_closed(nest: Nest) -> None:
    for _ in range(30):
        nest.now += 10
        nest.hear(PULL)
    nest.now += 89
    assert nest.downlink_goes_to() == HOME
    nest.now += 2
    assert nest.downlink_goes_to() is None
    nest.now += 86_400
    nest.hear(PULL)  # back after a day, which was an absence and no way to keep alive
    nest.now += 361
    assert nest.downlink_goes_to() is None


def test_the_version_and_the_antenna_of_the_gateway_decide_the_pull_resp(nest: Nest) -> None:
    nest.gateways.admit(GatewayInfo(EUI, "Rathaus", antenna_gain_dbi=5.0))
    nest.hear(b"\x01" + PULL[1:])
    assert nest.downlink_goes_to() == HOME
    datagram = nest.wire.sent[-1][0]
    assert (datagram[0], datagram[3], json.loads(datagram[4:])["txpk"]["powe"]) == (1, 3, 11)


# -- the gateway's word on them


@pytest.mark.parametrize(
    ("body", "error", "kind"),
    [
        (b"", None, None),
        (b'{"txpk_ack":{"error":"TOO_LATE"}}', "TOO_LATE", "tx_ack_error"),
        (b'{"txpk_ack":{"warn":"TX_POWER","value":14}}', None, "tx_ack_warning"),
        (b'{"txpk_ack":', None, "tx_ack_malformed"),
    ],
)
def test_the_gateway_s_word_on_a_downlink(nest: Nest, body: bytes, error: str | None, kind: str | None) -> None:
    nest.hear(PULL)
    nest.downlink_goes_to()
    token = nest.wire.sent[-1][0][1:3]
    ack = b"\x02" + token + b"\x05" + bytes.fromhex(EUI) + body
    nest.hear(ack, AWAY)  # not from there
    nest.hear(b"\x02" + bytes([token[0] ^ 1, token[1]]) + ack[3:])  # not this one
    assert nest.results == []
    nest.hear(ack, HOME_UP)
    nest.hear(ack, HOME_UP)  # once more: already known
    assert nest.results == [(DOWNLINK, error, None)]
    counted = nest.counted()
    assert (counted["source_locked"], counted["tx_ack_unknown"]) == (1, 2)
    assert kind is None or counted[kind] == 1
    assert nest.gateway.refused == (error is not None)


def test_nobody_else_has_a_word_on_a_downlink_even_when_the_gateway_is_silent(nest: Nest) -> None:
    nest.hear(PULL)
    nest.downlink_goes_to()
    nest.now += 1000
    nest.hear(b"\x02" + nest.wire.sent[-1][0][1:3] + b"\x05" + bytes.fromhex(EUI), AWAY)
    assert nest.results == []


def test_one_gateway_cannot_speak_for_another_s_downlink() -> None:
    nest = Nest(GatewayInfo(EUI, "Rathaus"), GatewayInfo("00" * 8, "Kirche"))
    nest.hear(PULL)
    nest.hear(PULL[:4] + bytes(8))
    nest.downlink_goes_to()
    nest.hear(b"\x02" + nest.wire.sent[-1][0][1:3] + b"\x05" + bytes(8) + b'{"txpk_ack":{"error":"TX_FREQ"}}')
    assert nest.results == []


def test_downlinks_whose_answers_never_come_do_not_pile_up(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semtech_udp, "MAX_IN_FLIGHT", 10)
    nest.hear(PULL)
    tokens = set()
    for _ in range(50):
        nest.downlink_goes_to()
        tokens.add(nest.wire.sent[-1][0][1:3])
    assert len(nest.udp._in_flight) == 10
    assert len(tokens) > 40


@pytest.mark.parametrize("version", [1, 2])
def test_a_forwarder_without_queue_and_tx_ack(nest: Nest, version: int) -> None:
    forwarder = PlainForwarder(EUI, version, tmst=2**32 - 300_000)

    def say(datagram: bytes) -> None:
        for answer in nest.hear(datagram):
            forwarder.take(answer)

    def order(tmst: int) -> None:
        nest.wire.sent.clear()
        assert nest.udp.send(Downlink(EUI, tmst, 868_100_000, 7, 125_000, 16.0, PHY, bytes(8), 1))
        forwarder.take(nest.wire.sent[-1][0])

    say(forwarder.pull())
    say(forwarder.push(stat={"rxnb": 1}))
    assert forwarder.acknowledged == [1, 2]
    order(500_000)  # 800 ms ahead, beyond the counter's wrap
    forwarder.advance(850_000)
    order(900_000)
    forwarder.advance(400_000)
    assert [(txpk["tmst"], payload) for txpk, payload in forwarder.aired] == [(500_000, PHY), (900_000, PHY)]
    order(forwarder.tmst + 5_000_000)
    order(forwarder.tmst + 2_000_000)  # too early: it has room for one
    order(forwarder.tmst - 1)
    assert forwarder.lost == ["overwritten", "late"]


# -- frames that were held back


def test_a_frame_that_was_held_back_has_the_time_it_was_heard(nest: Nest) -> None:
    arrival = nest.now + nest.unix_ahead
    nest.hear(push(RXPK | {"time": "2025-10-09T10:00:00Z"}, LIVE))
    assert [(frame.received_at, frame.buffered) for frame in nest.frames] == [
        (1_760_004_000.0, True),
        (arrival, False),
    ]


def test_what_was_learnt_while_our_own_clock_was_wrong_is_forgotten_when_it_is_set(nest: Nest) -> None:
    def say(heard: float) -> RadioFrame:
        text = datetime.fromtimestamp(heard, UTC).isoformat()
        nest.hear(push(LIVE | {"time": text, "tmst": int(heard * 1e6) % 2**32}))
        return nest.frames[-1]

    nest.unix_ahead += 7200  # the gateway's clock is right, ours is not: it seems to be slow
    nest.udp._drain()
    for _ in range(4):
        nest.now += 15
        say(nest.now + nest.unix_ahead - 7200)
    assert not nest.frames[-1].buffered
    nest.unix_ahead -= 7200
    nest.udp._drain()
    heard = nest.now + nest.unix_ahead - 1800
    frame = say(heard)
    assert (frame.buffered, frame.received_at) == (True, pytest.approx(heard, abs=0.01))
