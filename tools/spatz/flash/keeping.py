"""Nodes' own logs, kept in the town's folder while their filesystems are written: else they are nowhere meanwhile.

DEVEUI.read      what a board had; counts for nothing, for the board has it still
DEVEUI.zip       writing over it has begun: when the board comes back, its log is put together from this and its own
DEVEUI-N.zip     what no board gets again: no room for it, another town's, or of two counts the one that gave way; for
                 people (`attached/put_aside.py` reads it)
"""

from __future__ import annotations

import contextlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

from spatz.logfile import LogFile, read_log_file

Log = dict[str, bytes]
"""Path on the board -> content."""

# firmware/node/log.py: FILES, FILE_SIZE, _name
LOG_FILES = tuple(f"log/{number}.bin" for number in range(16))
"""The only paths that are a node's own: a hostile board gives its files any name, and "log/../boot.py" is a program."""
LOG_FILE_BYTES = 4096
_TRIES = 5


class KeptLogs:
    """For many boards at once. Each method raises UserError: the folder cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def close(self) -> None:
        """No folder stays for nothing."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def keep(self, dev_eui: bytes, log: Log) -> None:
        """Before anything is written."""
        if not log:
            return
        self._write(self._file(dev_eui, ".read"), log)

    def begun(self, dev_eui: bytes) -> None:
        """From now on what the board has of its log may be gone."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._file(dev_eui, ".read").replace(self._file(dev_eui, ".zip"))

    def kept(self, dev_eui: bytes) -> Log:
        """What was kept of a board that was interrupted: {} mostly."""
        return self._read(self._file(dev_eui, ".zip"))

    def asides(self, dev_eui: bytes) -> list[Log]:
        """All that was put aside of it."""
        with self._told():
            return [self._read(file) for file in self._folder.glob(f"{dev_eui.hex()}-*.zip")]

    def drop(self, dev_eui: bytes) -> None:
        """The board was not touched, or is done: what it has counts."""
        with self._told():
            self._file(dev_eui, ".read").unlink(missing_ok=True)

    def forget(self, dev_eui: bytes) -> None:
        """It is on the board again."""
        self.drop(dev_eui)
        with self._told():
            self._file(dev_eui, ".zip").unlink(missing_ok=True)

    def put_aside(self, dev_eui: bytes) -> Path | None:
        """There was no room for it on the board. Where it lies now."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            return self._file(dev_eui, ".zip").replace(self._next_aside(dev_eui))
        return None

    def write_aside(self, dev_eui: bytes, log: Log) -> Path:
        """The same of what will not go on the board at all, before anything is written there."""
        new = self._file(dev_eui, ".new")
        self._write(new, log)
        with self._told():
            return new.replace(self._next_aside(dev_eui))

    def _next_aside(self, dev_eui: bytes) -> Path:
        asides = (self._file(dev_eui, f"-{number}.zip") for number in itertools.count(1))
        return next(file for file in asides if not file.exists())

    def _read(self, file: Path) -> Log:
        with self._told(), contextlib.suppress(FileNotFoundError):
            return unpacked(file)
        return {}

    def _write(self, file: Path, log: Log) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in log.items():
                archive.writestr(path, data)
        with self._told():
            for tries_left in reversed(range(_TRIES)):
                try:
                    self._folder.mkdir(mode=0o700, exist_ok=True)
                    file.write_bytes(packed.getvalue())
                    return
                except (FileNotFoundError, FileExistsError) as error:
                    if not tries_left:  # else another program at this town has ended: its `close` took the empty folder
                        raise self._not_to_be_written(error.strerror or str(error)) from None

    def _file(self, dev_eui: bytes, ending: str) -> Path:
        return self._folder / f"{dev_eui.hex()}{ending}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._not_to_be_written(error.strerror or str(error)) from error

    def _not_to_be_written(self, reason: str) -> UserError:
        return UserError(
            tr("Not to be written: {path} ({reason}).", path=self._folder, reason=reason),
            tr("Make room there, or see who may write it, and start again."),
        )


def log_in(files: Log) -> Log:
    """What of these files is a node's log, by name and size."""
    return {path: data for path, data in files.items() if path in LOG_FILES and len(data) <= LOG_FILE_BYTES}


def unpacked(file: Path) -> Log:
    """The log in a file of that folder, {} when it is damaged. Raises OSError: it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {one.filename: one.file_size for one in archive.infolist()}
            return log_in({path: archive.read(path) for path, size in sizes.items() if size <= LOG_FILE_BYTES})
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        return {}


def parted(kept: Log, own: Log, asides: Iterable[Log] = (), *, is_ours: bool = True) -> tuple[Log, Log]:
    """What the board gets again, and what is to be put aside first, for it is nowhere else then.

    kept: what this town kept of it; own: what is on it; asides: what was put aside before. is_ours: what is on it was
    written as this town's node (`plan.is_our_log`). After a cut, a board whose log was put aside may have it still,
    though by its keys it is ours now: a file that goes on where one of `asides` ends is none of ours either.

    A node's count of files begins anew with its filesystem, so a lower number is not older, and a file that gives way
    is put aside; not what all is in the file that stays, nor what the node itself would have written over.
    """
    asides = [log_in(one) for one in asides]
    kept, own = log_in(kept), log_in(own)
    ours = {
        path: data
        for path, data in own.items()
        if is_ours and not any(_goes_on(path, data, one.get(path, b"")) for one in asides)
    }
    log = together(kept, ours)
    later = _later(kept, ours)
    gone = {path: data for path, data in kept.items() if not _is_in(path, data, log[path]) and path not in later}
    lost = {path: data for path, data in own.items() if path not in ours or not _is_in(path, data, log[path])}
    return log, {path: data for path, data in (gone | lost).items() if all(one.get(path) != data for one in asides)}


def together(kept: Log, own: Log) -> Log:
    """The newer of both, file by file: a node may have written on after it was interrupted. What stands in a file that
    was written only by half is not newer: it neither goes on where the kept one ends, nor is a later one."""
    kept, own = log_in(kept), log_in(own)
    newer = {path: data for path, data in own.items() if path not in kept or _is_newer(path, data, kept[path])}
    return {**kept, **newer}


def _file(path: str, data: bytes) -> LogFile | None:
    """None when its head is damaged or another file's: no node and no program reads it."""
    file = read_log_file(data)
    return file if file and path == LOG_FILES[file.number % len(LOG_FILES)] else None


def _has_all_of(file: LogFile, other: LogFile) -> bool:
    """Whether no reading goes when `other` gives way. Two counts' files may begin alike: a node that does not know the
    time counts from its start, always with the same numbers."""
    same = (file.number, file.before) == (other.number, other.before)
    return same and set(file.records) >= set(other.records)


def _goes_on(path: str, data: bytes, before: bytes) -> bool:
    earlier, file = _file(path, before), _file(path, data)
    return bool(earlier and earlier.records and file and _has_all_of(file, earlier))


def _is_newer(path: str, own: bytes, kept: bytes) -> bool:
    mine, old = _file(path, own), _file(path, kept)
    return mine is not None and (old is None or mine.number > old.number or _has_all_of(mine, old))


def _is_in(path: str, data: bytes, stays: bytes) -> bool:
    """Whether no reading goes with it: an earlier copy of what stays, one written only by half, or no file at all."""
    file, other = _file(path, data), _file(path, stays)
    return file is None or (other is not None and _has_all_of(other, file))


def _later(kept: Log, own: Log) -> set[str]:
    """Where `own` provably has a later file of the same count, for which the node gave up the kept one. Proven by every
    file from that one on: each knows how many records were before it, and `own` goes on where `kept` ends."""
    was, now = _by_number(kept), _by_number(own)
    newest = max((number for number, file in was.items() if file.records), default=0)
    if newest not in now or not all(_has_all_of(now[number], was[number]) for number in was.keys() & now.keys()):
        return set()
    first = last = newest
    while first - 1 in was and _follows(was[first - 1], was[first]):
        first -= 1
    while last + 1 in now and _follows(now[last], now[last + 1]):
        last += 1
    ring = len(LOG_FILES)
    return {LOG_FILES[number % ring] for number in range(first, newest) if number + ring <= last}


def _by_number(log: Log) -> dict[int, LogFile]:
    files = (_file(path, data) for path, data in log.items())
    return {file.number: file for file in files if file}


def _follows(file: LogFile, after: LogFile) -> bool:
    return after.before == file.before + len(file.records)
