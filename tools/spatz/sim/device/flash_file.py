"""The flash chip in a file of the computer, as MicroPython sees it: strict NOR, with power cuts.

    chip = Chip(host, "flash.bin", 0x800000, "state")     # host: the VfsPosix that the file and the folder are on
    chip.read(at, count), chip.program(at, data), chip.erase(at, count)
    vfs.mount(vfs.VfsLfs2(Partition(chip, 0x200000, 0x600000)), "/")

Programming turns ones into zeros and never back; erasing fills whole sectors with 0xFF. A number in the file cut.json
of the state folder counts down the bytes that are programmed and erased; at 0 the power goes, in the middle of what is
being written: `on_cut()` is called, which must not return, and nothing is written any more.

Ctrl-C. MicroPython's unix port raises KeyboardInterrupt in the middle of whatever it does; littlefs keeps half-done
work in memory when an exception goes through it, and would go on with wrong blocks. A real board's flash driver is C,
which no exception interrupts. So an operation of a Partition that is interrupted is done again, and `pressed` is told.
Nor does a real driver allocate. A collection of garbage closes files that nobody has any more; in the middle of
littlefs, which walks along its list of open files, that must not be, so what littlefs calls switches it off before it
allocates itself (with so few arguments and locals that the interpreter needs no heap for them). And such a file writes
its rest while it is collected, when there is no heap: then it goes byte by byte, and what it takes from the bytes in
cut.json is told there with the next operation. It ends at the number that was there last.
"""

import gc
import json

SECTOR = 4096
CUT_FILE = "cut.json"
_ERASED = b"\xff" * SECTOR
_no_collection = gc.disable
_collection = gc.enable


class Chip:
    """The file `path` on the VfsPosix `host`, `size` bytes; state_dir: where cut.json may lie, None: nowhere.

    on_cut: what is called when the power goes. written: bytes programmed so far, erased: sectors.
    """

    def __init__(self, host, path, size, state_dir=None, on_cut=None):
        self.size = size
        self.on_cut = on_cut
        self.written = self.erased = 0
        self.dead = False
        self.over = False  # the process is about to end: nothing matters any more
        self.left = None  # a power cut by the program itself: bytes until then
        self._host = host
        self._file = host.open(path, "r+b")
        self._byte = bytearray(1)
        self._seen = None  # of cut.json, when it was looked at last
        self._owed = 0  # what was spent since, without any heap to write it there
        self._state = state_dir

    def read(self, at, count):
        self._file.seek(at)
        return self._file.read(count)

    def readinto(self, at, buffer):
        self._file.seek(at)
        self._file.readinto(buffer)

    def program(self, at, data):
        """Clear the bits that are 0 in `data`."""
        left = self._left()
        size = len(data)
        if left is not None and left < size:
            size = left
            data = bytes(memoryview(data)[:size])
        file = self._file
        file.seek(at)
        bits = int.from_bytes(file.read(size), "little") & int.from_bytes(data, "little")
        file.seek(at)
        file.write(bits.to_bytes(size, "little"))
        self.written += size
        if left is not None:
            self._spend(left - size)

    def erase(self, at, count=SECTOR):
        """Erase the sectors from `at` on, `count` bytes."""
        left = self._left()
        if left is not None:
            count = min(count, left)
        self._file.seek(at)
        self._file.write(_ERASED if count == SECTOR else b"\xff" * count)
        self.erased += count // SECTOR
        if left is not None:
            self._spend(left - count)

    def program_without_heap(self, at, data):
        """As `program`, but a power cut shows only at the next operation; until then nothing is written any more."""
        done = 0
        while done < len(data) and self._may_spend():
            self._clear(at + done, data[done])
            done += 1
        self.written += done

    def erase_without_heap(self, at, count=SECTOR):
        """As `erase`, like the other."""
        self.erased += count // SECTOR
        while count and self._may_spend():
            self._fill(at)
            at += 1
            count -= 1

    def _may_spend(self):
        """Whether there is power for one more byte."""
        if self.dead:
            return False
        if self.left is not None:
            self.left -= 1
            self.dead = self.left <= 0
        elif self._seen is not None:
            self._owed += 1
            self.dead = self._owed >= self._seen
        return True

    def _clear(self, at, value):
        self._file.seek(at)
        self._file.readinto(self._byte)
        self._byte[0] &= value
        self._file.seek(at)
        self._file.write(self._byte)

    def _fill(self, at):
        self._byte[0] = 0xFF
        self._file.seek(at)
        self._file.write(self._byte)

    # power cuts

    def _left(self):
        """How many bytes until the power goes, None: it stays."""
        if self.dead:
            if self._owed:
                self._tell(0)
            self.on_cut()
        if self.left is not None:
            return self.left
        # looking into the folder is cheaper than an open() that fails
        if self._state is None or CUT_FILE not in str(list(self._host.ilistdir(self._state))):
            self._seen = None
            self._owed = 0
            return None
        try:
            with self._host.open(self._state + "/" + CUT_FILE, "r") as file:
                self._seen = max(1, int(json.load(file)) - self._owed)
            self._owed = 0
            return self._seen
        except (OSError, ValueError, TypeError):
            return None  # it is being replaced at this moment

    def _spend(self, left):
        if self.left is not None:
            self.left = left
        else:
            self._seen = left
            self._tell(left)
        if left <= 0:
            self.dead = True
            self.on_cut()

    def _tell(self, left):
        self._owed = 0
        path = self._state + "/" + CUT_FILE
        with self._host.open(path + ".new", "w") as file:
            file.write(str(left))
        self._host.rename(path + ".new", path)


class Partition:
    """The block device of `size` bytes from `start` on, for VfsLfs2 and VfsFat.

    pressed: called when Ctrl-C came in the middle of an operation. After an exception the collection stays off: it
    would find littlefs in the middle of its work. (And a `try` here would need heap, see above.)
    """

    def __init__(self, chip, start, size, pressed=None):
        if start % SECTOR or size % SECTOR or not 0 <= start < start + size <= chip.size:
            raise ValueError("partition outside of the flash")
        self.chip = chip
        self._start = start
        self._size = size
        self._pressed = pressed

    def readblocks(self, block, buffer, offset=0):
        _no_collection()
        self._read(self._start + block * SECTOR + offset, buffer)
        _collection()

    def writeblocks(self, block, data, offset=None):
        _no_collection()
        self._write(block, data, offset)
        _collection()

    def ioctl(self, operation, argument):
        """4: how many blocks; 5: their size; 6: erase one; the rest needs nothing."""
        if operation == 4:
            return self._size // SECTOR
        if operation == 5:
            return SECTOR
        if operation == 6:
            _no_collection()
            self._erase(self._start + argument * SECTOR, SECTOR)
            _collection()
        return 0

    def _read(self, at, buffer):
        while True:
            try:
                return self.chip.readinto(at, buffer)
            except KeyboardInterrupt:
                self._press()

    def _write(self, block, data, offset):
        at = self._start + block * SECTOR
        if offset is None:
            self._erase(at, len(data))
            offset = 0
        self._program(at + offset, data)

    def _program(self, at, data):
        while not self.chip.over:
            try:
                return self.chip.program(at, data)
            except MemoryError:
                return self.chip.program_without_heap(at, data)
            except KeyboardInterrupt:
                self._press()

    def _erase(self, at, count):
        while not self.chip.over:
            try:
                return self.chip.erase(at, count)
            except MemoryError:
                return self.chip.erase_without_heap(at, count)
            except KeyboardInterrupt:
                self._press()

    def _press(self):
        if self._pressed:
            self._pressed()
