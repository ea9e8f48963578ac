"""From one version to the next: on filled databases (v1.sql and v2.sql, made by those versions themselves), with a
backup first, whole or not at all."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from gateway.archive.bursts import store
from nest import status
from nest.archive import Archive, open_database, schema, snapshots
from nest.archive.decoding import airtime_ms
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal
from nest.archive.outbox import Outbox
from nest.errors import UserError
from nest.registry import Registry

HERE = Path(__file__).parent
REPLACED = ("readings", "outbox", schema.schema_version.name)  # whose rows are others afterwards


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def path(tmp_path: Path, version: int) -> Path:
    path = tmp_path / "nest.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((HERE / f"v{version}.sql").read_text())
    return path


def tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        ]
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]  # noqa: S608
            for name in names
            if not name.startswith("sqlite_")
        }


def definitions(path: Path) -> dict[str, set[tuple[Any, ...]]]:
    """Each table's columns (name, type, may be NULL, default, place in the key) and the columns of its indices."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found: dict[str, set[tuple[Any, ...]]] = {}
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            columns = {tuple(row[1:]) for row in connection.execute(f"PRAGMA table_info({name})")}
            for index in connection.execute(f"PRAGMA index_list({name})").fetchall():
                fields = [row[2] for row in connection.execute(f"PRAGMA index_info({index[1]})")]
                columns.add(("index", index[2], index[4], *fields))
            found[name] = columns
        return found


def assert_same_rows(old: dict[str, list[dict[str, Any]]], new: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in old.items():
        if name in REPLACED:
            continue
        assert [{key: row[key] for key in before} for row, before in zip(new[name], rows, strict=True)] == rows, name


def test_every_row_of_every_table_is_there_afterwards(path: Path, version: int) -> None:
    old = tables(path)
    assert {name: bool(rows) for name, rows in old.items() if name != "gateways"} == dict.fromkeys(
        [name for name in old if name != "gateways"], True
    )
    open_database(path, check=True).dispose()
    new = tables(path)
    assert_same_rows(old, new)
    assert [row["version"] for row in new[schema.schema_version.name]] == [1, 2, 3, 4]


def test_every_value_of_every_reading_is_there_afterwards(path: Path) -> None:
    """One by one: its quantity, its value, and that the moment is its frame's less what that was on air."""
    old = tables(path)
    names = {row["id"]: row["name"] for row in old["quantities"]}
    slugs = {row["id"]: row["slug"] for row in old["nodes"]}
    on_air = {
        (row["node_id"], row["time"]): airtime_ms(row["sf"], row["bw_hz"], len(row["phy"])) for row in old["frames"]
    }
    found = {(reading["node_id"], reading["time"]) for reading in old["readings"]}
    assert found - on_air.keys()  # some came another way
    engine = open_database(path)
    archive = Archive(engine)
    new = tables(path)
    assert len(new["readings"]) == len(found)
    heard = {(row["node_id"], row["time"] + (row["delay_ms"] or 0)): row for row in new["readings"]}
    for reading in old["readings"]:
        key = reading["node_id"], reading["time"]
        row = heard[key]
        assert (row["delay_ms"], row["origin"]) == ((on_air[key], 0) if key in on_air else (None, 3))
        at = row["time"] / 1000
        told = archive.series(slugs[key[0]], names[reading["quantity_id"]], at, at + 0.001)
        assert told == [(at, reading["value"])]
    for row in old.get("outbox", ()):
        moved = next(new_row for new_row in new["outbox"] if new_row["seq"] == row["seq"])
        assert heard[row["node_id"], row["time"]]["time"] == moved["time"]
    assert [event.time for _, event in Outbox(engine).after(0)] == [
        row["time"] / 1000 for row in new["outbox"] if row["seq"] > Outbox(engine).mark()
    ]
    last: dict[tuple[str, str], float] = {}
    for reading in old["readings"]:
        row = heard[reading["node_id"], reading["time"]]
        name = slugs[reading["node_id"]], names[reading["quantity_id"]]
        last[name] = max(last.get(name, 0.0), row["time"] / 1000)
    latest = {(node.slug, name): value.time for node in archive.latest() for name, value in node.values.items()}
    registered = {row["slug"] for row in old["nodes"] if row["removed_at"] is None}
    assert latest == {key: time for key, time in last.items() if key[0] in registered}
    assert {(row["node_id"], row["day"], row["dirty"]) for row in new["days"]} == {
        (row["node_id"], row["time"] // schema.DAY_MS, 1) for row in new["readings"]
    }
    engine.dispose()


def test_a_converted_database_is_as_a_new_one(path: Path) -> None:
    open_database(path).dispose()
    open_database(path.with_name("new.db")).dispose()
    assert definitions(path) == definitions(path.with_name("new.db"))


def test_the_nest_goes_on_with_it(path: Path, version: int) -> None:
    old = tables(path)
    engine = open_database(path)
    archive = Archive(engine)
    states = {(state.dev_eui, state.join_nonce): state for state in archive.sessions()}
    assert len(states) == 4
    last = {state.fcnt_up for state in states.values() if state.active}
    assert last == ({11, 22} if version == 1 else {20, 31})
    assert all(state.heard_at > 1.79e9 for state in states.values() if state.active)
    assert archive.decode_waiting() == 8  # one of each session that was used
    assert archive.counts()["frames"] == len(old["frames"])
    state = next(state for state in states.values() if state.active)
    with contextlib.closing(Journal(engine)) as journal:
        last_seq = Outbox(engine).waiting() + Outbox(engine).mark()
        done = journal.commit([store(state, state.fcnt_up + 1, at=1.8e9)])
    assert [seq for seq, _ in done.readings] == [last_seq + 1]
    assert [one.port for one in DownlinkQueue(engine).waiting()] == [11, 13]
    batteries = {row["slug"]: row.get("battery") for row in old["nodes"] if row["removed_at"] is None}
    assert {node.slug: node.battery for node in Registry(engine).list()} == batteries
    shown = status.load(engine)
    assert shown
    assert shown["running"] is False
    engine.dispose()


def test_the_old_file_is_kept_beside_for_its_owner_alone(path: Path, version: int) -> None:
    old = tables(path)
    open_database(path).dispose()
    [copy] = (path.parent / "backups").iterdir()
    assert copy.name.startswith(f"nest-v{version}-")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    assert tables(copy) == old
    open_database(path).dispose()
    assert len([*copy.parent.iterdir()]) == 1


def test_without_room_for_the_backup_nothing_is_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tables(path)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "take", full)
        with pytest.raises(UserError, match="full") as refused:
            open_database(path)
    assert "Nothing was changed" in refused.value.next_step
    assert tables(path) == old
    (path.parent / "backups").rmdir()
    (path.parent / "backups").write_text("in the way")
    with pytest.raises(UserError, match="backup"):
        open_database(path)
    assert tables(path) == old


OPEN = """
import sys, pathlib
from nest.archive import open_database
print(flush=True)
open_database(pathlib.Path(sys.argv[1]))
"""
STOP_IN_THE_MIDDLE = """
import sys, pathlib, os, signal
from nest.archive import migrations, open_database
last = migrations.MIGRATIONS[3]
def stop(connection):
    last(connection)
    os.kill(os.getpid(), signal.SIGKILL)
migrations.MIGRATIONS[3] = stop
open_database(pathlib.Path(sys.argv[1]))
"""


def test_killed_at_the_last_moment_it_is_the_old_one(path: Path) -> None:
    old = tables(path)
    done = subprocess.run([sys.executable, "-c", STOP_IN_THE_MIDDLE, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert tables(path) == old
    open_database(path, check=True).dispose()
    assert_same_rows(old, tables(path))


def test_killed_at_any_moment_it_is_the_old_one_or_the_new_one(path: Path) -> None:
    old = tables(path)
    seed = random.randrange(2**32)  # noqa: S311
    print(f"seed {seed}")
    with subprocess.Popen([sys.executable, "-c", OPEN, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.1))  # noqa: S311  the one thing that varies
        child.kill()
    found = tables(path)
    assert found == old or len(found[schema.schema_version.name]) == 4
    open_database(path, check=True).dispose()
    assert_same_rows(old, tables(path))
