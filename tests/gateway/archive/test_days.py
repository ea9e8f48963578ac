"""The worker that closes days: sums, flags, what is missing, and files; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway.archive import bursts
from gateway.archive.day_world import (
    DAY,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SOON,
    START,
    lose,
    measure,
    new_node,
    series,
    settle,
)
from nest import town
from nest.archive import Archive, day_files, days, open_database, schema
from nest.archive.day_files_folder import DataFolder
from nest.archive.days import DayWorker
from nest.archive.days_database import Aggregate, aggregate
from nest.archive.journal import Journal
from nest.archive.reading import Completeness
from nest.model import SessionState
from nest.registry import Registry
from nest.server import Nest
from sqlalchemy import Engine, event

Make = Callable[[], DayWorker]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make(engine: Engine, data: Path) -> Make:
    return lambda: DayWorker(engine, DataFolder(data, ("brandis", "Brandis"), "CC-BY-4.0"), pause=lambda _: None)


@pytest.fixture
def worker(make: Make) -> DayWorker:
    return make()


def row(engine: Engine, day: int = DAY) -> Any:
    [found] = [row for row in bursts.rows(engine, "days") if row.day == day]
    return found


def lines(data: Path, slug: str = "amsel") -> list[str]:
    content = (data / day_files.path_of(slug, DAY)).read_bytes()
    assert content.endswith(b"\r\n")
    return content.decode().split("\r\n")[1:-1]


def flagged(engine: Engine) -> dict[tuple[int, int], int]:
    """(minute of the day, quantity's bit) -> bits."""
    return {((one.time - START) // MINUTE_MS, one.quantity_id): one.flags for one in bursts.rows(engine, "flags")}


# -- sums


def test_hours_and_days_are_summed_up(engine: Engine, worker: DayWorker) -> None:
    measure(engine, START, {"temperature": 10.0, "humidity": 50.0})
    measure(engine, START + 10 * MINUTE_MS, {"temperature": 11.0}, failed=["humidity"])
    measure(engine, START + HOUR_MS, {"temperature": -4.0}, out_of_range=["humidity"])
    worker.work(START + 2 * HOUR_MS)
    with engine.begin() as connection:

        def asked(quantity: str, span: int, start: int = START, end: int = SOON) -> list[Aggregate]:
            return aggregate(connection, "amsel", quantity, span, start / 1000, end / 1000)

        assert asked("temperature", schema.HOUR) == [
            Aggregate(START / 1000, 2, 10.0, 11.0, 10.5),
            Aggregate(START / 1000 + 3600, 1, -4.0, -4.0, -4.0),
        ]
        assert asked("temperature", schema.DAY) == [Aggregate(START / 1000, 3, -4.0, 11.0, 5.667)]
        assert asked("humidity", schema.DAY) == [Aggregate(START / 1000, 1, 50.0, 50.0, 50.0)]
        assert asked("temperature", schema.HOUR, START + 1, START + HOUR_MS) == []
        assert asked("rain", schema.DAY) == asked("mood", schema.DAY) == []
        assert aggregate(connection, "nobody", "temperature", schema.DAY, 0, 2e9) == []


def test_sums_follow_what_comes_and_what_goes(engine: Engine, worker: DayWorker) -> None:
    measure(engine, START, {"temperature": 10.0, "humidity": 50.0})
    worker.work(START + HOUR_MS)
    with engine.begin() as connection:
        connection.execute(schema.readings.delete())
    measure(engine, START + 1, {"temperature": 12.0})
    measure(engine, START + 2, {"temperature": 13.0})
    worker.work(START + HOUR_MS)
    found = [(one.quantity_id, one.span, one.count, one.mean) for one in bursts.rows(engine, "aggregates")]  # type: ignore[misc]
    assert [one[:2] for one in found] == [(0, 0), (0, 1)], "humidity is there no more"
    assert [one[3] for one in found] == [12.5, 12.5]


# -- what is missing


def test_completeness_is_counted(engine: Engine, worker: DayWorker) -> None:
    measure(engine, START, {"temperature": 10.0})
    measure(engine, START + 1, {"temperature": 10.0}, origin=schema.RECOVERED, delay_ms=None)
    measure(engine, START + 2, {"temperature": 10.0}, origin=schema.BACKFILLED)
    lose(engine, (5, START + 3), (6, START + 4), (7, START + DAY_MS))
    today = START // DAY_MS
    worker.work(START + HOUR_MS)
    assert Archive(engine).completeness("amsel", today, today) == [Completeness(today, 5, 3, 1, 1, 2)]
    assert (row(engine).dirty, row(engine).sha256) == (True, None), "the day is not over"
    settle(engine, 5, schema.NEVER_WAS, SOON)
    worker.work(SOON)
    assert Archive(engine).completeness("amsel", today, today) == [Completeness(today, 4, 3, 1, 1, 1)]
    assert not row(engine).dirty


# -- files


def test_a_day_that_is_over_becomes_a_file(engine: Engine, worker: DayWorker, data: Path) -> None:
    measure(engine, START + 5, {"temperature": 10.0}, failed=["humidity"])
    lose(engine, (9, START + 1000))
    before = worker.work(START + DAY_MS + days.GRACE_MS - 1)
    assert (before.files, data.exists()) == (0, False)
    assert worker.work(START + DAY_MS + days.GRACE_MS).files == 1
    assert lines(data) == [
        "2024-10-04T00:00:00.005Z,2024-10-04T00:00:00.062Z,heard,,,,10.0,,humidity:failed,",
        "2024-10-04T00:00:01.000Z,,missing,1,9,0,,,,",
    ]
    file = data / "amsel/2024-10-04.csv"
    assert row(engine).sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert worker.work(SOON + 1).days == 0, "nothing has changed"


def test_whatever_the_umask_everybody_may_read(engine: Engine, worker: DayWorker, data: Path) -> None:
    measure(engine, START, {"temperature": 10.0})
    before = os.umask(0o077)
    try:
        worker.work(SOON)
    finally:
        os.umask(before)
    modes = {str(path.relative_to(data)): stat.S_IMODE(path.stat().st_mode) for path in [data, *data.rglob("*")]}
    assert modes == {
        ".": 0o755,
        "amsel": 0o755,
        "datapackage.json": 0o644,
        "amsel/schema.json": 0o644,
        "amsel/2024-10-04.csv": 0o644,
    }


def test_a_late_reading_has_the_file_written_anew(
    engine: Engine, worker: DayWorker, data: Path, journal: Journal, state: SessionState
) -> None:
    def heard(fcnt: int, minute: int) -> None:
        journal.commit([bursts.store(state, fcnt, at=(START + minute * MINUTE_MS) / 1000)])

    heard(0, 1)
    worker.work(SOON)
    first = row(engine)
    heard(1, 2)  # the journal has marked that day before, and remembers it
    assert row(engine).dirty
    worker.work(SOON + 1)
    assert (len(lines(data)), row(engine).dirty) == (2, False)
    assert row(engine).sha256 != first.sha256


def test_a_reading_that_comes_meanwhile_is_not_lost(
    engine: Engine, worker: DayWorker, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(engine, START, {"temperature": 10.0})
    render = day_files.render

    def meanwhile(day: day_files.Day) -> bytes:
        measure(engine, START + 1, {"temperature": 11.0})
        return render(day)

    monkeypatch.setattr(day_files, "render", meanwhile)
    worker.work(SOON)
    assert row(engine).dirty
    assert [path.name for path in data.rglob("*") if path.is_file()] == [], "and nothing is left lying about"
    monkeypatch.undo()
    worker.work(SOON)
    assert (len(lines(data)), row(engine).dirty) == (2, False)


def test_a_full_disk_leaves_the_day_for_later(
    engine: Engine, worker: DayWorker, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(engine, START, {"temperature": 10.0})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        worker.work(SOON)
    assert (row(engine).dirty, row(engine).sha256) == (True, None)
    monkeypatch.undo()
    worker.work(SOON)
    assert (len(lines(data)), row(engine).dirty) == (1, False)


def test_files_that_are_gone_are_written_again_at_the_start(engine: Engine, make: Make, data: Path) -> None:
    measure(engine, START, {"temperature": 10.0})
    make().work(SOON)
    file = data / "amsel/2024-10-04.csv"
    content = file.read_bytes()
    file.unlink()
    make().work(SOON)
    assert file.read_bytes() == content


def test_a_day_from_which_everything_went_keeps_an_empty_file(engine: Engine, worker: DayWorker, data: Path) -> None:
    lose(engine, (9, START + 1000))
    worker.work(SOON)
    assert len(lines(data)) == 1
    settle(engine, 9, schema.NEVER_WAS, START + 2000)
    worker.work(SOON)
    assert lines(data) == []


def test_a_reading_from_the_future_waits_for_its_day(engine: Engine, worker: DayWorker, data: Path) -> None:
    measure(engine, START + 5 * DAY_MS, {"temperature": 10.0})
    assert worker.work(SOON).days == 0
    assert not data.exists()


def test_a_moment_that_no_calendar_has_stops_nobody(engine: Engine, worker: DayWorker, data: Path) -> None:
    measure(engine, -(10**17), {"temperature": 10.0})
    measure(engine, START, {"temperature": 10.0})
    assert worker.work(SOON).files == 1
    assert [one.dirty for one in bursts.rows(engine, "days")] == [False, False]


def test_today_is_looked_at_only_when_something_has_come(engine: Engine, worker: DayWorker) -> None:
    measure(engine, START, {"temperature": 10.0})
    lose(engine, (3, START + 5))
    assert worker.work(START + HOUR_MS).days == 1
    assert worker.work(START + HOUR_MS + 1).days == 0
    settle(engine, 3, schema.GIVEN_UP, START + HOUR_MS)
    assert worker.work(START + HOUR_MS + 2).days == 1
    measure(engine, START + 9, {"temperature": 10.0})
    assert worker.work(START + HOUR_MS + 3).days == 1


def test_the_time_of_a_call_is_limited(engine: Engine, worker: DayWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(3):
        measure(engine, START - day * DAY_MS, {"temperature": 10.0})
    monkeypatch.setattr(days, "MOST_S", -1.0)
    done = worker.work(SOON)
    assert (done.days, done.waiting) == (1, 2)
    assert [worker.work(SOON).waiting for _ in range(3)] == [1, 0, 0]


# -- what is doubtful


def test_a_jump_and_a_return_is_a_spike(engine: Engine, worker: DayWorker, data: Path) -> None:
    series(engine, {0: 10.0, 15: 10.1, 30: 17.0, 45: 10.2, 60: 12.0, 75: 22.0, 90: 22.0})
    worker.work(SOON)
    assert flagged(engine) == {(30, 0): schema.SPIKE}, "what rises and stays has risen"
    assert [line.rpartition(",")[2] for line in lines(data)] == ["", "", "temperature:spike", "", "", "", ""]


def test_values_hours_apart_are_no_spike(engine: Engine, worker: DayWorker) -> None:
    series(engine, {0: 10.0, 240: 17.0, 480: 10.0})
    worker.work(SOON)
    assert flagged(engine) == {}


def test_a_spike_at_midnight_is_seen(engine: Engine, worker: DayWorker) -> None:
    series(engine, {-5: 10.0, 10: 17.0, 25: 10.0, 1439: 17.0, 1450: 10.0, 1424: 10.0})
    worker.work(SOON + DAY_MS)
    assert flagged(engine) == {(10, 0): schema.SPIKE, (1439, 0): schema.SPIKE}


def test_the_last_reading_of_a_day_is_judged_by_the_first_of_the_next(engine: Engine, worker: DayWorker) -> None:
    series(engine, {1424: 10.0, 1439: 17.0})
    worker.work(START + DAY_MS + 20 * MINUTE_MS)
    series(engine, {1439 + 30: 10.0})
    worker.work(SOON)
    worker.work(SOON + DAY_MS)
    assert flagged(engine) == {(1439, 0): schema.SPIKE}


def test_days_to_be_done_are_found_without_looking_through_all_of_them(tmp_path: Path) -> None:
    engine, plan = open_database(tmp_path / "some.db"), list[str]()

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT days."):
            plan.extend(row[3] for row in connection.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters))

    event.listen(engine, "before_cursor_execute", explain)
    DayWorker(engine, DataFolder(tmp_path / "data", ("brandis", "Brandis"))).work(SOON)
    assert any("USING INDEX days_dirty" in line for line in plan), plan
    engine.dispose()


def test_what_always_moves_and_stands_still_is_stuck(engine: Engine, worker: DayWorker) -> None:
    series(engine, dict.fromkeys(range(-660, 120, 60), 10.0))  # 12 h are over at minute 60
    series(engine, {120: 10.1, 1380: 10.1})  # nothing is known of what was between
    series(engine, dict.fromkeys(range(-660, 120, 60), 3.9), "battery")
    worker.work(SOON)
    assert flagged(engine) == {(60, 0): schema.STUCK}


def test_far_from_three_neighbours_is_implausible(engine: Engine, worker: DayWorker) -> None:
    place(engine)
    for number, slug in enumerate(("fink", "meise", "star"), start=2):
        new_node(engine, slug, number, 51.35, 12.6 + number / 100)
        series(engine, {5: 10.0 + number, 65: 10.0}, slug=slug)
    new_node(engine, "fern", 9, 52.5, 13.4)
    series(engine, {5: 21.5, 65: 18.0}, slug="fern")
    series(engine, {5: 21.5, 65: 18.0, 125: 30.0})
    worker.work(SOON)
    assert flagged(engine) == {(5, 0): schema.NEIGHBOURS}, "9.5 K from the median, then 8 K, then nobody to compare"


def place(engine: Engine) -> None:
    nodes = schema.nodes
    with engine.begin() as connection:
        connection.execute(nodes.update().where(nodes.c.slug == "amsel").values(latitude=51.34, longitude=12.61))


def test_flags_go_when_what_comes_late_explains_them(engine: Engine, worker: DayWorker) -> None:
    series(engine, {0: 10.0, 30: 17.0, 60: 10.0})
    worker.work(SOON)
    assert flagged(engine)
    series(engine, {35: 14.0, 25: 14.0})
    worker.work(SOON)
    assert flagged(engine) == {}


# -- what describes the files


def test_a_data_package_describes_the_files(engine: Engine, worker: DayWorker, data: Path) -> None:
    measure(engine, START, {"temperature": 10.0})
    measure(engine, START - DAY_MS, {"temperature": 10.0, "humidity": 50.0})
    measure(engine, START - 2 * DAY_MS, {"temperature": 10.0, "humidity": 50.0})
    new_node(engine, "fink", 2)
    measure(engine, START, {"rain": 1.0}, slug="fink")
    worker.work(SOON)
    package = json.loads((data / "datapackage.json").read_bytes())
    assert (package["name"], package["title"], package["licenses"]) == ("brandis", "Brandis", [{"name": "CC-BY-4.0"}])
    assert [(one["name"], one["path"]) for one in package["resources"]] == [
        ("amsel", ["amsel/2024-10-02.csv", "amsel/2024-10-03.csv"]),
        ("amsel.2", ["amsel/2024-10-04.csv"]),
        ("fink", ["fink/2024-10-04.csv"]),
    ]
    check_package(data)


def check_package(data: Path) -> None:
    """What specs.frictionlessdata.io asks for: every file is a resource's, and its header the names of that schema."""
    package = json.loads((data / "datapackage.json").read_bytes())
    described = set()
    for resource in package["resources"]:
        assert set(resource["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._")
        table = resource["schema"]
        table = json.loads((data / table).read_bytes()) if isinstance(table, str) else table
        names = [field["name"] for field in table["fields"]]
        assert {field["type"] for field in table["fields"]} <= {"datetime", "string", "integer", "number"}
        for path in resource["path"]:
            assert ".." not in path
            assert not path.startswith("/")
            assert (data / path).read_bytes().partition(b"\r\n")[0].decode().split(",") == names
            described.add(path)
    assert described == {str(path.relative_to(data)) for path in data.rglob("*.csv")}


def test_schema_json_has_units_and_ranges(engine: Engine, worker: DayWorker, data: Path) -> None:
    measure(engine, START, {"temperature": 10.0})
    worker.work(SOON)
    fields = {one["name"]: one for one in json.loads((data / "amsel/schema.json").read_bytes())["fields"]}
    assert [*fields][:2] == ["time", "received"]
    temperature = fields["temperature"]
    assert (temperature["type"], temperature["unit"], temperature["ucum"]) == ("number", "°C", "Cel")
    assert temperature["constraints"] == {"minimum": -60.0, "maximum": 144.5}


def test_a_new_worker_knows_the_columns_of_older_files(engine: Engine, make: Make, data: Path) -> None:
    measure(engine, START - DAY_MS, {"humidity": 50.0})
    make().work(SOON)
    measure(engine, START, {"temperature": 10.0})
    make().work(SOON)
    check_package(data)
    (data / "datapackage.json").write_text("{}")
    measure(engine, START, {"rain": 1.0})
    make().work(SOON)
    check_package(data)


async def test_the_server_closes_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nest.server.EVERY_S", 0.05)
    made = town.create(tmp_path / "town", "Brandis", udp_port=0, web_port=0, mqtt_port=0)
    engine = open_database(tmp_path / "town/nest.db")
    Registry(engine).add("amsel", bursts.EUI)
    measure(engine, START, {"temperature": 10.0})
    engine.dispose()
    nest = Nest(made)
    running = asyncio.create_task(nest.run())
    file = tmp_path / "town/data/datapackage.json"
    async with asyncio.timeout(20):
        while not file.exists():  # noqa: ASYNC110  a file tells nobody
            await asyncio.sleep(0.02)
    nest.stop()
    await running
    check_package(file.parent)
