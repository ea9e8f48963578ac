"""Firmware tests: the paths that make pure firmware importable here, and the checks that run on both interpreters.

A file in `dual/` holds plain functions `check_…()` or `check_…(vectors)`, written in the Python that CPython and
MicroPython share, without pytest. Each becomes two tests, `check_…[cpython]` and `check_…[micropython]`; one
MicroPython process runs all checks of a file. Constants at the top of such a file that are read here:

    VECTORS = "payload.json"     the file of tests/vectors that `vectors` is read from; else lorawan.json
    ONLY = "micropython"         for what cannot run on the other
    PATH = ("tools/…",)          folders, seen from the repository's root, that MicroPython searches before the firmware
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DUAL = HERE / "dual"
COMMON = HERE / "common"  # what checks may import on both interpreters
INTERPRETERS = ("cpython", "micropython")
TIME_LIMIT_S = 120

for _folder in (ROOT / "firmware", HERE / "cpython", COMMON):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.parent == DUAL and file_path.suffix == ".py":
        return DualFile.from_parent(parent, path=file_path)
    return None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file of checks named on the command line is not a test module besides."""
    return NoModule.from_parent(parent, path=module_path) if module_path.parent == DUAL else None


class NoModule(pytest.Module):
    def collect(self) -> list[pytest.Item | pytest.Collector]:
        return []


class DualFile(pytest.File):
    """One file of checks. It is read, not imported, to know what is in it; an import error is then a test's failure."""

    def collect(self) -> Iterator[pytest.Item]:
        tree = ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))
        constants = {
            target.id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in ("VECTORS", "ONLY", "PATH")
        }
        self.vectors = ROOT / "tests/vectors" / constants.get("VECTORS", "lorawan.json")
        self.folders = [str(ROOT / folder) for folder in constants.get("PATH", ())]
        self._module: ModuleType | None = None
        self._results: dict[str, str] | None = None
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
                for interpreter in INTERPRETERS:
                    if constants.get("ONLY", interpreter) == interpreter:
                        yield DualItem.from_parent(
                            self, name=f"{node.name}[{interpreter}]", check=node.name, interpreter=interpreter
                        )

    def module(self) -> ModuleType:
        """The file as a CPython module."""
        if self._module is None:
            spec = importlib.util.spec_from_file_location(f"dual_{self.path.stem}", self.path)
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._module = module
        return self._module

    def results(self) -> dict[str, str]:
        """What MicroPython says of each check: '' or a traceback."""
        if self._results is None:
            self._results = run_micropython(self.path, self.vectors, self.folders)
        return self._results


class DualItem(pytest.Item):
    def __init__(self, *, check: str, interpreter: str, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.check = check
        self.interpreter = interpreter
        # all checks of a file in one worker: they share its one MicroPython process
        self.add_marker(pytest.mark.xdist_group(self.path.stem))

    def runtest(self) -> None:
        file = self.parent
        assert isinstance(file, DualFile)
        if self.interpreter == "micropython":
            trouble = file.results().get(self.check, "MicroPython did not get to this check")
            if trouble:
                raise OnMicroPythonError(trouble)
        else:
            function = getattr(file.module(), self.check)
            # what takes a node microseconds takes pytest's own heap a tenth of a second
            with patch("gc.collect", lambda: 0):
                function(*[json.loads(file.vectors.read_text())] * function.__code__.co_argcount)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, OnMicroPythonError):
            return str(excinfo.value)
        excinfo.traceback = excinfo.traceback.cut(path=self.path)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


class OnMicroPythonError(Exception):
    """A check failed under MicroPython; the text is its traceback."""


def run_micropython(path: Path, vectors: Path, folders: list[str]) -> dict[str, str]:
    """Run every check of `path` in one MicroPython process: check -> '' or what went wrong."""
    from spatz.sim.micropython import command

    search = [*folders, str(ROOT / "firmware"), str(COMMON), ".frozen"]
    done = subprocess.run(
        [*command(), str(COMMON / "run_checks.py"), str(path), str(vectors)],
        env={**os.environ, "MICROPYPATH": ":".join(search)},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    results: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith('["check"'):
            _, check, trouble = json.loads(line)
            results[check] = trouble
    if done.returncode or not results:
        raise OnMicroPythonError(done.stdout + done.stderr)
    return results
