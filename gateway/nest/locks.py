"""A folder that one process has for itself. The lock ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_FILE = ".nest-lock"  # Windows locks files, not folders


@contextlib.contextmanager
def locked(folder: Path, *, follow: bool = True) -> Iterator[bool]:
    """Whether this process has `folder` now; False: another has it. follow: whether a link to a folder will do.

    Raises OSError: there is no such folder, or it may not be opened.
    """
    handle = _open(folder, follow)
    try:
        yield _try(handle)
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _open(folder: Path, follow: bool) -> int:
        if folder.is_symlink() and not follow:
            raise NotADirectoryError(str(folder))
        return os.open(folder / _FILE, os.O_RDWR | os.O_CREAT)

    def _try(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _open(folder: Path, follow: bool) -> int:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW))

    def _try(handle: int) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
