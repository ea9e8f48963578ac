"""A town in one file, and back: `backup` while it runs, `restore` into a new folder or over a town, running or not.

**Why a restored town does not go on where the backup ends.** The backup is older than the last thing that was sent.
With its counters the nest would use each FCntDown since then a second time, under the same keys: two plaintexts under
one keystream give each other away, and nodes refuse a counter they have seen. So every open session's FCntDown is put
`COUNTER_MARGIN` ahead. In the same way a JoinNonce used twice would give a node the same session keys again, if it can
be brought to the same DevNonce; so each node's JoinNonces go on `NONCE_MARGIN` behind the highest. Where a town is
replaced, what it knows besides is taken over: its counters, where it is further, the DevNonces used since, which nodes
were retired since (their key is another town's, or nobody's), and its tokens: one that was made void opens nothing
again, and the gateways have the new ones.

A new `generation` tells a nest that runs on that database to forget what it has in memory and to start anew from it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from nest import town
from nest.archive import meta, migrations, postgres_copies, snapshots
from nest.archive.database import open_database
from nest.archive.snapshots import Progress, appearing, connect, stamp, take
from nest.database_url import DatabaseServer
from nest.errors import UserError
from nest.i18n import tr
from nest.locks import locked

COUNTER_MARGIN = 4096  # downlinks; a node gets a few a day
NONCE_MARGIN = 1024  # joins; a node joins a few times a year
MAX_JOIN_NONCE = 0xFFFFFF

LARGEST_FILE = 16 << 20  # bytes of a file beside the database
MOST_FILES = 200
_DEEPEST = 4  # folders in one another
_LEFT_OUT = ("backups", "data")  # folders: backups themselves, and what can be made again from the database
_ENDING = ".nest.tar.gz"
_PAGE = 1 << 20
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
            _put_in_place(staged, names, folder, server, progress)
        return town.load(folder)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            tr("{file} cannot be restored into {folder}: {reason}.", file=file, folder=folder, reason=_reason(error)),
            tr("The town is as it was. Mend that and try again."),
        ) from error
    finally:
        if fresh and not (folder / town.SETTINGS_FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)


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
) -> None:
    live = folder / town.DATABASE_FILE
    there = postgres_copies.holds_town(server) if server else live.exists() and live.stat().st_size > 0
    if there:
        there = _keep(folder, server)
    replaced = live
    if server and there:
        replaced = staged / ".replaced"
        postgres_copies.export(server, replaced)
    with contextlib.closing(connect(staged / town.DATABASE_FILE)) as connection:
        _make_safe(connection, replaced if there else None)
    others = [name for name in names if name != town.DATABASE_FILE]
    parts = {name: _copy_beside(staged / name, folder / name) for name in others}
    try:
        if server:
            postgres_copies.bring_in(staged / town.DATABASE_FILE, server, progress)
        elif there:
            with (
                contextlib.closing(connect(staged / town.DATABASE_FILE)) as new,
                contextlib.closing(connect(live, patience_ms=30_000)) as old,
            ):
                new.backup(old, pages=-1, progress=snapshots.share(progress))  # one transaction: all of it, or nothing
        else:
            with nobody_runs(folder, _damaged(folder)):
                for ending in ("-wal", "-shm", "-journal"):  # of a file that is gone: it would be played into this one
                    live.with_name(live.name + ending).unlink(missing_ok=True)
                (staged / town.DATABASE_FILE).replace(live)
        for name, part in parts.items():
            part.replace(folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    snapshots.sync(folder)


def _keep(folder: Path, server: DatabaseServer | None) -> bool:
    """Back up the town that will be replaced. False: its database cannot be read, and its files were put aside."""
    kept = folder / snapshots.BACKUPS
    target = kept / f"before-restore-{stamp()}{_ENDING}"
    try:
        _backup(folder, target, None, server)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        with nobody_runs(folder, _damaged(folder)):
            for ending in ("", "-wal", "-shm"):
                file = folder / (town.DATABASE_FILE + ending)
                if file.exists():
                    file.replace(kept / f"damaged-{stamp()}-{file.name}")
        return False
    return True


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


def _make_safe(connection: sqlite3.Connection, replaced: Path | None) -> None:
    """See at the top of this file. `replaced`: the database that stood there."""
    connection.execute("BEGIN IMMEDIATE")
    if replaced is not None:
        with contextlib.closing(connect(replaced)) as old, contextlib.suppress(sqlite3.OperationalError):
            _take_over(old, connection)  # one of version 1 knows joins and counters, too
    connection.execute("UPDATE sessions SET fcnt_down = fcnt_down + ? WHERE ended_at IS NULL", (COUNTER_MARGIN,))
    connection.execute(
        "UPDATE nodes SET join_nonce_floor = min(?, ? + max(join_nonce_floor,"
        " coalesce((SELECT max(join_nonce) FROM joins WHERE joins.node_id = nodes.id), 0)))",
        (MAX_JOIN_NONCE, NONCE_MARGIN),
    )
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('generation', ?)", (migrations.new_generation(),)
    )
    connection.execute("COMMIT")


def _take_over(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Joins that the backup does not know, counters that have gone on since, retirements, and tokens."""
    of_version_4 = "key_mark" in {column[1] for column in old.execute("PRAGMA table_info(nodes)")}
    key = "app_key"
    if of_version_4:
        key = "key_mark"  # it stays when the key is forgotten
        _retire(old, new)
    joins = f"SELECT dev_eui, {key}, join_nonce, dev_nonce, time FROM joins JOIN nodes ON nodes.id = node_id"  # noqa: S608
    for dev_eui, its_key, join_nonce, dev_nonce, moment in old.execute(joins).fetchall():
        node = new.execute(f"SELECT id, {key} FROM nodes WHERE dev_eui = ?", (dev_eui,)).fetchone()  # noqa: S608
        if node is not None:  # a DevNonce of another AppKey says nothing, its JoinNonce does
            values = (node[0], join_nonce, dev_nonce if node[1] == its_key else -1, moment)
            insert = "INSERT OR IGNORE INTO joins (node_id, join_nonce, dev_nonce, time) VALUES (?, ?, ?, ?)"
            new.execute(insert, values)
    sessions = "SELECT dev_eui, join_nonce, fcnt_up, fcnt_down FROM sessions JOIN nodes ON nodes.id = node_id"
    new.executemany(
        "UPDATE sessions SET fcnt_up = max(fcnt_up, ?3), fcnt_down = max(fcnt_down, ?4)"
        " WHERE join_nonce = ?2 AND node_id = (SELECT id FROM nodes WHERE dev_eui = ?1)",
        old.execute(sessions).fetchall(),
    )
    floors = old.execute("SELECT join_nonce_floor, dev_eui FROM nodes").fetchall()
    new.executemany("UPDATE nodes SET join_nonce_floor = max(join_nonce_floor, ?) WHERE dev_eui = ?", floors)
    if of_version_4:
        floors = old.execute("SELECT nonce_floor, dev_eui, key_mark FROM nodes").fetchall()
        new.executemany(  # of another AppKey it says nothing
            "UPDATE nodes SET nonce_floor = max(nonce_floor, ?) WHERE dev_eui = ? AND key_mark IS ?", floors
        )
    tokens = old.execute("SELECT token, eui FROM gateways WHERE removed_at IS NULL").fetchall()
    new.executemany("UPDATE gateways SET token = ? WHERE eui = ? AND removed_at IS NULL", tokens)
    admin = old.execute("SELECT key, value FROM meta WHERE key = ?", (meta.ADMIN_TOKEN,)).fetchall()
    new.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", admin)


def _retire(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """What was retired after the backup was made stays so, without its key."""
    retired = "SELECT retired_at, dev_eui, key_mark, nonce_floor FROM nodes WHERE retired_at IS NOT NULL"
    for moment, dev_eui, mark, floor in old.execute(retired).fetchall():
        which = "SELECT id FROM nodes WHERE dev_eui = ? AND added_at <= ? AND retired_at IS NULL"
        for (node_id,) in new.execute(which, (dev_eui, moment)).fetchall():
            new.execute(
                "UPDATE nodes SET retired_at = ?1, removed_at = coalesce(removed_at, ?1),"
                " changed_at = max(changed_at, ?1), app_key = NULL, key_mark = ?3, nonce_floor = max(nonce_floor, ?4)"
                " WHERE id = ?2",
                (moment, node_id, mark, floor),
            )
            new.execute(
                "UPDATE sessions SET ended_at = ?, nwk_skey = NULL, app_skey = NULL"
                " WHERE node_id = ? AND ended_at IS NULL",
                (moment, node_id),
            )
            new.execute(
                "UPDATE downlinks SET state = 'removed', state_at = ?"
                " WHERE node_id = ? AND state IN ('waiting', 'queued')",
                (moment, node_id),
            )


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
