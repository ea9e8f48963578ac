"""The archive: frames before readings, readings from frames, and what people ask of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nest import payload
from nest.archive import Archive, open_database, schema
from nest.archive.downlinks import DownlinkQueue
from nest.model import MOST_HEARD, Heard, JoinRecord, SessionState, Uplink
from nest.registry import Registry
from sqlalchemy import Engine, event, func, select
from sqlalchemy.exc import IntegrityError

EUI = bytes.fromhex("70b3d57ed0000001")
CLIMATE = bytes.fromhex("0f65ce39a776")  # 21.4 °C, 56.5 %, 1008.3 hPa, 3.87 V
HUMIDITY_FAILED = bytes.fromhex("0f65dff9a776")
NEAR = Heard("aa" * 8, -60.0, 9.0, 868_100_000, 1000.0)
FAR = Heard("bb" * 8, -110.0, -5.0, 868_100_000, 1000.1)
SESSION = SessionState(EUI, 1, 0x01020304, bytes(range(16)), bytes(range(16, 32)), joined_at=990.0)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_database(tmp_path / "nest.db")
    Registry(engine).add("amsel", EUI, latitude=52.123456, longitude=13.987654)
    return engine


@pytest.fixture
def archive(engine: Engine) -> Archive:
    archive = Archive(engine)
    archive.store_join(JoinRecord(EUI, 0, 1), SESSION)
    return archive


def uplink(fcnt: int = 0, content: bytes = CLIMATE, *, at: float = 1000.0, fport: int | None = 1) -> Uplink:
    phy = b"\x40" + fcnt.to_bytes(4, "little") + content
    return Uplink("amsel", EUI, at, fcnt, fport, content, False, (NEAR,), 7, 125_000, 868_100_000, phy)


def store(archive: Archive, fcnt: int = 0, content: bytes = CLIMATE, **more: Any) -> int:
    return archive.store_uplink(uplink(fcnt, content, **more), replace(SESSION, fcnt_up=fcnt, active=True))


def rows(engine: Engine, table: str) -> Sequence[Any]:
    with engine.begin() as connection:
        return connection.execute(select(schema.metadata.tables[table])).all()


def test_a_frame_is_stored_with_its_counter_and_before_any_reading(engine: Engine, archive: Archive) -> None:
    store(archive, 5)
    frame = rows(engine, "frames")[0]
    assert (frame.fcnt, frame.payload, frame.phy, frame.decoded) == (5, CLIMATE, uplink(5).phy, schema.NOT_DECODED)
    assert archive.sessions() == [replace(SESSION, fcnt_up=5, active=True)]
    assert rows(engine, "readings") == []


def test_neither_frame_nor_counter_is_stored_alone(engine: Engine, archive: Archive) -> None:
    store(archive, 5)
    with pytest.raises(IntegrityError):  # the same counter again: the network server never asks for it
        archive.store_uplink(uplink(5, at=1001.0), replace(SESSION, fcnt_up=77, active=True))
    assert archive.sessions()[0].fcnt_up == 5
    assert len(rows(engine, "frames")) == 1


def test_a_decoded_frame_gives_its_reading(archive: Archive) -> None:
    told = archive.decode(store(archive))
    assert told
    assert (told.node_slug, told.time, told.heard, told.fcnt) == ("amsel", 1000.0, (NEAR,), 0)
    assert told.values == {"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87}
    node = archive.latest()[0]
    assert {name: value.value for name, value in node.values.items()} == told.values
    assert node.last_seen == 1000.0


def test_decoding_again_changes_nothing(engine: Engine, archive: Archive) -> None:
    frame = store(archive, content=HUMIDITY_FAILED)
    first = archive.decode(frame)
    before = rows(engine, "readings")
    assert archive.decode(frame) == first
    assert rows(engine, "readings") == before


def test_a_better_decoder_mends_history(
    engine: Engine, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = store(archive)
    with monkeypatch.context() as patched:
        worse = payload.Decoded({"temperature": 99.0, "co2": 1.0}, set(), set(), 0)
        patched.setattr("nest.archive.decoding._DECODERS", {1: lambda *_: worse})
        archive.decode(frame)
    assert archive.latest()[0].values["co2"].value == 1.0
    archive.decode(frame)
    assert "co2" not in archive.latest()[0].values
    assert archive.latest()[0].values["temperature"].value == 21.4


def test_failed_is_kept_as_failed_and_missing_is_not_zero(engine: Engine, archive: Archive) -> None:
    told = archive.decode(store(archive, content=HUMIDITY_FAILED))
    assert told
    assert told.values["humidity"] is None
    assert told.qualities["humidity"] == "failed"
    latest = archive.latest()[0].values
    assert (latest["humidity"].value, latest["humidity"].quality) == (None, "failed")
    assert archive.series("amsel", "humidity", 0, 2000) == [(1000.0, None)]
    assert archive.series("amsel", "co2", 0, 2000) == []
    assert len(rows(engine, "readings")) == 4


def test_out_of_range_is_told_apart_from_failed(archive: Archive) -> None:
    archive.decode(store(archive, content=bytes.fromhex("01ffc0")))
    value = archive.latest()[0].values["temperature"]
    assert (value.value, value.quality) == (None, "out_of_range")


@pytest.mark.parametrize(("fport", "decoded"), [(None, schema.NO_READING), (2, schema.NO_READING)])
def test_a_frame_without_a_reading_is_kept(engine: Engine, archive: Archive, fport: int | None, decoded: int) -> None:
    frame = store(archive, fport=fport)
    assert archive.decode(frame) is None
    assert rows(engine, "frames")[0].decoded == decoded


def test_an_undecodable_frame_is_kept_and_counted(engine: Engine, archive: Archive) -> None:
    assert archive.decode(store(archive, content=b"\xff")) is None
    assert rows(engine, "frames")[0].phy
    assert archive.counts() == {"frames": 1, "undecodable": 1, "readings": 0}


def test_what_a_crash_left_undecoded_is_decoded_at_the_next_start(engine: Engine, archive: Archive) -> None:
    for fcnt in range(5):
        store(archive, fcnt, at=1000.0 + fcnt)
    archive.decode(1)
    again = Archive(engine)
    assert again.decode_waiting() == 4
    assert len(again.series("amsel", "temperature", 0, 2000)) == 5
    assert again.decode_waiting() == 0


def test_a_night_that_arrives_in_one_moment_loses_no_reading(archive: Archive) -> None:
    for fcnt in range(20):
        archive.decode(store(archive, fcnt, at=1000.0))
    assert len(archive.series("amsel", "temperature", 1000.0, 1001.0)) == 20


def test_another_gateway_s_copy_is_merged_into_the_frame(engine: Engine, archive: Archive) -> None:
    frame = store(archive)
    archive.merge_copy(EUI, 1, 0, FAR)
    told = archive.decode(frame)
    assert told
    assert told.heard == (NEAR, FAR)
    assert len(rows(engine, "frames")) == 1


def test_the_same_gateway_s_better_copy_replaces_its_worse_one(archive: Archive) -> None:
    frame = store(archive)
    archive.merge_copy(EUI, 1, 0, replace(NEAR, rssi=-120.0))
    archive.merge_copy(EUI, 1, 0, replace(FAR, rssi=None))
    archive.merge_copy(EUI, 1, 0, replace(FAR, rssi=-50.0))
    archive.merge_copy(EUI, 1, 99, FAR)  # a frame that was never stored: nothing to merge into
    told = archive.decode(frame)
    assert told
    assert told.heard == (replace(FAR, rssi=-50.0), NEAR)


def test_made_up_gateways_are_not_merged_without_end(archive: Archive) -> None:
    frame = store(archive)
    for number in range(MOST_HEARD + 10):
        archive.merge_copy(EUI, 1, 0, replace(FAR, gateway=f"{number:016x}"))
    told = archive.decode(frame)
    assert told
    assert len(told.heard) == MOST_HEARD
    assert told.heard[0] == NEAR


def test_a_join_keeps_the_old_session_until_the_first_uplink_under_the_new_one(
    engine: Engine, archive: Archive
) -> None:
    store(archive, 5)
    second, third = (replace(SESSION, join_nonce=nonce, nwk_skey=bytes([nonce]) * 16) for nonce in (2, 3))
    archive.store_join(JoinRecord(EUI, 1, 2), second)
    assert [session.join_nonce for session in archive.sessions()] == [1, 2]
    archive.store_join(JoinRecord(EUI, 2, 3), third)  # the second was never used: the third takes its place
    assert [session.join_nonce for session in archive.sessions()] == [1, 3]
    used = replace(third, fcnt_up=0, active=True)
    archive.store_uplink(uplink(0, at=2000.0), used, activates=True)
    assert archive.sessions() == [used]
    assert archive.joins() == [JoinRecord(EUI, nonce - 1, nonce) for nonce in (1, 2, 3)]
    assert archive.joins(EUI) == archive.joins()
    assert [row.nwk_skey for row in rows(engine, "sessions")[:2]] == [None, None]


def test_a_downlink_counter_is_durable(archive: Archive) -> None:
    archive.store_session(replace(SESSION, fcnt_down=9))
    assert archive.sessions()[0].fcnt_down == 9


def test_a_stranger_is_refused(archive: Archive) -> None:
    with pytest.raises(LookupError):
        archive.store_join(JoinRecord(bytes(8), 0, 1), replace(SESSION, dev_eui=bytes(8)))
    with pytest.raises(LookupError):
        archive.add_reading("nobody", 0.0, {"temperature": 1.0})


def test_a_series_is_cut_and_ordered_by_time(archive: Archive) -> None:
    for moment in (30.0, 10.0, 20.25, 40.0):
        archive.add_reading("amsel", moment, {"temperature": moment})
    assert archive.series("amsel", "temperature", 10.0, 40.0) == [(10.0, 10.0), (20.25, 20.25), (30.0, 30.0)]
    assert archive.series("amsel", "temperature", 0, 99, limit=2) == [(10.0, 10.0), (20.25, 20.25)]
    assert archive.series("amsel", "nonsense", 0, 99) == []
    assert archive.series("nobody", "temperature", 0, 99) == []


def test_the_latest_value_of_each_quantity_may_be_of_another_time(archive: Archive) -> None:
    archive.add_reading("amsel", 10.0, {"temperature": 1.0, "pm10": 2.0})
    archive.add_reading("amsel", 20.0, {"temperature": 3.0}, failed=["humidity"])
    values = archive.latest()[0].values
    assert list(values) == ["temperature", "humidity", "pm10"]
    assert [(value.time, value.value) for value in values.values()] == [(20.0, 3.0), (20.0, None), (10.0, 2.0)]


def test_positions_are_published_rounded(archive: Archive) -> None:
    for node in (archive.nodes()[0], archive.latest()[0]):
        assert (node.latitude, node.longitude) == (52.123, 13.988)


def test_the_latest_values_are_found_without_reading_the_history(engine: Engine, archive: Archive) -> None:
    """SQLite is asked how it would do it: never by going through all readings."""
    plan: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "readings" in statement and not statement.startswith("EXPLAIN"):
            found = connection.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            plan.extend(row[3] for row in found)

    event.listen(engine, "before_cursor_execute", explain)
    archive.latest()
    archive.series("amsel", "temperature", 0, 1)
    assert plan
    assert any(step.startswith("SEARCH readings") for step in plan)
    assert not [step for step in plan if step.startswith("SCAN readings")]


def test_downlinks_wait_in_the_order_they_were_given(engine: Engine) -> None:
    queue = DownlinkQueue(engine)
    first = queue.add(1, 10, b"\x01")
    second = queue.add(1, 11, b"", confirmed=True, window=2)
    waiting = queue.waiting(EUI)
    assert [(one.id, one.port, one.payload, one.confirmed, one.window) for one in waiting] == [
        (first, 10, b"\x01", False, None),
        (second, 11, b"", True, 2),
    ]
    queue.set_state(first, "queued")
    assert [one.id for one in queue.waiting(EUI)] == [second]
    assert queue.count() == 2
    queue.take_back()  # as a new start does
    assert [one.id for one in queue.waiting(EUI)] == [first, second]
    queue.set_state(first, "sent")
    queue.take_back()
    assert [one.id for one in queue.waiting(EUI)] == [second]
    found = queue.get(first)
    assert found
    assert found.state == "sent"


def test_what_was_heard_is_plain_json(engine: Engine, archive: Archive) -> None:
    store(archive)
    with engine.begin() as connection:
        stored = connection.execute(select(func.json(schema.frames.c.heard))).scalar_one()
    entries = json.loads(stored) if isinstance(stored, str) else stored
    assert entries[0]["gateway"] == "aa" * 8
