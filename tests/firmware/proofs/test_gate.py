"""`make bench` fails when an uplink takes 3 % more instructions than the baseline, and only then."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import work


@pytest.mark.parametrize(("factor", "code"), [(0.5, 0), (1.0, 0), (1.029, 0), (1.031, 1)])
@pytest.mark.parametrize("kind", ["mac", "device"])
def test_more_work_is_a_failure(kind: str, factor: float, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = json.loads(work.BASELINE.read_text(encoding="utf-8"))
    counted = {**baseline, kind: int(baseline[kind] * factor), "collect": 1}
    monkeypatch.setattr(work.shutil, "which", lambda name: name)
    monkeypatch.setattr(work, "measure", lambda: counted)
    assert bench.main(["work"]) == code
