"""Firmware and configuration onto a node that is there already: only what changed, and never half of it.

Files are compared by digest, for the manifest on the node tells what was meant to be there and not what a cut has left.
What differs is written beside its place as X.new, checked, and then renamed, which littlefs does wholly or not at all.
The manifest (`spatz.json`) is renamed last: until then the next update knows that this one has not come to its end.
NVS, the log and what people have put on the node are not touched.
"""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from nest.errors import UserError
from nest.logs import printable

from spatz.attached import snippets
from spatz.attached.repl import Repl
from spatz.images.filesystem import LOG, MANIFEST, short_hash
from spatz.troubles import trouble
from spatz.wishes import Wishes, wishes_of

_KEPT = ("boot.py",)  # people's own
_THEIRS = ("sensors",)  # a folder of ours that people put drivers of their own into
_NEW = ".new"
_LARGEST = 65_536  # bytes of a file that may be ours
_CHUNK = 4096
_SCRIPT = 6000  # characters of one script: it is parsed in the node's memory
_WINDOW_BITS = 12
_TRIES = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class There:
    """What is on a node. files: path -> digest; manifest: the same, as it should be; wishes: what it was made from;
    firmware: its version; dev_eui: 16 hex digits; mpy: version of compiled files that its MicroPython runs. None, "" or
    empty where the node does not say."""

    files: Mapping[str, str]
    manifest: Mapping[str, str] = field(default_factory=dict)
    wishes: Wishes | None = None
    firmware: str = ""
    dev_eui: str = ""
    micropython: str = ""
    mpy: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A file to be written, and why: "new" or "changed"."""

    path: str
    why: str
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. remove: paths."""

    send: tuple[Change, ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.send or self.remove)


def look(repl: Repl) -> There:
    """What is on the node. Raises Trouble."""
    said = repl.ask(snippets.LOOK, skip=[LOG], largest=_LARGEST)
    manifest = _manifest(said.get("manifest", ""))
    return There(
        files=said["files"],
        manifest=manifest["files"],
        wishes=_wishes(manifest["wishes"]),
        firmware=printable(manifest["firmware"]),
        dev_eui=said.get("dev_eui", ""),
        micropython=printable(said.get("version", "")),
        mpy=said.get("mpy"),
    )


def check(wanted: Mapping[str, bytes], there: There) -> None:
    """Raises Trouble: the node's MicroPython does not run such files (they begin with "M" and their version)."""
    versions = {data[1] for path, data in wanted.items() if path.endswith(".mpy")}
    if there.mpy is not None and versions - {there.mpy}:
        raise trouble("old_micropython", version=there.micropython)


def _manifest(text: str) -> dict[str, Any]:
    """A node's manifest; empty parts for what is missing or damaged."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    files = said.get("files")
    return {
        "files": files if isinstance(files, dict) else {},
        "wishes": said.get("wishes"),
        "firmware": said.get("firmware", ""),
    }


def _wishes(said: object) -> Wishes | None:
    try:
        return wishes_of(said if isinstance(said, str) else json.dumps(said))
    except (UserError, RecursionError):
        return None


def plan(wanted: Mapping[str, bytes], there: There) -> Plan:
    """What makes the node's files the wanted ones."""
    send = [
        Change(path, "changed" if path in there.files else "new", len(data))
        for path, data in sorted(wanted.items())
        if there.files.get(path) != short_hash(data)
    ]
    renamed = {change.path + _NEW for change in send}  # left by a cut, and written anew
    remove = [path for path in sorted(there.files) if path not in wanted and path not in renamed]
    return Plan(tuple(send), tuple(path for path in remove if _goes(path, wanted, there)))


def _goes(path: str, wanted: Mapping[str, bytes], there: There) -> bool:
    """Whether a file that is not wanted is ours to remove."""
    if path in _KEPT or path.startswith(LOG + "/"):
        return False
    if path in there.manifest:
        return True
    folders = {name.partition("/")[0] for name in wanted if "/" in name}
    name = PurePosixPath(path)
    if path.endswith(_NEW):  # left by an update that was cut
        return path.removesuffix(_NEW) in {*wanted, *there.manifest} or _is_in(name, folders)
    if str(name.with_suffix(".mpy")) in wanted and name.suffix == ".py":
        return True  # MicroPython would take it instead of ours
    return _is_in(name, folders)


def _is_in(name: PurePosixPath, folders: set[str]) -> bool:
    """Whether it is in a folder of ours in which nobody else puts anything."""
    return len(name.parts) > 1 and name.parts[0] in folders and name.parts[0] not in _THEIRS


def carry_out(repl: Repl, wanted: Mapping[str, bytes], plan_: Plan, progress: Progress = lambda *_: None) -> None:
    """Do it. progress: is told how many bytes of how many are there.

    Raises Trouble: no room, the cable damages what it carries, or the node is gone; the next update mends it.
    """
    send = [change.path for change in plan_.send]
    may_pack = bool(repl.ask(snippets.RECEIVE)) if send else False
    paths = send
    for _ in range(_TRIES):
        try:
            _send(repl, {path: wanted[path] for path in paths}, may_pack, progress)
        except UserError:
            _take_back(repl, send)
            raise
        paths = repl.ask(
            snippets.SWITCH,
            files={path: short_hash(wanted[path]) for path in send},
            order=_in_order(send),
            remove=list(plan_.remove),
            folders=_folders(plan_.remove, wanted),
            last=MANIFEST if MANIFEST in send else "",
        )
        if not paths:
            return
    _take_back(repl, send)
    raise trouble("bad_cable")


def _take_back(repl: Repl, paths: list[str]) -> None:
    """Make room again after a failure, if the node still listens. What stays is overwritten by the next update."""
    if repl.listens:
        with contextlib.suppress(UserError):
            repl.ask(snippets.CLEAN, paths=paths)


def _in_order(paths: list[str]) -> list[str]:
    """Modules first, then what calls them; the manifest is not among them."""
    return sorted((path for path in paths if path != MANIFEST), key=lambda path: ("/" not in path, path))


def _folders(remove: tuple[str, ...], wanted: Mapping[str, bytes]) -> list[str]:
    """Folders that may be empty afterwards, the inner ones first."""
    kept = {str(parent) for path in wanted for parent in PurePosixPath(path).parents}
    mine = {str(parent) for path in remove for parent in PurePosixPath(path).parents} - kept - {"."}
    return sorted(mine, key=len, reverse=True)


def _send(repl: Repl, files: Mapping[str, bytes], may_pack: bool, progress: Progress) -> None:
    total = sum(len(data) for data in files.values())
    done = 0
    progress(done, total)
    for script, size in _scripts(files, may_pack):
        repl.run(script)
        done += size
        progress(done, total)


def _scripts(files: Mapping[str, bytes], may_pack: bool) -> Iterator[tuple[str, int]]:
    """Scripts that write the files as X.new, and how many bytes each writes."""
    lines: list[str] = []
    length = size = 0
    for line, more in _lines(files, may_pack):
        if length + len(line) > _SCRIPT:
            yield "\n".join(lines), size
            lines, length, size = [], 0, 0
        lines.append(line)
        length += len(line)
        size += more
    if lines:
        yield "\n".join(lines), size


def _lines(files: Mapping[str, bytes], may_pack: bool) -> Iterator[tuple[str, int]]:
    for path, data in files.items():
        yield f"_open({path!r})", 0
        for at in range(0, len(data), _CHUNK):
            chunk = data[at : at + _CHUNK]
            packed = _packed(chunk) if may_pack else chunk
            call, body = ("_unpack", packed) if len(packed) < len(chunk) else ("_put", chunk)
            yield f"{call}({base64.b64encode(body).decode()!r})", len(chunk)
        yield "_file.close()", 0


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -_WINDOW_BITS)
    return packer.compress(data) + packer.flush()
