"""Flash, boot checks and made-up images, without a process."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import random
import select
import struct

import pytest
from spatz.sim.board.bootcheck import BootError, check
from spatz.sim.board.made_image import BOOTLOADER_AT, TABLES, made_image
from spatz.sim.board.nor import NorFlash, PowerGone
from spatz.sim.board.rom import Rom, slip
from spatz.sim.board.usbport import UsbPort


@pytest.fixture
def flash(tmp_path):
    flash = NorFlash(tmp_path / "flash.bin", 1 << 20)
    yield flash
    flash.close()


def test_writing_only_clears_bits_and_erasing_sets_whole_sectors(flash):
    flash.program(100, b"\xf0\x0f")
    flash.program(100, b"\xff\xff")
    assert flash.read(99, 4) == b"\xff\xf0\x0f\xff"
    flash.program(100, b"\x3c\x3c")
    assert flash.read(100, 2) == b"\x30\x0c"
    flash.program(4096, b"\0")
    flash.program(8192, b"\0")
    flash.erase(4000, 100)  # of two sectors a little
    assert flash.read(0, 8192) == b"\xff" * 8192
    assert flash.read(8192, 1) == b"\0"


def test_nothing_is_outside_of_the_flash(flash):
    for at, count in ((-1, 1), ((1 << 20) - 1, 2), (0, (1 << 20) + 1)):
        with pytest.raises(ValueError, match="the flash has"):
            flash.read(at, count)
        with pytest.raises(ValueError, match="the flash has"):
            flash.erase(at, count)
    with pytest.raises(ValueError, match="the flash has"):
        flash.program((1 << 20) - 1, b"ab")


@pytest.mark.parametrize(("budget", "written"), [(1, b"a\xff\xff"), (2, b"ab\xff"), (3, b"abc")])
def test_the_power_goes_after_so_many_bytes(flash, budget, written):
    spent = []
    flash.budget, flash.on_spent = budget, spent.append
    with pytest.raises(PowerGone):
        flash.program(0, b"abc")
    assert flash.read(0, 3) == written
    assert spent == [0]


def test_a_file_that_was_there_keeps_what_is_in_it(tmp_path):
    first = NorFlash(tmp_path / "flash.bin", 8192)
    first.program(5000, b"kept")
    first.close()
    second = NorFlash(tmp_path / "flash.bin", 8192)
    assert second.read(5000, 4) == b"kept"
    second.close()


def _reader(content: bytes, chip: str, size: int = 4 << 20):
    start = BOOTLOADER_AT[chip]

    def read(at: int, count: int) -> bytes:
        if at + count > size:
            raise ValueError
        whole = content[at - start : at - start + count] if at >= start else b""
        return whole + b"\xff" * (count - len(whole))

    return read


@pytest.mark.parametrize(("chip", "table"), [*itertools.product(BOOTLOADER_AT, TABLES)])
def test_a_whole_image_starts(chip, table):
    found = check(_reader(made_image(chip, table=table), chip), chip, 4 << 20)
    assert found.nvs == (0x9000, 0x4000 if "ota" in table else 0x6000)
    assert found.vfs[0] == (0x310000 if "ota" in table else 0x200000)
    assert sum(found.vfs) == 4 << 20


def test_the_filesystem_goes_to_the_end_of_a_larger_flash():
    read = _reader(made_image("esp32s3"), "esp32s3", 16 << 20)
    assert check(read, "esp32s3", 16 << 20).vfs == (0x200000, 14 << 20)


@pytest.mark.parametrize("chip", BOOTLOADER_AT)
def test_no_damaged_bit_is_overlooked(chip):
    """One bit anywhere in bootloader, table or app: the chip does not start (or the bit is in what nothing covers)."""
    image = made_image(chip, 0x600)
    start = BOOTLOADER_AT[chip]
    table, app = 0x8000 - start, 0x10000 - start
    parts = (range(0x1050), range(table, table + 0x62), range(table + 0x70, table + 0x80), range(app, len(image)))
    covered = [at for part in parts for at in part if at not in (23, app + 23)]  # those say whether a hash follows
    chance = random.Random(7)  # noqa: S311  which bits; it must repeat
    for at in chance.sample(covered, 250):
        damaged = bytearray(image)
        damaged[at] ^= 1 << chance.randrange(8)
        with pytest.raises(BootError):
            check(_reader(bytes(damaged), chip), chip, 4 << 20)


def test_an_image_for_another_chip_or_a_larger_flash_does_not_start():
    with pytest.raises(BootError, match="invalid header"):
        check(_reader(made_image("esp32s3"), "esp32s3"), "esp32", 4 << 20)
    as_s3 = made_image("esp32")
    with pytest.raises(BootError, match="mismatch chip ID"):
        check(_reader(as_s3, "esp32s3"), "esp32s3", 4 << 20)
    with pytest.raises(BootError, match="smaller than the size in the binary"):
        check(_reader(made_image("esp32s3", flash_bytes=8 << 20), "esp32s3"), "esp32s3", 4 << 20)


def test_the_first_bytes_of_a_download_that_was_cut_do_not_start():
    image = made_image("esp32s3")
    for count in (0, 100, 0x8000, 0x10000, len(image) - 1):
        with pytest.raises(BootError):
            check(_reader(image[:count], "esp32s3"), "esp32s3", 4 << 20)


BEGIN, DATA, END, RUN_STUB, ATTACH = 0x02, 0x03, 0x04, 0x06, 0x0D
SECTOR, BLOCK = 4096, 65536


def _ask(rom, command, data):
    """(whether it went well, the error)."""
    checksum = functools.reduce(operator.xor, data[16:], 0xEF) if command == DATA else 0
    answer = rom.receive(slip(struct.pack("<BBHI", 0, command, len(data), checksum) + data))
    answer = answer.strip(b"\xc0").replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    status = answer[8:10] if rom.stub else answer[-4:-2]
    return not status[0], status[1]


def _begun(flash, size, *, stub=True, at=0):
    rom = Rom("esp32s3", bytes(6), flash)
    if stub:
        rom.receive(slip(struct.pack("<BBHIII", 0, RUN_STUB, 8, 0, 0, 0x40000000)))
    else:
        _ask(rom, ATTACH, bytes(8))
    assert _ask(rom, BEGIN, struct.pack("<IIIII", size, -(-size // 1024), 1024, at, 0))[0]
    return rom


def _write(rom, number, block):
    return _ask(rom, DATA, struct.pack("<IIII", len(block), number, 0, 0) + block)


def test_the_stub_erases_as_the_data_come(flash):
    flash.program(0, bytes(1 << 19))
    size = 2 * BLOCK
    rom = _begun(flash, size, at=SECTOR)
    assert flash.read(0, 1 << 19) == bytes(1 << 19), "nothing yet"
    for number in range(16):
        assert _write(rom, number, b"n" * SECTOR) == (True, 0)
    # new, then erased (a block, because one begins there and more is to come), then what was there
    new = flash.read(SECTOR, 16 * SECTOR)
    assert new == b"n" * (16 * SECTOR)
    assert flash.read(17 * SECTOR, 15 * SECTOR) == b"\xff" * (15 * SECTOR)
    assert flash.read(2 * BLOCK, SECTOR) == bytes(SECTOR)
    assert _ask(rom, END, struct.pack("<I", 1)) == (False, 0xC8)
    for number in range(16, 32):
        assert _write(rom, number, b"n" * SECTOR) == (True, 0)
    assert _ask(rom, END, struct.pack("<I", 1)) == (True, 0)
    assert flash.read(SECTOR, size) == b"n" * size
    assert flash.read(SECTOR + size, SECTOR) == bytes(SECTOR), "no more than was announced"
    assert flash.read(0, SECTOR) == bytes(SECTOR)


def test_the_rom_erases_all_of_it_at_once(flash):
    flash.program(0, bytes(4 * SECTOR))
    _begun(flash, 2 * SECTOR + 1, stub=False)
    assert flash.read(0, 3 * SECTOR) == b"\xff" * (3 * SECTOR)
    assert flash.read(3 * SECTOR, 1) == b"\0"


def test_an_answer_on_its_way_is_read_though_the_board_starts_anew_meanwhile(tmp_path):
    port = UsbPort(tmp_path / "port.json", {})
    port.open()
    program = os.open(port.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        port.watch_close(on=True)
        port.write(b"the last answer")
        assert select.select([program], [], [], 10)[0]
        port.watch_close(on=False)
        assert os.read(program, 100) == b"the last answer"
    finally:
        os.close(program)
        port.close()
