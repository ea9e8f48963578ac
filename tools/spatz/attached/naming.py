"""What an attached node is called."""

from __future__ import annotations

from nest.errors import UserError

from spatz.attached import snippets
from spatz.attached.repl import attach
from spatz.usb import Port


def name_of(port: Port) -> str | None:
    """What the node at this port calls itself; None for one that does not answer, or does not know."""
    try:
        with attach(port, wait_s=0) as repl:
            return repl.ask(snippets.WHO).get("name")
    except UserError:
        return None
