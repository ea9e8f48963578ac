"""The Enter key, for whoever has found the board that flickers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class Enter:
    """How often Enter was pressed; never where standard input is no terminal. One reader for all boards: what one of
    several read would be lost to the others."""

    def __init__(self) -> None:
        self._count = 0
        self._reader: threading.Thread | None = None

    def watch(self) -> Callable[[], bool]:
        """Whether it was pressed since this was called."""
        if self._reader is None and sys.stdin.isatty():
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        before = self._count
        return lambda: self._count > before

    def _read(self) -> None:
        while sys.stdin.readline():
            self._count += 1
