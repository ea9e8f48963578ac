"""A town in one file, and back: `backup` while it runs, `restore` into a new folder or over a town, running or not.

What was written to a town until the moment at which it is replaced is in the backup that is made of it then, and what
must not be forgotten of it is carried over (`carrying`): from before that backup on nobody else can write to it. So as
not to hold others up for longer than it must, it is only copied then, into a folder of its own that is a town's
(`_set_aside`), and packed when it is replaced. Whatever ends that leaves the folder; the next `backup` or `restore`
packs it (`_finish`).

A new `generation` tells a nest that runs on that database to forget what it has in memory and to start anew from it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nest import town
from nest.archive import postgres_copies, snapshots
from nest.archive.carrying import StayOut, make_safe
from nest.archive.database import open_database
from nest.archive.packing import ENDING, pack, small_files, unpack
from nest.archive.snapshots import Progress, appearing, connect, stamp, take
from nest.database_url import DatabaseServer
from nest.errors import UserError
from nest.i18n import tr
from nest.locks import locked
from nest.logs import printable

_log = logging.getLogger(__name__)

_PAGES = 16  # of a database, copied in one go: fewer than one of ours has tables, each with a page of its own
_SCRATCH = ".nest-part-"
_ASIDE = "before-restore-"
_FORGOTTEN_S = 60.0  # between its making and its lock a folder must not be taken for a forgotten one


def backup(of: town.Town, target: Path, progress: Progress | None = None) -> None:
    """Copy town `of` into the new file `target` (mode 0600), and read it back. The town may run, and is not held up.

    Raises UserError: `target` is there, or something cannot be read or written.
    """
    _finish(of.path)
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
            names = unpack(file, staged)
            town.load(staged)
            if (folder / town.SETTINGS_FILE).exists():
                postgres_copies.stay(folder, staged)  # wherever the backup comes from
            else:
                server = postgres_copies.empty_server_of(staged)
            open_database(staged / town.DATABASE_FILE).dispose()  # an older version becomes this one
            out = _put_in_place(staged, names, folder, server, progress)
        _tell(out, server)
        _finish(folder)
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


def _backup(folder: Path, target: Path, progress: Progress | None, server: DatabaseServer | None) -> None:
    files = small_files(folder)
    with appearing(target) as part, _scratch(target.parent) as scratch:
        database = scratch / town.DATABASE_FILE
        if server is None:
            take(folder / town.DATABASE_FILE, database, progress)
        else:
            postgres_copies.export(server, database, progress)
        pack(files, database, part)


# -- what is replaced


def _set_aside(folder: Path, server: DatabaseServer | None, held: contextlib.ExitStack) -> Path:
    """Copy the town in `folder`, to which nobody may write meanwhile, into a new folder, which is ours until `held`
    ends. It is on the disk then, and its database is there whole or not at all."""
    aside = _kept(folder, f"{_ASIDE}{stamp()}")
    aside.mkdir(mode=0o700)
    held.enter_context(_locked(aside))
    with _gone_if_it_fails(aside):
        for name, path in small_files(folder):
            _copy_beside(path, aside / name).replace(aside / name)
            snapshots.sync_folder((aside / name).parent)
        database = aside / town.DATABASE_FILE
        if server is None:
            take(folder / town.DATABASE_FILE, database)
        else:
            exported = aside / ".exported"
            postgres_copies.export(server, exported)
            exported.replace(database)
        snapshots.sync_folder(aside)
        snapshots.sync_folder(aside.parent)
    return aside


@contextlib.contextmanager
def _gone_if_it_fails(aside: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _finish(folder: Path) -> None:
    """Pack what was set aside of the town in `folder`; what cannot be packed stays as it is."""
    for aside in sorted(_kept(folder, "").glob(f"{_ASIDE}*")):
        with _locked(aside) as free:  # not: it is in use, or it is packed
            try:
                done = free and _packed(aside)
            except (OSError, tarfile.TarError, UserError) as error:
                done, reason = False, _reason(error)
                _log.warning(tr("The town as it was before a restore is in {folder}, not yet packed: {reason}.",
                                folder=aside, reason=reason))  # fmt: skip
        if done:
            shutil.rmtree(aside, ignore_errors=True)


def _packed(aside: Path) -> bool:
    """Whether it is packed now, or was never whole: then nothing was replaced."""
    database, target = aside / town.DATABASE_FILE, aside.with_name(f"{aside.name}{ENDING}")
    if not database.exists() or not database.stat().st_size:
        return time.time() - aside.stat().st_mtime > _FORGOTTEN_S
    if target.exists() and not target.stat().st_size:
        target.unlink()  # of an attempt that was cut off
    if not target.exists():
        with appearing(target) as part:
            pack(small_files(aside), database, part)
    return True


# -- bringing it in


def _put_in_place(
    staged: Path, names: list[str], folder: Path, server: DatabaseServer | None, progress: Progress | None
) -> StayOut:
    """What stays out: see `carrying.make_safe`."""
    live, database = folder / town.DATABASE_FILE, staged / town.DATABASE_FILE
    out, held = StayOut(), contextlib.ExitStack()

    def first() -> None:
        nonlocal out
        with _reading():
            aside = _set_aside(folder, server, held)
        with _gone_if_it_fails(aside):
            out = make_safe(database, aside / town.DATABASE_FILE)

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
        held.close()
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
            ),
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
