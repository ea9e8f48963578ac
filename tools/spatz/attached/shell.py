"""MicroPython's prompt on a node, by mpremote as a program of its own: it needs the terminal for itself."""

from __future__ import annotations

import subprocess
import sys

from spatz.attached.repl import Repl
from spatz.usb import Port


def shell(port: Port) -> int:
    """Until the person leaves it; the exit status of mpremote. Raises Trouble: the port cannot be opened."""
    repl = Repl(port)
    repl.open()  # mpremote's own words for a port that cannot be opened help nobody
    repl.close()
    return subprocess.call([sys.executable, "-m", "mpremote", "connect", port.device, "repl"])  # noqa: S603
