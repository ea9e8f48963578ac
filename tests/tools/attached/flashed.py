"""A virtual board that has been set up: what flashing would leave on it, put there at once."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spatz.boards import load_board
from spatz.images.filesystem import filesystem_image, node_files, read_filesystem
from spatz.images.layout import Layout, layout_of
from spatz.images.micropython_image import MicroPythonImage, read_image
from spatz.images.nvs_image import Identity, nvs_image
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import made_image
from spatz.wishes import Wishes

KEY = bytes(range(16))
JOIN_EUI = bytes.fromhex("0273706174e10001")


def wishes(**more: Any) -> Wishes:
    """A node called amsel."""
    return Wishes(**{"name": "amsel", "board": "heltec-v3", "sensors": ("bme280",), **more})


def layout(board: str = "heltec-v3") -> Layout:
    """Where things lie on its flash."""
    module = load_board(board).module
    return layout_of(_image(module.chip).table, module.chip, module.flash_mb << 20)


def board_with(folder: Path, registry: Path, files: Mapping[str, bytes], **more: Any) -> VirtualBoard:
    """A heltec-v3 with MicroPython, an identity and these files, not switched on yet."""
    board = VirtualBoard(folder, registry=registry, **more)
    where = layout()
    parts = [
        *_image("esp32s3").parts(where),
        (where.nvs.offset, nvs_image(Identity(board.dev_eui, JOIN_EUI, KEY), where.nvs.size)),
        (where.vfs.offset, _filesystem(tuple(sorted(files.items())), where.vfs.size)),
    ]
    flash = bytearray(b"\xff") * where.flash_bytes
    for at, data in parts:
        flash[at : at + len(data)] = data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flash.bin").write_bytes(flash)
    return board


def files_on(board: VirtualBoard) -> dict[str, bytes]:
    """What lies in its flash now, but for the node's own log."""
    vfs = layout().vfs
    files = read_filesystem(board.flash()[vfs.offset : vfs.offset + vfs.size], vfs.size)
    return {path: data for path, data in files.items() if not path.startswith("log/")}


@functools.cache
def good_files(**more: Any) -> dict[str, bytes]:
    """What should be on it."""
    return node_files(wishes(**more))


@functools.cache
def _image(chip: str) -> MicroPythonImage:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.bin"
        path.write_bytes(made_image(chip))
        return read_image(path)


@functools.lru_cache(maxsize=4)
def _filesystem(files: tuple[tuple[str, bytes], ...], size: int) -> bytes:
    return filesystem_image(dict(files), size)
