# ruff: noqa: S311 - chance that repeats
# pyright: reportMissingImports=false, reportPossiblyUnboundVariable=false
"""Runs under MicroPython: a random life of an NVS partition at 0x1000 of the file argv[1], argv[2] bytes.

argv[3]: how many sets and erases (0: only read); argv[4]: seed; argv[5]: after so many bytes the power goes, -1: never.
Prints {"before": what was there, "live": what is there, "key": what the power went at, "old", "new"}.
"""

import json
import random
import sys
from binascii import hexlify

import vfs
from flash_file import Chip
from nvs_pages import PagedFlash


class CutError(Exception):
    pass


def _gone():
    raise CutError


def main():
    path, size, steps, seed, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    random.seed(seed)
    chip = Chip(vfs.mount()[0][0], path, 0x1000 + size, None, _gone)
    flash = PagedFlash(chip, 0x1000, size)
    said: dict = {"before": {space: dict(keys) for space, keys in flash.live.items()}}
    if limit >= 0:
        chip.left = limit
    key = entry = None
    try:
        for _ in range(steps):
            key = f"key{random.randrange(8)}"
            space = random.choice(("spatz", "other"))
            if random.randrange(2):
                entry = {"i32": random.randrange(-0x80000000, 0x7FFFFFFF)}
            else:
                entry = {"blob": hexlify(bytes(random.randrange(256) for _ in range(random.randrange(900)))).decode()}
            said["old"] = flash.live.get(space, {}).get(key)
            flash.change(None, space, key, None if said["old"] and not random.randrange(4) else entry)
    except CutError:
        said["key"], said["new"] = [space, key], entry
    said["live"] = flash.live
    print(json.dumps(said))


main()
