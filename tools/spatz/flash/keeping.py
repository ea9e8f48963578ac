"""Nodes' own logs, kept in the town's folder while their filesystems are written: else they are nowhere meanwhile.

DEVEUI.read      what a board had; counts for nothing, for the board has it still
DEVEUI.zip       writing over it has begun: when the board comes back, its log is put together from this and its own
DEVEUI-N.zip     there was no room for it on the board; for people
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

Log = dict[str, bytes]
"""Path on the board -> content."""

_HEAD = struct.Struct(">3sI")  # firmware/node/log.py: magic, sequence number


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
        with self._told():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with zipfile.ZipFile(self._file(dev_eui, ".read"), "w", zipfile.ZIP_DEFLATED) as archive:
                for path, data in log.items():
                    archive.writestr(path, data)

    def begun(self, dev_eui: bytes) -> None:
        """From now on what the board has of its log may be gone."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._file(dev_eui, ".read").replace(self._file(dev_eui, ".zip"))

    def kept(self, dev_eui: bytes) -> Log:
        """What was kept of a board that was interrupted: {} mostly."""
        try:
            with self._told(), zipfile.ZipFile(self._file(dev_eui, ".zip")) as archive:
                return {path: archive.read(path) for path in archive.namelist()}
        except (FileNotFoundError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
            return {}

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
        with self._told():
            asides = (self._file(dev_eui, f"-{number}.zip") for number in itertools.count(1))
            aside = next(file for file in asides if not file.exists())
            with contextlib.suppress(FileNotFoundError):
                return self._file(dev_eui, ".zip").replace(aside)
        return None

    def _file(self, dev_eui: bytes, ending: str) -> Path:
        return self._folder / f"{dev_eui.hex()}{ending}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(
                tr("Not to be written: {path} ({reason}).", path=self._folder, reason=error.strerror or error),
                tr("Make room there, or see who may write it, and start again."),
            ) from error


def together(kept: Log, own: Log) -> Log:
    """The newer of both, file by file: a node may have written on after it was interrupted. What stands in a file that
    was written only by half is not newer: it neither goes on where the kept one ends, nor has a later number."""
    return {**kept, **{path: data for path, data in own.items() if path not in kept or _newer(data, kept[path])}}


def _newer(own: bytes, kept: bytes) -> bool:
    if own.startswith(kept):
        return True
    if len(own) < _HEAD.size or len(kept) < _HEAD.size:
        return False
    (magic, number), (wanted, before) = _HEAD.unpack_from(own), _HEAD.unpack_from(kept)
    return magic == wanted and number > before
