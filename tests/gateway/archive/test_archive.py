"""What people ask the archive for, and the queue of downlinks."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest.archive import Archive, adding, open_database
from nest.archive.database import writing
from nest.archive.downlinks import DownlinkQueue
from nest.quantities import by_name
from nest.registry import Registry
from sqlalchemy import Engine, event

EUI = bytes.fromhex("70b3d57ed0000001")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_database(tmp_path / "nest.db")
    Registry(engine).add("amsel", EUI, latitude=52.123456, longitude=13.987654)
    return engine


@pytest.fixture
def archive(engine: Engine) -> Archive:
    return Archive(engine)


def test_a_series_is_cut_and_ordered_by_time(archive: Archive) -> None:
    for moment in (30.0, 10.0, 20.5, 40.0):
        archive.add_reading("amsel", moment, {"temperature": moment})
    assert archive.series("amsel", "temperature", 10.0, 40.0) == [(10.0, 10.0), (20.5, 20.5), (30.0, 30.0)]
    assert archive.series("amsel", "temperature", 0, 99, limit=2) == [(10.0, 10.0), (20.5, 20.5)]
    assert archive.series("amsel", "nonsense", 0, 99) == []
    assert archive.series("nobody", "temperature", 0, 99) == []


def test_the_latest_value_of_each_quantity_may_be_of_another_time(archive: Archive) -> None:
    archive.add_reading("amsel", 10.0, {"temperature": 1.0, "pm10": 2.0})
    archive.add_reading("amsel", 20.0, {"temperature": 3.0}, failed=["humidity"])
    values = archive.latest()[0].values
    assert list(values) == ["temperature", "humidity", "pm10"]
    assert [(value.time, value.value) for value in values.values()] == [(20.0, 3.0), (20.0, None), (10.0, 2.0)]


def test_one_node_is_asked_for_alone(archive: Archive) -> None:
    assert [node.slug for node in archive.nodes("amsel")] == ["amsel"]
    assert archive.nodes("kuckuck") == []


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
    waiting = queue.waiting()
    assert [(one.id, one.port, one.payload, one.confirmed, one.window) for one in waiting] == [
        (first, 10, b"\x01", False, None),
        (second, 11, b"", True, 2),
    ]
    queue.set_state(first, "queued")
    assert [one.id for one in queue.waiting()] == [second]
    assert queue.count() == 2
    queue.take_back()  # as a new start does
    assert [one.id for one in queue.waiting()] == [first, second]
    queue.set_state(first, "sent")
    queue.take_back()
    assert [one.id for one in queue.waiting()] == [second]
    found = queue.get(first)
    assert found
    assert found.state == "sent"


def test_downlinks_are_taken_all_at_once_and_each_once(engine: Engine) -> None:
    queue = DownlinkQueue(engine)
    numbers = [queue.add(1, 10, bytes([number])) for number in range(5)]
    queue.set_state(numbers[1], "sent")
    assert [one.id for one in queue.take()] == [numbers[0], *numbers[2:]]
    assert queue.take() == queue.waiting() == []
    assert queue.count() == 4
    later = queue.add(1, 10, b"")
    assert [one.id for one in queue.take()] == [later]
    assert [one.id for one in queue.waiting()] == []


def test_a_downlink_that_is_taken_back_meanwhile_is_not_taken(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = DownlinkQueue(engine)
    first, second = (queue.add(1, 10, b"") for _ in range(2))
    look = queue.waiting

    def and_then() -> Any:
        found = look()
        queue.set_state(first, "replaced")
        return found

    monkeypatch.setattr(queue, "waiting", and_then)
    assert [one.id for one in queue.take()] == [second]


def test_what_waits_is_found_without_looking_through_what_was_sent(engine: Engine) -> None:
    plan: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "downlinks" in statement and not statement.startswith("EXPLAIN"):
            found = connection.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            plan.extend(row[3] for row in found)

    queue = DownlinkQueue(engine)
    queue.add(1, 10, b"")
    event.listen(engine, "before_cursor_execute", explain)
    queue.count()
    queue.take()
    queue.take_back()
    assert plan
    assert not [step for step in plan if step.startswith("SCAN downlinks")]


def test_a_stranger_has_no_readings(archive: Archive) -> None:
    with pytest.raises(LookupError):
        archive.add_reading("nobody", 0.0, {"temperature": 1.0})


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sets(st.sampled_from(["temperature", "pm10", "co2"]), min_size=1)), max_size=12
    )
)
def test_the_latest_values_are_those_of_the_whole_history(made: list[tuple[int, set[str]]]) -> None:
    """In whatever order readings come, of whatever quantities; and still after the notes about them were made anew."""
    with contextlib.ExitStack() as parts:
        folder = parts.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        engine = open_database(Path(folder) / "nest.db")
        parts.callback(engine.dispose)
        Registry(engine).add("amsel", EUI)
        archive = Archive(engine)
        for moment, names in made:
            archive.add_reading("amsel", moment, dict.fromkeys(names, 20.0))
        for _ in range(2):
            whole = {name: archive.series("amsel", name, 0, 100) for name in by_name()}
            latest = {name: value.time for name, value in archive.latest("amsel")[0].values.items()}
            assert latest == {name: found[-1][0] for name, found in whole.items() if found}
            with writing(engine) as connection:
                adding.renew_last_measured(connection)
