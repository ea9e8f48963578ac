"""How numbers, ages and times are said."""

from __future__ import annotations

import pytest
from nest.moments import age, iso
from nest.web.present import number
from nest.web.security import tile_source


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (-3, "0 s ago", "vor 0 s"),
        (0, "0 s ago", "vor 0 s"),
        (59.9, "59 s ago", "vor 59 s"),
        (60, "1 min ago", "vor 1 min"),
        (3599, "59 min ago", "vor 59 min"),
        (3600, "1 h ago", "vor 1 h"),
        (172_799, "47 h ago", "vor 47 h"),
        (172_800, "2 days ago", "vor 2 Tagen"),
        (1e9, "11574 days ago", "vor 11574 Tagen"),
    ],
)
def test_age(seconds: float, english: str, german: str) -> None:
    assert age(seconds, "en") == english
    assert age(seconds, "de") == german


@pytest.mark.parametrize(
    ("value", "decimals", "english", "german"),
    [
        (21.44, 1, "21.4", "21,4"),
        (0.0, 1, "0.0", "0,0"),
        (-0.04, 1, "0.0", "0,0"),
        (-0.5, 1, "−0.5", "−0,5"),
        (1013.25, 0, "1013", "1013"),
        (3.7, 2, "3.70", "3,70"),
    ],
)
def test_number(value: float, decimals: int, english: str, german: str) -> None:
    assert number(value, decimals, "en") == english
    assert number(value, decimals, "de") == german


def test_times_are_utc_with_milliseconds() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_777_636_800.25) == "2026-05-01T12:00:00.250Z"
    assert iso(1_777_636_799.9999) == "2026-05-01T11:59:59.999Z"
    for milliseconds in range(1000):  # what the archive holds comes out as it is
        assert iso((1_777_636_800_000 + milliseconds) / 1000) == f"2026-05-01T12:00:00.{milliseconds:03d}Z"


def test_the_source_of_tiles() -> None:
    assert tile_source("https://{s}.tile.example/{z}/{x}/{y}.png") == "https://*.tile.example"
    assert tile_source("http://localhost:8081/{z}/{x}/{y}.png") == "http://localhost:8081"
    for wrong in ("", "tiles/{z}", "javascript:alert(1)", "https://a; script-src *", "https://"):
        with pytest.raises(ValueError, match="tile server"):
            tile_source(wrong)
