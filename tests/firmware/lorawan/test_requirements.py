"""requirements.toml: every rule has a test, and every test that it names is there."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RULES = tomllib.loads((Path(__file__).parent / "requirements.toml").read_text(encoding="utf-8"))["rule"]
KEYS = {"id", "text", "source", "tests"}


@cache
def functions(path: Path) -> set[str]:
    """Names of the functions in a file, those of its classes included; none when there is no such file."""
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("rule", RULES, ids=[rule["id"] for rule in RULES])
def test_rule_has_a_test(rule: dict) -> None:
    assert set(rule) == KEYS
    assert rule["text"]
    assert rule["source"]
    assert rule["tests"], f"nothing shows: {rule['text']}"
    for name in rule["tests"]:
        path, _, function = name.partition("::")
        assert function in functions(ROOT / path), f"there is no {name}"


def test_ids_are_unique() -> None:
    ids = [rule["id"] for rule in RULES]
    assert len(set(ids)) == len(ids), sorted(name for name in ids if ids.count(name) > 1)
