"""Everything but the simulator runs where there is no pty, no fcntl and no termios: on Windows.

A process refuses those modules, imports all of `spatz` outside `spatz.sim` and all of `nest`, and asks every command
for its help.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

PROGRAM = r"""
import importlib, importlib.abc, json, os, pkgutil, sys, traceback

REFUSED = {"pty", "fcntl", "termios", "tty", "grp", "pwd", "resource", "posix_ipc", "syslog", "readline"}


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r} (refused)", name=name)


for name in REFUSED & set(sys.modules):
    del sys.modules[name]
sys.meta_path.insert(0, Refuse())
"""

IMPORTING = (
    PROGRAM
    + r"""
import nest, spatz

failed, names = {}, []
for package in (nest, spatz):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
        if found.name.startswith("spatz.sim"):
            continue
        names.append(found.name)
        try:
            importlib.import_module(found.name)
        except BaseException:
            failed[found.name] = traceback.format_exc()
print(json.dumps({"names": names, "failed": failed, "loaded": sorted(sys.modules)}))
"""
)

HELPING = (
    PROGRAM
    + r"""
import contextlib, io
import typer


def commands(group, path=()):
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


helps = {}
for program in ("spatz", "nest"):
    cli = importlib.import_module(f"{program}.cli")
    for path in commands(typer.main.get_command(cli.app)):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                cli.app([*path, "--help"], prog_name=program)
                status = 0
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                status, _ = "raised", traceback.print_exc()
        helps[" ".join((program, *path))] = [status, said.getvalue()]
print(json.dumps({"helps": helps, "loaded": sorted(sys.modules)}))
"""
)

SLOW = ("esptool", "grpc", "fpdf", "littlefs", "segno", "chirpstack_api", "mpremote", "serial")
"""What takes long to import: only inside functions, so that help comes at once."""


@cache
def run(program: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "LANGUAGE": "en", "COLUMNS": "100", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_can_be_imported() -> None:
    seen = run(IMPORTING)
    assert not seen["failed"], "\n".join(seen["failed"].values())
    assert {"nest.server", "spatz.usb", "spatz.troubles", "spatz.cli"} <= set(seen["names"])


def test_every_command_has_help() -> None:
    helps = run(HELPING)["helps"]
    wrong = {name: said for name, (status, said) in helps.items() if status != 0}
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())
    assert {"spatz demo", "spatz boards show", "spatz labels", "nest run", "nest nodes add"} <= set(helps)


def test_every_command_has_an_example() -> None:
    helps = run(HELPING)["helps"]
    leaves = [name for name in helps if not any(other.startswith(name + " ") for other in helps)]
    without = [name for name in leaves if "Examples:" not in helps[name][1]]
    assert not without


@pytest.mark.parametrize("name", SLOW)
def test_help_waits_for_nothing_slow(name: str) -> None:
    assert name not in run(HELPING)["loaded"]
