"""The file with MicroPython: a whole one is taken and cut into parts, anything else is refused in one sentence."""

from __future__ import annotations

import hashlib
import io
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spatz.images.layout import SECTOR, TABLE_AT
from spatz.images.micropython_image import check_chip, image_of, read_image
from spatz.sim.board.made_image import made_image
from spatz.troubles import Trouble
from tools.images.files import TABLES, real_image, small

APP_AT = 0x10000
MIB = 1 << 20


def refused(data: bytes) -> str:
    with pytest.raises(Trouble) as told:
        image_of(data, "mine.bin")
    assert told.value.kind == "bad_image"
    assert told.value.message.startswith("mine.bin is damaged or no MicroPython: ")
    return told.value.message


# --- what is right


def test_a_real_image_is_what_it_is() -> None:
    image = read_image(real_image())
    assert (image.chip, image.start, image.version) == ("esp32", 0x1000, "1.16")
    assert image.sha256 == hashlib.sha256(real_image().read_bytes()).hexdigest()
    layout = image.layout(4 * MIB)
    assert (layout.nvs.offset, layout.nvs.size) == (0x9000, 0x6000)
    assert (layout.vfs.offset, layout.vfs.size) == (0x200000, 0x200000)


@pytest.mark.parametrize("chip", ["esp32", "esp32s3"])
def test_a_made_up_image_is_whole_and_says_its_version(chip: str) -> None:
    image = image_of(small(chip), "made.bin")
    assert (image.chip, image.start, image.version) == (chip, {"esp32": 0x1000, "esp32s3": 0}[chip], "1.29.0")


def test_esptool_reads_the_same_in_the_real_image() -> None:
    from esptool.bin_image import ESP32FirmwareImage

    image = read_image(real_image())
    for at, size in ((0, image.bootloader_bytes), (APP_AT - image.start, image.app_bytes)):
        theirs = ESP32FirmwareImage(io.BytesIO(image.data[at:]))
        assert theirs.chip_id == 0
        assert theirs.checksum == theirs.calculate_checksum()
        assert theirs.stored_digest == theirs.calc_digest
        assert theirs.data_length is not None
        assert theirs.data_length + 32 == size


@pytest.mark.parametrize("data", [real_image().read_bytes(), *(small(table=table) for table in TABLES)])
def test_the_parts_put_together_are_the_image_and_nothing_of_them_lies_over_nvs(data: bytes) -> None:
    image = image_of(data, "any.bin")
    layout = image.layout(4 * MIB)
    before = b"\x00" * (4 * MIB)
    flash = bytearray(before)
    for offset, part in image.parts(layout):
        assert offset % SECTOR == len(part) % SECTOR == 0
        flash[offset : offset + len(part)] = part
    for at, size in ((image.start, image.bootloader_bytes), (TABLE_AT, 0xC00), (APP_AT, image.app_bytes)):
        assert flash[at : at + size] == data[at - image.start : at - image.start + size]
    assert flash[layout.nvs.offset : layout.nvs.end] == before[layout.nvs.offset : layout.nvs.end]
    assert flash[0xF000:APP_AT] == before[0xF000:APP_AT]  # the radio's calibration
    assert flash[layout.vfs.offset :] == before[layout.vfs.offset :]
    if layout.ota_data:
        assert flash[layout.ota_data.offset : layout.ota_data.end] == b"\xff" * layout.ota_data.size


def test_what_stands_behind_the_program_is_not_written() -> None:
    data = small()
    image = image_of(data + b"\x5a" * 9000, "long.bin")
    assert image.parts(image.layout(4 * MIB)) == image_of(data, "a").parts(image.layout(4 * MIB))


def test_a_repr_shows_no_content() -> None:
    assert len(repr(image_of(small(), "made.bin"))) < 400


# --- another chip's


@pytest.mark.parametrize(("chip", "board", "words"), [
    ("esp32", "esp32s3", "This file is for ESP32, the board has ESP32-S3."),
    ("esp32s3", "esp32", "This file is for ESP32-S3, the board has ESP32."),
])  # fmt: skip
def test_another_chips_file_is_refused(chip: str, board: str, words: str) -> None:
    image = image_of(small(chip), "made.bin")
    check_chip(image, chip, "X")
    with pytest.raises(Trouble) as told:
        check_chip(image, board, "ESP32_GENERIC")
    assert told.value.kind == "wrong_chip"
    assert str(told.value) == f"{words}\nTake the file for ESP32_GENERIC."


def test_a_chip_that_no_board_here_has_is_named() -> None:
    image = image_of(with_chip(small("esp32s3"), 5), "c3.bin")
    with pytest.raises(Trouble, match="This file is for ESP32-C3, the board has ESP32-S3"):
        check_chip(image, "esp32s3", "ESP32_GENERIC_S3")


def test_a_chip_that_nobody_knows_is_refused() -> None:
    assert "another kind of chip" in refused(with_chip(small("esp32s3"), 77))


def test_a_boot_loader_and_a_program_of_different_chips_are_refused() -> None:
    data = small("esp32s3")
    assert "different chips" in refused(data[:APP_AT] + with_chip(data, 5)[APP_AT:])


def with_chip(data: bytes, chip_id: int) -> bytes:
    """The same image with another chip in both headers, its SHA-256s right again."""
    changed = bytearray(data)
    for at, size in ((0, image_of(data, "x").bootloader_bytes), (APP_AT, image_of(data, "x").app_bytes)):
        struct.pack_into("<H", changed, at + 12, chip_id)
        changed[at + size - 32 : at + size] = hashlib.sha256(changed[at : at + size - 32]).digest()
    return bytes(changed)


# --- damaged


def places(data: bytes, start: int) -> list[int]:
    """Bytes that count, of each kind: of both headers, of the segments, checksums and digests, and of the table."""
    image = image_of(data, "x")
    table = TABLE_AT - start
    app = APP_AT - start
    chance = random.Random(6)  # noqa: S311
    found = [*range(24), *range(table, table + 5 * 32), *range(app, app + 32)]
    for at, size in ((0, image.bootloader_bytes), (app, image.app_bytes)):
        found += [*range(at + size - 36, at + size), *(chance.randrange(at, at + size) for _ in range(150))]
    return found


@pytest.mark.parametrize("chip", ["esp32", "esp32s3"])
def test_one_bit_that_is_wrong_is_noticed_wherever_it_counts(chip: str) -> None:
    data = small(chip)
    for place in places(data, image_of(data, "x").start):
        for bit in (1, 0x80):
            changed = bytearray(data)
            changed[place] ^= bit
            refused(bytes(changed))


@pytest.mark.parametrize("from_end", [33, 0])
def test_what_the_chip_checks_must_be_right_even_if_the_sha_256_is(from_end: int) -> None:
    """Its checksum byte; and the mark in the header that there is a SHA-256."""
    data = bytearray(small())
    size = image_of(bytes(data), "x").app_bytes
    changed = APP_AT + (size - from_end if from_end else 23)
    data[changed] ^= 1
    data[APP_AT + size - 32 :] = hashlib.sha256(data[APP_AT : APP_AT + size - 32]).digest()
    refused(bytes(data))


def test_one_wrong_byte_in_the_real_image_is_noticed() -> None:
    data = real_image().read_bytes()
    for place in random.Random(2).sample(places(data, 0x1000), 60):  # noqa: S311
        changed = bytearray(data)
        changed[place] ^= 0x10
        refused(bytes(changed))


def test_a_file_that_was_cut_is_refused_wherever() -> None:
    data = small("esp32s3")
    for end in [*range(40), 4000, TABLE_AT - 1, TABLE_AT, TABLE_AT + 100, TABLE_AT + 0xBFF, TABLE_AT + 0xC00, APP_AT,
                APP_AT + 10, APP_AT + 24, APP_AT + 30, *range(len(data) - 70, len(data))]:  # fmt: skip
        refused(data[:end])


def test_what_is_no_image_at_all_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\xe9", b"<!DOCTYPE html><html>404</html>", b"\xff" * 70000, b"\x00" * 70000, b"\xe9" * 70000):
        refused(data)
    with pytest.raises(Trouble, match=r"gone\.bin is damaged or no MicroPython: No such file"):
        read_image(tmp_path / "gone.bin")
    with pytest.raises(Trouble, match="damaged or no MicroPython"):
        read_image(tmp_path)
    assert "another program" in refused(other_program(small("esp32s3")))


def other_program(data: bytes) -> bytes:
    """The same image as if something else than MicroPython had been built so."""
    changed = bytearray(data)
    at = changed.index(b"micropython", APP_AT)
    changed[at : at + 11] = b"meshtastics"
    size = image_of(data, "x").app_bytes
    checksum = APP_AT + size - 33
    for before, after in zip(b"micropython", b"meshtastics", strict=True):
        changed[checksum] ^= before ^ after
    changed[checksum + 1 : checksum + 33] = hashlib.sha256(changed[APP_AT : checksum + 1]).digest()
    return bytes(changed)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_hostile_bytes_are_refused_and_never_more(data: st.DataObject) -> None:
    changed = bytearray(small(data.draw(st.sampled_from(["esp32", "esp32s3"]))))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(
            st.one_of(st.integers(0, 60), st.integers(0x7000, 0x8C00), st.integers(APP_AT - 0x1000, len(changed)))
        )
        changed[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        image = image_of(bytes(changed), "mine.bin")
        image.parts(image.layout(data.draw(st.integers(0, 1 << 25))))
    except Trouble as told:
        assert told.kind in ("bad_image", "flash_full")  # noqa: PT017


def test_a_flash_that_is_smaller_than_the_image_says_is_refused() -> None:
    image = image_of(made_image("esp32s3", 0x900, flash_bytes=8 * MIB), "eight.bin")
    assert image.layout(8 * MIB).vfs.size == 6 * MIB
    with pytest.raises(Trouble, match="do not fit"):
        image.layout(4 * MIB)
