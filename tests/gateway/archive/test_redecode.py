"""History decoded again: what differs from its frames is corrected, what is missing is added, nothing is deleted."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from gateway.archive import bursts
from gateway.archive.bursts import CLIMATE, HUMIDITY_FAILED, store
from gateway.commands import Here, check_said
from nest.archive import Archive, codes, open_database, schema
from nest.archive.database import writing
from nest.archive.journal import Journal
from nest.archive.outbox import Outbox
from nest.archive.redecode import Redecoder, Summary
from nest.model import SessionState
from nest.registry import Registry
from sqlalchemy import Engine, delete, update

AT = 1_790_000_000.0  # the moment of frame 0; one frame a minute
OTHER = codes.pack({"temperature": 700, "rain": 5})


def extras(*items: bytes) -> bytes:
    """A frame with CLIMATE and these extras (boards/payload.md)."""
    joined = b"".join(items)
    return CLIMATE + bytes([0x40, len(joined)]) + joined


AGE_10_S = struct.pack(">BH", 1, 40)
FROM_LOG = struct.pack(">BBHBBHBB", 4, 1, 2, 0, 0, 480, CLIMATE[0], 1) + HUMIDITY_FAILED[1:6]  # frame 2, 120 s before


@pytest.fixture
def heard(engine: Engine, journal: Journal, state: SessionState) -> Engine:
    """Frames 0, 1, 4 and 5 of six; 4 is ten seconds old, and brings the reading of frame 2 from the log."""
    for fcnt, content in ((0, CLIMATE), (1, HUMIDITY_FAILED), (4, extras(AGE_10_S, FROM_LOG)), (5, CLIMATE)):
        assert not journal.commit([store(state, fcnt, content, at=AT + 60 * fcnt)]).failed
    return engine


def run(engine: Engine, **more: Any) -> Summary:
    return Redecoder(engine, pause=lambda _: None, **more).run()


def contents(engine: Engine) -> dict[str, Any]:
    gaps = [(row.fcnt, row.part, row.time, row.state) for row in bursts.rows(engine, "gaps")]
    return {"gaps": gaps, "readings": bursts.rows(engine, "readings")}


def change(engine: Engine, statement: Any) -> None:
    with writing(engine) as connection:
        assert connection.execute(statement).rowcount
        connection.execute(update(schema.days).values(dirty=False))


def readings(engine: Engine) -> list[tuple[int, int]]:
    """Times in s after frame 0 was heard, and origin."""
    return [(round(row.time / 1000 - AT), row.origin) for row in bursts.rows(engine, "readings")]


def test_what_is_right_stays_as_it_is(heard: Engine) -> None:
    before = contents(heard)
    assert readings(heard) == [(0, 0), (60, 0), (120, 2), (230, 0), (300, 0)]
    change(heard, update(schema.days).values(dirty=False))
    assert run(heard) == Summary(frames=4, same=5)
    assert contents(heard) == before
    assert not bursts.rows(heard, "days")[0].dirty


@pytest.mark.parametrize("place", range(5))
def test_what_differs_is_corrected(heard: Engine, place: int) -> None:
    before = contents(heard)
    time = before["readings"][place].time
    change(heard, update(schema.readings).where(schema.readings.c.time == time).values(codes=OTHER))
    assert run(heard, dry_run=True) == Summary(frames=4, same=4, corrected=1)
    assert contents(heard) != before
    assert run(heard) == Summary(frames=4, same=4, corrected=1)
    assert contents(heard)["readings"] == before["readings"]
    assert bursts.rows(heard, "days")[0].dirty, "the day's file is written anew"


@pytest.mark.parametrize(("place", "counted"), [(0, "added"), (1, "added"), (2, "added"), (3, "added"), (4, "added")])
def test_what_is_missing_is_added(heard: Engine, place: int, counted: str) -> None:
    before = contents(heard)
    time = before["readings"][place].time
    change(heard, delete(schema.readings).where(schema.readings.c.time == time))
    assert run(heard) == Summary(frames=4, same=4, **{counted: 1})
    assert contents(heard)["readings"] == before["readings"]
    assert Archive(heard).latest()[0].values["humidity"].value == 56.5


def test_what_the_log_brought_and_nobody_kept_is_added(heard: Engine) -> None:
    before = contents(heard)
    time = before["readings"][2].time
    change(heard, delete(schema.readings).where(schema.readings.c.time == time))
    change(heard, delete(schema.gaps).where(schema.gaps.c.fcnt == 2))
    assert run(heard) == Summary(frames=4, same=4, backfilled=1)
    assert contents(heard)["readings"] == before["readings"]
    assert contents(heard)["gaps"] == before["gaps"]


def test_what_got_no_time_as_it_came_gets_none_later(engine: Engine, journal: Journal, state: SessionState) -> None:
    """Made before the first frame of its session, and the node does not know when."""
    unknown = struct.pack(">BBHBBHBB", 4, 1, 0, 1, 0xFF, 0xFFFF, CLIMATE[0], 1) + HUMIDITY_FAILED[1:6]
    for fcnt, content in ((0, extras(b"\x03\x02")), (1, extras(unknown))):
        assert not journal.commit([store(state, fcnt, content, at=AT + 60 * fcnt)]).failed
    before = contents(engine)
    assert [state for *_, state in before["gaps"]] == [schema.GIVEN_UP, schema.OPEN]
    assert run(engine) == Summary(frames=2, same=2)
    assert contents(engine) == before


def test_an_earlier_decoder_did_not_know_of_ages(heard: Engine) -> None:
    before = contents(heard)
    row = before["readings"][3]
    moved = {"time": row.time + 10_000, "delay_ms": row.delay_ms - 10_000}
    waits = [seq for seq, _ in Outbox(heard).after(0)]
    change(heard, update(schema.readings).where(schema.readings.c.time == row.time).values(**moved))
    change(heard, update(schema.outbox).where(schema.outbox.c.time == row.time).values(time=moved["time"]))
    assert run(heard).corrected == 1
    assert contents(heard) == before
    assert [seq for seq, _ in Outbox(heard).after(0)] == waits, "what was not published yet still will be"


def test_frames_that_an_earlier_decoder_did_not_understand(heard: Engine) -> None:
    frames, before = schema.frames, contents(heard)
    change(heard, delete(schema.readings).where(schema.readings.c.time == before["readings"][4].time))
    change(heard, update(frames).where(frames.c.fcnt == 5).values(decoded=schema.UNDECODABLE))
    assert run(heard).added == 1
    assert contents(heard) == before
    assert {row.decoded for row in bursts.rows(heard, "frames")} == {schema.DECODED}


def test_what_cannot_be_explained_stays(heard: Engine) -> None:
    frames, before = schema.frames, contents(heard)
    change(heard, update(frames).where(frames.c.fcnt == 1).values(payload=b"\xff\xff"))
    with writing(heard) as connection:
        gap = {"state": schema.GAP_RECOVERED}
        connection.execute(update(schema.gaps).where(schema.gaps.c.fcnt == 3).values(**gap))
    done = run(heard)
    assert (done.undecodable, done.unexplained, done.same) == (1, 1, 4)
    assert contents(heard)["readings"] == before["readings"]


def test_only_days_since(heard: Engine) -> None:
    change(heard, update(schema.readings).values(codes=OTHER))
    since = round(AT * 1000) + 200_000
    assert run(heard, since=since) == Summary(frames=4, corrected=2)
    assert [bytes(row.codes) != OTHER for row in bursts.rows(heard, "readings")] == [False, False, False, True, True]


def test_parity_gives_back_what_an_earlier_nest_could_not(
    engine: Engine, journal: Journal, state: SessionState
) -> None:
    frames = parity_frames()
    for fcnt, content in enumerate(frames):
        if fcnt not in (3, 7):
            journal.commit([store(state, fcnt, content, at=AT + 60 * fcnt)])
    done = run(engine)
    assert (done.same, done.recovered) == (len(frames) - 2, 2)
    found = Archive(engine).points("amsel", "temperature", AT - 60, AT + 1e6)
    assert [(point.value, point.origin) for point in found if point.origin != "heard"] == [
        (10.3, "recovered"), (10.7, "recovered"),
    ]  # fmt: skip
    assert {gap.state for gap in Archive(engine).gaps("amsel", 0, 2e9)} == {schema.GAP_RECOVERED}
    wrong = update(schema.readings).where(schema.readings.c.origin == schema.RECOVERED).values(codes=OTHER)
    change(engine, wrong)
    assert run(engine).corrected == 2
    change(engine, delete(schema.gaps))
    change(engine, delete(schema.readings).where(schema.readings.c.origin == schema.RECOVERED))
    assert run(engine).recovered == 2, "and where nobody knew of gaps"
    again = Archive(engine).points("amsel", "temperature", AT - 60, AT + 1e6)
    assert [point.value for point in again] == [point.value for point in found]
    assert [point.time for point in again] == pytest.approx([point.time for point in found], abs=0.01)


def parity_frames() -> list[bytes]:
    """Forty frames with two symbols, 0.1 °C apart, as the node's encoder makes them."""
    from benchmarks.healing import Encoder

    with Encoder() as node:
        node.begin(2)
        return [node.frame(fcnt, {"temperature": 10 + fcnt / 10}) for fcnt in range(40)]


@pytest.mark.parametrize(("language", "words"), [("en", "1 corrected"), ("de", "1 berichtigt")])
@pytest.mark.only_sqlite
def test_the_command(folder: Any, here: Here, language: str, words: str) -> None:
    engine = open_database(folder / "nest.db")
    Registry(engine).add("amsel", bursts.EUI)
    journal, state = Journal(engine), bursts.session()
    journal.commit([bursts.join(state), store(state, 0, at=AT)])
    change(engine, update(schema.readings).values(codes=OTHER))
    assert words in here("redecode", folder, "--dry-run", language=language).stdout
    assert '"corrected": 1' in here("redecode", folder, "amsel", "--since", "2020-01-01", "--json").stdout
    assert bytes(bursts.rows(engine, "readings")[0].codes) == CLIMATE
    check_said(here("redecode", folder, "nobody"), "There is no node nobody")
    check_said(here("redecode", folder, "--since", "gestern"), "is no day")
    assert "nest redecode ./town --dry-run" in here("redecode", "--help").stdout
    journal.close()
    engine.dispose()
