"""What an attached node is called."""

from __future__ import annotations

import contextlib
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

from spatz.attached import snippets, town
from spatz.attached.repl import Say, attach, silent
from spatz.usb import Port

_SERIAL = "serial "  # how a Port.key begins that is a serial number


def name_of(port: Port, folder: Path | None = None, *, may_reset: bool = False, say: Say = silent) -> str | None:
    """What the node at this port is called; None for one that does not answer, or does not know.

    A node whose USB serial number says who it is is looked up in the town. Any other is asked, for which its program
    is interrupted and starts again; say: is told so first.

    Args:
        port: where it is.
        folder: the town's, None without one.
        may_reset: whether the cable may reset a node that does not answer.
        say: for that sentence.
    """
    dev_eui = dev_eui_of(port)
    if folder and dev_eui:
        with contextlib.suppress(UserError):  # a town that cannot be asked does not help
            known = town.find(folder, dev_eui)
            if known:
                return known.slug
    try:
        say(tr("{port} is asked for its name; its node starts again afterwards.", port=port.device))
        with attach(port, wait_s=0, may_reset=may_reset) as repl:
            name = repl.ask(snippets.WHO).get("name")
            return name if isinstance(name, str) else None
    except UserError:
        return None


def dev_eui_of(port: Port) -> str:
    """16 hex digits of the DevEUI that follows from the MAC address in the serial number of a chip with its own USB;
    "" for any other."""
    mac = port.key.removeprefix(_SERIAL)
    if not (port.bridge and port.bridge.native) or len(mac) != 12 or not set(mac) <= set("0123456789abcdef"):
        return ""
    return f"{mac[:6]}fffe{mac[6:]}"
