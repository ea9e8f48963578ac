"""The files of a node, and the littlefs image that they lie in.

Source: MicroPython's esp32 port, modules/inisetup.py and extmod/vfs_lfs.c: block 4096, read and program size 32,
lookahead 32, cache 128; littlefs SPEC.md 2.1. Images are written as disk version 2.0, which old and new ports mount.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from spatz.images.compiler import compiled
from spatz.images.layout import SECTOR
from spatz.resources import firmware_dir
from spatz.troubles import trouble
from spatz.wishes import Wishes

if TYPE_CHECKING:
    from littlefs import LittleFS, UserContext

MANIFEST = "spatz.json"
CONFIG = "config.json"
LOG = "log"
"""The folder that is the node's own."""
HASH_DIGITS = 16
_MOST_LOG = 1 << 20  # bytes of a log, all files together; a node's own has 64 KiB
_MOST_MANIFEST = 1 << 16

_PARAMETERS: Any = {"read_size": 32, "prog_size": 32, "cache_size": 128, "lookahead_size": 32, "name_max": 255}
_DISK_VERSION = 0x00020000
_FOLDER = 2  # LFS_TYPE_DIR
_DEEPEST = 16
_MOST_ACCESSES = 2_000_000  # of littlefs, for one flash; a node's takes 30 000. A folder may go on with itself for ever
_NO_SPACE = -28  # LFS_ERR_NOSPC
_RAW = "latin-1"  # every byte is a letter, so that a name which is no UTF-8 costs itself and not its whole folder


class FilesystemDamaged(Exception):  # noqa: N818  the word for it
    """What should be a node's filesystem cannot be read (any more)."""


def firmware_version() -> str:
    """The version of the node's program: that of this Funkspatz."""
    return importlib.metadata.version("funkspatz")


def firmware_files() -> dict[str, bytes]:
    """The node's program, by path: compiled, but for main.py, which MicroPython starts by that name.

    Raises UserError: a file cannot be compiled.
    """
    folder = firmware_dir()
    sources = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.py"))
        if not path.is_symlink() and "__pycache__" not in path.parts
    }
    plain = {path: source for path, source in sources.items() if path in ("main.py", "boot.py")}
    code = compiled({path: source for path, source in sources.items() if path not in plain})
    return dict(sorted({**plain, **{path[:-3] + ".mpy": bytes_ for path, bytes_ in code.items()}}.items()))


def node_files(wishes: Wishes) -> dict[str, bytes]:
    """All files of one node: its program, config.json, and spatz.json, which says what should be there.

    Raises UserError: a wish cannot be.
    """
    files = firmware_files()
    files[CONFIG] = json.dumps(wishes.config(), ensure_ascii=False).encode()
    manifest = {
        "firmware": firmware_version(),
        "wishes": json.loads(wishes.to_json()),
        "files": {path: short_hash(data) for path, data in files.items()},
    }
    files[MANIFEST] = json.dumps(manifest, ensure_ascii=False).encode()
    return files


def short_hash(data: bytes) -> str:
    """What the manifest says of a file."""
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def filesystem_image(files: dict[str, bytes], size: int) -> bytes:
    """A littlefs of `size` bytes with these files in it (path -> content); the same files give the same bytes.

    Raises Trouble `flash_full`: they do not fit.
    """
    from littlefs import LittleFS, LittleFSError

    context = _Memory(size)
    try:
        fs = LittleFS(
            cast("UserContext", context),
            block_size=SECTOR,
            block_count=size // SECTOR,
            disk_version=_DISK_VERSION,
            mount=False,
            **_PARAMETERS,
        )
        fs.format()
        fs.mount()
        for path, data in sorted(files.items()):
            if "/" in path:
                fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with fs.open(path, "wb", buffering=0) as file:
                file.write(data)
        fs.unmount()
    except LittleFSError as error:
        if error.code == _NO_SPACE:
            raise trouble("flash_full") from None
        raise
    return bytes(context.buffer)


def read_filesystem(
    image: bytes | Callable[[int, int], bytes], size: int, only: Iterable[str] = ()
) -> dict[str, bytes]:
    """The files in a littlefs, path -> content. only: these files and folders alone; without it, everything.

    image: its bytes, or what reads them: (offset in the partition, how many) -> bytes. Whole sectors are asked for,
    each at most once, and only those that are needed: so a log is read through a slow cable in seconds. A file that
    cannot be read is left out: what is whole is worth having. So is one that says it is larger than can be, what is
    too much for a log, and one whose name is none: a board may say anything.

    Raises FilesystemDamaged; and what reading raises.
    """
    from littlefs import LittleFS, LittleFSError

    context = _Reader(image if callable(image) else _slices(image), size)
    wanted = tuple(only)
    try:
        fs = LittleFS(
            cast("UserContext", context),
            mount=False,
            block_size=SECTOR,
            block_count=size // SECTOR,
            filename_encoding=_RAW,
            **_PARAMETERS,
        )
        fs.mount()
        files = _files(fs, _paths(fs, wanted), size)
    except (LittleFSError, OSError, ValueError) as error:
        context.complain()
        raise FilesystemDamaged(str(error)) from None
    context.complain()
    return files


def _paths(fs: LittleFS, wanted: tuple[str, ...]) -> list[str]:
    found = []
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in fs.scandir(_raw(folder) or "/"):
            if not (name := _name(entry.name)):
                continue
            path = f"{folder}/{name}".lstrip("/")
            if wanted and not any(_under(path, one) or (entry.type == _FOLDER and _under(one, path)) for one in wanted):
                continue
            (folders if entry.type == _FOLDER else found).append(path)
            if path.count("/") > _DEEPEST:  # damaged: a folder that is in itself
                raise FilesystemDamaged(path)
    return sorted(found)


def _name(raw: str) -> str:
    """An entry's name; "" when it is none, but a path: littlefs looks no more closely than whoever wrote the flash."""
    try:
        name = raw.encode(_RAW).decode()
    except UnicodeDecodeError:
        return ""
    return "" if name in (".", "..") or "/" in name or "\0" in name else name


def _raw(path: str) -> str:
    return path.encode().decode(_RAW)


def _under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _files(fs: LittleFS, paths: Iterable[str], size: int) -> dict[str, bytes]:
    from littlefs import LittleFSError

    files: dict[str, bytes] = {}
    left = {"": size, LOG: min(size, _MOST_LOG), MANIFEST: min(size, _MOST_MANIFEST)}
    for path in paths:
        which = LOG if _under(path, LOG) else MANIFEST if path == MANIFEST else ""
        try:
            says = fs.stat(_raw(path)).size
        except LittleFSError:
            continue
        if says > left[which] or (data := _read(fs, _raw(path))) is None:
            continue
        left[which] -= len(data)
        files[path] = data
    return files


def _read(fs: LittleFS, path: str) -> bytes | None:
    from littlefs import LittleFSError

    try:
        with fs.open(path, "rb") as file:
            return file.read()
    except LittleFSError:
        return None


def _slices(image: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: image[offset : offset + size]


class _Memory:
    """What littlefs-python writes to: a flash in memory (its own logs each access, and takes far longer)."""

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(b"\xff") * size
        self.in_size = size

    def read(self, cfg: object, block: int, off: int, size: int) -> bytes:
        at = block * SECTOR + off
        return bytes(self.buffer[at : at + size])

    def prog(self, cfg: object, block: int, off: int, data: bytes) -> int:
        at = block * SECTOR + off
        self.buffer[at : at + len(data)] = data
        return 0

    def erase(self, cfg: object, block: int) -> int:
        self.buffer[block * SECTOR : (block + 1) * SECTOR] = SECTOR * b"\xff"
        return 0

    def sync(self, cfg: object) -> int:
        return 0


class _Reader:
    """A flash that is read through a function, sector by sector, and never written."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self.in_size = size
        self._kept: dict[int, bytes] = {}
        self._failed: BaseException | None = None
        self._accesses = 0

    def complain(self) -> None:
        """Raise what reading raised: littlefs's C code cannot let it through."""
        if self._failed:
            raise self._failed

    def read(self, cfg: object, block: int, off: int, size: int) -> bytes:
        self._accesses += 1
        if self._accesses > _MOST_ACCESSES:  # what is empty from here on ends littlefs's loops, too
            self._failed = self._failed or FilesystemDamaged("endless")
        if self._failed:
            return b"\xff" * size
        if block not in self._kept and 0 <= block < self.in_size // SECTOR:
            try:
                self._kept[block] = self._read(block * SECTOR, SECTOR)
            except BaseException as error:
                self._failed = error
        return self._kept.get(block, b"").ljust(SECTOR, b"\xff")[off : off + size]

    def prog(self, cfg: object, block: int, off: int, data: bytes) -> int:
        return -5

    def erase(self, cfg: object, block: int) -> int:
        return -5

    def sync(self, cfg: object) -> int:
        return 0
