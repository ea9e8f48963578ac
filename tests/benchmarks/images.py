"""How long a node's images take: its filesystem and its identity, with nothing compiled yet, then for a whole class."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from spatz.images.compiler import compiled
from spatz.images.filesystem import filesystem_image, node_files, read_filesystem
from spatz.images.folders import CACHE
from spatz.images.nvs_image import Identity, identity_of, nvs_image, read_nvs
from spatz.names import node_name
from spatz.wishes import Wishes

NODES = 60
VFS = 6 << 20  # of a board with 8 MiB
NVS = 0x6000

_ONE = """
import os, time
begin = time.perf_counter()
from tests.benchmarks.images import images_of
images_of("amsel")
print(f"{time.perf_counter() - begin:.2f} ({sum(os.times()[:4]):.2f} of a processor), with starting")
"""


def images_of(name: str) -> tuple[bytes, bytes]:
    """Both images of one node, as `spatz flash` makes them."""
    files = node_files(Wishes(name, "heltec-v3", ("bme280",)))
    identity = Identity(secrets.token_bytes(8), secrets.token_bytes(8), secrets.token_bytes(16))
    return filesystem_image(files, VFS), nvs_image(identity, NVS)


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get(CACHE)
        os.environ[CACHE] = folder
        try:
            yield from _rows()
        finally:
            if before is None:
                del os.environ[CACHE]
            else:
                os.environ[CACHE] = before


def _rows() -> Iterator[tuple[str, str, str]]:
    asked = [sys.executable, "-c", _ONE]
    first = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    yield "seconds for a node's two images, all compiled anew", "<= 1", first.strip()
    second = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    yield "the same again, in another process", "", second.strip()

    begin = time.perf_counter()
    made = [images_of(node_name(at)) for at in range(NODES)]
    yield f"seconds for {NODES} nodes", "<= 20", f"{time.perf_counter() - begin:.2f}"

    begin = time.perf_counter()
    for filesystem, nvs in made:
        if not identity_of(read_nvs(nvs)) or "main.py" not in read_filesystem(filesystem, VFS):
            raise RuntimeError("what was made cannot be read")
    yield f"seconds to read those {NODES} back", "", f"{time.perf_counter() - begin:.2f}"

    sources = {f"m{at}.py": f"x = {at}\n".encode() for at in range(100)}
    begin = time.perf_counter()
    compiled(sources)
    yield "ms to compile one small file (start of the compiler)", "", f"{(time.perf_counter() - begin) * 10:.1f}"
