"""Texts that a person gives to a command: in a file, or through standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr


def read_text(path: Path) -> str:
    """What is in the file, or what comes on standard input ("-"). Raises UserError, which repeats nothing of it."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> UserError:
    """A file that is not to be read, or not as text, said to the person whose file it is."""
    reason = error.strerror if isinstance(error, OSError) else "UTF-8"
    return UserError(
        tr("{path} cannot be read: {reason}.", path=path, reason=reason), tr("Check that the file belongs to you.")
    )
