"""What lies where: as users.md 1.3 says for MicroPython's own tables, and clear words for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spatz.images.layout import TABLE_BYTES, Region, layout_of, partitions_of
from spatz.sim.board.made_image import TABLES, partition_table
from spatz.troubles import Trouble

MIB = 1 << 20
NVS = ("nvs", 1, 2, 0x9000, 0x6000)
APP = ("factory", 0, 0, 0x10000, 0x1F0000)


@pytest.mark.parametrize(("name", "flash_mib", "vfs", "nvs_size"), [
    ("4MiBplus", 4, Region(0x200000, 2 * MIB), 0x6000),
    ("4MiBplus", 8, Region(0x200000, 6 * MIB), 0x6000),
    ("4MiBplus", 16, Region(0x200000, 14 * MIB), 0x6000),
    ("4MiB-romfs", 4, Region(0x200000, 2 * MIB), 0x6000),
    ("4MiB-ota", 4, Region(0x310000, 0xF0000), 0x4000),
    ("4MiB-vfs", 4, Region(0x200000, 2 * MIB), 0x6000),
    ("4MiB-vfs", 16, Region(0x200000, 2 * MIB), 0x6000),  # as the table says, however much more there is
])  # fmt: skip
def test_the_filesystem_lies_where_micropython_puts_it(name: str, flash_mib: int, vfs: Region, nvs_size: int) -> None:
    layout = layout_of(partition_table(TABLES[name]), "esp32s3", flash_mib * MIB)
    assert layout.vfs == vfs
    assert layout.nvs == Region(0x9000, nvs_size)
    assert layout.app.offset == 0x10000
    assert (layout.bootloader_at, layout.table_at) == (0, 0x8000)
    assert layout_of(partition_table(TABLES[name]), "esp32", flash_mib * MIB).bootloader_at == 0x1000


@pytest.mark.parametrize(("name", "flash"), [
    ("4MiBplus", 2 * MIB), ("4MiBplus", 0), ("4MiB-vfs", 2 * MIB), ("4MiB-vfs", 3 * MIB), ("4MiB-ota", 0x312000)
])  # fmt: skip
def test_too_little_flash_is_said_so(name: str, flash: int) -> None:
    with pytest.raises(Trouble) as told:
        layout_of(partition_table(TABLES[name]), "esp32", flash)
    assert told.value.kind == "flash_full"


@pytest.mark.parametrize(("lines", "why"), [
    ([APP], "no place"),
    ([NVS], "no place"),
    ([], "it is empty"),
    ([NVS, ("factory", 0, 0, 0xE000, 0x1F0000)], "overlap"),
    ([("nvs", 1, 2, 0x8000, 0x6000), APP], "overlap"),
    ([NVS, ("factory", 0, 0, 0x10000, 0x1F0001)], "overlap or are cut"),
    ([NVS, ("factory", 0, 0, 0x10000, 0)], "overlap or are cut"),
])  # fmt: skip
def test_tables_that_cannot_be(lines: list[tuple[str, int, int, int, int]], why: str) -> None:
    with pytest.raises(Trouble, match=f"The partition table is damaged or no MicroPython: .*{why}"):
        layout_of(partition_table(lines), "esp32", 4 * MIB)


@pytest.mark.parametrize(
    "table", [b"", b"\xff" * TABLE_BYTES, b"\x00" * TABLE_BYTES, b"\xaaP" * 40, b"\xaa\x50" + b"\xff" * 0xBFE]
)
def test_what_is_no_table(table: bytes) -> None:
    with pytest.raises(Trouble, match="The partition table is damaged"):
        layout_of(table, "esp32", 4 * MIB)


def test_a_table_without_its_sum_is_read_and_known_for_it() -> None:
    table = partition_table(TABLES["4MiBplus"])
    plain = (table[: 3 * 32]).ljust(TABLE_BYTES, b"\xff")
    assert partitions_of(plain) == (partitions_of(table)[0], False)
    assert partitions_of(table)[1]
    assert layout_of(plain, "esp32", 4 * MIB) == layout_of(table, "esp32", 4 * MIB)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_tables_never_raise_anything_else(data: st.DataObject) -> None:
    table = bytearray(partition_table(TABLES[data.draw(st.sampled_from(sorted(TABLES)))]))
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, 200))
        table[at : at + 4] = data.draw(st.binary(max_size=4))
    plain = data.draw(st.booleans())
    kept = bytes(table[: 3 * 32]).ljust(TABLE_BYTES, b"\xff") if plain else bytes(table)
    try:
        layout = layout_of(
            kept[: data.draw(st.integers(0, TABLE_BYTES))], "esp32s3", data.draw(st.integers(0, 1 << 32))
        )
    except Trouble:
        return
    assert 0 < layout.vfs.end <= layout.flash_bytes
    assert layout.vfs.offset >= layout.app.end or layout.vfs.end <= layout.app.offset
