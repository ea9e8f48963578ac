"""A day as a file: what it says, that it comes back as it was, and that nothing else is taken for one."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest
from gateway.archive.day_world import DAY, DAY_MS, START
from hypothesis import given
from hypothesis import strategies as st
from nest import payload
from nest.archive import codes, day_files, schema
from nest.archive.day_files import Day, DayFileError, Missing, Reading, parse, path_of, render
from nest.quantities import all_quantities


def packed(values: Mapping[str, float], **bad: Any) -> bytes:
    return codes.pack(codes.from_values(values, **bad))


FULL = Day(
    [
        Reading(START + 250, schema.HEARD, 62, packed({"temperature": -3.5, "humidity": 60.5})),
        Reading(START + 900_000, schema.RECOVERED, None, packed({"temperature": 0.0}, failed=["humidity"])),
        Reading(START + 1_800_000, schema.BACKFILLED, DAY_MS, packed({}, out_of_range=["temperature"])),
        Reading(START + 1_800_001, schema.OTHER, None, packed({"rain": 12.3})),
    ],
    [Missing(START + 2_700_000, 7, 70_001, 0), Missing(START + 2_700_000, 7, 70_001, 2)],
    {(START + 250, "temperature"): schema.SPIKE | schema.NEIGHBOURS, (START + 250, "humidity"): schema.STUCK},
)
LINES = [
    "time,received,origin,session,fcnt,part,temperature,humidity,rain,quality,flags",
    (
        "2024-10-04T00:00:00.250Z,2024-10-04T00:00:00.312Z,heard,,,,-3.5,60.5,,,"
        "temperature:spike temperature:neighbours humidity:stuck"
    ),
    "2024-10-04T00:15:00.000Z,,recovered,,,,0.0,,,humidity:failed,",
    "2024-10-04T00:30:00.000Z,2024-10-05T00:30:00.000Z,backfilled,,,,,,,temperature:out_of_range,",
    "2024-10-04T00:30:00.001Z,,other,,,,,,12.3,,",
    "2024-10-04T00:45:00.000Z,,missing,7,70001,0,,,,,",
    "2024-10-04T00:45:00.000Z,,missing,7,70001,2,,,,,",
]
TEXT = "".join(f"{line}\r\n" for line in LINES)


def test_a_file_says_everything_and_comes_back() -> None:
    assert render(FULL).decode() == TEXT
    assert parse(TEXT.encode(), DAY) == FULL


def test_any_csv_reader_reads_it() -> None:
    header, *rows = csv.reader(io.StringIO(TEXT, newline=""), strict=True)
    assert {len(row) for row in rows} == {len(header)}
    assert [row[header.index("temperature")] for row in rows] == ["-3.5", "0.0", "", "", "", ""]


def test_a_day_without_readings_has_a_header() -> None:
    empty = render(Day([], [], {}))
    assert empty == b"time,received,origin,session,fcnt,part,quality,flags\r\n"
    assert parse(empty, DAY) == Day([], [], {})


@st.composite
def days(draw: st.DrawFn) -> Day:
    readings: dict[int, Reading] = {}
    flags: dict[tuple[int, str], int] = {}
    for time in draw(st.lists(st.integers(0, DAY_MS - 1), max_size=8, unique=True)):
        found: dict[str, int] = {}
        for quantity in draw(st.lists(st.sampled_from(all_quantities()), max_size=5, unique=True)):
            code = draw(st.integers(payload.OUT_OF_RANGE, quantity.code_out_of_range - 1))
            found[quantity.name] = code
            if code >= 0 and (bits := draw(st.integers(0, 7))):
                flags[START + time, quantity.name] = bits
        origin = draw(st.integers(0, 3))
        delay = draw(st.none() | st.integers(-100, 40 * DAY_MS))
        readings[START + time] = Reading(START + time, origin, delay, codes.pack(found))
    nonces, fcnts = st.integers(0, 0xFFFFFF), st.integers(0, 0xFFFFFFFF)
    keys = draw(st.lists(st.tuples(st.integers(0, DAY_MS - 1), nonces, fcnts, st.integers(0, 255)), max_size=5))
    missing = [Missing(START + time, nonce, fcnt, part) for time, nonce, fcnt, part in sorted({*keys})]
    return Day([readings[time] for time in sorted(readings)], missing, flags)


@given(days())
def test_every_day_comes_back(day: Day) -> None:
    content = render(day)
    assert parse(content, DAY) == day
    assert render(parse(content, DAY)) == content


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("humidity,rain", "humidity,mood", 1),
        ("temperature,humidity", "humidity,temperature", 1),
        ("time,received", "received,time", 1),
        ("-3.5,", "-3.55,", 2),
        ("-3.5,", "-3.50,", 2),
        ("-3.5,", "warm,", 2),
        ("-3.5,", "-99.0,", 2),
        ("-3.5,", "=1+1,", 2),
        (",heard,", ",herd,", 2),
        ("temperature:spike", "temperature:odd", 2),
        ("humidity:stuck", "rain:stuck", 2),
        ("04T00:00:00.250Z,2024", "05T00:00:00.250Z,2024", 2),
        ("T00:00:00.250Z,2024", "T00:00:00.2Z,2024", 2),
        ("T00:00:00.250Z,2024", "T24:00:00.250Z,2024", 2),
        ("recovered,,,", "recovered,1,,", 3),
        ("humidity:failed", "humidity:broken", 3),
        ("humidity:failed", "humidity", 3),
        ("0.0,,,humidity:failed", '0.0,,,"humidity:failed"', 3),
        ("12.3,,\r\n", "12.3,,\n", 5),
        ("12.3,,\r\n", "12.3,,,\r\n", 5),
        ("missing,7,70001,0,,", "missing,7,70001,0,1.0,", 6),
        ("missing,7,70001,0", "missing,7,,0", 6),
        ("missing,7,70001,0", "missing,-7,70001,0", 6),
        ("missing,7,70001,0", "missing,16777216,70001,0", 6),
        ("missing,7,70001,0", "missing,7,70001,256", 6),
        ("70001,2,,,,,\r\n", "70001,2,,,,,", 7),
        ("70001,2,,,,,\r\n", "70001,2,,,,,\r\n\r\n", 8),
    ],
)
def test_what_the_nest_has_not_written_is_refused_with_its_line(old: str, new: str, line: int) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(DayFileError) as caught:
        parse(TEXT.replace(old, new).encode(), DAY)
    assert caught.value.line == line, str(caught.value)


def test_the_order_of_time_is_kept() -> None:
    swapped = [*LINES[:2], LINES[3], LINES[2], *LINES[4:]]
    with pytest.raises(DayFileError) as caught:
        parse("".join(f"{line}\r\n" for line in swapped).encode(), DAY)
    assert caught.value.line == 4
    twice = TEXT + LINES[-1] + "\r\n"
    with pytest.raises(DayFileError, match="twice"):
        parse(twice.encode(), DAY)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    for content in (noise, TEXT.encode() + noise + b"\r\n", noise + TEXT.encode()):
        if content != TEXT.encode():
            with pytest.raises(DayFileError):
                parse(content, DAY)


@pytest.mark.parametrize("slug", ["..", "../amsel", "/etc", "a/b", "", "Amsel", "a\0b", ".hidden", "a\n"])
def test_a_slug_leads_nowhere_else(slug: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        path_of(slug, DAY)


def test_dates() -> None:
    assert path_of("amsel", DAY) == "amsel/2024-10-04.csv"
    assert day_files.day_of("2024-10-04") == DAY
    assert [day_files.day_of(text) for text in ("2024-13-01", "2024-1-1", "20241004", "x")] == [None] * 4
    with pytest.raises(ValueError, match="calendar"):
        day_files.date_of(10**9)
