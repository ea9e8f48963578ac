"""MicroPython's prompt on a node, by mpremote as a program of its own: it needs the terminal for itself."""

from __future__ import annotations

import subprocess
import sys

from nest.errors import UserError
from nest.i18n import tr

from spatz import usb
from spatz.attached.repl import Repl, Say, attach, silent
from spatz.usb import Port

_BACK_S = 1.0  # for a port that has got another name


def shell(port: Port, say: Say = silent) -> int:
    """Until the person leaves it; the exit status of mpremote. Then the node's program starts again: at its prompt it
    would measure nothing. say: is told so.

    Raises Trouble: the port cannot be opened.
    """
    repl = Repl(port)
    repl.open()  # mpremote's own words for a port that cannot be opened help nobody
    repl.close()
    status = subprocess.call([sys.executable, "-P", "-m", "mpremote", "connect", port.device, "repl"])  # noqa: S603
    say(left(port))
    return status


def left(port: Port) -> str:
    """Let the node run again, and what became of it. One that does not answer sleeps, or has been pulled out."""
    found = usb.find(port.key, _BACK_S) or port
    try:
        with attach(found, wait_s=0, may_reset=False):
            return tr("The node's program starts again.")
    except UserError:
        return tr("If the node does not go on by itself: press RST once.")
