"""Nothing of tests/vectors/lorawan.json lies there unused, and exchanges.json is as its stories are written."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import lorawan_scenarios
from lorawan_rows import NOT_APPLICABLE

TESTS = Path(__file__).resolve().parents[2]
DUAL = TESTS / "firmware/dual"
ABOUT = {"format", "note", "conventions"}  # groups that say what the file is
CHECKS = ("airtime", "commands", "crypto", "eu868", "frames")


class Row(dict):
    """A row that knows whether its values were read (a look at its name or kind does not count)."""

    read = False

    def __getitem__(self, key: str) -> object:
        if key not in ("name", "chip", "sf", "dir"):
            self.read = True
        return super().__getitem__(key)


def watched(vectors: dict) -> Iterator[tuple[str, str, Row]]:
    """Put a Row in the place of every row: yields (group, name, row)."""
    for group, content in vectors.items():
        if group in ABOUT:
            continue
        if isinstance(content, dict):
            vectors[group] = row = Row(content)
            yield group, "", row
        else:
            for number, plain in enumerate(content):
                content[number] = row = Row(plain)
                yield group, plain.get("name", str(number)), row


def test_every_vector_is_checked_or_said_not_to_apply() -> None:
    vectors = json.loads((TESTS / "vectors/lorawan.json").read_text())
    all_rows = list(watched(vectors))
    for name in CHECKS:
        spec = importlib.util.spec_from_file_location(f"watched_{name}", DUAL / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for check, function in vars(module).items():
            if check == "check_cut_frames_are_nothing":
                continue  # it goes over all rows whatever they say: that is no use of them
            if check.startswith("check_") and function.__code__.co_argcount:
                function(vectors)
    unread = {(group, name) for group, name, row in all_rows if not row.read}
    # what a row claims without any value to compute with: the check builds the frames itself
    unread.discard(("must_reject", "FPort 0 together with non-empty FOpts"))
    assert unread == set(NOT_APPLICABLE)


def test_reasons_are_given() -> None:
    assert all(reason for reason in NOT_APPLICABLE.values())


def test_exchanges_are_fresh() -> None:
    """When this fails: run tests/firmware/common/lorawan_scenarios.py and read what changed."""
    assert lorawan_scenarios.VECTORS.read_text(encoding="utf-8") == lorawan_scenarios.text()
