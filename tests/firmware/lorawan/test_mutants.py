"""The report of the mutation testing is that of the files as they are, and the mutator changes what it says."""

from __future__ import annotations

import json

import pytest
from benchmarks import mutants, mutators

REPORT = json.loads(mutants.REPORT.read_text(encoding="utf-8"))
STALE = "run python -m tests.benchmarks mutants"


def test_the_report_is_of_the_files_as_they_are() -> None:
    assert {name: file["sha256"] for name, file in REPORT["files"].items()} == mutants.fingerprint(), STALE


@pytest.mark.parametrize("name", mutants.FILES)
def test_enough_mutants_are_killed(name: str) -> None:
    counts = REPORT["files"][name]
    survivors = [survivor for survivor in REPORT["survivors"] if survivor["file"] == name]
    assert counts["mutants"] == counts["killed"] + len(survivors)
    assert counts["killed"] >= counts["mutants"] * mutants.ASKED_PERCENT / 100


def test_every_survivor_has_a_reason() -> None:
    unexplained = [f"{one['file']}:{one['line']}: {one['after']}" for one in REPORT["survivors"] if not one["why"]]
    assert not unexplained, "write a check that sees it, or into mutants.json why the mutant is right"


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("a < b", {"a <= b", "a >= b", "a != b"}),
        ("a in b", {"a not in b"}),
        ("a == 3", {"a != 3", "a <= 3", "a >= 3", "a == 4", "a == 2"}),
        ("a & b << c", {"a | b << c", "a ^ b << c", "a & b >> c"}),
        ("a and b and c", {"a or b or c", "b and c", "a and c", "a and b"}),
        ("not a", {"a"}),
        ("a if b else c", {"c if b else a", "a if True else c", "a if False else c"}),
        ("a[b:c]", {"a[:c]", "a[b + 1:c]", "a[b - 1:c]", "a[b:]", "a[b:c + 1]", "a[b:c - 1]"}),
        ("a[:]", {"a"}),
        ("f(a, b)", {"f(b, a)"}),
        ("f(a)", {"a"}),
        ("const(4)", {"const(5)", "const(3)"}),
        ("min(a, b)", {"max(a, b)"}),
        ("(a, b)", {"(b,)", "(a,)"}),
        ("{a: b, c: d}", {"{c: d}", "{a: b}"}),
        ("b'ab'", {"b'bb'", "b'ac'", "b'a'"}),
        ("f(a, 'little')", {"f('little', a)", "f(a, 'big')"}),
    ],
)
def test_expressions(source: str, changed: set[str]) -> None:
    found = list(mutators.mutants(f"x = {source}", "x.py"))
    assert {mutant.after for mutant in found if mutant.after[4:] in changed or "…" in mutant.after} == {
        mutant.after for mutant in found
    }
    assert len(found) == len(changed)


def test_statements() -> None:
    source = 'def f(a):\n    "Text."\n    if a:\n        return 1\n    a += 2\n    raise ValueError("why")\n'
    assert [(mutant.function, mutant.line, mutant.after) for mutant in mutators.mutants(source, "f.py")] == [
        ("f", 3, "if False:"),
        ("f", 3, "if True:"),
        ("f", 4, "…"),
        ("f", 4, "return 2"),
        ("f", 4, "return 0"),
        ("f", 5, "…"),
        ("f", 5, "a -= 2"),
        ("f", 5, "a += 3"),
        ("f", 5, "a += 1"),
        ("f", 6, "…"),
    ]


def test_each_is_another_program() -> None:
    found = list(mutators.mutants("x = 3 if a < 2 else f(1, 2)\n", "x.py"))
    assert len({mutant.code.co_code + repr(mutant.code.co_consts).encode() for mutant in found}) == len(found)
