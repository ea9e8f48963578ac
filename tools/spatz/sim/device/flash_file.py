"""The flash chip in a file of the computer, as MicroPython sees it: strict NOR, with power cuts.

    chip = Chip(host, "flash.bin", 0x800000, "state")     # host: the VfsPosix that the file and the folder are on
    chip.read(at, count), chip.program(at, data), chip.erase(at, count)
    vfs.mount(vfs.VfsLfs2(Partition(chip, 0x200000, 0x600000)), "/")

Programming turns ones into zeros and never back; erasing fills whole sectors with 0xFF. A number in the file cut.json
of the state folder counts down the bytes that are programmed and erased; at 0 the power goes, in the middle of what is
being written: `on_cut()` is called, which must not return, and nothing is written any more.

Ctrl-C. littlefs keeps half-done work in memory when an exception goes through it, and would go on with wrong blocks: a
real board's flash driver is C, which no exception interrupts. MicroPython looks for Ctrl-C at jumps only. So whatever
is called while no power cut is planned has no `if`, no loop and no `try`: choices are made by indexing.
"""

import json

SECTOR = 4096
CUT_FILE = "cut.json"
_ERASED = b"\xff" * SECTOR


class Chip:
    """The file `path` on the VfsPosix `host`, `size` bytes; state_dir: where cut.json may lie, None: nowhere.

    on_cut: what is called when the power goes. written: bytes programmed so far, erased: sectors.
    """

    def __init__(self, host, path, size, state_dir=None, on_cut=None):
        self.size = size
        self.on_cut = on_cut
        self.written = self.erased = 0
        self.dead = False
        self.left = None  # a power cut by the program itself: bytes until then
        self._host = host
        self._file = host.open(path, "r+b")
        self._state = state_dir
        self._look = (self._listed, self._nothing)[state_dir is None]

    def read(self, at, count):
        self._file.seek(at)
        return self._file.read(count)

    def readinto(self, at, buffer):
        self._file.seek(at)
        self._file.readinto(buffer)

    def program(self, at, data):
        """Clear the bits that are 0 in `data`."""
        (self._program, self._program_cut)[self._cutting()](at, data)

    def erase(self, at, count=SECTOR):
        """Erase the sectors from `at` on, `count` bytes."""
        (self._erase, self._erase_cut)[self._cutting()](at, count)

    def _program(self, at, data):
        file = self._file
        size = len(data)
        file.seek(at)
        bits = int.from_bytes(file.read(size), "little") & int.from_bytes(data, "little")
        file.seek(at)
        file.write(bits.to_bytes(size, "little"))
        self.written += size

    def _erase(self, at, count):
        self._file.seek(at)
        self._file.write((_ERASED, b"\xff" * count)[count != SECTOR])
        self.erased += count // SECTOR

    # power cuts

    def _cutting(self):
        return self.dead | (self.left is not None) | self._look()

    def _nothing(self):
        return False

    def _listed(self):
        return CUT_FILE in str(list(self._host.ilistdir(self._state)))

    def _program_cut(self, at, data):
        count = self._until_cut(len(data))
        self._program(at, bytes(memoryview(data)[:count]))
        self._spend(count)

    def _erase_cut(self, at, count):
        done = self._until_cut(count)
        self._erase(at, done)
        self._spend(done)

    def _left(self):
        """How many bytes until the power goes."""
        if self.left is not None:
            return self.left
        path = self._state + "/" + CUT_FILE
        try:
            with self._host.open(path, "r") as file:
                return int(json.load(file))
        except (OSError, ValueError, TypeError):
            return None  # it is being replaced at this moment

    def _until_cut(self, count):
        if self.dead:
            self.on_cut()
        left = self._left()
        return count if left is None else min(count, max(0, left))

    def _spend(self, count):
        left = self._left()
        if left is None:
            return
        left = max(0, left - count)
        if self.left is not None:
            self.left = left
        else:
            path = self._state + "/" + CUT_FILE
            with self._host.open(path + ".new", "w") as file:
                file.write(str(left))
            self._host.rename(path + ".new", path)
        if not left:
            self.dead = True
            self.on_cut()


class Partition:
    """The block device of `size` bytes from `start` on, for VfsLfs2 and VfsFat."""

    def __init__(self, chip, start, size):
        if start % SECTOR or size % SECTOR or not 0 <= start < start + size <= chip.size:
            raise ValueError("partition outside of the flash")
        self._chip = chip
        self._start = start
        self._size = size
        self._controls = {4: size // SECTOR, 5: SECTOR}

    def readblocks(self, block, buffer, offset=0):
        self._chip.readinto(self._start + block * SECTOR + offset, buffer)

    def writeblocks(self, block, data, offset=None):
        (self._program, self._replace)[offset is None](self._start + block * SECTOR, data, offset)

    def _program(self, at, data, offset):
        self._chip.program(at + offset, data)

    def _replace(self, at, data, offset):
        self._chip.erase(at, len(data))
        self._chip.program(at, data)

    def ioctl(self, operation, argument):
        """4: how many blocks; 5: their size; 6: erase one; the rest needs nothing."""
        return (self._other, self._erase_block)[operation == 6](operation, argument)

    def _other(self, operation, argument):
        return self._controls.get(operation, 0)

    def _erase_block(self, operation, argument):
        self._chip.erase(self._start + argument * SECTOR)
        return 0

    def info(self):
        """As esp32.Partition.info(): type, subtype, address, size, label, encrypted."""
        return (1, 0x81, self._start, self._size, "vfs", False)
