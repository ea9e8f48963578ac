"""Adaptive data rate: what is advised, and that a simulated node comes to rest."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.lorawan.adr import REQUIRED_SNR_DB, Advice, History, advise, link_margin, needs_more

MARGIN_DB = 10.0


def heard(snr_db: float, fcnts: list[int] | range = range(20)) -> History:
    history = History()
    for fcnt in fcnts:
        history.add(fcnt, snr_db)
    return history


def test_nothing_but_a_faster_data_rate_is_advised_before_20_uplinks() -> None:
    assert advise(heard(10.0, range(19)), 5, 0, 1, MARGIN_DB) == (5, 0, 1)
    assert advise(heard(10.0, range(20)), 5, 0, 1, MARGIN_DB) == (5, 2, 1)
    assert advise(heard(-20.0, range(0, 38, 2)), 5, 4, 1, MARGIN_DB) == (5, 4, 1)


def test_a_near_node_is_faster_after_5_uplinks_when_all_were_heard_well() -> None:
    assert advise(heard(10.0, range(4)), 0, 0, 1, MARGIN_DB) == (0, 0, 1)
    history = heard(10.0, range(5))
    assert advise(history, 0, 0, 1, MARGIN_DB) == (5, 0, 1)
    history.add(5, -3.0)
    assert advise(history, 0, 0, 1, MARGIN_DB) == (2, 0, 1)
    history.add(6, -30.0)
    assert advise(history, 0, 0, 1, MARGIN_DB) == (0, 0, 1)


def test_a_node_that_could_not_do_with_it_is_not_hurried_again() -> None:
    history = History()
    history.begin_anew(needed_more=True)
    for fcnt in range(79):
        history.add(fcnt, 10.0)
        assert advise(history, 4, 0, 1, MARGIN_DB) == (4, 0, 1)
    history.add(79, 10.0)
    assert advise(history, 4, 0, 1, MARGIN_DB) == (5, 2, 1)


@pytest.mark.parametrize(
    ("snr_db", "dr", "power", "advice"),
    [
        (-2.1, 2, 0, Advice(2, 0, 1)),  # 2.9 dB to spare: not a whole step
        (-2.0, 2, 0, Advice(3, 0, 1)),
        (4.0, 2, 0, Advice(5, 0, 1)),
        (7.0, 2, 0, Advice(5, 1, 1)),  # first the data rate, then the power
        (10.0, 5, 0, Advice(5, 2, 1)),
        (40.0, 5, 0, Advice(5, 7, 1)),  # no less than there is
        (2.5, 5, 3, Advice(5, 3, 1)),  # as it should be
        (0.0, 5, 3, Advice(5, 3, 1)),  # a little below: not worth a downlink
        (-0.5, 5, 3, Advice(5, 1, 1)),  # 3 dB missing: two steps of 2 dB give them back
        (-20.0, 5, 3, Advice(5, 0, 1)),  # never a slower data rate
        (-30.0, 0, 0, Advice(0, 0, 1)),
    ],
)
def test_steps_of_3_db(snr_db: float, dr: int, power: int, advice: Advice) -> None:
    assert advise(heard(snr_db), dr, power, 1, MARGIN_DB) == advice


def test_two_lucky_receptions_are_not_enough_for_less_and_three_are_until_they_are_too_old() -> None:
    history = heard(-12.0)
    history.add(20, 4.0)
    history.add(21, 6.0)
    assert advise(history, 2, 0, 1, MARGIN_DB).dr == 2
    history.add(22, 5.0)
    assert advise(history, 2, 0, 1, MARGIN_DB).dr == 5
    for fcnt in range(23, 41):
        history.add(fcnt, -12.0)
    assert advise(history, 2, 0, 1, MARGIN_DB).dr == 2


def test_more_power_only_when_even_the_best_is_too_low() -> None:
    history = heard(-5.0)
    history.add(20, 1.0)
    assert advise(history, 5, 4, 1, MARGIN_DB).tx_power == 4
    for fcnt in range(21, 41):
        history.add(fcnt, -5.0)
    assert advise(history, 5, 4, 1, MARGIN_DB).tx_power == 0


@pytest.mark.parametrize(
    ("lost", "now", "nb_trans"),
    [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 2), (3, 2, 3), (8, 1, 2), (9, 1, 3), (2, 2, 2), (2, 3, 3)],
)
def test_repetitions_follow_the_loss(lost: int, now: int, nb_trans: int) -> None:
    """20 frames heard, and that many missed between them, never two in a row."""
    fcnts = [fcnt for fcnt in range(20 + lost) if fcnt % 2 == 0 or fcnt > 2 * lost]
    assert len(fcnts) == 20
    assert advise(heard(2.5, fcnts), 5, 0, now, MARGIN_DB).nb_trans == nb_trans


def test_fewer_repetitions_only_after_patience() -> None:
    history = heard(2.5)
    assert advise(history, 5, 0, 3, MARGIN_DB).nb_trans == 2
    history.begin_anew(needed_more=True)
    for fcnt in range(79):
        history.add(fcnt, 2.5)
    assert advise(history, 5, 0, 3, MARGIN_DB).nb_trans == 3
    history.add(79, 2.5)
    assert advise(history, 5, 0, 3, MARGIN_DB).nb_trans == 2


def test_an_outage_is_no_loss() -> None:
    assert advise(heard(2.5, [*range(10), *range(60, 70)]), 5, 0, 1, MARGIN_DB).nb_trans == 1


def test_a_nodes_power_cut_begins_the_history_anew() -> None:
    history = heard(10.0)
    history.add(19 + 128, 10.0)
    assert not history.full
    assert advise(history, 0, 0, 1, MARGIN_DB) == (0, 0, 1)
    for fcnt in range(148, 167):
        history.add(fcnt, 10.0)
    assert advise(history, 5, 0, 1, MARGIN_DB).nb_trans == 1


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(-40, 40, width=32)), max_size=60),
    st.integers(0, 5),
    st.integers(0, 7),
    st.integers(0, 15),
    st.floats(0, 40),
)
def test_whatever_was_heard_the_advice_is_possible(
    frames: list[tuple[int, float]], dr: int, power: int, nb_trans: int, margin_db: float
) -> None:
    history = History()
    for fcnt, snr_db in frames:
        history.add(fcnt, snr_db)
    advice = advise(history, dr, power, nb_trans, margin_db)
    assert dr <= advice.dr <= 5
    assert 0 <= advice.tx_power <= 7
    assert advice.nb_trans == nb_trans or 1 <= advice.nb_trans <= 3
    assert 0 <= history.loss_percent < 100


@pytest.mark.parametrize("spread_db", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("middle_db", [-8.0, -4.0, 0.0, 2.0, 4.0, 6.0, 9.0])
@pytest.mark.parametrize("loss", [0.0, 0.07, 0.2])
def test_a_node_comes_to_rest(spread_db: float, middle_db: float, loss: float) -> None:
    """1 000 uplinks at full power and SF10 with noisy SNR: a handful of changes, most of them early."""
    for seed in range(5):
        changes, node = life(Random(seed), middle_db, spread_db, loss)  # noqa: S311 - a seed, not a secret
        assert len(changes) <= 12, (seed, changes)
        assert len([at for at in changes if at > 500]) <= 4, (seed, changes)
        if middle_db - spread_db > REQUIRED_SNR_DB[5] + MARGIN_DB:
            assert node.dr == 5
        still_heard = middle_db - 2 * node.tx_power - REQUIRED_SNR_DB[node.dr]
        assert still_heard > 0, (seed, node)  # on average well above the floor


def life(random: Random, middle_db: float, spread_db: float, loss: float) -> tuple[list[int], Advice]:
    """A node that does what it is told. Returns when something was changed, and what it uses in the end."""
    node, history, changes = Advice(2, 0, 1), History(), []
    for fcnt in range(1000):
        if random.random() < loss**node.nb_trans:
            continue
        history.add(fcnt, random.gauss(middle_db - 2 * node.tx_power, spread_db))
        advice = advise(history, *node, MARGIN_DB)
        if advice != node:
            history.begin_anew(needed_more=needs_more(node, advice))
            changes.append(fcnt)
            node = advice
    return changes, node


@pytest.mark.parametrize(
    ("dr", "snr_db", "margin"),
    [
        (5, 10.0, 18),
        (0, -20.0, 0),
        (0, -25.0, 0),
        (2, 5.4, 20),
        (5, 300.0, 254),
        (None, 5.0, 0),
        (3, None, 0),
        (6, 0, 8),
    ],
)
def test_the_margin_of_a_link_check(dr: int | None, snr_db: float | None, margin: int) -> None:
    assert link_margin(dr, snr_db) == margin
