"""Flash, boot checks and made-up images, without a process."""

from __future__ import annotations

import itertools
import random

import pytest
from spatz.sim.board.bootcheck import BootError, check
from spatz.sim.board.made_image import BOOTLOADER_AT, TABLES, made_image
from spatz.sim.board.nor import NorFlash, PowerGone


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
