"""Nodes' own logs, kept in the town's folder while their filesystems are written: else they are nowhere meanwhile.

DEVEUI.read      what a board had; counts for nothing, for the board has it still
DEVEUI.zip       writing over it has begun: when the board comes back, its log is put together from this and its own
DEVEUI-N.zip     what no board gets again: no room for it, another town's, or of a count that was begun anew; for people
"""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

Log = dict[str, bytes]
"""Path on the board -> content."""

# firmware/node/log.py: FILES, FILE_SIZE, _name and the head: magic, sequence number, records before it, its CRC
LOG_FILES = tuple(f"log/{number}.bin" for number in range(16))
"""The only paths that are a node's own: a hostile board gives its files any name, and "log/../boot.py" is a program."""
LOG_FILE_BYTES = 4096
_MAGIC = b"FL\x01"
_HEAD = struct.Struct(">3sIIH")
_KNOWN_BY = _HEAD.size + 8  # and of its first record all up to its time: no two files begin alike
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
        try:
            with self._told(), zipfile.ZipFile(file) as archive:
                sizes = {one.filename: one.file_size for one in archive.infolist()}
                return log_in({path: archive.read(path) for path, size in sizes.items() if size <= LOG_FILE_BYTES})
        except (FileNotFoundError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
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


def parted(kept: Log, own: Log, asides: Iterable[Log] = (), *, is_ours: bool = True) -> tuple[Log, Log]:
    """What the board gets again, and what is to be put aside first, for it is nowhere else then.

    kept: what this town kept of it; own: what is on it; asides: what was put aside before. is_ours: what is on it was
    written as this town's node (`plan.is_our_log`). After a cut, a board whose log was put aside may have it still,
    though by its keys it is ours now: a file that goes on where one of `asides` ends is none of ours either.
    """
    asides = [log_in(one) for one in asides]
    own = log_in(own)
    ours = {
        path: data
        for path, data in own.items()
        if is_ours and not any(_goes_on(data, one.get(path, b"")) for one in asides)
    }
    log = together(kept, ours)
    lost = {path: data for path, data in own.items() if path not in ours or _is_lost(path, data, log[path])}
    return log, {path: data for path, data in lost.items() if all(one.get(path) != data for one in asides)}


def together(kept: Log, own: Log) -> Log:
    """The newer of both, file by file: a node may have written on after it was interrupted. What stands in a file that
    was written only by half is not newer: it neither goes on where the kept one ends, nor is a later one."""
    kept, own = log_in(kept), log_in(own)
    newer = {path: data for path, data in own.items() if path not in kept or _is_newer(path, data, kept[path])}
    return {**kept, **newer}


def _goes_on(data: bytes, before: bytes) -> bool:
    return len(before) >= _KNOWN_BY and data.startswith(before)


def _is_newer(path: str, own: bytes, kept: bytes) -> bool:
    return own.startswith(kept) or (_number(path, own) or 0) > (_number(path, kept) or 0)


def _is_lost(path: str, own: bytes, stays: bytes) -> bool:
    """Whether readings go with it: it is whole, and not an earlier copy of what stays, or one written only by half."""
    if not _number(path, own) or own == stays:
        return False
    return own[:_KNOWN_BY] != stays[:_KNOWN_BY] or len(own) > len(stays)


def _number(path: str, data: bytes) -> int | None:
    """Which file of its node's log this is, from 1 on; None when its head is damaged or another file's."""
    if len(data) < _HEAD.size:
        return None
    magic, number, _, crc = _HEAD.unpack_from(data)
    good = magic == _MAGIC and crc == zlib.crc32(data[: _HEAD.size - 2]) & 0xFFFF
    return number if good and path == LOG_FILES[number % len(LOG_FILES)] else None
