"""The files of a town in one archive, and out of it again: whoever made it may be hostile."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import sqlite3
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from nest import town
from nest.archive import snapshots
from nest.archive.snapshots import connect
from nest.errors import UserError
from nest.i18n import tr

ENDING = ".nest.tar.gz"
LARGEST_FILE = 16 << 20  # bytes of a file beside the database
MOST_FILES = 200
_DEEPEST = 4  # folders in one another
_LEFT_OUT = ("backups", "data")  # folders: backups themselves, and what can be made again from the database
_PAGE = 1 << 20


def small_files(folder: Path) -> list[tuple[str, Path]]:
    """Everything beside the database that cannot be made again: settings, certificates, the map's outlines.

    Raises UserError: they are too many.
    """
    files = [*_small_files(folder)]
    if len(files) >= MOST_FILES:
        raise UserError(
            tr(
                "There are too many files beside the database in {folder}: more than {most}.",
                folder=folder,
                most=MOST_FILES,
            ),
            tr("Move what does not belong to the town to another place, then try again."),
        )
    return files


def pack(files: list[tuple[str, Path]], database: Path, target: Path) -> None:
    """Write `files`, with their names, and the database into `target`, and read that back. Raises OSError."""
    sums: dict[str, str] = {}
    with target.open("wb") as out, tarfile.open(fileobj=out, mode="w:gz", compresslevel=4) as tar:
        for name, path in [*files, (town.DATABASE_FILE, database)]:
            with path.open("rb") as content:
                member = tar.gettarinfo(arcname=name, fileobj=content)
                member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
                counted = _Summing(content)
                tar.addfile(member, counted)  # type: ignore[arg-type]  it is read, and nothing else
                sums[name] = counted.sum.hexdigest()
    _read_back(target, sums)


def _small_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)  # our own scratch among them
        strange = not str(name).isprintable() or "\\" in str(name)  # `restore` would not take it
        if name.parts[0] in _LEFT_OUT or len(name.parts) > _DEEPEST or hidden or strange:
            continue
        if str(name).startswith(town.DATABASE_FILE) or path.name.endswith((ENDING, ".part")):
            continue
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_FILE:
            yield name.as_posix(), path


class _Summing:
    """A file that is read, and the sum of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sum.update(data)
        return data


def _read_back(part: Path, sums: dict[str, str]) -> None:
    found: dict[str, str] = {}
    with _open(part) as tar:
        for member in tar:
            content = tar.extractfile(member)
            counted = _Summing(content) if content else None
            while counted and counted.read(_PAGE):
                pass
            found[member.name] = counted.sum.hexdigest() if counted else ""
    if found != sums:
        raise OSError(5, tr("what was written reads otherwise"))


@contextlib.contextmanager
def _open(file: Path) -> Iterator[tarfile.TarFile]:
    """The archive `file`, to be read from its beginning to its end: only there stands the sum over all of it, which
    `tarfile` by itself does not look at."""
    with gzip.open(file) as content:
        with tarfile.open(fileobj=content, mode="r|") as tar:
            yield tar
        if len(content.read(_PAGE)) == _PAGE:
            raise tarfile.ReadError("something stands behind its end")


def unpack(file: Path, staged: Path) -> list[str]:
    """Unpack a backup into the empty folder `staged`; its files' names. Whoever made it may be hostile: plain files
    only, below `staged` only, each once, and no more than there is room for."""
    names: list[str] = []
    try:
        with _open(file) as tar:
            for member in tar:
                _check_member(member, names, staged)
                names.append(member.name)
                target = staged / member.name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                content = tar.extractfile(member)
                if content is None:
                    raise _NotABackupError(member.name)
                with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                    shutil.copyfileobj(content, out, _PAGE)
                if target.stat().st_size != member.size:
                    raise _NotABackupError(member.name)
        if not {town.SETTINGS_FILE, town.DATABASE_FILE} <= {*names}:
            raise _NotABackupError(tr("the settings or the database are missing"))
        with contextlib.closing(connect(staged / town.DATABASE_FILE)) as connection:
            snapshots.check(connection)
            if connection.execute("SELECT count(*) FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchone()[0]:
                raise _NotABackupError(tr("the database would do things by itself"))
    except (_NotABackupError, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, sqlite3.DatabaseError) as error:
        raise UserError(
            tr("{file} is no backup of a town, or it is damaged ({reason}).", file=file, reason=ascii(str(error))),
            tr("Take another backup; they are made with: nest backup FOLDER"),
        ) from error
    return names


class _NotABackupError(Exception):
    """What is wrong with it."""


def _check_member(member: tarfile.TarInfo, names: list[str], staged: Path) -> None:
    path = PurePosixPath(member.name)
    good = (
        member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        and member.name == path.as_posix()
        and member.name.isprintable()
        and not path.is_absolute()
        and "\\" not in member.name
        and 0 < len(path.parts) <= _DEEPEST
        and not any(part.startswith(".") for part in path.parts)
        and path.parts[0] not in _LEFT_OUT
        and member.name not in names
        and len(names) < MOST_FILES
        and member.size >= 0
    )
    if member.name != town.DATABASE_FILE:
        good = good and member.size <= LARGEST_FILE and not member.name.startswith(town.DATABASE_FILE)
    if not good:
        raise _NotABackupError(member.name)
    if member.size * 2 > shutil.disk_usage(staged).free:  # the database will be written twice
        raise OSError(28, os.strerror(28))
