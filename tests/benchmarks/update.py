"""How long `spatz update` takes on a virtual board, through the real mpremote; the best of some tries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from spatz import usb

from tests.tools.attached.cutting import edition
from tests.tools.attached.flashed import board_with, wishes

TRIES = 3


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "usb").mkdir()
        with patch.dict(os.environ, {usb.VIRTUAL_BOARDS: str(folder / "usb")}):
            yield from _rows(folder)


def _rows(folder: Path) -> Iterator[tuple[str, str, str]]:
    # another edition of every file: the first update sends all of them
    with board_with(folder / "board", folder / "usb", edition(wishes(parity=1))) as board:
        board.wait_for("line", text="Funkspatz node")
        everything = _update()
        changed = min((_update("--interval", str(300 + number)) for number in range(TRIES)), key=_seconds)
        nothing = min((_update() for _ in range(TRIES)), key=_seconds)
    yield f"seconds to update all {len(everything['sent'])} files of a node", "", f"{_seconds(everything):.1f}"
    what = f"seconds to change {len(changed['sent'])} files, until the node says its name"
    yield what, "<= 3", f"{_seconds(changed):.1f}"
    yield f"seconds to find that {len(nothing['sent'])} files changed", "<= 1.5", f"{_seconds(nothing):.1f}"


def _update(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-c", "from spatz.cli import main; main()", "update", "--json", *options]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def _seconds(said: dict[str, Any]) -> float:
    return said["seconds"]
