"""The archive made again from its day files: everything in them is back, and nothing that is not theirs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway.archive import bursts
from gateway.archive.day_world import DAY_MS, MINUTE_MS, SOON, START, lose, measure, series
from gateway.commands import Here, check_said
from nest.archive import Archive, open_database, schema
from nest.archive.day_files_folder import DataFolder
from nest.archive.days import DayWorker
from nest.registry import Registry
from sqlalchemy import Engine

pytestmark = pytest.mark.only_sqlite


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    """A town whose days are closed."""
    engine = open_database(folder / "nest.db")
    registry = Registry(engine)
    registry.add("amsel", bursts.EUI, name="Amsel am Teich")
    registry.add("fink", bursts.OTHER)
    series(engine, {0: 10.0, 15: 17.0, 30: 10.1, 45: 10.2})
    measure(engine, START + DAY_MS, {"humidity": 40.5}, failed=["temperature"], out_of_range=["battery"])
    measure(engine, START + 50 * MINUTE_MS, {"temperature": 9.0}, origin=schema.RECOVERED, delay_ms=None)
    measure(engine, START + 51 * MINUTE_MS, {"temperature": 9.0}, origin=schema.BACKFILLED, delay_ms=DAY_MS)
    measure(engine, START + 60 * MINUTE_MS, {"rain": 2.5}, slug="fink", origin=schema.OTHER, delay_ms=None)
    lose(engine, (5, START + 52 * MINUTE_MS), (6, START + 53 * MINUTE_MS), nonce=7)
    lose(engine, (6, START + 53 * MINUTE_MS), nonce=7, part=2)
    worker = DayWorker(engine, DataFolder(folder / "data", ("brandis", "Brandis")), pause=lambda _: None)
    assert worker.work(SOON + DAY_MS).files == 3
    yield engine
    engine.dispose()


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.csv"))
    }


def contents(engine: Engine) -> dict[str, Any]:
    """What must be the same again, by table."""
    gaps = [(row.fcnt, row.part, row.time) for row in bursts.rows(engine, "gaps")]
    days = [row[:9] for row in bursts.rows(engine, "days")]
    return {
        "gaps": gaps,
        "days": days,
        **{name: bursts.rows(engine, name) for name in ("readings", "flags", "aggregates")},
    }


@pytest.mark.parametrize("language", ["en", "de"])
def test_everything_comes_back(engine: Engine, folder: Path, tmp_path: Path, here: Here, language: str) -> None:
    done = here("rebuild", folder, "--into", tmp_path / "new", language=language)
    assert done.status == 0, done.stderr
    for sha in files(folder / "data").values():
        assert sha in done.stdout
    assert ("Schlüssel" if language == "de" else "Keys") in done.stdout
    new = open_database(tmp_path / "new/nest.db")
    assert contents(new) == contents(engine)
    assert Archive(new).latest("amsel")[0].values["temperature"].quality == "failed"
    assert Archive(new).latest("amsel")[0].name == "Amsel am Teich"
    assert Archive(new).latest("fink")[0].values["rain"].value == 2.5
    assert [gap.join_nonce for gap in Archive(new).gaps("amsel", 0, 2e9)] == [7, 7, 7]
    new.dispose()
    assert files(tmp_path / "new/data") == files(folder / "data")
    assert stat.S_IMODE((tmp_path / "new/town.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new/data/amsel/2024-10-04.csv").stat().st_mode) == 0o644


def test_the_database_is_gone_and_comes_back_in_its_place(engine: Engine, folder: Path, here: Here) -> None:
    before, of_files = contents(engine), files(folder)
    engine.dispose()
    for ending in ("", "-wal", "-shm"):
        (folder / f"nest.db{ending}").unlink(missing_ok=True)
    done = here("rebuild", folder, "--json")
    assert done.status == 0, done.stderr
    days = json.loads(done.stdout)["days"]
    assert {f"data/{day['slug']}/{day['day']}.csv": day["sha256"] for day in days} == of_files
    again = open_database(folder / "nest.db")
    assert contents(again) == before
    worker = DayWorker(again, DataFolder(folder / "data", ("brandis", "Brandis")), pause=lambda _: None)
    assert worker.work(SOON + DAY_MS).days == 0, "nothing is left to do"
    again.dispose()
    assert files(folder) == of_files


def test_a_node_that_is_added_again_finds_its_readings(
    engine: Engine, folder: Path, tmp_path: Path, here: Here
) -> None:
    assert here("rebuild", folder, "--into", tmp_path / "new").status == 0
    new = open_database(tmp_path / "new/nest.db")
    Registry(new).add("amsel", bursts.EUI)
    assert Archive(new).latest("amsel")[0].values["humidity"].value == 40.5
    [used] = Archive(new).joins(bursts.EUI)
    assert used.join_nonce >= 7 + 1024, "no JoinNonce is used again"
    new.dispose()


def test_a_database_with_readings_is_never_overwritten(engine: Engine, folder: Path, here: Here) -> None:
    before = contents(engine)
    check_said(here("rebuild", folder), "There are readings in the database already")
    assert contents(engine) == before


def cut(content: bytes) -> bytes:
    return content[:-7]


def changed(content: bytes) -> bytes:
    return content.replace(b",17.0,", b",17.05,")


def foreign(content: bytes) -> bytes:
    return b"a;b;c\r\n1;2;3\r\n"


def elsewhere(content: bytes) -> bytes:
    return content.replace(b"2024-10-04", b"2024-10-06")


@pytest.mark.parametrize(
    ("damage", "line"),
    [(cut, 10), (changed, 3), (foreign, 1), (elsewhere, 2), (lambda _: b"", 1), (lambda _: b"\xff\r\n", 1)],
)
def test_a_damaged_file_is_refused_with_its_line_and_nothing_is_brought_in(
    engine: Engine, folder: Path, tmp_path: Path, here: Here, damage: Callable[[bytes], bytes], line: int
) -> None:
    file = folder / "data/amsel/2024-10-04.csv"
    file.write_bytes(damage(file.read_bytes()))
    check_said(here("rebuild", folder, "--into", tmp_path / "new"), f"{file}, line {line}, is not what the nest")
    new = open_database(tmp_path / "new/nest.db")
    assert Archive(new).counts()["readings"] == 0
    assert Registry(new).list() == []
    new.dispose()


def test_a_slot_that_is_missing_on_two_days_is_refused(
    engine: Engine, folder: Path, tmp_path: Path, here: Here
) -> None:
    file = folder / "data/amsel/2024-10-05.csv"
    header, one, end = file.read_bytes().split(b"\r\n")
    cells = header.count(b",") - 5
    again = b"2024-10-05T01:00:00.000Z,,missing,7,5,0" + b"," * cells
    file.write_bytes(b"\r\n".join([header, one, again, end]))
    check_said(here("rebuild", folder, "--into", tmp_path / "new"), f"{file}, line 3")


def test_what_is_no_day_file_is_left_alone(engine: Engine, folder: Path, tmp_path: Path, here: Here) -> None:
    for name in (
        "data/notes.csv",
        "data/amsel/notes.csv",
        "data/amsel/.2024-10-09.csv.part",
        "data/Big/2024-10-04.csv",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert here("rebuild", folder, "--into", tmp_path / "new").status == 0


def test_without_files_there_is_nothing_to_do(folder: Path, here: Here, tmp_path: Path) -> None:
    check_said(here("rebuild", folder), "There are no day files")
    check_said(here("rebuild", tmp_path / "nowhere"), "There is no town")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    check_said(here("rebuild", folder, "--into", tmp_path / "other"), "it is no town")


def test_a_running_nest_is_left_alone(engine: Engine, folder: Path, here: Here) -> None:
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    check_said(here("rebuild", folder), "This town is running already")
    os.close(handle)


def test_help_has_examples(here: Here) -> None:
    done = here("rebuild", "--help", language="de")
    assert "nest rebuild ./town --into ./new-town" in done.stdout
