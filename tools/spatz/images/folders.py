"""Where this computer keeps what can be had again: compiled files and files with MicroPython."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

CACHE = "SPATZ_CACHE"
"""Environment variable: the folder of the cache; without it, the user's own cache folder."""


def cache_folder() -> Path:
    """The folder; it need not be there."""
    import platformdirs

    asked = os.environ.get(CACHE)
    return Path(asked).expanduser() if asked else Path(platformdirs.user_cache_dir("funkspatz", appauthor=False))


def write_whole(place: Path, data: bytes) -> bool:
    """Write a file so that others see all of it or nothing; False when it cannot be written (a full or locked disk).

    Whoever only wants to remember something goes on without.
    """
    new = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        number, new = tempfile.mkstemp(prefix=".new-", dir=place.parent)
        with os.fdopen(number, "wb") as file:
            file.write(data)
        os.replace(new, place)
    except OSError:  # on Windows also: somebody reads the file just now; it has the same content
        if new is not None:
            with contextlib.suppress(OSError):
                os.unlink(new)
        return False
    return True
