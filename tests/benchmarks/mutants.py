"""Mutation testing of frames, crypto and the MAC commands: which of all small mistakes in them do the tests not see?

Each mutant (see mutators) is loaded in the place of its file in a process of its own, under CPython; then the checks
that run on both interpreters are run, and after them the properties, with fixed seeds and few examples. The mutant is
killed when one fails or takes too much processor time. Both firmware and tests are copied at the start, so they may be
edited meanwhile.

The report is mutants.json. It says how many mutants there are of each file, and has each one that survived with `why`
that is right: written by hand, kept by the next run as long as the mutant reads the same.

No package is used for this: mutmut and cosmic-ray start a test runner for each mutant and know neither tables at the
top of a file nor our checks; this takes a quarter of a second for each.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from unittest.mock import patch

from .mutators import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
REPORT = Path(__file__).with_suffix(".json")
FIRMWARE = "firmware/lorawan"
TESTS = "tests/firmware"
VECTORS = "tests/vectors"
# Each file, and the checks that see most of its mutants first.
FILES = {
    "frames": ("frames", "crypto", "mac"),
    "crypto": ("crypto", "frames", "mac"),
    "commands": ("commands", "link_adr", "regions", "frames", "mac"),
}
PROPERTIES = ("test_hostile", "test_commands_blocks")
EXAMPLES = 40
CHECK_LIMIT_S = 1.0  # processor time of one check; the slowest takes 0.03 s
PROPERTY_LIMIT_S = 8.0  # of one property; the slowest takes 0.5 s
MEMORY_LIMIT = 2 << 30
WORKERS = 2
ASKED_PERCENT = 90


def fingerprint() -> dict[str, str]:
    """What the report must have of the files as they are."""
    return {name: _hash((ROOT / FIRMWARE / f"{name}.py").read_bytes()) for name in FILES}


def _hash(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:16]


def rows() -> Iterator[tuple[str, str, str]]:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "tests.benchmarks.mutants"], cwd=ROOT, check=True)
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    files = report["files"]
    total = {key: sum(file[key] for file in files.values()) for key in ("mutants", "killed")}
    for name, counts in (*files.items(), ("all three", total)):
        share = 100 * counts["killed"] / counts["mutants"]
        yield f"mutants killed, {name}", f">= {ASKED_PERCENT} %", f"{share:.1f} % of {counts['mutants']}"
    unexplained = sum(not survivor["why"] for survivor in report["survivors"])
    yield "mutants that survived without a reason", "0", f"{unexplained} of {len(report['survivors'])}"
    yield "seconds for all mutants", "", f"{time.monotonic() - begun:.0f}"


class Workshop:
    """A copy of firmware and tests, in which mutants are tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("firmware", TESTS, VECTORS):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        sys.path[:0] = [str(folder / part) for part in ("firmware", f"{TESTS}/cpython", f"{TESTS}/common")]

    def source(self, name: str) -> bytes:
        return (self.folder / FIRMWARE / f"{name}.py").read_bytes()

    def start(self, name: str, code: CodeType | None) -> int:
        """Try a mutant of a file, or the file as it is, in a process of its own: its number. It ends with 0 when
        all tests passed."""
        pid = os.fork()
        if pid:
            return pid
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            if code:
                os.dup2(quiet, 1)
                os.dup2(quiet, 2)
                sys.meta_path.insert(0, Instead(f"lorawan.{name}", code))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
            with patch("gc.collect", lambda: 0):
                self._run(name)
        except BaseException as error:
            if not code:
                sys.excepthook(type(error), error, error.__traceback__)
            os._exit(1)
        os._exit(0)

    def _run(self, name: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, CHECK_LIMIT_S)  # importing can be endless, too
        for checks in FILES[name]:
            module = _module(self.folder / TESTS / "dual" / f"{checks}.py")
            vectors = self.folder / VECTORS / getattr(module, "VECTORS", "lorawan.json")
            for function in _functions(module, "check_"):
                signal.setitimer(signal.ITIMER_PROF, CHECK_LIMIT_S)
                function(*[json.loads(vectors.read_bytes())] * function.__code__.co_argcount)
        for properties in PROPERTIES:
            for function in _functions(_module(self.folder / TESTS / "lorawan" / f"{properties}.py"), "test_"):
                signal.setitimer(signal.ITIMER_PROF, PROPERTY_LIMIT_S)
                _in_short(function)()


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads a mutant when its file is imported."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name = name
        self.code = code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)  # noqa: S102 - it is our own


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"for_mutants_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType, prefix: str) -> list[Callable[..., Any]]:
    return [function for name, function in vars(module).items() if name.startswith(prefix)]


def _in_short(test: Any) -> Callable[[], object]:
    """A property with few examples, always the same, and none of the search for the smallest that fails."""
    from hypothesis import Phase, settings

    given = test._hypothesis_internal_use_settings
    test._hypothesis_internal_use_settings = settings(
        given,
        max_examples=min(EXAMPLES, given.max_examples),
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
    )
    return test


def main() -> int:
    """Try all mutants and write the report."""
    for slow in ("cryptography.hazmat.primitives.ciphers", "cryptography.hazmat.primitives.cmac", "hypothesis"):
        importlib.import_module(slow)  # once, before the processes part
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        waiting: list[tuple[str, Mutant]] = []
        counts: dict[str, dict[str, Any]] = {}
        for name in FILES:
            if os.waitpid(workshop.start(name, None), 0)[1]:
                print(f"the checks of {name} fail without any mutant", file=sys.stderr)
                return 1
            source = workshop.source(name)
            made = list(mutants(source.decode(), f"{name}.py"))
            counts[name] = {"sha256": _hash(source), "mutants": len(made), "killed": 0}
            waiting += [(name, mutant) for mutant in made]
        survivors = []
        running: dict[int, tuple[int, str, Mutant]] = {}
        order = iter(enumerate(waiting))
        while True:
            while len(running) < WORKERS and (item := next(order, None)):
                number, (name, mutant) = item
                running[workshop.start(name, mutant.code)] = number, name, mutant
            if not running:
                break
            pid, status = os.wait()
            number, name, mutant = running.pop(pid)
            if status:
                counts[name]["killed"] += 1
            else:
                survivors.append((number, name, mutant))
    _write(counts, [(name, mutant) for _, name, mutant in sorted(survivors, key=lambda item: item[0])])
    return 0


def _write(counts: dict[str, dict[str, Any]], survivors: list[tuple[str, Mutant]]) -> None:
    keys = ("file", "function", "before", "after")
    known: dict[tuple[str, ...], str] = {}
    if REPORT.exists():
        for old in json.loads(REPORT.read_text(encoding="utf-8"))["survivors"]:
            known[tuple(old[key] for key in keys)] = old["why"]
    entries = []
    for name, mutant in survivors:
        entry = {
            "file": name,
            "line": mutant.line,
            "function": mutant.function,
            "before": mutant.before,
            "after": mutant.after,
        }
        entry["why"] = known.get(tuple(entry[key] for key in keys), "")
        entries.append(entry)
    report = {"about": "Written by: python -m tests.benchmarks mutants", "files": counts, "survivors": entries}
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
