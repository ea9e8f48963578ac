"""The allow-list, the strangers, and how much of no use a gateway may send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nest.forwarders import gateways as module
from nest.forwarders.gateways import MAX_STRANGERS, USELESS_BURST, USELESS_PER_S, Allowance, Gateways
from nest.model import GatewayInfo

EUI = "a84041ffff1ec39f"


def test_only_who_is_admitted_is_known() -> None:
    gateways = Gateways([GatewayInfo(EUI, "Rathaus")])
    assert gateways.known.keys() == {EUI}
    assert gateways.get("00" * 8) is None
    gateway = gateways.get(EUI)
    assert gateway is not None
    assert (gateway.protocol, gateway.last_seen, gateway.reachable, gateway.admitted) == (None, 0.0, False, True)


def test_what_changes_is_taken_over_and_what_was_counted_stays() -> None:
    gateways = Gateways()
    gateway = gateways.admit(GatewayInfo(EUI, "Rathaus"))
    gateway.frames = 7
    assert gateways.admit(GatewayInfo(EUI, "Kirche", antenna_gain_dbi=5)) is gateway
    assert (gateway.info.name, gateway.info.antenna_gain_dbi, gateway.frames) == ("Kirche", 5, 7)


def test_a_dismissed_gateway_is_a_stranger_even_to_who_holds_it() -> None:
    gateways = Gateways([GatewayInfo(EUI, "Rathaus")])
    gateway = gateways.known[EUI]
    gateway.reachable = True
    assert gateways.dismiss(EUI) is gateway
    assert (gateway.admitted, gateway.reachable, gateways.get(EUI)) == (False, False, None)
    assert gateways.dismiss(EUI) is None
    assert gateways.admit(GatewayInfo(EUI, "Rathaus")) is not gateway  # it starts anew


def test_strangers_are_remembered_until_they_are_admitted() -> None:
    gateways = Gateways()
    gateways.knock(EUI, "semtech_udp", "192.0.2.1", 10.0)
    gateways.knock(EUI, "basics_station", "192.0.2.2", 11.0)
    assert gateways.strangers[EUI] == module.Stranger("basics_station", 11.0, 2, "192.0.2.2")
    gateways.admit(GatewayInfo(EUI, "Rathaus"))
    assert gateways.strangers == {}


def test_made_up_strangers_cannot_fill_the_memory() -> None:
    gateways = Gateways()
    for i in range(10 * MAX_STRANGERS):
        gateways.knock(f"{i:016x}", "semtech_udp", "192.0.2.1", float(i))
        gateways.knock(EUI, "semtech_udp", "192.0.2.2", float(i))
    assert len(gateways.strangers) == MAX_STRANGERS
    assert gateways.strangers[EUI].count == 10 * MAX_STRANGERS  # who keeps knocking is not pushed out


def test_useful_frames_are_never_slowed_down() -> None:
    gateway = Gateways().admit(GatewayInfo(EUI, "Rathaus"))
    assert all(gateway.may_send(0.0) for _ in range(100_000))


def test_useless_ones_are_stopped_after_a_burst_and_pass_at_the_rate_of_a_real_gateway() -> None:
    gateway = Gateways().admit(GatewayInfo(EUI, "Rathaus"))

    def passed(seconds: float, start: float, per_s: int = 5000) -> int:
        count = 0
        for i in range(int(seconds * per_s)):
            now = start + i / per_s
            if gateway.may_send(now):
                gateway.charge(1, now)
                count += 1
        return count

    first = passed(1, 100)
    assert USELESS_BURST <= first <= USELESS_BURST + USELESS_PER_S
    assert abs(passed(10, 101) - 10 * USELESS_PER_S) <= 2
    assert passed(20, 1000, per_s=130) == 2600  # all that eight channels can hear


def test_a_message_full_of_nonsense_costs_as_much_but_not_for_ever() -> None:
    allowance = Allowance()
    allowance.spend(1_000_000, 0.0)
    assert not allowance.left(USELESS_BURST / USELESS_PER_S)
    assert allowance.left((USELESS_BURST + 1.01) / USELESS_PER_S)


@given(st.lists(st.tuples(st.floats(0, 60), st.integers(0, 5000)), max_size=50))
def test_never_more_than_burst_and_rate_allow(steps: list[tuple[float, int]]) -> None:
    allowance, now, spent = Allowance(), 0.0, 0
    for wait, count in steps:
        now += wait
        if allowance.left(now):
            take = min(count, 1)
            allowance.spend(take, now)
            spent += take
    assert spent <= USELESS_BURST + now * USELESS_PER_S + 1


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    allowance = Allowance()
    allowance.spend(int(USELESS_BURST), 1000.0)
    assert not allowance.left(0.0)
    assert not allowance.left(0.0)
    assert allowance.left(0.1)
