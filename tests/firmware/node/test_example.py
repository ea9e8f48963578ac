"""The README's program for other projects runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from spatz.sim import micropython

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = re.compile(r"^```python\n(import esp32.*?)^```$", re.MULTILINE | re.DOTALL)


def test_program_joins_sends_and_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    found = PROGRAM.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found
    (tmp_path / "main.py").write_text(found.group(1), encoding="utf-8")
    folders = [ROOT / "tools/spatz/sim/device", ROOT / "firmware", ROOT / "tests/firmware/common", Path(".frozen")]
    done = subprocess.run(
        [*micropython.command(), str(Path(__file__).with_name("example_on_board.py")), str(tmp_path / "main.py")],
        env={**os.environ, "MICROPYPATH": ":".join(map(str, folders))},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, network = done.stdout.splitlines()
    assert first == "sent as frame 0 and got [(5, b'hi', 0)]"
    assert re.fullmatch(r"sent as frame \d+ and got \[\]", second)
    assert network.startswith("network: 1 [b'hello', b'hello'] "), "one join, then the session goes on"
