"""Compiled files: kept by content, noticed when damaged, shared by many at once, the same bytes every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.images import compiler
from spatz.images.compiler import compiled
from spatz.images.filesystem import firmware_files

SOURCES = {f"a/m{at}.py": f"def f(x):\n    return x + {at}\n".encode() for at in range(8)}
COMPILE = """
import hashlib
from spatz.images.compiler import compiled
sources = {sources!r}
print(hashlib.sha256(repr(sorted(compiled(sources).items())).encode()).hexdigest())
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPATZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mpy"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files the compiler was started for."""
    started: list[str] = []
    real = compiler._compile

    def counted(program: Path, path: str, source: bytes) -> bytes:
        started.append(path)
        return real(program, path, source)

    monkeypatch.setattr(compiler, "_compile", counted)
    return started


def test_the_second_time_nothing_is_compiled(starts: list[str]) -> None:
    first = compiled(SOURCES)
    assert sorted(starts) == sorted(SOURCES)
    starts.clear()
    assert compiled(SOURCES) == first
    assert starts == []


def test_only_what_changed_is_compiled_again(starts: list[str]) -> None:
    first = compiled(SOURCES)
    starts.clear()
    changed = compiled({**SOURCES, "a/m3.py": b"def f(x):\n    return x - 3\n"})
    assert starts == ["a/m3.py"]
    assert {path for path in first if first[path] != changed[path]} == {"a/m3.py"}


@pytest.mark.parametrize("damage", [b"", b"x", b"\x00" * 200, None])
def test_a_damaged_entry_is_noticed_and_made_anew(cache: Path, starts: list[str], damage: bytes | None) -> None:
    first = compiled(SOURCES)
    starts.clear()
    for place in sorted(cache.iterdir())[:2]:
        data = bytearray(place.read_bytes())
        data[-1] ^= 1
        place.write_bytes(bytes(data) if damage is None else damage)
    assert compiled(SOURCES) == first
    assert len(starts) == 2
    starts.clear()
    assert compiled(SOURCES) == first
    assert starts == []


def test_without_a_place_for_the_cache_it_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(SOURCES)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SPATZ_CACHE", str(tmp_path / "file"))
    assert compiled(SOURCES) == first


def test_what_is_not_python_is_said_with_its_name() -> None:
    with pytest.raises(UserError, match=r"a/b\.py cannot be compiled: SyntaxError"):
        compiled({"a/b.py": b"def ("})


def test_ten_at_once_give_the_same_bytes_and_a_whole_cache(cache: Path, starts: list[str]) -> None:
    program = COMPILE.format(sources=SOURCES)
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    told = [(*one.communicate(timeout=60), one.returncode) for one in running]
    assert {status for *_, status in told} == {0}, told
    assert len({out for out, *_ in told}) == 1
    assert not list(cache.glob(".new-*"))
    here = hashlib.sha256(repr(sorted(compiled(SOURCES).items())).encode()).hexdigest()
    assert {out.strip() for out, *_ in told} == {here}
    assert starts == []  # what ten have written is whole


def test_a_second_run_takes_milliseconds() -> None:
    firmware_files()
    begin = time.perf_counter()
    firmware_files()
    assert time.perf_counter() - begin < 0.5  # ten of them on a quiet machine; a busy one gets time
