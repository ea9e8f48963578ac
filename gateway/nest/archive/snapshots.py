"""A whole copy of a database in one file of its own, made by SQLite while others read and write."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

BACKUPS = "backups"  # the folder beside the database
Progress = Callable[[int, int], None]  # done, in all
_NO_SYNC_OF_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
_PAGES = 1000  # copied in one go; between two of them a writer may have the database


def before_migration(path: Path, version: int) -> Path:
    """Copy the database at `path` into the folder `backups` beside it; nobody may write to it meanwhile.

    Raises UserError: it cannot be copied, most likely for want of room.
    """
    folder = path.parent / BACKUPS
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        for left in folder.glob(f"nest-v{version}-*"):  # of an attempt that was cut off
            if left.suffix == ".part" or not left.stat().st_size:
                left.unlink()
        target = folder / f"nest-v{version}-{stamp()}.db"
        take(path, target)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            tr(
                "The database {path} must be converted, and no backup of it can be made first: {reason}.",
                path=path,
                reason=getattr(error, "strerror", None) or error,
            ),
            tr(
                "Nothing was changed. Make room on that disk, or make the folder {folder} writable, and start again.",
                folder=folder,
            ),
        ) from error
    return target


def stamp() -> str:
    """This moment in UTC, to the millisecond, as part of a file's name."""
    now = time.time()
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"


def take(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy the database `source` as it is at one moment into the new file `target` (mode 0600), check it, and have it
    on the disk; `target` appears whole or not at all. Writers go on meanwhile.

    Raises sqlite3.Error, OSError (FileExistsError where `target` is there).
    """
    with appearing(target) as part, contextlib.closing(connect(source)) as old:
        old.execute("BEGIN")  # one moment: what is written from now on is not seen, and does not start us anew
        old.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with contextlib.closing(connect(part)) as new:
            new.execute("PRAGMA synchronous = OFF")  # one sync at the end is enough
            old.backup(new, pages=_PAGES, progress=share(progress))
            new.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read from anywhere
            check(new)


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """An empty file (mode 0600) to be filled, which becomes `target` when it is done and is gone when it is not.

    Raises FileExistsError: `target` is there.
    """
    part = target.with_name(f"{target.name}.part")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # the name is ours from now on
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield part
        sync(part)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def connect(path: Path, patience_ms: int = 5000) -> sqlite3.Connection:
    """A plain connection, in which nothing happens by itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {patience_ms:d}")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def check(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError: a page is damaged."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(str(found).splitlines()[-1])


def sync_folder(path: Path) -> None:
    """Have a folder's names on the disk, where that can be had.

    Windows opens no folder, and keeps its names itself. Some shared folders know no fsync of a folder, and one that
    may be written but not listed cannot be opened: then nothing better is to be had.
    """
    if sys.platform != "win32":
        try:
            sync(path)
        except OSError as error:
            if error.errno not in _NO_SYNC_OF_FOLDERS:
                raise


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def share(progress: Progress | None) -> Callable[[int, int, int], None] | None:
    """`progress`, as SQLite tells it."""
    if progress is None:
        return None
    return lambda _status, remaining, total: progress(total - remaining, total)
