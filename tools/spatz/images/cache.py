"""The files with MicroPython on this computer: which boards want which, and whether they are what they should be.

A file is known by its SHA-256: from the board file where somebody has published it, else as it was the first time
(`index.json` beside the files remembers it). Its own checksums must be right in any case.
"""

from __future__ import annotations

import datetime
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.catalogue import Board
from spatz.images.folders import cache_folder, write_whole
from spatz.images.micropython_image import MicroPythonImage, check_chip, image_of, read_image
from spatz.troubles import trouble

INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that boards want. sha256: "" when nobody has published it."""

    build: str
    version: str
    url: str
    sha256: str
    chip: str
    boards: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """What it is called at micropython.org and here."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def path(self) -> Path:
        """Where it lies, or would lie."""
        return images_folder() / self.name


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is here and right. checksum: "published", or "first seen" with `since` (2026-11-22)."""

    path: Path
    size: int
    sha256: str
    checksum: str
    since: str = ""


def images_folder() -> Path:
    """Where the files lie; a copy of this folder is a source for `spatz firmware fetch --from`."""
    return cache_folder() / "firmware"


def wanted_by(boards: Iterable[Board]) -> list[Wanted]:
    """The files that these boards want, each once, by name."""
    found: dict[str, Wanted] = {}
    for board in boards:
        wish = board.micropython
        before = found.get(wish.url)
        found[wish.url] = Wanted(
            build=wish.build,
            version=wish.version,
            url=wish.url,
            sha256=wish.sha256 or (before.sha256 if before else ""),
            chip=board.module.chip,
            boards=(*(before.boards if before else ()), board.name),
        )
    return sorted(found.values(), key=lambda wanted: wanted.name)


def image_for(board: Board, file: Path | None = None) -> MicroPythonImage:
    """The MicroPython for this board: from `file`, else from the cache; checked.

    Raises UserError: Trouble `no_image`, it has not been fetched; `bad_image`; `wrong_chip`; or it has changed.
    """
    if file is not None:
        image = read_image(file)
    else:
        (wanted,) = wanted_by([board])
        try:
            data = wanted.path.read_bytes()
        except OSError:
            raise trouble("no_image", board=board.name) from None
        image = checked(wanted, data)
    check_chip(image, board.module.chip, board.micropython.build)
    return image


def checked(wanted: Wanted, data: bytes) -> MicroPythonImage:
    """The image in these bytes. Raises UserError (Trouble `bad_image`, `wrong_chip`): they are not what is wanted."""
    image = image_of(data, wanted.name)
    if wanted.sha256 and not hmac.compare_digest(image.sha256, wanted.sha256):
        raise trouble("bad_image", file=wanted.name, why=tr("its SHA-256 is another one"))
    check_chip(image, wanted.chip, wanted.build)
    before = _remembered().get(wanted.name)
    if not wanted.sha256 and before and before.get("sha256") != image.sha256:
        raise UserError(
            tr("{file} is another one than on {day}.", file=wanted.name, day=before.get("since", "?")),
            tr("Ask why. To take it all the same, delete {file}.", file=images_folder() / INDEX),
        )
    return image


def kept(wanted: Wanted) -> Kept | None:
    """The file, when it is here and right; None when it is missing or damaged."""
    try:
        data = wanted.path.read_bytes()
        image = checked(wanted, data)
    except (OSError, UserError):
        return None
    if wanted.sha256:
        return Kept(wanted.path, len(data), image.sha256, "published")
    since = _remembered().get(wanted.name, {}).get("since", "")
    return Kept(wanted.path, len(data), image.sha256, "first seen", since)


def remember(wanted: Wanted, sha256: str) -> None:
    """Keep what this file's SHA-256 is, unless it is known already."""
    index = _remembered()
    if wanted.name not in index:
        index[wanted.name] = {"sha256": sha256, "since": datetime.datetime.now(datetime.UTC).date().isoformat()}
        write_whole(images_folder() / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())


def strangers(wanted: Iterable[Wanted]) -> list[Path]:
    """Files with MicroPython in the cache that none of these are: of older versions, or put there by hand."""
    names = {one.name for one in wanted}
    folder = images_folder()
    return sorted(path for path in folder.glob("*.bin") if path.name not in names) if folder.is_dir() else []


def _remembered() -> dict[str, dict[str, Any]]:
    try:
        index = json.loads((images_folder() / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(index, dict):
        return {}
    return {name: entry for name, entry in index.items() if isinstance(entry, dict)}
