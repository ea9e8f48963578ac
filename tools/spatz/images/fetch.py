"""Fetching files with MicroPython: from their makers, from a mirror in the workshop, or from a folder on a USB stick.

A file grows as NAME.part and gets its name when it has been checked; what broke off goes on where it stopped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nest.errors import UserError
from nest.i18n import tr

from spatz.images import cache
from spatz.images.cache import Kept, Wanted
from spatz.images.folders import write_whole

if TYPE_CHECKING:
    import httpx

Progress = Callable[[int, int], None]
"""(bytes that are here, bytes in all; 0: not known)."""

_TRIES = 4
_PATIENCE_S = 15.0
_MOST_BYTES = 64 << 20
_MAGIC = b"\xe9"
_PARTIAL, _NOT_SATISFIABLE = 206, 416


def fetch(wanted: Wanted, source: str = "", progress: Progress = lambda done, total: None) -> Kept:
    """The file, from the cache when it is there and right.

    source: "" for its makers, a URL that the files lie under, or a folder.

    Raises UserError: it cannot be had, or is not what it should be; nothing wrong is left under its name.
    """
    here = cache.kept(wanted)
    if here is None:
        if source and "://" not in source:
            _copy(wanted, Path(source).expanduser())
        else:
            _download(wanted, f"{source.rstrip('/')}/{wanted.name}" if source else wanted.url, progress)
        here = cache.kept(wanted)
        if here is None:  # another process, or a disk that forgets
            raise UserError(tr("{file} could not be kept.", file=wanted.name), _disk_advice())
    cache.remember(wanted, here.sha256)
    return cache.kept(wanted) or here


def _copy(wanted: Wanted, folder: Path) -> None:
    for place in (folder / wanted.name, folder / cache.images_folder().name / wanted.name):
        if place.is_file():
            try:
                data = place.read_bytes()
            except OSError as error:
                raise UserError(tr("{file} cannot be read: {why}.", file=place, why=error.strerror or error)) from None
            cache.checked(wanted, data)
            if not write_whole(wanted.path, data):
                raise UserError(tr("{file} could not be kept.", file=wanted.name), _disk_advice())
            return
    raise UserError(
        tr("{file} is not in {folder}.", file=wanted.name, folder=folder),
        tr("Copy it there from a computer that has it; spatz firmware list says where it lies."),
    )


def _disk_advice() -> str:
    return tr("Is the disk full? The files lie in {folder}.", folder=cache.images_folder())


def _download(wanted: Wanted, url: str, progress: Progress) -> None:
    import httpx

    part = wanted.path.with_name(wanted.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=_PATIENCE_S, follow_redirects=True) as client:
            resumed = True
            while resumed:
                resumed = _stream(client, url, part, progress)
                try:
                    cache.checked(wanted, part.read_bytes())
                    break
                except UserError:
                    part.unlink()
                    if not resumed:  # else its first half may be of another attempt, at another file of this name
                        raise
        os.replace(part, wanted.path)
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(tr("{file} could not be kept: {why}.", file=wanted.name, why=why), _disk_advice()) from None


def _stream(client: httpx.Client, url: str, part: Path, progress: Progress) -> bool:
    """Fetch into `part`, going on behind what is in it, in a few attempts; whether something was in it at first."""
    import httpx

    resumed = part.exists() and part.stat().st_size > 0
    for attempt in range(1, _TRIES + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(client, url, part, before, progress)
            return resumed
        except httpx.TransportError as error:
            grown = part.exists() and part.stat().st_size > before
            if attempt < _TRIES and grown:
                continue
            if part.exists() and part.stat().st_size:
                raise UserError(
                    tr("The connection to {host} broke off.", host=httpx.URL(url).host),
                    tr("Start again: it goes on where it stopped."),
                ) from None
            raise _offline(url, error) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise UserError(tr('"{url}" is no address.', url=url), tr("Write it as https://…")) from None
    raise AssertionError


def _attempt(client: httpx.Client, url: str, part: Path, at: int, progress: Progress) -> None:
    headers = {"Range": f"bytes={at}-"} if at else {}
    headers["Accept-Encoding"] = "identity"
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == _NOT_SATISFIABLE and at:
            part.unlink()
            return _attempt(client, url, part, 0, progress)
        if not answer.is_success:
            said = tr("it says {status}", status=answer.status_code)
            raise UserError(
                tr("{host} does not give {file}: {why}.", host=answer.url.host, file=part.stem, why=said),
                tr("Take a copy: spatz firmware fetch --from FOLDER. Or your own: spatz flash --firmware FILE"),
            )
        if "html" in answer.headers.get("content-type", ""):
            raise _web_page(part.stem)
        begin, total = _extent(answer, at)
        with part.open("r+b" if begin else "wb") as file:
            file.truncate(begin)
            file.seek(begin)
            done = begin
            progress(done, total)
            for block in answer.iter_bytes():  # as it comes: what is held back would be lost with the connection
                if done == 0 and block[:1] != _MAGIC:
                    raise _web_page(part.stem)
                done += len(block)
                if done > _MOST_BYTES:
                    raise _web_page(part.stem)
                file.write(block)
                progress(done, total or done)
            file.flush()
            os.fsync(file.fileno())
    return None


def _extent(answer: httpx.Response, asked: int) -> tuple[int, int]:
    """Where the bytes that come belong, and how many the file has (0: not said)."""
    length = answer.headers.get("content-length", "")
    length = int(length) if length.isdigit() else 0
    if answer.status_code == _PARTIAL:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("content-range", ""))
        if said and int(said[1]) == asked:
            return asked, int(said[2])
    return 0, length


def _web_page(name: str) -> UserError:
    return UserError(
        tr("Something else came instead of {file}.", file=name),
        tr("Open a browser: does this network want a login? Then start again."),
    )


def _offline(url: str, error: Exception) -> UserError:
    import httpx

    return UserError(
        tr("This computer does not reach {host}.", host=httpx.URL(url).host),
        tr("Go online and start again, or take a copy: spatz firmware fetch --from FOLDER"),
    )
