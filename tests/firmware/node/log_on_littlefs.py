"""Run under MicroPython: the node's log on a real littlefs, on a block device in RAM that counts. argv: readings, then
how many of them are planned anew, in a thousand. Prints one JSON line.

The sizes are those of MicroPython's ESP32 port (blocks of 4096 bytes, read and programmed by 32), the file system is
small, 512 KB, so that every block comes round; beside the log there are the files of a node.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportMissingModuleSource=false
# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false

import gc
import json
import sys

import vfs
from node.log import Log

gc.threshold(500000)
BLOCK = 4096
BLOCKS = 128
FIRMWARE_FILES = 40
IO_ERROR = -5


class Ram:
    """A flash chip: erases by block, bytes programmed."""

    def __init__(self):
        self.blocks = [None] * BLOCKS
        self.erases = [0] * BLOCKS
        self.programmed = 0
        self.operations = 0
        self.cut_at = None

    def readblocks(self, block, buffer, offset=0):
        data = self.blocks[block]
        buffer[:] = b"\xff" * len(buffer) if data is None else data[offset : offset + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        if not self.powered():
            return IO_ERROR  # no exception: the garbage collector closes files, too, and may not allocate
        if self.operations == self.cut_at:
            buffer = buffer[: len(buffer) // 2]
        self.programmed += len(buffer)
        data = self.blocks[block]
        erased = b"\xff" * len(buffer)
        assert data[offset : offset + len(buffer)] == erased, "programmed without an erase"
        data[offset : offset + len(buffer)] = buffer
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCKS
        if operation == 5:
            return BLOCK
        if operation == 6:
            if not self.powered():
                return IO_ERROR
            self.erases[argument] += 1
            self.blocks[argument] = bytearray(b"\xff" * BLOCK)
        return 0

    def powered(self):
        self.operations += 1
        return self.cut_at is None or self.operations <= self.cut_at


def mount(ram):
    return vfs.VfsLfs2(ram, readsize=32, progsize=32, lookahead=32)


def fresh():
    ram = Ram()
    vfs.VfsLfs2.mkfs(ram, readsize=32, progsize=32, lookahead=32)
    files = mount(ram)
    for index in range(FIRMWARE_FILES):
        with files.open(f"file{index}", "wb") as file:
            file.write(bytes(5000))
    return ram


def wake(ram, fcnt, packed, amended, session=7):
    """What a node does with its log in one wake: (what RTC memory keeps)."""
    files = mount(ram)
    log = Log(packed, "log", files.open, files.mkdir)
    log.append(session, fcnt, 3600 * fcnt, 0x81, b"\x0f" + fcnt.to_bytes(5, "big"))
    if amended:
        log.amend(session, fcnt)
    return log


def month(readings, per_mille):
    ram = fresh()
    before = sum(ram.erases), ram.programmed
    packed = b""
    log = None
    for fcnt in range(readings):
        log = wake(ram, fcnt, packed, fcnt * per_mille % 1000 < per_mille)
        packed = log.pack()
    files = mount(ram)
    sizes = [entry[3] for entry in files.ilistdir("log")]
    there = [row[0] for row in log.find(7, 0, 0x7FFF)]
    return {
        "erases": sum(ram.erases) - before[0],
        "programmed": ram.programmed - before[1],
        "most_of_a_block": max(ram.erases),
        "bytes": sum(sizes),
        "files": len(sizes),
        "largest": max(sizes),
        "oldest": there[0],
        "complete": there == list(range(there[0], readings)),
        "writes": log.writes,
    }


def cuts(readings):
    """The power fails at each operation of flash in turn: nothing but the reading that was being written is lost."""
    base = fresh()
    packed = b""
    for fcnt in range(readings):
        packed = wake(base, fcnt, packed, False).pack()
    tried = 0
    while True:
        ram = Ram()
        ram.blocks = [None if block is None else bytearray(block) for block in base.blocks]
        ram.cut_at = tried
        done = readings
        try:
            for fcnt in range(readings, readings + 3):
                wake(ram, fcnt, b"", False)
                done = fcnt + 1
        except OSError:
            pass
        else:
            return {"cuts": tried}
        ram.cut_at = None
        log = wake(ram, readings + 9, packed, False)
        there = [row[0] for row in log.find(7, 0, 0x7FFF)]
        last = [readings + 9]
        assert there in (list(range(done)) + last, list(range(done + 1)) + last), (tried, there[-3:])
        tried += 1


if sys.argv[1] == "month":
    print(json.dumps(month(int(sys.argv[2]), int(sys.argv[3]))))
else:
    print(json.dumps(cuts(int(sys.argv[2]))))
