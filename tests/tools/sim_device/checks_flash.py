# ruff: noqa: PT017, PT018 - a check is no pytest function
"""The flash file as littlefs sees it, and NVS in ESP-IDF's pages: every value old or new after a power cut."""

import os
import random
from binascii import hexlify

import micropython
import vfs
from flash_file import SECTOR, Chip, Partition
from nvs_pages import PagedFlash

SIZE = 0x10000
FILE = "/tmp/checks_flash.{}.bin".format(int.from_bytes(os.urandom(6), "little"))
HOST = vfs.mount()[0][0]


class CutError(Exception):
    pass


def _gone():
    raise CutError


class Owner:
    """What PagedFlash asks of a board."""

    class clock:  # noqa: N801 - an attribute of a board
        halted = None

    def end(self, event):
        assert event == {"event": "power_cut"}
        raise CutError

    def chance(self, below):
        return random.randrange(below)  # noqa: S311


def _chip(content=None, on_cut=_gone):
    with open(FILE, "wb") as file:
        file.write(b"\xff" * SIZE if content is None else content)
    return _again(on_cut)


def _again(on_cut=_gone):
    return Chip(HOST, FILE, SIZE, None, on_cut)


def _content():
    with open(FILE, "rb") as file:
        return file.read()


# the chip


def check_programming_clears_bits_only():
    chip = _chip()
    chip.program(10, b"\xf0\x0f")
    chip.program(10, b"\xaa\xff")
    assert chip.read(9, 4) == b"\xff\xa0\x0f\xff"
    chip.erase(0)
    assert chip.read(0, SECTOR) == b"\xff" * SECTOR
    assert (chip.written, chip.erased) == (4, 1)


def check_a_cut_stops_in_the_middle():
    for limit in range(1, 8):
        chip = _chip(bytes(SIZE))
        chip.left = SECTOR + limit
        try:
            chip.erase(0)
            chip.program(0, b"\x01\x02\x03\x04\x05")
            assert limit > 5
        except CutError:
            assert limit <= 5
        assert chip.read(0, 6) == (b"\x01\x02\x03\x04\x05"[:limit] + b"\xff" * 6)[:6]
    chip = _chip(bytes(SIZE))
    chip.left = 100
    try:
        chip.erase(4096)
        raise AssertionError
    except CutError:
        pass
    assert chip.read(4096, 102) == b"\xff" * 100 + b"\0\0"
    try:
        chip.program(0, b"\1")
        raise AssertionError("the power is gone")
    except CutError:
        pass


def check_a_cut_from_outside_counts_down_in_its_file():
    folder = FILE + ".d"
    os.mkdir(folder)
    _chip()
    chip = Chip(HOST, FILE, SIZE, folder, _gone)
    chip.program(0, bytes(5))
    with open(folder + "/cut.json", "w") as file:
        file.write("12")
    chip.program(5, bytes(5))
    with open(folder + "/cut.json") as file:
        assert file.read() == "7"
    try:
        chip.program(10, bytes(9))
        raise AssertionError
    except CutError:
        pass
    assert chip.read(10, 9) == bytes(7) + b"\xff\xff"
    os.remove(folder + "/cut.json")
    os.rmdir(folder)


def check_without_heap_it_is_as_strict():
    chip = _chip()
    chip.program(0, b"\xf0\x0f\xaa")
    micropython.heap_lock()
    try:
        chip.program_without_heap(0, b"\x3c\xff\xff\x00")
    finally:
        micropython.heap_unlock()
    assert chip.read(0, 5) == b"\x30\x0f\xaa\x00\xff"
    micropython.heap_lock()
    try:
        chip.erase_without_heap(0)
    finally:
        micropython.heap_unlock()
    assert chip.read(0, SECTOR) == b"\xff" * SECTOR
    chip.left = 3
    chip.program_without_heap(0, bytes(9))
    chip.erase_without_heap(0)
    assert chip.read(0, 5) == bytes(3) + b"\xff\xff"
    try:
        chip.program(0, b"\0")
        raise AssertionError("the power is gone")
    except CutError:
        pass


def check_without_heap_the_cut_from_outside_comes_as_well():
    folder = FILE + ".d"
    os.mkdir(folder)
    _chip()
    chip = Chip(HOST, FILE, SIZE, folder, _gone)
    with open(folder + "/cut.json", "w") as file:
        file.write("12")
    chip.program(0, bytes(2))
    chip.program_without_heap(2, bytes(3))
    chip.program(5, bytes(1))
    with open(folder + "/cut.json") as file:
        assert file.read() == "6"
    chip.program_without_heap(6, bytes(50))
    assert chip.read(0, 14) == bytes(12) + b"\xff\xff"
    try:
        chip.program(20, bytes(1))
        raise AssertionError
    except CutError:
        pass
    with open(folder + "/cut.json") as file:
        assert file.read() == "0"
    assert chip.read(20, 1) == b"\xff"
    os.remove(folder + "/cut.json")
    os.rmdir(folder)


def check_littlefs_on_it():
    chip = _chip()
    partition = Partition(chip, 0x4000, 0x8000)
    assert partition.ioctl(4, 0) == 8 and partition.ioctl(5, 0) == SECTOR
    vfs.VfsLfs2.mkfs(partition)
    vfs.mount(vfs.VfsLfs2(partition), "/flash_check")
    try:
        for turn in range(30):
            with open(f"/flash_check/x{turn % 3}", "w") as file:
                file.write(str(turn) * 300)
        vfs.umount("/flash_check")
        vfs.mount(vfs.VfsLfs2(Partition(_again(), 0x4000, 0x8000)), "/flash_check")
        for turn in range(27, 30):
            with open(f"/flash_check/x{turn % 3}") as file:
                assert file.read() == str(turn) * 300
    finally:
        vfs.umount("/flash_check")
    content = _content()
    assert content[:0x4000] == b"\xff" * 0x4000 and content[0xC000:] == b"\xff" * 0x4000


def check_a_partition_lies_in_the_chip():
    chip = _chip()
    for start, size in ((0, SIZE + SECTOR), (100, SECTOR), (0, 0), (SIZE, SECTOR)):
        try:
            Partition(chip, start, size)
            raise AssertionError
        except ValueError:
            pass


# NVS


def _blob(data):
    return {"blob": hexlify(bytes(data)).decode()}


def check_values_survive_and_equal_ones_are_not_written():
    chip = _chip()
    flash, owner = PagedFlash(chip, 0x9000, 0x6000), Owner()
    flash.change(owner, "spatz", "app_key", _blob(range(16)))
    flash.change(owner, "spatz", "dev_nonce", {"i32": -5})
    flash.change(owner, "other", "dev_nonce", {"i32": 7})
    flash.change(owner, "spatz", "empty", _blob(b""))
    flash.commit(owner, "spatz")
    written = chip.written
    flash.change(owner, "spatz", "dev_nonce", {"i32": -5})
    flash.change(owner, "spatz", "app_key", _blob(range(16)))
    assert chip.written == written and flash.writes == 4 and flash.wear["spatz/app_key"] == 1
    flash.change(owner, "spatz", "app_key", {"i32": 1})
    flash.change(owner, "other", "dev_nonce", None)
    wanted = {"spatz": {"app_key": {"i32": 1}, "dev_nonce": {"i32": -5}, "empty": {"blob": ""}}}
    after = flash.after_reboot()
    assert after.live == wanted, after.live
    assert (after.writes, after.wear["other/dev_nonce"]) == (6, 2)


def check_ten_thousand_writes():
    chip = _chip()
    flash, owner = PagedFlash(chip, 0x9000, 0x6000), Owner()
    flash.change(owner, "spatz", "app_key", _blob(range(16)))
    for turn in range(10000):
        flash.change(owner, "spatz", f"state{turn & 1}", _blob(turn.to_bytes(4, "big") * (100 + turn % 50)))
    assert PagedFlash(chip, 0x9000, 0x6000).live == flash.live
    assert flash.live["spatz"]["app_key"] == _blob(range(16))
    assert flash.wear["spatz/state1"] == 5000
    assert 10000 // 9 < chip.erased < 10000 // 5, chip.erased  # six or seven to a page


def check_a_full_partition_says_so_and_keeps_what_it_has():
    chip = _chip()
    flash, owner = PagedFlash(chip, 0, 0x3000), Owner()
    values = {}
    for turn in range(500):
        key = f"k{turn}"
        try:
            flash.change(owner, "a", key, {"i32": turn})
            values[key] = {"i32": turn}
        except OSError as error:
            assert error.args[0] == -0x1105
            try:
                flash.change(owner, "a", "blob", _blob(bytes(200)))
                raise AssertionError
            except OSError:
                pass
            break
    assert 240 <= len(values) <= 252, len(values)
    assert flash.live["a"] == values == PagedFlash(chip, 0, 0x3000).live["a"]
    for key in list(values)[::2]:
        flash.change(owner, "a", key, None)
    flash.change(owner, "a", "blob", _blob(bytes(1500)))
    assert PagedFlash(chip, 0, 0x3000).live["a"]["blob"] == _blob(bytes(1500))


def check_a_large_blob_goes_over_pages():
    chip = _chip()
    flash, owner = PagedFlash(chip, 0, 0x6000), Owner()
    for turn in range(60):
        data = bytes([turn]) * (3990 - turn)
        flash.change(owner, "a", "big", _blob(data))
        flash.change(owner, "a", f"i{turn % 7}", {"i32": turn})
        assert PagedFlash(chip, 0, 0x6000).live == flash.live, turn


def _step(model, chance):
    key = f"k{chance.randrange(6)}"
    kind = chance.randrange(10)
    if kind == 0:
        return key, None
    if kind < 5:
        return key, {"i32": chance.randrange(1000)}
    size = chance.randrange(2500) if kind == 9 else chance.randrange(700)
    return key, _blob(bytes([chance.randrange(256)]) * size)


class _Chance:
    def __init__(self, seed):
        self._state = seed * 2654435761 + 1

    def randrange(self, below):
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._state >> 33) % below


def check_cuts_leave_the_old_value_or_the_new_one():
    """Random sets and erases; the power goes after a random number of bytes, also while it is being mended."""
    owner, all_cuts = Owner(), 0
    for seed in range(40):
        chance = _Chance(seed)
        pages = 3 + seed % 4
        _chip()
        chip, model, done, cuts = _again(), {}, 0, 0
        flash = PagedFlash(chip, 0x1000, pages * SECTOR)
        while done < 60:
            key, entry = _step(model, chance)
            chip.left = chance.randrange(4000) if chance.randrange(3) else None
            before = model.get(key)
            try:
                flash.change(owner, "s", key, entry)
                model[key] = entry
            except OSError as error:
                assert error.args[0] == -0x1105, (seed, error)
            except CutError:
                cuts += 1
                while True:
                    chip = _again()
                    chip.left = chance.randrange(6000) if chance.randrange(2) else None
                    try:
                        flash = PagedFlash(chip, 0x1000, pages * SECTOR)
                        break
                    except CutError:
                        pass
                found = flash.live.get("s", {}).get(key)
                assert found in (before, entry), (seed, key, before, entry, found)
                model[key] = found
            chip.left = None
            done += 1
            wanted = {name: value for name, value in model.items() if value is not None}
            assert flash.live.get("s", {}) == wanted, (seed, done, flash.live, wanted)
        all_cuts += cuts
    assert all_cuts > 100, all_cuts


def check_rubbish_raises_nothing():
    chance = _Chance(5)
    for turn in range(60):
        content = bytearray(b"\xff" * SIZE)
        if turn % 3:
            chip = _chip()
            flash = PagedFlash(chip, 0, 0x3000)
            for key in range(20):
                flash.change(Owner(), "s", f"k{key % 9}", _blob(bytes(chance.randrange(500))))
            content = bytearray(_content())
        for _ in range(1 + chance.randrange(200)):
            content[chance.randrange(0x3000)] = chance.randrange(256)
        if turn % 3 == 1:
            content[0x1000:0x2000] = os.urandom(SECTOR)
        flash = PagedFlash(_chip(bytes(content)), 0, 0x3000)
        try:
            flash.change(Owner(), "s", "after", {"i32": turn})
            assert PagedFlash(_again(), 0, 0x3000).live["s"]["after"] == {"i32": turn}
        except OSError as error:
            assert error.args[0] == -0x1105


def check_z_the_file_goes():
    os.remove(FILE)
