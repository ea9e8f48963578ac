"""What is wished of a node, read from a board or a file that anybody may have written."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from nest.errors import UserError
from spatz.wishes import LONGEST_TEXT, Wishes, wishes_in, wishes_of

GOOD: dict[str, Any] = {"name": "amsel", "board": "heltec-v3"}


def test_everything_comes_back_as_it_was_written() -> None:
    for wishes in (
        Wishes("amsel", "heltec-v3"),
        Wishes("amsel", "heltec-v3", ("bme280", "soil:pin=4"), 30, 0, True, "EU868", -2.5, 30, 5, 0),
        Wishes("amsel", "heltec-v3", (), antenna_gain_dbi=3),
        Wishes("amsel", "heltec-v3", ("none",)),
    ):
        assert wishes_of(wishes.to_json()) == wishes
        assert wishes_in(json.dumps({"firmware": "1", "wishes": json.loads(wishes.to_json())})) == wishes


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": None}, {"name": 7}, {"name": {}}, {"name": "am\x1bsel"}, {"name": "a" * 1000}, {"name": "\ud800"},
        {"board": []}, {"board": {"a": 1}}, {"board": "x\n"},
        {"sensors": "bme280"}, {"sensors": None}, {"sensors": [1]}, {"sensors": [["bme280"]]}, {"sensors": {"a": 1}},
        {"sensors": ["a"] * 21}, {"sensors": ["\x1b[2J"]},
        {"interval_s": "600"}, {"interval_s": True}, {"interval_s": 600.0}, {"interval_s": None}, {"interval_s": 4},
        {"interval_s": 10**30}, {"interval_s": float("nan")},
        {"safe_window_s": -1}, {"safe_window_s": [60]}, {"confirmed": 1}, {"confirmed": None}, {"region": 868},
        {"antenna_gain_dbi": "3"}, {"antenna_gain_dbi": float("nan")}, {"antenna_gain_dbi": float("inf")},
        {"antenna_gain_dbi": True}, {"fair_use_s": 1000}, {"join_dr": False}, {"join_dr": 6}, {"parity": 5},
        {"parity": "1"}, {"certification": "lab"}, {"newer": 1},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence(wrong: dict[str, Any]) -> None:
    for read, text in ((wishes_of, {**GOOD, **wrong}), (wishes_in, {"wishes": {**GOOD, **wrong}})):
        with pytest.raises(UserError) as refused:
            read(json.dumps(text))
        assert "spatz flash" in refused.value.next_step


@pytest.mark.parametrize(
    "text",
    ["", "null", "7", '"amsel"', "[]", "[[1, 2]]", "{}", '{"name": "amsel"}', "{", "\x00", "[" * 50_000, "9" * 5000,
     '{"name":' * 8000, json.dumps({**GOOD, "sensors": ["a" * 200] * 1000}), " " * LONGEST_TEXT + json.dumps(GOOD),
     b"\xff\xfe", None, 7],
)  # fmt: skip
def test_what_is_none_at_all_is_refused_in_a_sentence(text: Any) -> None:
    for read in (wishes_of, wishes_in):
        with pytest.raises(UserError):
            read(text)


def test_none_can_be_wished_instead_of_a_sensor_and_be_taken_back() -> None:
    without = dataclasses.replace(Wishes("amsel", "heltec-v3"), sensors=("none",))
    assert json.loads(without.to_json())["sensors"] == ["none"]
    config = wishes_of(without.to_json()).config()
    assert (config["sensors"], "find" in config) == ([], False)
    (entry,) = dataclasses.replace(without, sensors=("bme280",)).config()["sensors"]
    assert entry["driver"] == "bme280"
