"""What the journal cannot store, a database that refuses, and the outbox."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from gateway.archive.bursts import (
    CLIMATE,
    EUI,
    FAR,
    HUMIDITY_FAILED,
    NEAR,
    OTHER,
    TEMPERATURE_OUT_OF_RANGE,
    heard,
    join,
    measured,
    rows,
    session,
    store,
    uplink,
)
from nest.archive import Archive, schema
from nest.archive.journal import Journal, RefusedError, ReplacedError
from nest.archive.meta import put
from nest.archive.outbox import Outbox
from nest.lorawan.effects import MergeCopy, StoreLate, StoreSession, StoreStatus, StoreUplink
from nest.model import SessionState
from nest.registry import Registry
from sqlalchemy import Engine, insert, text


def test_one_broken_effect_leaves_the_others_alone(engine: Engine, journal: Journal, state: SessionState) -> None:
    journal.commit([store(state, 0)])
    again = StoreUplink(uplink(0, at=1001.0), state)
    absurd = StoreUplink(replace(uplink(6), fcnt=2**70), state)
    never = StoreUplink(uplink(7, at=float("nan")), state)
    done = journal.commit(
        [store(state, 1), again, absurd, store(state, 2), never, MergeCopy(EUI, 1, 1, FAR), join(state)]
    )
    assert done.failed == [again, absurd, never, join(state)]
    assert [event.fcnt for _, event in done.readings] == [1, 2]
    assert [event.heard for _, event in Outbox(engine).after(0)] == [(NEAR,), (NEAR, FAR), (NEAR,)]
    assert [seq for seq, _ in Outbox(engine).after(0)] == [1, 2, 3]
    assert journal.commit([store(state, 3)]).failed == []


def test_a_node_removed_beside_us_is_skipped_and_reported_once(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    Registry(engine).add("meise", OTHER)
    other = session(OTHER)
    journal.commit([join(other), store(state, 0)])
    Registry(engine).remove("amsel")
    effects = [
        store(state, 1),
        StoreSession(state),
        store(other, 0),
        StoreLate(uplink(9, at=1.0), state),
        join(session(nonce=2)),
    ]
    done = journal.commit(effects)
    assert (done.ended, done.failed, done.late) == ([EUI], [], 0)
    assert [event.node_slug for _, event in done.readings] == ["meise"]
    Registry(engine).add("amsel", EUI)
    assert journal.commit([store(state, 2)]).ended == [EUI]
    assert Archive(engine).sessions() == [other]


def test_a_stranger_s_effects_are_skipped(engine: Engine, journal: Journal) -> None:
    stranger = session(bytes(8))
    done = journal.commit(
        [join(stranger), store(stranger, 0), StoreStatus(bytes(8), 0.0, 1, 1), MergeCopy(EUI, 7, 0, FAR)]
    )
    assert (done.failed, done.readings) == ([], [])
    assert bytes(8) in done.ended
    assert rows(engine, "frames") == []


# a database that refuses


@pytest.mark.only_sqlite
def test_a_database_that_others_hold_refuses_and_then_takes(
    engine: Engine, journal: Journal, state: SessionState, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "nest.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    effects = [store(state, 0), MergeCopy(EUI, 1, 0, FAR)]
    for _ in range(2):
        with pytest.raises(RefusedError, match="in use by another program"):
            journal.commit(effects)
    other.close()
    done = journal.commit(effects)
    assert [event.fcnt for _, event in done.readings] == [0]
    assert heard(engine) == (NEAR, FAR)


@pytest.mark.only_sqlite
def test_a_full_disk_refuses_whole_bursts_and_then_takes_them(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    connection = journal._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    effects = [store(state, fcnt) for fcnt in range(500)]
    before = Archive(engine).counts()
    with pytest.raises(RefusedError, match="the disk is full"):
        journal.commit(effects)
    assert Archive(engine).counts() == before
    connection.execute("PRAGMA max_page_count = 1000000")
    done = journal.commit(effects)
    assert (done.failed, len(done.readings)) == ([], 500)
    assert [seq for seq, _ in done.readings] == list(range(1, 501))


@pytest.mark.only_sqlite
def test_a_refusal_of_one_by_one_is_a_refusal(engine: Engine, journal: Journal, state: SessionState) -> None:
    connection = journal._connection
    journal.commit([store(state, 0)])
    again = StoreUplink(uplink(0), state)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(RefusedError):
        journal.commit([again, *(store(state, fcnt) for fcnt in range(1, 500))])
    assert Archive(engine).counts()["frames"] == 1


@pytest.mark.only_sqlite
@pytest.mark.parametrize("many", [0, 1])
def test_an_error_that_no_effect_is_to_blame_for_is_a_refusal(journal: Journal, state: SessionState, many: int) -> None:
    effects = [store(state, 0)][:many]
    with pytest.raises(RefusedError, match="too large"):
        journal.commit(effects, mark=1 << 70)
    assert len(journal.commit(effects).readings) == many
    journal._connection.close()
    with pytest.raises(RefusedError, match="closed"):
        journal.commit(effects, mark=1)


def test_another_database_in_our_place_is_seen_before_anything_is_written(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    put(engine, "generation", "another")
    for _ in range(2):
        with pytest.raises(ReplacedError):
            journal.commit([store(state, 0)])
    assert rows(engine, "frames") == []


def test_writing_by_others_is_noticed_once_and_our_own_never(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    journal.changed_elsewhere()
    journal.commit([store(state, 0)])
    assert not journal.changed_elsewhere()
    Registry(engine).add("meise", OTHER)
    assert journal.changed_elsewhere()
    assert not journal.changed_elsewhere()


# the outbox


def test_published_rows_go_and_their_numbers_never_come_back(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    outbox = Outbox(engine)
    journal.commit([store(state, fcnt) for fcnt in range(3)])
    assert outbox.waiting() == 3
    journal.commit([], mark=3)
    assert (outbox.mark(), outbox.waiting(), rows(engine, "outbox")) == (3, 0, [])
    with contextlib.closing(Journal(engine)) as again:
        done = again.commit([store(state, 3)], mark=3)
    assert [seq for seq, _ in done.readings] == [4]
    assert outbox.after(3) == done.readings
    outbox.set_mark(4)
    assert (outbox.after(0), rows(engine, "outbox")) == ([], [])


def test_rows_stay_until_the_last_sink_has_them(engine: Engine, journal: Journal, state: SessionState) -> None:
    journal.commit([store(state, fcnt) for fcnt in range(3)])
    with engine.begin() as connection:
        connection.execute(insert(schema.sinks).values(name="other", done=1))
    journal.commit([], mark=3)
    assert [seq for seq, _ in Outbox(engine).after(0)] == [2, 3]


@pytest.mark.only_sqlite
def test_the_outbox_is_read_in_pieces_and_without_going_through_the_readings(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    contents = [CLIMATE, HUMIDITY_FAILED, TEMPERATURE_OUT_OF_RANGE]
    picked = random.Random(1).choices(contents, k=50)  # noqa: S311
    done = journal.commit([store(state, fcnt, content) for fcnt, content in enumerate(picked)])
    outbox = Outbox(engine)
    found, after = [], 0
    while piece := outbox.after(after, limit=7):
        found += piece
        after = piece[-1][0]
    assert found == done.readings
    with engine.connect() as connection:
        plan = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT * FROM outbox JOIN readings ON readings.node_id = outbox.node_id"
                " AND readings.time = outbox.time WHERE seq BETWEEN 1 AND 9"
            )
        ).all()
    assert not [row for row in plan if row[3].startswith("SCAN readings")]


def test_the_latest_reading_of_every_node_is_told_a_page_at_a_time(engine: Engine, journal: Journal) -> None:
    registry = Registry(engine)
    states = []
    for number in range(5):
        eui = bytes.fromhex(f"70b3d57e000000{number:02x}")
        registry.add(f"spatz-{number}", eui)
        states.append(session(eui))
    journal.commit([join(state) for state in states])
    journal.commit([store(states[0], 0, at=1000.0), store(states[2], 0, at=1000.0), store(states[4], 0, at=1000.0)])
    journal.commit([store(states[2], 1, TEMPERATURE_OUT_OF_RANGE, at=1001.0), store(states[2], 2, b"?", at=1002.0)])
    registry.remove("spatz-4")
    for page in (1, 2, 100):
        told = {event.node_slug: (event.time, dict(event.values)) for event in Outbox(engine).latest(page)}
        assert told == {
            "spatz-0": (measured(1000.0), {"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87}),
            "spatz-2": (measured(1001.0, TEMPERATURE_OUT_OF_RANGE), {"temperature": None}),
        }
    Archive(engine).add_reading("spatz-0", 1005.0, {"temperature": 3.0})  # was retained when it came
    assert next((event.time, event.origin) for event in Outbox(engine).latest()) == (1005.0, "other")
