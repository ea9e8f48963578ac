"""What is published is byte for byte the JSON of the documented shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.live import ReadingEvent
from nest.model import Heard, Uplink
from nest.moments import iso
from nest.publish.messages import moment_text, reading_json, status_json
from nest.quantities import by_name

from .peers import HEARD, NOON, event, uplink

MOMENTS = st.floats(0, 4e9) | st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000)
QUALITIES = st.sampled_from(["good", "failed", "out_of_range"])


def documented_reading(of: ReadingEvent) -> dict[str, Any]:
    values: dict[str, dict[str, object]] = {}
    for name, value in of.values.items():
        values[name] = {"value": value, "unit": by_name()[name].unit}
        if of.qualities.get(name, "good") != "good":
            values[name]["quality"] = of.qualities[name]
    lost = {} if of.origin in ("heard", "other") else {"origin": of.origin}
    return {"time": iso(of.time), "node": of.node_slug, "values": values, **lost}


def documented_status(of: Uplink) -> dict[str, Any]:
    heard = [{"gateway": one.gateway, "rssi": one.rssi, "snr": one.snr} for one in of.heard]
    return {"time": iso(of.received_at), "node": of.node, "fcnt": of.fcnt, "heard": heard}


def test_a_reading_has_its_units_and_says_what_failed() -> None:
    assert reading_json(event()).decode() == (
        '{"time": "2026-05-01T12:00:00.250Z", "node": "amsel", '
        '"values": {"temperature": {"value": 21.4, "unit": "°C"}, '
        '"humidity": {"value": null, "unit": "%", "quality": "failed"}}}'
    )


def test_a_status_says_who_heard_it() -> None:
    assert json.loads(status_json(uplink(fcnt=70_000))) == {
        "time": "2026-05-01T12:00:00.250Z",
        "node": "amsel",
        "fcnt": 70_000,
        "heard": [{"gateway": "aa" * 8, "rssi": -80.0, "snr": 7.5}],
    }


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    MOMENTS,
    st.dictionaries(st.sampled_from(sorted(by_name())), st.tuples(st.none() | NUMBERS, QUALITIES)),
    st.sampled_from(["heard", "recovered", "backfilled", "other"]),
)
def test_a_reading_is_the_json_of_its_shape(
    slug: str, moment: float, values: dict[str, tuple[Any, str]], origin: str
) -> None:
    qualities = {name: quality for name, (_, quality) in values.items()}
    made = ReadingEvent(slug, moment, {name: value for name, (value, _) in values.items()}, qualities, origin=origin)
    assert reading_json(made).decode() == json.dumps(documented_reading(made), ensure_ascii=False)


@given(
    MOMENTS, st.integers(0, 2**32 - 1), st.lists(st.tuples(st.text("0123456789abcdef"), NUMBERS, st.none() | NUMBERS))
)
def test_a_status_is_the_json_of_its_shape(moment: float, fcnt: int, heard: list[tuple[str, Any, Any]]) -> None:
    by = tuple(Heard(gateway, rssi, snr, 868_100_000, NOON) for gateway, rssi, snr in heard)
    made = Uplink("amsel", bytes(8), moment, fcnt, 1, b"", False, by, 7, 125_000, 868_100_000, b"")
    assert status_json(made).decode() == json.dumps(documented_status(made), ensure_ascii=False)


@given(MOMENTS)
def test_moments_are_written_as_everywhere_in_the_nest(moment: float) -> None:
    assert moment_text(moment) == iso(moment)


def test_a_moment_before_1970_is_written_too() -> None:
    assert moment_text(-0.5) == iso(-0.5)


def test_a_gateway_s_name_cannot_break_out_of_its_text() -> None:
    odd = Heard('"}], "x": [{"', -80.0, None, 868_100_000, NOON)
    assert json.loads(status_json(uplink(heard=(odd, HEARD))))["heard"][0] == {
        "gateway": odd.gateway, "rssi": -80.0, "snr": None,
    }  # fmt: skip


def test_an_unknown_quantity_is_refused() -> None:
    with pytest.raises(KeyError):
        reading_json(ReadingEvent("amsel", NOON, {"happiness": 1.0}))
