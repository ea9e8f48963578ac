"""Errors that a person can act on, and the one place where a command line turns them into an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_USER_ERROR = 2


class UserError(Exception):
    """Something a person can mend: what is wrong in one sentence, and the next step.

    Both texts are already in the user's language (`nest.i18n.tr`). Neither ever holds a key.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}\n{self.next_step}" if self.next_step else self.message


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a command line; a UserError becomes one clear message on stderr and exit status 2, never a traceback.

    `SPATZ_TRACEBACK=1` shows the traceback as well, for developers.
    """
    for stream in (sys.stdout, sys.stderr):  # whoever reads them may want letters of another alphabet: cp1252 has no →
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except UserError as error:
        if os.environ.get("SPATZ_TRACEBACK") == "1":
            raise
        colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        red, plain = ("\x1b[31m", "\x1b[0m") if colour else ("", "")
        print(f"{red}{_shown(error.message)}{plain}", file=sys.stderr)
        if error.next_step:
            print(f"→ {_shown(error.next_step)}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _shown(text: str) -> str:
    """`text` without anything but line ends that a terminal would obey: it may hold words of a node or a file."""
    from nest.logs import printable

    return "\n".join(map(printable, text.split("\n")))
