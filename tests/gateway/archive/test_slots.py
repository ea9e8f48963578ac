"""Readings that did not come in their frames: gaps, and every way in which they are filled."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from gateway.archive.bursts import CLIMATE, EUI, HUMIDITY_FAILED, join, measured, rows, session, store, uplink
from nest.archive import Archive, Completeness, codes, schema, slots
from nest.archive.changes import CloseGap, StoreRecovered
from nest.archive.database import writing
from nest.archive.journal import Journal
from nest.archive.outbox import Outbox
from nest.lorawan.effects import StoreLate
from nest.model import SessionState
from sqlalchemy import Engine

AT = 1_790_000_000.0  # the moment of frame 0; one frame a minute
DAY = int(AT // 86_400)
FOUND = codes.unpack(CLIMATE)


def behind(*items: bytes) -> bytes:
    """A frame with CLIMATE and these extras (boards/payload.md)."""
    joined = b"".join(items)
    return CLIMATE + bytes([0x40, len(joined)]) + joined


def earlier(fcnt: int, age_s: float | None, *contents: bytes, part: int = 0, nonce: int = 1) -> bytes:
    """Readings of CLIMATE's kind, a minute between them."""
    age = 0xFFFFFF if age_s is None else round(age_s * 4)
    head = struct.pack(">BBHBBHBB", 4, nonce, fcnt, part, age >> 16, age & 0xFFFF, CLIMATE[0], len(contents))
    return head + b"".join((struct.pack(">H", 240) if index else b"") + one[1:] for index, one in enumerate(contents))


def none(fcnt: int, count: int, nonce: int = 1) -> bytes:
    return struct.pack(">BBHB", 5, nonce, fcnt, count)


AGE_10_S, UNSENT_2 = struct.pack(">BH", 1, 40), b"\x03\x02"


def near(moment: float) -> Any:
    return pytest.approx(moment, abs=0.002)


def frame(state: SessionState, fcnt: int, content: bytes = CLIMATE, **more: Any) -> Any:
    return store(state, fcnt, content, at=AT + 60 * fcnt, **more)


def states_of(engine: Engine) -> dict[tuple[int, int], int]:
    return {(gap.fcnt, gap.part): gap.state for gap in Archive(engine).gaps("amsel", 0, 2e9)}


def points(engine: Engine) -> Sequence[tuple[float, float | None, str]]:
    return Archive(engine).points("amsel", "humidity", 0, 2e9)


@pytest.fixture
def journal(journal: Journal, state: SessionState) -> Journal:
    """With frames 0 and 4 heard, and 1 to 3 not."""
    state.joined_at = AT
    done = journal.commit([frame(state, 0), frame(state, 4)])
    assert (done.failed, len(done.readings)) == ([], 2)
    assert [entry[1:] for entry in done.decoded] == [(0, CLIMATE, 1), (4, CLIMATE, 1)]
    return journal


def test_what_did_not_come_is_a_gap_at_its_place_in_time(engine: Engine, journal: Journal) -> None:
    gaps = Archive(engine).gaps("amsel", 0, 2e9)
    assert [(gap.fcnt, gap.part, gap.state, gap.join_nonce, gap.dev_eui) for gap in gaps] == [
        (fcnt, 0, schema.OPEN, 1, EUI) for fcnt in (1, 2, 3)
    ]
    assert [gap.time for gap in gaps] == pytest.approx([measured(AT + 60 * fcnt) for fcnt in (1, 2, 3)], abs=0.002)
    assert Archive(engine).gaps("amsel", gaps[1].time, gaps[2].time) == [gaps[1]]
    assert Archive(engine).completeness("amsel", DAY - 5, DAY + 5) == [Completeness(DAY, 5, 2, 0, 0, 3)]
    assert Archive(engine).completeness("nobody", DAY, DAY) == []


def test_the_first_frames_of_a_session_may_be_missing(engine: Engine, journal: Journal) -> None:
    second = session(nonce=2, joined_at=AT + 500)
    journal.commit([join(second, 1), store(second, 2, at=AT + 530, activates=True)])
    gaps = [gap for gap in Archive(engine).gaps("amsel", 0, 2e9) if gap.join_nonce == 2]
    assert [(gap.fcnt, round(gap.time - AT)) for gap in gaps] == [(0, 500), (1, 515)]


def test_a_counter_that_jumps_far_makes_a_limited_number_of_gaps(
    engine: Engine, journal: Journal, state: SessionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "MOST_SKIPPED", 5)
    journal.commit([frame(state, 1000)])
    assert list(states_of(engine)) == [(fcnt, 0) for fcnt in (1, 2, 3, 995, 996, 997, 998, 999)]


@pytest.mark.parametrize("anew", [False, True])
def test_what_parity_gives_back_stands_where_it_was_missing(
    engine: Engine, journal: Journal, new_journal: Callable[[], Journal], anew: bool
) -> None:
    wanted = StoreRecovered(EUI, 1, 2, codes.unpack(HUMIDITY_FAILED))
    done = (new_journal() if anew else journal).commit([wanted, wanted])
    assert (done.failed, done.recovered) == ([], 1)
    assert states_of(engine)[2, 0] == schema.GAP_RECOVERED
    [_, (time, value, origin), _] = points(engine)
    assert (time, value, origin) == (near(measured(AT + 120)), None, "recovered")
    [(seq, event)] = done.readings
    assert (event.origin, event.heard_at, event.qualities["humidity"]) == ("recovered", None, "failed")
    assert Outbox(engine).after(seq - 1) == [(seq, event)]
    assert Archive(engine).latest()[0].values["humidity"].value == 56.5
    assert Archive(engine).completeness("amsel", DAY, DAY) == [Completeness(DAY, 5, 3, 1, 0, 2)]


def test_only_what_is_missing_is_recovered(engine: Engine, journal: Journal) -> None:
    never = [StoreRecovered(EUI, 1, fcnt, FOUND) for fcnt in (0, 4, 5, 99)]
    done = journal.commit([StoreRecovered(EUI, 1, 1, FOUND), *never, StoreRecovered(EUI, 1, 1, FOUND)])
    assert (done.failed, len(done.readings)) == ([], 1)
    assert journal.commit([StoreRecovered(EUI, 9, 1, FOUND)]).readings == []


@pytest.mark.parametrize("right", [True, False])
def test_a_frame_that_comes_late_takes_the_place_of_what_was_recovered(
    engine: Engine, journal: Journal, state: SessionState, right: bool
) -> None:
    guess = CLIMATE if right else HUMIDITY_FAILED
    journal.commit([StoreRecovered(EUI, 1, 2, codes.unpack(guess))])
    late = StoreLate(uplink(2, at=AT + 121), state)
    done = journal.commit([late, late])
    assert (done.late, done.healing_wrong, done.failed) == (1, 0 if right else 1, [])
    assert points(engine)[1] == (measured(AT + 121), 56.5, "heard")
    assert len(points(engine)) == 3
    assert states_of(engine)[2, 0] == schema.HEARD_LATE
    told = Outbox(engine).after(0)
    assert [event.origin for _, event in told] == ["heard"] * 3  # the recovered one is not told any more
    assert Archive(engine).latest()[0].values["humidity"].time == measured(AT + 240)


def test_a_late_frame_closes_its_gap_and_one_without_a_reading_too(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    journal.commit([StoreRecovered(EUI, 1, 3, FOUND)])
    done = journal.commit(
        [
            StoreLate(uplink(1, at=AT + 60), state),
            StoreLate(uplink(3, b"", at=AT + 180, fport=None), state),
            StoreLate(uplink(2, b"\xff", at=AT + 120), state),
        ]
    )
    assert (done.late, done.healing_wrong, done.undecodable) == (3, 1, 1)
    assert states_of(engine) == {(1, 0): schema.HEARD_LATE, (2, 0): schema.OPEN, (3, 0): schema.NEVER_WAS}
    assert [time for time, _, _ in points(engine)] == [measured(AT + seconds) for seconds in (0, 60, 240)]


def test_the_age_of_a_reading_is_taken_off(engine: Engine, journal: Journal, state: SessionState) -> None:
    content = behind(AGE_10_S)
    done = journal.commit([frame(state, 5, content)])
    [(_, event)] = done.readings
    assert (event.time, event.heard_at) == (near(measured(AT + 300, content) - 10), AT + 300)
    assert Outbox(engine).after(2) == done.readings


def test_a_node_tells_what_it_made_and_never_sent(engine: Engine, journal: Journal, state: SessionState) -> None:
    journal.commit([frame(state, 5, behind(UNSENT_2))])
    gaps = [gap for gap in Archive(engine).gaps("amsel", 0, 2e9) if gap.part]
    assert [(gap.fcnt, gap.part, round(gap.time - AT)) for gap in gaps] == [(5, 1, 260), (5, 2, 280)]
    content = behind(earlier(5, 100, CLIMATE, HUMIDITY_FAILED, part=1))
    done = journal.commit([frame(state, 6, content)])
    assert (done.backfilled, done.failed) == (2, [])
    assert states_of(engine)[5, 1] == states_of(engine)[5, 2] == schema.GAP_BACKFILLED
    began = measured(AT + 360, content)
    assert [point for point in points(engine) if point[2] == "backfilled"] == [
        (near(began - 100), 56.5, "backfilled"), (near(began - 40), None, "backfilled"),
    ]  # fmt: skip


def test_the_log_of_a_node_fills_gaps_once_and_overwrites_nothing(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    journal.commit([StoreRecovered(EUI, 1, 1, FOUND), CloseGap(EUI, 1, 3, 0, schema.GIVEN_UP)])
    content = behind(earlier(0, 400, *[HUMIDITY_FAILED] * 6))  # FCnts 0 to 5, of which 5 is this very frame's
    done = journal.commit([frame(state, 5, content), frame(state, 6, content)])
    assert (done.backfilled, done.failed) == (2, [])
    assert states_of(engine) == {
        (1, 0): schema.GAP_RECOVERED, (2, 0): schema.GAP_BACKFILLED, (3, 0): schema.GAP_BACKFILLED,
    }  # fmt: skip
    origins = [origin for _, _, origin in points(engine)]
    assert sorted(origins) == ["backfilled"] * 2 + ["heard"] * 4 + ["recovered"]
    began = measured(AT + 300, content)
    assert [time for time, _, origin in points(engine) if origin == "backfilled"] == [
        near(began - 400 + 120),
        near(began - 400 + 180),
    ]
    told = [(seq, event) for seq, event in done.readings if event.origin == "backfilled"]
    assert [event.heard_at for _, event in told] == [AT + 300] * 2
    assert [entry for entry in Outbox(engine).after(0) if entry[1].origin == "backfilled"] == told
    assert Archive(engine).completeness("amsel", DAY, DAY) == [Completeness(DAY, 7, 7, 1, 2, 0)]


def test_a_reading_whose_age_the_node_does_not_know_is_put_where_it_was_missing(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    estimated = Archive(engine).gaps("amsel", 0, 2e9)[1].time
    journal.commit([frame(state, 5, behind(earlier(2, None, CLIMATE)))])
    assert [time for time, _, origin in points(engine) if origin == "backfilled"] == [estimated]


@pytest.mark.parametrize("first", [0, 1])
def test_a_reading_of_unknown_age_before_all_that_was_heard_of_a_session_gets_no_time(
    engine: Engine, journal: Journal, state: SessionState, first: int
) -> None:
    """It may be days old. The node's log still has it, and the nest does not ask for it for ever."""
    second = session(nonce=2, joined_at=AT + 500)
    begun = store(second, first, behind(UNSENT_2), at=AT + 600, activates=True)
    content = behind(earlier(first, None, CLIMATE, CLIMATE, CLIMATE, part=1, nonce=2))  # of one it has not told
    done = journal.commit([join(second, 1), begun, store(second, first + 1, content, at=AT + 660)])
    assert (done.backfilled, done.failed, len(done.readings)) == (0, [], 2)
    assert "backfilled" not in {origin for _, _, origin in points(engine)}
    found = {gap.part: gap.state for gap in Archive(engine).gaps("amsel", 0, 2e9) if gap.join_nonce == 2 and gap.part}
    assert found == {1: schema.GIVEN_UP, 2: schema.GIVEN_UP}
    known = behind(earlier(first, 3600, CLIMATE, part=1, nonce=2))
    assert journal.commit([store(second, first + 2, known, at=AT + 720)]).backfilled == 1  # it knows now
    [time] = [time for time, _, origin in points(engine) if origin == "backfilled"]
    assert time == near(measured(AT + 720, known) - 3600)


def test_a_reading_of_unknown_age_behind_all_that_was_heard_of_a_session_gets_no_time(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    second = session(nonce=2, joined_at=AT + 5000)
    content = behind(earlier(9, None, CLIMATE))
    done = journal.commit([join(second, 1), store(second, 0, content, at=AT + 5600, activates=True)])
    assert (done.backfilled, done.failed) == (0, [])
    assert (1, 9) not in {(gap.join_nonce, gap.fcnt) for gap in Archive(engine).gaps("amsel", 0, 2e9)}


def test_a_reading_nobody_knew_of_is_taken(engine: Engine, journal: Journal, state: SessionState) -> None:
    """The frame that told of it was lost itself."""
    told = behind(earlier(4, None, CLIMATE, part=1), earlier(4, 90, CLIMATE, part=2))
    for fcnt in (5, 6):
        assert journal.commit([frame(state, fcnt, told)]).backfilled == (2 if fcnt == 5 else 0)
    assert states_of(engine)[4, 1] == states_of(engine)[4, 2] == schema.GAP_BACKFILLED


def test_a_node_tells_of_an_earlier_session(engine: Engine, journal: Journal, state: SessionState) -> None:
    second = session(nonce=2, joined_at=AT + 500)
    content = behind(earlier(2, 500, CLIMATE), earlier(2, 500, CLIMATE, nonce=77), none(3, 9))
    done = journal.commit([join(second, 1), store(second, 0, content, at=AT + 600, activates=True)])
    assert (done.backfilled, done.failed) == (1, [])
    found = {(gap.join_nonce, gap.fcnt): gap.state for gap in Archive(engine).gaps("amsel", 0, 2e9)}
    assert found == {(1, 1): schema.OPEN, (1, 2): schema.GAP_BACKFILLED, (1, 3): schema.NEVER_WAS}


def test_a_node_tells_of_frames_that_nobody_heard_at_the_end_of_its_session(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    """It went on in it, unheard, until it joined anew: nobody knew of these."""
    last = max(fcnt for fcnt, _ in states_of(engine)) + 1  # the newest that was heard
    second = session(nonce=2, joined_at=AT + 5000)
    content = behind(earlier(last + 3, 700, CLIMATE))
    done = journal.commit([join(second, 1), store(second, 0, content, at=AT + 5600, activates=True)])
    assert (done.backfilled, done.failed) == (1, [])
    found = [(gap.join_nonce, gap.fcnt, gap.state) for gap in Archive(engine).gaps("amsel", AT + 4000, 2e9)]
    assert found == [(1, last + 3, schema.GAP_BACKFILLED)]


@pytest.mark.parametrize("told", [CloseGap(EUI, 1, 1, 0, schema.GIVEN_UP), None])
def test_what_the_log_has_not_parity_may_bring_all_the_same(
    engine: Engine, journal: Journal, state: SessionState, told: CloseGap | None
) -> None:
    journal.commit([told or frame(state, 5, behind(none(1, 1)))])
    assert states_of(engine)[1, 0] == (schema.NEVER_WAS if told is None else schema.GIVEN_UP)
    assert journal.commit([StoreRecovered(EUI, 1, 1, FOUND)]).recovered == 1
    assert states_of(engine)[1, 0] == schema.GAP_RECOVERED


def test_of_two_sessions_with_the_same_byte_the_age_says_which(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    """JoinNonces 1 and 257: the node tells their low byte."""
    since = 40_000
    second = replace(session(nonce=2, joined_at=AT + since), join_nonce=257)
    old, new = since + 480, 130  # ages: 120 s after AT, and 350 s after the second join
    content = behind(earlier(2, old, CLIMATE), earlier(1, new, CLIMATE), earlier(3, None, CLIMATE))
    frames = [
        store(second, fcnt, content if fcnt else CLIMATE, at=AT + since + 120 * fcnt, activates=not fcnt)
        for fcnt in (0, 4)
    ]
    done = journal.commit([join(second, 1), *frames])
    assert (done.backfilled, done.failed) == (2, [])
    found = {(gap.join_nonce, gap.fcnt): gap.state for gap in Archive(engine).gaps("amsel", 0, 2e9)}
    filled = {slot for slot, state in found.items() if state == schema.GAP_BACKFILLED}
    assert filled == {(1, 2), (257, 1)}
    assert {state for slot, state in found.items() if slot not in filled} == {schema.OPEN}


def test_a_log_of_before_this_town_fills_no_gap(engine: Engine, journal: Journal, state: SessionState) -> None:
    """A new database counts JoinNonces from the beginning; what the node's log has of the old one is of other slots."""
    with writing(engine) as connection:
        connection.execute(schema.sessions.update().values(joined_at=AT))
    done = journal.commit([frame(state, 5, behind(earlier(2, 10 * 86_400, CLIMATE)))])
    assert (done.backfilled, states_of(engine)[2, 0]) == (0, schema.OPEN)


def test_counters_behind_a_wrap_of_their_low_bits_are_meant_rightly(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    journal.commit([frame(state, 0x1FFFE)])
    done = journal.commit([frame(state, 0x20001, behind(earlier(0xFFFF, 120, CLIMATE, CLIMATE), none(7, 1)))])
    assert done.backfilled == 2
    found = states_of(engine)
    assert found[0x1FFFF, 0] == found[0x20000, 0] == schema.GAP_BACKFILLED
    assert 7 not in {fcnt for fcnt, _ in found}


def test_days_are_marked_whoever_has_cleared_them(engine: Engine, journal: Journal, state: SessionState) -> None:
    day = schema.days
    assert [(row.day, row.dirty) for row in rows(engine, "days")] == [(DAY, True)]
    for change in (
        frame(state, 5),
        StoreRecovered(EUI, 1, 1, FOUND),
        CloseGap(EUI, 1, 2, 0, schema.GIVEN_UP),
        StoreLate(uplink(3, at=AT + 180), state),
    ):
        with writing(engine) as connection:
            connection.execute(day.update().values(dirty=False))
        journal.commit([change])
        assert [row.dirty for row in rows(engine, "days")] == [True], change
    journal.commit([store(state, 6, at=AT + 5 * 86_400)])
    assert [row.day for row in rows(engine, "days")] == [DAY, DAY + 5]


def test_what_another_source_has_written_is_not_overwritten(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    archive = Archive(engine)
    for _ in range(2):
        archive.add_reading("amsel", measured(AT + 300), {"humidity": 1.0, "pm10": 7.0})
    done = journal.commit([frame(state, 5), replace(frame(state, 6), uplink=uplink(6, at=AT + 300))])
    assert done.failed == []
    assert len(points(engine)) == 6
    assert [value for _, value, _ in points(engine)[2:]] == [1.0, 1.0, 56.5, 56.5]
    assert archive.latest()[0].values["pm10"].value == 7.0
    assert archive.latest()[0].values["humidity"].origin == "heard"


def test_damaged_extras_lose_no_reading(engine: Engine, journal: Journal, state: SessionState) -> None:
    done = journal.commit(
        [frame(state, 5, behind(none(1, 1), b"\x04\x01")), frame(state, 6, CLIMATE + b"\x40\xff\x01")]
    )
    assert (len(done.readings), done.failed) == (2, [])
    assert states_of(engine)[1, 0] == schema.NEVER_WAS


def test_sessions_of_the_past_are_not_remembered_for_ever(
    engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nest.archive.memory.MOST_SESSIONS", 3)
    for nonce in range(2, 40):
        next_one = session(nonce=nonce, joined_at=AT + 600 * nonce)
        frames = [store(next_one, fcnt, at=AT + 600 * nonce + 60 * fcnt, activates=not fcnt) for fcnt in (0, 2)]
        assert not journal.commit([join(next_one, nonce), *frames]).failed
        assert len(journal._memory.sessions) <= 8
    assert len(points(engine)) == 2 + 2 * 38
    assert len(states_of(engine)) == 3  # by FCnt; each session has lost its frame 1


def test_what_was_missing_is_never_the_latest(engine: Engine, journal: Journal) -> None:
    """The frame's own reading was measured before the node had joined, and what is missing before that."""
    second = session(nonce=2, joined_at=AT + 598)
    first = store(second, 2, behind(AGE_10_S, UNSENT_2), at=AT + 600, activates=True)
    done = journal.commit([join(second, 1), first, StoreRecovered(EUI, 2, 0, codes.unpack(HUMIDITY_FAILED))])
    assert (done.recovered, done.failed) == (1, [])
    sent = measured(AT + 600, behind(AGE_10_S, UNSENT_2)) - 10
    [recovered] = [time for time, _, origin in points(engine) if origin == "recovered"]
    assert sent - 0.01 < recovered < sent
    gaps = [gap.time for gap in Archive(engine).gaps("amsel", 0, 2e9) if gap.join_nonce == 2]
    assert max(gaps) < sent
