"""Healing: lost readings come back exact or not at all. The frames come from the oracle of tests/vectors, which is made
from the words of boards/payload.md alone."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest import payload
from nest.healing import Healer, Recovered
from nest.quantities import by_name

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
SCENARIOS: list[dict[str, Any]] = json.loads((VECTORS / "parity.json").read_text(encoding="utf-8"))["scenarios"]
CLIMATE = ("temperature", "humidity", "pressure", "battery")

_spec = importlib.util.spec_from_file_location("make_parity", VECTORS / "make_parity.py")
assert _spec is not None
assert _spec.loader is not None
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)


def as_decoded(codes: dict[str, int]) -> dict[str, int]:
    """The codes of a vector, which stand as in a frame, as the decoder tells them."""
    return {name: payload.from_raw(by_name()[name], code) for name, code in codes.items()}


def heal(frames: list[tuple[int, bytes]], healer: Healer | None = None) -> dict[int, dict[str, int]]:
    healer = healer or Healer()
    found: dict[int, dict[str, int]] = {}
    for fcnt, frame in frames:
        decoded = payload.decode(1, frame)
        for recovered in healer.heard(fcnt, decoded.codes, decoded.rest):
            assert recovered.fcnt not in found, "told twice"
            found[recovered.fcnt] = recovered.codes
    assert healer.conflicts == 0
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
@pytest.mark.parametrize("loss", [0.1, 0.3, 0.5])
def test_what_is_recovered_is_what_was_sent(scenario: dict[str, Any], loss: float) -> None:
    truth = {row["fcnt"]: as_decoded(row["codes"]) for row in scenario["frames"]}
    for seed in range(5):
        rng = random.Random(seed)  # noqa: S311  to be repeated
        heard = [(row["fcnt"], bytes.fromhex(row["frame"])) for row in scenario["frames"] if rng.random() > loss]
        found = heal(heard)
        for fcnt, codes in found.items():
            assert codes == truth.get(fcnt, {}), f"FCnt {fcnt}, seed {seed}"
        assert not {fcnt for fcnt, _ in heard} & set(found)


def test_the_order_in_which_frames_come_in_does_not_matter() -> None:
    scenario = SCENARIOS[0]
    rng = random.Random(3)  # noqa: S311  to be repeated
    heard = [(row["fcnt"], bytes.fromhex(row["frame"])) for row in scenario["frames"] if rng.random() > 0.25]
    in_order = heal(heard)
    assert len(in_order) >= 10
    late = heard[:]
    for at in range(0, len(late) - 8, 8):  # as when one of two gateways holds them back
        late[at : at + 8] = rng.sample(late[at : at + 8], 8)
    ours = {fcnt for fcnt, _ in heard}
    assert {fcnt: codes for fcnt, codes in heal(late).items() if fcnt not in ours} == in_order


def quiet_series(count: int) -> list[dict[str, int]]:
    rng = random.Random(5)  # noqa: S311  to be repeated
    codes = {"temperature": 800, "humidity": 120, "pressure": 3200, "battery": 180}
    series = []
    for _ in range(count):
        codes = {name: code + rng.randint(-1, 1) for name, code in codes.items()}
        series.append(codes)
    return series


def frames_of(series: list[dict[str, int]], symbols: int = 1) -> list[tuple[int, bytes]]:
    node = oracle.Node()
    return [(fcnt, node.frame(fcnt, codes, symbols, 0)) for fcnt, codes in enumerate(series)]


def test_three_of_ten_lost_frames_come_back() -> None:
    series = quiet_series(600)
    rng = random.Random(7)  # noqa: S311  to be repeated
    lost = {fcnt for fcnt in range(20, 520) if rng.random() < 0.3}
    found = heal([frame for frame in frames_of(series) if frame[0] not in lost])
    assert set(found) == lost
    assert all(found[fcnt] == series[fcnt] for fcnt in lost)


def test_a_jump_in_a_lost_frame_is_recovered_from_both_sides() -> None:
    series = quiet_series(120)
    for codes in series[50:]:
        codes["temperature"] += 100  # ten degrees at once
    found = heal([frame for frame in frames_of(series, 2) if not 48 <= frame[0] <= 52])
    assert {fcnt: found[fcnt] for fcnt in range(48, 53)} == {fcnt: series[fcnt] for fcnt in range(48, 53)}


def test_what_lies_between_two_jumps_stays_unknown_until_the_log_tells() -> None:
    series = quiet_series(120)
    for codes in series[50:53]:
        codes["temperature"] += 100
    healer = Healer()
    found = heal([frame for frame in frames_of(series, 2) if not 48 <= frame[0] <= 54], healer)
    assert set(found) == {48, 49, 53, 54}
    assert {one.fcnt: one.codes for one in healer.known(51, series[51])} == {50: series[50], 52: series[52]}


def test_a_reading_of_the_log_that_the_residues_deny_is_no_neighbour() -> None:
    """The node's flash refused a record: what the log has in that place is another reading."""
    series = quiet_series(120)
    for codes in series[50:53]:
        codes["temperature"] += 100
    healer = Healer()
    heal([frame for frame in frames_of(series, 2) if not 48 <= frame[0] <= 54], healer)
    assert healer.known(51, series[49]) == []
    assert healer.known(51, {"temperature": series[51]["temperature"]}) == []
    assert {one.fcnt for one in healer.known(51, series[51] | {"rain": 7})} == {50, 52}


def test_a_frame_without_a_reading_is_told_as_none_or_not_at_all() -> None:
    dust = next(scenario for scenario in SCENARIOS if scenario["name"] == "dust once in four")
    truth = {row["fcnt"] for row in dust["frames"]}
    empty = {fcnt for fcnt in range(max(truth)) if fcnt not in truth}
    assert empty
    found = heal([(row["fcnt"], bytes.fromhex(row["frame"])) for row in dust["frames"]])
    assert found == {fcnt: {} for fcnt in empty}
    plain = next(scenario for scenario in SCENARIOS if scenario["name"] == "climate, frames without a reading between")
    assert heal([(row["fcnt"], bytes.fromhex(row["frame"])) for row in plain["frames"]]) == {}


def test_after_a_power_cut_nothing_is_taken_from_the_window_before() -> None:
    before, after = quiet_series(80), quiet_series(80)
    node = oracle.Node()
    frames = [(fcnt, node.frame(fcnt, codes, 2, 0)) for fcnt, codes in enumerate(before)]
    node = oracle.Node()  # its memory is gone, its counter goes on with a leap
    frames += [(fcnt + 110, node.frame(fcnt + 110, codes, 2, 0)) for fcnt, codes in enumerate(after)]
    lost = {70, 75, 79, 110, 111, 115, 130}
    found = heal([frame for frame in frames if frame[0] not in lost])
    truth = dict(enumerate(before)) | {fcnt + 110: codes for fcnt, codes in enumerate(after)}
    assert set(found) <= lost
    assert {70, 115, 130} <= set(found)
    assert all(truth[fcnt] == codes for fcnt, codes in found.items())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {name: st.integers(0, (1 << by_name()[name].bits) - 1) for name in CLIMATE},
            optional={"pm2_5": st.integers(0, 16383), "rain": st.integers(0, 65535)},
        ),
        min_size=2,
        max_size=40,
    ),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_readings_as_wild_as_can_be_are_never_recovered_wrong(
    series: list[dict[str, int]], symbols: int, rng: random.Random
) -> None:
    node = oracle.Node()
    fcnt, frames, truth = rng.choice((0, 300, 65530)), [], {}
    calm = rng.random() < 0.5
    for at, codes in enumerate(series):
        if calm and at:  # else nearly every step is too large
            codes = {name: min(code, 7) + 40 for name, code in codes.items()}
        fcnt += 1 + (rng.randrange(1, 5) if rng.random() < 0.1 else 0)
        if rng.random() < 0.03:
            node = oracle.Node()
        truth[fcnt] = as_decoded(codes)
        frames.append((fcnt, node.frame(fcnt, codes, symbols, 0)))
    loss = rng.random() * 0.6
    for got, codes in heal([frame for frame in frames if rng.random() > loss]).items():
        assert codes == truth.get(got, {})


@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=60)), max_size=40))
def test_hostile_frames_raise_nothing_and_stay_within_range(frames: list[tuple[int, bytes]]) -> None:
    healer = Healer()
    for fcnt, rest in frames:
        for one in healer.heard(fcnt, {"temperature": 800, "humidity": 120}, rest):
            assert isinstance(one, Recovered)
            for name, code in one.codes.items():
                assert -2 <= code < by_name()[name].code_out_of_range


def test_memory_does_not_grow_with_the_length_of_the_history() -> None:
    healer = Healer()
    series = quiet_series(3000)
    rng = random.Random(1)  # noqa: S311  to be repeated
    heal([frame for frame in frames_of(series) if rng.random() > 0.3], healer)
    for kept in (healer._vectors, healer._codes, healer._rows, healer._partial):
        assert len(kept) <= 300
