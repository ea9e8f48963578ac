"""The physics, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from spatz.sim.air import (
    Air,
    Missed,
    Position,
    Propagation,
    Reception,
    Station,
    Transmission,
    airtime_us,
    noise_floor_dbm,
    power_sum_dbm,
    sensitivity_dbm,
)

MIDDLE = Position(51.0, 10.0)
DEGREES_PER_METRE = 1 / 111_195
FLAT = Propagation(seed=1, shadowing_db=0.0)


def north(metres: float) -> Position:
    return Position(51.0 + metres * DEGREES_PER_METRE, 10.0)


def an_air(
    *, loss: float = 0.0, losses: dict[str, float] | None = None, propagation: Propagation = FLAT, **metres: float
) -> Air:
    """A gateway `g` in the middle and stations so many metres north of it."""
    air = Air(propagation, loss=loss, losses=losses)
    air.add(Station("g", MIDDLE))
    for name, distance in metres.items():
        air.add(Station(name, north(distance)))
    return air


def frame(sender: str, start_us: int = 0, **changes: Any) -> Transmission:
    fields: dict[str, Any] = {
        "sender": sender,
        "start_us": start_us,
        "airtime_us": 61_696,
        "freq_hz": 868_100_000,
        "sf": 7,
        "bw_hz": 125_000,
        "eirp_dbm": 14.0,
        "data": bytes(23),
    }
    return Transmission(**{**fields, **changes})


# Semtech's calculator, 125 kHz, preamble 8, CR 4/5, explicit header, CRC: bytes -> microseconds for SF7 ... SF12
AIRTIMES = {
    13: (46_336, 82_432, 164_864, 288_768, 577_536, 1_155_072),
    23: (61_696, 113_152, 205_824, 370_688, 823_296, 1_482_752),
    64: (118_016, 215_552, 390_144, 698_368, 1_560_576, 2_793_472),
}


@pytest.mark.parametrize(("size", "sf"), [(size, sf) for size in AIRTIMES for sf in range(7, 13)])
def test_airtime_is_what_the_calculator_says(size: int, sf: int) -> None:
    assert airtime_us(sf, 125_000, size) == AIRTIMES[size][sf - 7]


def test_a_downlink_without_crc_is_not_longer_and_twice_the_bandwidth_takes_half_the_time() -> None:
    # 33 bytes at SF7: ceil((264 - 28 + 28) / 28) = 10 blocks without CRC, ceil(280 / 28) = 10 with: the same.
    assert airtime_us(7, 125_000, 33, crc=False) == (12 * 1024 + 256 + (8 + 50) * 1024)
    # 12 bytes: ceil(96 / 28) = 4 blocks without, ceil(112 / 28) = 4 with; 13 bytes: 4 without, 5 with.
    assert airtime_us(7, 125_000, 13, crc=False) == airtime_us(7, 125_000, 13) - 5 * 1024
    assert airtime_us(7, 250_000, 23) * 2 == airtime_us(7, 125_000, 23)


def test_airtime_of_an_impossible_spreading_factor_is_refused() -> None:
    with pytest.raises(ValueError, match="spreading factor"):
        airtime_us(13, 125_000, 10)


@pytest.mark.parametrize(("metres", "loss_db"), [(1000, 128.95), (100, 105.75), (10, 82.55), (1, 82.55)])
def test_path_loss_falls_by_23_db_for_ten_times_the_distance_and_stops_at_10_m(metres: float, loss_db: float) -> None:
    loss = FLAT.path_loss_db(Station("g", MIDDLE), Station("a", north(metres)))
    assert loss == pytest.approx(loss_db, abs=0.01)


def test_shadowing_is_the_same_both_ways_fixed_by_the_seed_and_7_8_db_wide() -> None:
    a, b = Station("a", MIDDLE), Station("b", north(1000))
    assert Propagation(5).path_loss_db(a, b) == Propagation(5).path_loss_db(b, a)
    assert Propagation(5).path_loss_db(a, b) != Propagation(6).path_loss_db(a, b)
    losses = [Propagation(seed).path_loss_db(a, b) for seed in range(2000)]
    mean = sum(losses) / len(losses)
    deviation = (sum((loss - mean) ** 2 for loss in losses) / len(losses)) ** 0.5
    assert mean == pytest.approx(128.95, abs=0.6)
    assert deviation == pytest.approx(7.8, abs=0.4)


def test_noise_floor_sensitivity_and_power_sum() -> None:
    assert noise_floor_dbm(125_000) == pytest.approx(-174 + 50.97 + 6, abs=0.01)
    assert sensitivity_dbm(7, 125_000) == -124
    assert sensitivity_dbm(12, 125_000) == -137
    assert sensitivity_dbm(7, 250_000) == pytest.approx(-121, abs=0.02)
    assert power_sum_dbm([-100, -100]) == pytest.approx(-96.99, abs=0.01)


def test_a_frame_from_1_km_has_the_power_and_the_snr_of_the_link_budget() -> None:
    air = an_air(a=1000)
    tx = frame("a")
    air.begin(tx)
    # 14 dBm - 128.95 dB = -114.95 dBm; -114.95 - (-117.03) = 2.08 dB, told in quarters
    assert air.hear(tx, "g") == Reception(-115, 2.0)


def test_what_is_too_weak_at_sf7_is_heard_at_sf10() -> None:
    air = an_air(a=4000)  # 142.92 dB: -128.92 dBm
    for sf, heard in ((7, False), (8, False), (9, True), (10, True)):
        tx = frame("a", sf * 1_000_000, sf=sf)
        air.begin(tx)
        assert isinstance(air.hear(tx, "g"), Reception) is heard


# b is at 500 m: 6.98 dB stronger at the gateway than a at 1000 m, and 3.10 dB stronger than c at 680 m.
@pytest.mark.parametrize(
    ("other", "changes", "a_fares", "other_fares"),
    [
        ("b", {}, "collision", "heard"),
        ("c", {}, "collision", "collision"),
        ("b", {"start_us": 61_695}, "collision", "heard"),
        ("b", {"start_us": 61_696}, "heard", "heard"),
        ("b", {"sf": 8}, "heard", "heard"),
        ("b", {"freq_hz": 868_300_000}, "heard", "heard"),
        ("b", {"iq_inverted": True}, "heard", "heard"),
    ],
)
def test_collision_and_capture(other: str, changes: dict[str, Any], a_fares: str, other_fares: str) -> None:
    air = an_air(a=1000, b=500, c=680)
    first, second = frame("a"), frame(other, **changes)
    air.begin(first)
    air.begin(second)
    for tx, fares in ((first, a_fares), (second, other_fares)):
        outcome = air.hear(tx, "g")
        assert (outcome.why if isinstance(outcome, Missed) else "heard") == fares


def test_two_disturbers_count_together() -> None:
    air = an_air(a=500, b=1000, c=1000)  # 6.98 dB above each, 3.97 dB above both
    frames = [frame("a"), frame("b", 100), frame("c", 200)]
    air.begin(frames[0])
    air.begin(frames[1])
    assert isinstance(air.hear(frames[0], "g"), Reception)
    air.begin(frames[2])
    assert air.hear(frames[0], "g") == Missed("collision")


def test_a_gateway_is_deaf_while_it_transmits_on_any_channel() -> None:
    air = an_air(a=100)
    uplink = frame("a", 1_000_000)
    air.begin(uplink)
    air.begin(frame("g", 1_000_000 + 61_000, freq_hz=869_525_000, sf=9, iq_inverted=True, airtime_us=100_000))
    assert air.hear(uplink, "g") == Missed("transmitting")


def test_loss_takes_its_share_and_repeats_with_the_seed() -> None:
    def fates(seed: int) -> list[bool]:
        air = an_air(loss=0.2, propagation=Propagation(seed, shadowing_db=0.0), a=100)
        outcomes = []
        for number in range(1000):
            tx = frame("a", number * 1_000_000)
            air.begin(tx)
            outcomes.append(air.hear(tx, "g") == Missed("lost"))
        return outcomes

    assert 160 <= sum(fates(1)) <= 240
    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


def test_a_station_in_a_bad_place_loses_more_both_ways_but_no_joins() -> None:
    air = an_air(losses={"a": 0.3}, a=100, b=150)

    def lost(sender: str, receiver: str, first: bytes) -> int:
        fates = []
        for number in range(500):
            tx = frame(sender, number * 1_000_000, data=first + bytes(11))
            air.begin(tx)
            fates.append(air.hear(tx, receiver) == Missed("lost"))
        return sum(fates)

    assert 110 <= lost("a", "g", b"\x40") <= 190
    assert 110 <= lost("g", "a", b"\x60") <= 190
    assert (lost("b", "g", b"\x40"), lost("g", "b", b"\x60")) == (0, 0)
    assert (lost("a", "g", b"\x00"), lost("g", "a", b"\x20")) == (0, 0)


def test_loss_must_be_a_fraction() -> None:
    with pytest.raises(ValueError, match="fraction"):
        Air(FLAT, loss=1.5)
    with pytest.raises(ValueError, match="fraction"):
        Air(FLAT, losses={"a": -0.1})


def test_old_transmissions_are_forgotten() -> None:
    air = an_air(a=100)
    for number in range(100):
        air.begin(frame("a", number * 1_000_000))
    assert len(air._on_air) <= 12
