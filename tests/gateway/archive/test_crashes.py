"""SIGKILL at any moment, and a disk that is really full: whole bursts or nothing, and what was told is there."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gateway.archive.bursts import EUI, join, session
from nest.archive import Archive, open_database, schema
from nest.archive.journal import Journal
from nest.archive.outbox import Outbox
from nest.registry import Registry
from sqlalchemy import Engine

HERE = Path(__file__).resolve().parent
WRITER = """
import sys, random
sys.path[:0] = [sys.argv[2]]
from pathlib import Path
from gateway.archive.bursts import store, uplink, EUI, CLIMATE, HUMIDITY_FAILED, FAR
from nest.archive import Archive, open_database, schema
from nest.archive.journal import Journal
from nest.lorawan.effects import MergeCopy, StoreLate, StoreSession
engine = open_database(Path(sys.argv[1]))
journal, chance = Journal(engine), random.Random(int(sys.argv[3]))
[state] = Archive(engine).sessions()
fcnt, mark = state.fcnt_up, None
while True:
    effects = []
    for _ in range(chance.randrange(1, 40)):
        fcnt += 2
        effects.append(store(state, fcnt, chance.choice([CLIMATE, HUMIDITY_FAILED, b"\\xff"]), at=1e9 + fcnt))
        if chance.random() < 0.3:
            effects.append(MergeCopy(EUI, 1, fcnt, FAR))
        if chance.random() < 0.1:
            effects.append(StoreLate(uplink(fcnt - 1, at=1e9 + fcnt - 1), state))
        if chance.random() < 0.1:
            state.fcnt_down += 1
            effects.append(StoreSession(state))
    done = journal.commit(effects, mark)
    assert not done.failed, done.failed
    print(fcnt, state.fcnt_down, mark or 0, flush=True)  # of what is committed
    if done.readings and chance.random() < 0.3:
        mark = done.readings[len(done.readings) // 2][0]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "nest.db"
    engine = open_database(path)
    Registry(engine).add("amsel", EUI)
    with contextlib.closing(Journal(engine)) as journal:
        journal.commit([join(session())])
    engine.dispose()
    return path


def check_whole(engine: Engine, fcnt: int, fcnt_down: int, mark: int) -> None:
    """Everything up to the burst that ended with `fcnt` is there once, and of a later burst all or nothing."""
    with engine.begin() as connection:
        ask = connection.exec_driver_sql
        assert ask("PRAGMA integrity_check").scalar_one() == "ok"
        assert ask("PRAGMA foreign_key_check").all() == []
        frames = {row.fcnt: row for row in ask("SELECT * FROM frames").all()}
        [state] = ask("SELECT * FROM sessions").all()
        last = max((number for number in frames if number % 2), default=-1)
        assert last >= fcnt
        assert state.fcnt_up == last
        assert state.fcnt_down >= fcnt_down
        assert {number for number in frames if number % 2} == set(range(1, last + 1, 2))
        assert all(row.decoded in (1, 2) for row in frames.values())
        readings = ask("SELECT time + delay_ms FROM readings ORDER BY 1").scalars().all()
        assert readings == sorted(row.time for row in frames.values() if row.decoded == 1)
        late = {number for number in frames if not number % 2}
        gaps = {row.fcnt: row.state for row in ask("SELECT * FROM gaps").all()}
        carried = {number: schema.HEARD_LATE if frames[number].decoded == 1 else schema.NEVER_WAS for number in late}
        assert gaps == {number: carried.get(number, schema.OPEN) for number in range(0, last, 2)}
        assert ask("SELECT dirty FROM days").scalars().all() == [1] * len({time // schema.DAY_MS for time in readings})
        done = ask("SELECT done FROM sinks").scalar_one()
        assert done >= mark
        waiting = ask("SELECT seq, frame_id, time FROM outbox ORDER BY seq").all()
        decoded = sorted(row.id for row in frames.values() if row.decoded == 1)
        assert [row.seq for row in waiting] == list(range(done + 1, len(decoded) + 1))
        assert [row.frame_id for row in waiting] == decoded[done:]
    for seq, event in Outbox(engine).after(0):
        assert seq > done
        assert len(event.values) == 4


def test_killed_at_any_moment_every_burst_is_there_whole_or_not_at_all(path: Path) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311
    told = "-1 0 0"
    for attempt in range(5):
        command = [sys.executable, "-c", WRITER, str(path), str(HERE.parents[1]), str(seed + attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            for _ in range(chance.randrange(1, 12)):
                told = child.stdout.readline() or told
            time.sleep(chance.uniform(0, 0.02))  # into the middle of a burst, wherever that is
            child.kill()
            *_, told = [told, *(line for line in child.stdout if line.endswith("\n"))]
        engine = open_database(path, check=True)
        check_whole(engine, *map(int, told.split()))
        engine.dispose()
    assert int(told.split()[0]) > 0


FILLER = """
import resource, sys, json, signal
sys.path[:0] = [sys.argv[2]]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from gateway.archive.bursts import store
from nest.archive import Archive, open_database, schema
from nest.archive.journal import Journal, RefusedError
engine = open_database(Path(sys.argv[1]))
journal = Journal(engine)
[state] = Archive(engine).sessions()
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, most))
kept, refused, reason = 0, 0, ""
while refused < 3:
    burst = [store(state, fcnt, at=1e9 + fcnt) for fcnt in range(kept, kept + 50)]
    try:
        kept += len(journal.commit(burst).readings)
    except RefusedError as error:
        refused, reason = refused + 1, str(error)
at_most = kept
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
done = journal.commit([store(state, fcnt, at=1e9 + fcnt) for fcnt in range(kept, kept + 50)])
print(json.dumps([at_most, reason, len(done.readings), len(done.failed)]))
"""


def test_a_disk_without_room_is_survived(path: Path) -> None:
    """The file system itself refuses (a limit on the size of files): nothing half, and later it goes on."""
    command = [sys.executable, "-c", FILLER, str(path), str(HERE.parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    kept, reason, later, failed = json.loads(done.stdout)
    assert reason.startswith(("the disk is full", "the disk cannot be written"))
    assert (later, failed) == (50, 0)
    engine = open_database(path, check=True)
    assert Archive(engine).counts() == {"frames": kept + 50, "undecodable": 0, "readings": kept + 50}
    assert Outbox(engine).waiting() == kept + 50
    assert Archive(engine).sessions()[0].fcnt_up == kept + 49
    engine.dispose()
