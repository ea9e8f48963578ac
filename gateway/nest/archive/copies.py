"""A town in one file, and back: `backup` while it runs, `restore` into a new folder or over a town, running or not.

What was written to a town until the moment at which it is replaced is in the backup that is made of it then, and what
must not be forgotten of it is carried over (`carrying`): from before that backup on nobody else can write to it.

A new `generation` tells a nest that runs on that database to forget what it has in memory and to start anew from it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from nest import town
from nest.archive import postgres_copies, snapshots
from nest.archive.carrying import StayOut, make_safe
from nest.archive.database import open_database
from nest.archive.snapshots import Progress, appearing, connect, stamp, take
from nest.database_url import DatabaseServer
from nest.errors import UserError
from nest.i18n import tr
from nest.locks import locked
from nest.logs import printable

_log = logging.getLogger(__name__)

LARGEST_FILE = 16 << 20  # bytes of a file beside the database
MOST_FILES = 200
_DEEPEST = 4  # folders in one another
_LEFT_OUT = ("backups", "data")  # folders: backups themselves, and what can be made again from the database
_ENDING = ".nest.tar.gz"
_PAGE = 1 << 20
_PAGES = 16  # of a database, copied in one go: fewer than one of ours has tables, each with a page of its own
_SCRATCH = ".nest-part-"
_FORGOTTEN_S = 60.0  # between its making and its lock a folder must not be taken for a forgotten one


def backup(of: town.Town, target: Path, progress: Progress | None = None) -> None:
    """Copy town `of` into the new file `target` (mode 0600), and read it back. The town may run, and is not held up.

    Raises UserError: `target` is there, or something cannot be read or written.
    """
    try:
        _backup(of.path, target, progress, of.database if isinstance(of.database, DatabaseServer) else None)
    except FileExistsError as error:
        raise UserError(
            tr("{file} is there already.", file=target), tr("Choose another name; no backup is ever overwritten.")
        ) from error
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise UserError(
            tr("{folder} cannot be copied to {file}: {reason}.", folder=of.path, file=target, reason=_reason(error)),
            tr("Choose a place with more room that you may write to."),
        ) from error


def restore(file: Path, folder: Path, progress: Progress | None = None) -> town.Town:
    """Put the backup `file` into `folder`: a new one, or a town that is there, running or not. That one is backed up
    first, into its folder `backups`. A nest that runs there goes on with the restored database at once, and with the
    restored town.toml when it is started again.

    Raises UserError: `file` is no backup or damaged or from a newer version, no room, or `folder` holds something else.
    """
    fresh = not folder.exists()
    server = postgres_copies.server_of(folder)
    if not fresh and not (folder / town.SETTINGS_FILE).exists() and any(folder.iterdir() if folder.is_dir() else [1]):
        raise UserError(
            tr("{folder} is there, and it is no town.", folder=folder), tr("Choose a new folder, or that of a town.")
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = folder / snapshots.BACKUPS
        kept.mkdir(mode=0o700, exist_ok=True)
        with _scratch(kept) as staged:
            names = _unpack(file, staged)
            town.load(staged)
            if (folder / town.SETTINGS_FILE).exists():
                postgres_copies.stay(folder, staged)  # wherever the backup comes from
            else:
                server = postgres_copies.empty_server_of(staged)
            open_database(staged / town.DATABASE_FILE).dispose()  # an older version becomes this one
            out = _put_in_place(staged, names, folder, server, progress)
        _tell(out, server)
        return town.load(folder)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            tr("{file} cannot be restored into {folder}: {reason}.", file=file, folder=folder, reason=_reason(error)),
            tr("The town is as it was. Mend that and try again."),
        ) from error
    finally:
        if fresh and not (folder / town.SETTINGS_FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _tell(out: StayOut, server: DatabaseServer | None) -> None:
    """As the backup names them."""
    if out.nodes:
        nodes = printable(", ".join(out.nodes))
        _log.warning(tr("Removed since that backup, and so they stay, without their keys: {nodes}.", nodes=nodes))
        if server is None:
            _log.warning("→ %s", tr("Is one to come back? Restore the backup into a new folder, and there:"
                                    " spatz nodes hand-over NODE --output FILE"))  # fmt: skip
        else:  # a new folder would get this one's database
            _log.warning("→ %s", tr("Is one to come back? Make an empty town with nest init, restore the backup over"
                                    " it, and there: spatz nodes hand-over NODE --output FILE"))  # fmt: skip
    if out.gateways:
        gateways = printable(", ".join(out.gateways))
        _log.warning(tr("Gateways removed since that backup, and so they stay, without their tokens: {gateways}.",
                        gateways=gateways))  # fmt: skip
        _log.warning("→ %s", tr("Is one to come back? nest gateways add FOLDER EUI"))


# -- making one


def _backup(folder: Path, target: Path, progress: Progress | None, server: DatabaseServer | None = None) -> None:
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
    with appearing(target) as part, _scratch(target.parent) as scratch:
        database = scratch / town.DATABASE_FILE
        if server is None:
            take(folder / town.DATABASE_FILE, database, progress)
        else:
            postgres_copies.export(server, database, progress)
        sums: dict[str, str] = {}
        with part.open("wb") as out, tarfile.open(fileobj=out, mode="w:gz", compresslevel=4) as tar:
            for name, path in [*files, (town.DATABASE_FILE, database)]:
                with path.open("rb") as content:
                    member = tar.gettarinfo(arcname=name, fileobj=content)
                    member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
                    counted = _Summing(content)
                    tar.addfile(member, counted)  # type: ignore[arg-type]  it is read, and nothing else
                    sums[name] = counted.sum.hexdigest()
        _read_back(part, sums)


def _small_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything beside the database that cannot be made again: settings, certificates, the map's outlines."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)  # our own scratch among them
        strange = not str(name).isprintable() or "\\" in str(name)  # `restore` would not take it
        if name.parts[0] in _LEFT_OUT or len(name.parts) > _DEEPEST or hidden or strange:
            continue
        if str(name).startswith(town.DATABASE_FILE) or path.name.endswith((_ENDING, ".part")):
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


# -- taking one apart


def _unpack(file: Path, staged: Path) -> list[str]:
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


# -- bringing it in


def _put_in_place(
    staged: Path, names: list[str], folder: Path, server: DatabaseServer | None, progress: Progress | None
) -> StayOut:
    """What stays out: see `carrying.make_safe`."""
    live, database = folder / town.DATABASE_FILE, staged / town.DATABASE_FILE
    out = StayOut()

    def first() -> None:
        nonlocal out
        with _reading():
            _backup(folder, _kept(folder, f"before-restore-{stamp()}{_ENDING}"), None, server)
        replaced = live
        if server:
            replaced = staged / ".replaced"
            postgres_copies.export(server, replaced)
        out = make_safe(database, replaced)

    parts = {name: _copy_beside(staged / name, folder / name) for name in names if name != town.DATABASE_FILE}
    try:
        there = postgres_copies.holds_town(server) if server else live.exists() and live.stat().st_size > 0
        if there and server is None:
            there = _overwrite(database, live, first, progress)
        elif there and server:
            postgres_copies.bring_in(database, server, progress, first)
        if not there:
            make_safe(database, None)
            if server:
                postgres_copies.bring_in(database, server, progress)
            else:
                _replace(folder, database)
        _place(parts, folder)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    snapshots.sync_folder(folder)
    return out


def _place(parts: dict[str, Path], folder: Path) -> None:
    """Put the files beside the database where they belong; it is replaced already."""
    left, reason = list[str](), ""
    for name, part in parts.items():
        try:
            part.replace(folder / name)
        except OSError as error:
            if not (folder / town.SETTINGS_FILE).exists():  # a new folder: it is cleared away
                raise
            left.append(name)
            reason = _reason(error)
    if left:
        raise UserError(
            tr(
                "Readings and keys in {folder} are those of the backup, but these files are not: {names} ({reason}).",
                folder=folder,
                names=", ".join(left),
                reason=reason,
            ),  # fmt: skip
            tr("Mend that, then restore the backup again."),
        )


def _overwrite(database: Path, live: Path, first: Callable[[], None], progress: Progress | None) -> bool:
    """Put the content of `database` in the place of that of `live`, in one transaction: all of it, or nothing.
    `first` is called when nobody else can write to `live` any more, and may change `database`.

    False: `live` is damaged, and was left as it is.
    """
    held = False

    def step(status: int, remaining: int, total: int) -> None:
        nonlocal held
        if held:
            if progress is not None:
                progress(total - remaining, total)
        elif status == sqlite3.SQLITE_BUSY:
            raise UserError(
                tr("The database {path} is in use by another program.", path=live),
                tr("Close the program that holds it open, then try again."),
            )
        else:  # the lock was taken with the first pages, and is held until the last: SQLite begins anew with `database`
            held = True
            first()

    try:
        with contextlib.closing(connect(database)) as new, contextlib.closing(connect(live, 30_000)) as old:
            with _reading():
                old.execute("PRAGMA journal_mode = WAL")  # so that it can be read while it is locked
            new.backup(old, pages=_PAGES, progress=step)
    except _DamagedError:
        return False
    return True


class _DamagedError(sqlite3.DatabaseError):
    """The database that is to be replaced cannot be read."""


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """What cannot be read here is damaged."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise _DamagedError(str(error)) from error


def _replace(folder: Path, database: Path) -> None:
    """Put `database` into `folder`, where there is none that can be read; what would be played into it is put aside."""
    with nobody_runs(folder, _damaged(folder)):
        for ending in ("", "-wal", "-shm", "-journal"):
            file = folder / (town.DATABASE_FILE + ending)
            if file.exists():
                file.replace(_kept(folder, f"damaged-{stamp()}-{file.name}"))
        database.replace(folder / town.DATABASE_FILE)


def _kept(folder: Path, name: str) -> Path:
    """Where something of the town is put before it is replaced."""
    return folder / snapshots.BACKUPS / name


def _damaged(folder: Path) -> UserError:
    return UserError(
        tr("The database in {folder} is damaged or gone, and a nest runs on it.", folder=folder),
        tr("End that nest, then restore the backup again."),
    )


@contextlib.contextmanager
def nobody_runs(folder: Path, else_: UserError) -> Iterator[None]:
    """No nest runs on the town in `folder` meanwhile. Raises `else_`: one does."""
    with locked(folder) as free:
        if not free:
            raise else_
        yield


def _copy_beside(source: Path, target: Path) -> Path:
    """A copy next to where it belongs, so that putting it there is one step."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(source.read_bytes())
        out.flush()
        os.fsync(out.fileno())
    return part


@contextlib.contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """A private folder for a while; those that a power cut has left behind are cleared away."""
    for left in beside.glob(f"{_SCRATCH}*"):
        with _locked(left) as free:
            if free and time.time() - left.stat().st_mtime > _FORGOTTEN_S:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=beside))
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Say that a folder is in use; False: another program has said so, or the folder is gone."""
    with contextlib.ExitStack() as stack:
        try:
            free = stack.enter_context(locked(folder, follow=False))
        except OSError:
            free = False
        yield free


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
