"""The identity in NVS: Espressif's own tool is the oracle, and no bytes make the reader fall over."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from esp_idf_nvs_partition_gen import nvs_partition_gen as generator
from hypothesis import given, settings
from hypothesis import strategies as st
from spatz.images.nvs_image import Identity, identity_of, nvs_image, read_nvs

SIZE = 0x6000
PAGE = 4096
WHO = Identity(bytes(range(8)), bytes(range(8, 16)), bytes(range(16, 32)), 1024)
KINDS = {"u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767), "u32": (0, 2**32 - 1),
         "i32": (-(2**31), 2**31 - 1), "u64": (0, 2**64 - 1), "i64": (-(2**63), 2**63 - 1)}  # fmt: skip

Entry = tuple[str, str, str, object]  # namespace, key, encoding, value


def made(entries: list[Entry], size: int = SIZE, version: int = generator.Page.VERSION2) -> bytes:
    """An image with these entries in this order, by Espressif's tool; a key that comes twice is written twice."""
    target = io.BytesIO()
    nvs = generator.nvs_open(target, size - PAGE, version=version)
    index: dict[str, int] = {}
    for space, key, encoding, value in entries:
        if space not in index:
            generator.write_entry(nvs, space, "namespace", "", "")
            index[space] = generator.get_namespace_idx(nvs)
        text = value.hex() if isinstance(value, bytes) else str(value)
        generator.write_entry(nvs, key, "data", encoding, text, index[space])
    generator.nvs_close(nvs)
    return target.getvalue()


def test_the_identity_comes_back_and_fills_its_partition() -> None:
    for size in (0x3000, 0x4000, 0x6000):
        image = nvs_image(WHO, size)
        assert len(image) == size
        assert identity_of(read_nvs(image)) == WHO
        assert image[-PAGE:] == b"\xff" * PAGE  # else ESP-IDF erases everything: no free page


def test_it_holds_the_identity_and_nothing_else() -> None:
    assert read_nvs(nvs_image(WHO, SIZE)) == {
        ("spatz", "dev_eui"): WHO.dev_eui,
        ("spatz", "join_eui"): WHO.join_eui,
        ("spatz", "app_key"): WHO.app_key,
        ("spatz", "dev_nonce"): 1024,
    }
    first = Identity(WHO.dev_eui, WHO.join_eui, WHO.app_key)
    assert ("spatz", "dev_nonce") not in read_nvs(nvs_image(first, SIZE))
    assert identity_of(read_nvs(nvs_image(first, SIZE))) == first


def test_it_prints_nothing_and_shows_no_key(capfd: pytest.CaptureFixture[str]) -> None:
    nvs_image(WHO, SIZE)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert WHO.app_key.hex() not in repr(WHO)
    assert repr(WHO.app_key) not in repr(WHO)


@pytest.mark.parametrize("identity", [
    Identity(b"short", WHO.join_eui, WHO.app_key),
    Identity(WHO.dev_eui, WHO.join_eui, WHO.app_key + b"x"),
    Identity(WHO.dev_eui, WHO.join_eui, WHO.app_key, 0x10000),
])  # fmt: skip
def test_what_is_no_identity_is_not_written(identity: Identity) -> None:
    with pytest.raises(ValueError, match="not a"):
        nvs_image(identity, SIZE)


@pytest.mark.parametrize("change", [
    {("spatz", "app_key"): b"\x00" * 15}, {("spatz", "app_key"): 7}, {("spatz", "dev_eui"): b""},
    {("spatz", "join_eui"): None}, {("other", "app_key"): WHO.app_key, ("spatz", "app_key"): None},
])  # fmt: skip
def test_an_identity_that_is_not_whole_is_none(change: dict[tuple[str, str], int | bytes | None]) -> None:
    found = {**read_nvs(nvs_image(WHO, SIZE)), **change}
    assert identity_of({key: value for key, value in found.items() if value is not None}) is None
    assert identity_of({}) is None


# --- as Espressif's tool writes


KEYS = st.text("abcdefgh_0123456789", min_size=1, max_size=15)
SPACES = st.sampled_from(["spatz", "nvs.net80211", "phy"])
NUMBERS = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), st.integers(*KINDS[kind])))
BLOBS = st.tuples(st.just("hex2bin"), st.binary(min_size=1, max_size=6000))
STRINGS = st.tuples(st.just("string"), st.text("abc äöü", max_size=200))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.tuples(SPACES, KEYS), NUMBERS | BLOBS | STRINGS, max_size=12))
def test_whatever_espressifs_tool_writes_is_read(wanted: dict[tuple[str, str], tuple[str, object]]) -> None:
    entries: list[Entry] = [(*place, encoding, value) for place, (encoding, value) in wanted.items()]
    read = read_nvs(made(entries, size=32 * PAGE))
    assert read == {place: value.encode() if isinstance(value, str) else value for place, (_, value) in wanted.items()}


def test_blobs_of_the_old_format_are_read() -> None:
    image = made([("spatz", "dev_eui", "hex2bin", b"12345678")], version=generator.Page.VERSION1)
    assert read_nvs(image) == {("spatz", "dev_eui"): b"12345678"}


def test_what_was_written_last_counts() -> None:
    entries: list[Entry] = [("spatz", "n", "i32", at) for at in range(300)]  # over three pages
    assert read_nvs(made([*entries, ("spatz", "b", "hex2bin", b"a" * 40), ("spatz", "b", "hex2bin", b"b" * 9)])) == {
        ("spatz", "n"): 299,
        ("spatz", "b"): b"b" * 9,
    }


# --- power cuts, damage, hostility


def test_entries_that_are_erased_or_only_half_written_do_not_count() -> None:
    image = nvs_image(WHO, SIZE)
    for at in range(2 + 1):  # namespace; then the data of dev_eui, whose header is there
        for state in (0b00, 0b11):
            changed = bytearray(image)
            bits = int.from_bytes(changed[32:64], "little") & ~(3 << 2 * at) | state << 2 * at
            changed[32:64] = bits.to_bytes(32, "little")
            assert identity_of(read_nvs(bytes(changed))) is None


def test_one_wrong_bit_takes_something_away_and_never_makes_something_up() -> None:
    image = nvs_image(WHO, SIZE)
    right = read_nvs(image).items()
    for at in range(64 + 13 * 32):
        changed = bytearray(image)
        changed[at] ^= 1 << at % 8
        assert read_nvs(bytes(changed)).items() <= right, at


def test_a_blob_with_a_part_missing_is_none() -> None:
    image = bytearray(made([("a", "large", "hex2bin", bytes(9000)), ("a", "n", "u8", 1)]))
    assert len(read_nvs(bytes(image))) == 2
    image[PAGE : 2 * PAGE] = b"\xff" * PAGE  # of three
    assert read_nvs(bytes(image)) == {("a", "n"): 1}


def test_a_page_whose_header_is_damaged_does_not_count_and_others_do() -> None:
    image = bytearray(made([("a", f"k{at}", "i32", at) for at in range(150)]))
    image[PAGE + 5] ^= 1
    assert set(read_nvs(bytes(image))) == {("a", f"k{at}") for at in range(125)}


def test_a_page_being_emptied_still_counts() -> None:
    image = bytearray(nvs_image(WHO, SIZE))
    struct.pack_into("<I", image, 0, 0xFFFFFFF8)
    assert identity_of(read_nvs(bytes(image))) == WHO


@pytest.mark.parametrize("image", [b"", b"\xff" * SIZE, b"\x00" * SIZE, b"\xfe\xff\xff\xff" * 1024, b"\x55" * 5000])
def test_nothing_and_garbage_hold_nothing(image: bytes) -> None:
    assert read_nvs(image) == {}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hostile_pages_never_raise(data: st.DataObject) -> None:
    """Headers with the right checksums and anything in them."""
    page = bytearray(b"\xff" * PAGE)
    struct.pack_into("<II", page, 0, data.draw(st.sampled_from([0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8])), 0)
    struct.pack_into("<I", page, 28, zlib.crc32(page[4:28], 0xFFFFFFFF))
    page[32:64] = data.draw(st.sampled_from([b"\xaa" * 32, b"\xa2" * 32]) | st.binary(min_size=32, max_size=32))
    for at in data.draw(st.lists(st.integers(0, 125), max_size=20)):
        head = data.draw(st.tuples(
            st.integers(0, 3), st.sampled_from([1, 0x11, 4, 0x14, 8, 0x21, 0x41, 0x42, 0x48, 0x99]),
            st.integers(0, 255), st.integers(0, 255),
        ))  # fmt: skip
        line = bytearray(struct.pack("<BBBBI", *head, 0) + data.draw(st.binary(min_size=24, max_size=24)))
        struct.pack_into("<I", line, 4, zlib.crc32(line[:4] + line[8:], 0xFFFFFFFF))
        page[64 + 32 * at : 96 + 32 * at] = line
    found = read_nvs(bytes(page) + data.draw(st.binary(max_size=5000)))
    assert all(isinstance(value, int | bytes) for value in found.values())
    identity_of(found)
