"""The journal: a burst in one transaction, and what a person finds in the archive afterwards."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway.archive.bursts import (
    CLIMATE,
    EUI,
    FAR,
    HUMIDITY_FAILED,
    NEAR,
    TEMPERATURE_OUT_OF_RANGE,
    heard,
    join,
    measured,
    rows,
    session,
    store,
    uplink,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nest import payload
from nest.archive import Archive, memory, open_database, receptions, schema
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal
from nest.archive.outbox import Outbox
from nest.lorawan.effects import DownlinkOutcome, MergeCopy, StoreLate, StoreSession, StoreStatus
from nest.model import MOST_HEARD, Heard, JoinRecord, SessionState
from nest.registry import Registry
from sqlalchemy import Engine


def test_frame_counter_reading_and_outbox_stand_together(engine: Engine, journal: Journal, state: SessionState) -> None:
    done = journal.commit([store(state, 5)])
    frame = rows(engine, "frames")[0]
    assert (frame.fcnt, frame.payload, frame.phy, frame.decoded) == (5, CLIMATE, uplink(5).phy, schema.DECODED)
    assert Archive(engine).sessions() == [state]
    assert state.fcnt_up == 5
    [(seq, event)] = done.readings
    assert (event.node_slug, event.time, event.heard, event.fcnt) == ("amsel", 999.959, (NEAR,), 5)
    assert (event.origin, event.heard_at) == ("heard", 1000.0)
    assert event.values == {"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87}
    assert Outbox(engine).after(0) == [(seq, event)]
    latest = Archive(engine).latest()[0]
    assert {name: value.value for name, value in latest.values.items()} == event.values
    assert latest.last_seen == 1000.0


def test_failed_is_kept_as_failed_and_missing_is_not_zero(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    done = journal.commit([store(state, 0, HUMIDITY_FAILED)])
    event = done.readings[0][1]
    assert list(event.values) == ["temperature", "humidity", "pressure", "battery"]
    assert (event.values["humidity"], event.qualities["humidity"]) == (None, "failed")
    assert Outbox(engine).after(0) == done.readings
    latest = Archive(engine).latest()[0].values
    assert (latest["humidity"].value, latest["humidity"].quality) == (None, "failed")
    assert Archive(engine).series("amsel", "humidity", 0, 2000) == [(measured(1000.0), None)]
    assert Archive(engine).series("amsel", "co2", 0, 2000) == []


def test_out_of_range_is_told_apart_from_failed(engine: Engine, journal: Journal, state: SessionState) -> None:
    journal.commit([store(state, 0, TEMPERATURE_OUT_OF_RANGE)])
    value = Archive(engine).latest()[0].values["temperature"]
    assert (value.value, value.quality) == (None, "out_of_range")


@pytest.mark.parametrize("fport", [None, 0, 2])
def test_a_frame_without_a_reading_is_kept(
    engine: Engine, journal: Journal, state: SessionState, fport: int | None
) -> None:
    done = journal.commit([store(state, 0, fport=fport)])
    assert (done.readings, done.no_reading) == ([], 1)
    assert rows(engine, "frames")[0].decoded == schema.NO_READING
    assert rows(engine, "outbox") == []


def test_an_undecodable_frame_is_kept_and_counted(engine: Engine, journal: Journal, state: SessionState) -> None:
    done = journal.commit([store(state, 0, b"\xff"), store(state, 1)])
    assert (done.undecodable, len(done.readings)) == (1, 1)
    assert Archive(engine).counts() == {"frames": 2, "undecodable": 1, "readings": 1}


def test_a_broken_decoder_loses_no_frame(
    engine: Engine, journal: Journal, state: SessionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_fport: int | None, _content: bytes) -> payload.Decoded:
        raise ZeroDivisionError

    monkeypatch.setattr("nest.archive.decoding._DECODERS", {1: broken})
    done = journal.commit([store(state, 0)])
    assert (done.failed, done.undecodable) == ([], 1)
    assert rows(engine, "frames")[0].phy == uplink(0).phy


def test_what_an_earlier_version_left_undecoded_is_decoded_and_published(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    done = journal.commit([store(state, fcnt, at=1000.0 + fcnt) for fcnt in range(3)])
    with engine.begin() as connection:
        for table in (schema.readings, schema.outbox):
            connection.execute(table.delete())
        connection.execute(schema.frames.update().values(decoded=schema.NOT_DECODED))
    archive = Archive(engine)
    assert archive.decode_waiting() == 3
    assert archive.decode_waiting() == 0
    assert [event for _, event in Outbox(engine).after(0)] == [event for _, event in done.readings]


# who heard it


@pytest.mark.parametrize("in_one_burst", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
def test_copies_are_merged_into_the_frame(
    engine: Engine, journal: Journal, state: SessionState, in_one_burst: bool, remembered: bool
) -> None:
    effects = [store(state, 0), MergeCopy(EUI, 1, 0, FAR), MergeCopy(EUI, 1, 0, replace(NEAR, rssi=-120.0))]
    effects += [MergeCopy(EUI, 1, 0, replace(FAR, rssi=-50.0)), MergeCopy(EUI, 1, 99, FAR)]
    for part in [effects] if in_one_burst else [[effect] for effect in effects]:
        journal.commit(part)
        if not remembered:
            journal = Journal(engine)
    assert heard(engine) == (replace(FAR, rssi=-50.0), NEAR)
    assert len(rows(engine, "frames")) == 1


def test_made_up_gateways_are_not_merged_without_end(engine: Engine, journal: Journal, state: SessionState) -> None:
    copies = [MergeCopy(EUI, 1, 0, replace(FAR, gateway=f"{number:016x}")) for number in range(MOST_HEARD + 10)]
    journal.commit([store(state, 0), *copies])
    assert len(heard(engine)) == MOST_HEARD
    assert heard(engine)[0] == NEAR


def test_frames_long_past_are_forgotten_and_still_merged(
    engine: Engine, journal: Journal, state: SessionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RECENT", 2)
    for fcnt in range(12):
        journal.commit([store(state, fcnt)])
    journal.commit([MergeCopy(EUI, 1, 0, FAR)])
    assert heard(engine) == (NEAR, FAR)


numbers = st.floats() | st.none() | st.integers(-200, 200)


@settings(deadline=None)
@given(st.lists(st.builds(Heard, st.text(max_size=20), numbers, numbers, st.integers(0, 2**32), numbers), max_size=4))
def test_who_heard_it_is_plain_json_whatever_they_say(found: list[Heard]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    read = json.loads(receptions.heard_json(found), parse_constant=refuse)
    assert [entry["gateway"] for entry in read] == [one.gateway for one in found]
    assert [entry["freq_hz"] for entry in read] == [one.freq_hz for one in found]
    for entry, one in zip(read, found, strict=True):
        for value, meant in (
            (entry["rssi"], one.rssi),
            (entry["snr"], one.snr),
            (entry["received_at"], one.received_at),
        ):
            assert value == (meant if meant is not None and abs(meant) < float("inf") else None)


# joins and sessions


def test_a_join_keeps_the_old_session_until_the_first_uplink_under_the_new_one(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    journal.commit([store(state, 5, activates=True)])
    second, third = session(nonce=2), session(nonce=3)
    journal.commit([join(second, 1)])
    archive = Archive(engine)
    assert archive.sessions() == [state, second]
    journal.commit([join(third, 2)])  # the second was never used: the third takes its place
    assert archive.sessions() == [state, third]
    done = journal.commit([store(state, 6), store(third, 0, activates=True, at=2000.0)])
    assert (done.failed, done.ended, len(done.readings)) == ([], [], 2)
    assert archive.sessions() == [third]
    assert archive.joins() == archive.joins(EUI) == [JoinRecord(EUI, nonce - 1, nonce) for nonce in (1, 2, 3)]
    assert [row.nwk_skey for row in rows(engine, "sessions")[:2]] == [None, None]


def test_what_comes_for_the_old_session_behind_its_end_is_skipped_and_ends_no_device(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    second = session(nonce=2)
    journal.commit([store(state, 0, activates=True), join(second, 1), store(second, 0, activates=True)])
    done = journal.commit([StoreSession(state), StoreLate(uplink(3), state), store(second, 1)])
    assert (done.ended, done.failed, done.late, len(done.readings)) == ([], [], 0, 1)


def test_a_whole_life_in_one_burst(engine: Engine, journal: Journal) -> None:
    first, second = session(), session(nonce=2)
    done = journal.commit(
        [
            join(first),
            store(first, 0, activates=True),
            StoreSession(first),
            store(first, 1),
            join(second, 1),
            store(first, 2),
            store(second, 0, activates=True),
            MergeCopy(EUI, 1, 2, FAR),
        ]
    )
    assert (done.failed, done.ended, [event.fcnt for _, event in done.readings]) == ([], [], [0, 1, 2, 0])
    assert [event.heard for _, event in Outbox(engine).after(0)][2] == (NEAR, FAR)
    assert Archive(engine).sessions() == [second]


def test_everything_about_a_session_is_durable(engine: Engine, journal: Journal, state: SessionState) -> None:
    state.fcnt_down, state.tx_power, state.nb_trans, state.adr_tries, state.status_at = 9, 3, 2, 1, 77.5
    state.rx1_delay_s, state.rx1_dr_offset, state.rx2_dr, state.rx2_freq_hz, state.heard_at = 5, 2, 3, 869_000_000, 5.25
    journal.commit([StoreSession(state)])
    assert Archive(engine).sessions() == [state]


def test_battery_and_downlinks_are_noted(engine: Engine, journal: Journal, state: SessionState) -> None:
    queue = DownlinkQueue(engine)
    numbers = [queue.add(1, 10, b"\x01") for _ in range(2)]
    journal.commit(
        [
            StoreStatus(EUI, 1000.0, 254, 12),
            DownlinkOutcome(EUI, numbers[0], "sent"),
            DownlinkOutcome(EUI, None, "sent"),
            DownlinkOutcome(EUI, numbers[1], "queued"),
        ]
    )
    node = rows(engine, "nodes")[0]
    assert (node.battery, node.margin_db, node.status_at) == (254, 12, 1_000_000)
    assert [row.state for row in rows(engine, "downlinks")] == ["sent", "queued"]
    Registry(engine).remove("amsel")
    journal.commit([DownlinkOutcome(EUI, numbers[1], "queued")])
    assert queue.count() == 0


# late frames


def test_a_late_frame_is_stored_once_moving_no_counter(engine: Engine, journal: Journal, state: SessionState) -> None:
    journal.commit([store(state, 9)])
    late = StoreLate(uplink(4, at=900.0), state)
    done = journal.commit([late, late])
    assert (done.late, len(done.readings)) == (1, 1)
    assert journal.commit([late, StoreLate(uplink(9), state)]).late == 0
    assert Journal(engine).commit([late]).late == 0
    assert Archive(engine).sessions()[0].fcnt_up == 9
    assert Archive(engine).series("amsel", "temperature", 0, 2000) == [
        (measured(900.0), 21.4),
        (measured(1000.0), 21.4),
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_a_frame_that_two_gateways_have_held_back_tells_of_both(
    engine: Engine, journal: Journal, state: SessionState, apart: bool
) -> None:
    journal.commit([store(state, 9)])
    late, other = uplink(4, at=900.0), replace(uplink(4, at=900.1), heard=(FAR,))
    bursts = [[StoreLate(late, state)], [StoreLate(other, state)]]
    for effects in bursts if apart else [bursts[0] + bursts[1]]:
        journal.commit(effects)
    assert [len(event.heard) for _, event in Outbox(engine).after(0)] == [1, 2]
    assert Outbox(engine).after(1)[0][1].heard == (NEAR, FAR)


# moments


def test_a_night_that_arrives_in_one_moment_loses_no_reading(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    for half in range(2):
        journal.commit([store(state, fcnt, at=1000.0) for fcnt in range(100 * half, 100 * half + 100)])
    assert len(Archive(engine).series("amsel", "temperature", measured(1000.0), measured(1000.2))) == 200


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 90), max_size=12), max_size=6), st.booleans())
def test_every_frame_gets_the_next_free_moment(bursts: list[list[int]], forget: bool) -> None:
    """As if the database was asked for each frame."""
    taken: set[int] = set()
    with contextlib.ExitStack() as parts:
        engine = in_memory_town(parts)
        journal = parts.enter_context(contextlib.closing(Journal(engine)))
        state = session()
        journal.commit([join(state)])
        fcnt = 0
        for moments in bursts:
            expected = []
            effects: list[Any] = []
            for moment in moments:
                effects.append(store(state, fcnt, at=moment / 1000))
                fcnt += 1
                while moment in taken:
                    moment += 1
                taken.add(moment)
                expected.append(measured(moment / 1000))
            done = journal.commit(effects)
            assert [event.time for _, event in done.readings] == expected
            if forget:
                journal = parts.enter_context(contextlib.closing(Journal(engine)))


def in_memory_town(parts: contextlib.ExitStack) -> Engine:
    folder = parts.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    engine = open_database(Path(folder) / "nest.db")
    parts.callback(engine.dispose)
    Registry(engine).add("amsel", EUI)
    return engine
