"""A whole copy of a database in one file of its own, made by SQLite while others read and write."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

BACKUPS = "backups"  # the folder beside the database
_PAGES = 1000  # copied in one go; between two of them a writer may have the database


def before_migration(path: Path, version: int) -> Path:
    """Copy the database at `path` into the folder `backups` beside it; nobody may write to it meanwhile.

    Raises UserError: it cannot be copied, most likely for want of room.
    """
    folder = path.parent / BACKUPS
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        target = folder / f"nest-v{version}-{stamp()}.db"
        take(path, target)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            tr("The database {path} must be converted, and no backup of it can be made first: {reason}.",
               path=path, reason=getattr(error, "strerror", None) or error),
            tr("Nothing was changed. Make room on that disk, or make the folder {folder} writable, and start again.",
               folder=folder),
        ) from error
    return target


def stamp() -> str:
    """This moment in UTC, as part of a file's name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def take(source: Path, target: Path, progress: Callable[[float], None] | None = None) -> None:
    """Copy the database `source` as it is at one moment into the new file `target` (mode 0600), check it, and have it
    on the disk; `target` appears whole or not at all. Writers go on meanwhile. `progress` is told the share done.

    Raises sqlite3.Error, OSError (FileExistsError where `target` is there).
    """
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    if target.exists():
        raise FileExistsError(17, os.strerror(17), str(target))
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as old:
            old.execute("PRAGMA busy_timeout = 5000")
            old.execute("BEGIN")  # one moment: what is written from now on is not seen, and does not start us anew
            old.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as new:
                old.backup(new, pages=_PAGES, progress=_share(progress))
                new.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read from anywhere
                found = new.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
        sync(part)
        os.link(part, target)  # unlike a rename, this puts nothing in the place of another file
    finally:
        part.unlink(missing_ok=True)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _share(progress: Callable[[float], None] | None) -> Callable[[int, int, int], None] | None:
    if progress is None:
        return None
    return lambda _status, remaining, total: progress(1 - remaining / total if total else 1.0)
