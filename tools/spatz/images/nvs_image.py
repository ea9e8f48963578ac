"""A node's identity as ESP-IDF keeps it: made with Espressif's own tool, read with a reader of our own.

Source: ESP-IDF Programming Guide v5.5, "Non-Volatile Storage Library", Internals: pages of 4096 bytes (header, states
of the entries, 126 entries of 32 bytes), and components/nvs_flash/src/nvs_page.cpp for what counts after a power cut.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

PAGE = 4096
NAMESPACE = "spatz"

_ENTRIES = 126
_ENTRY_BYTES = 32
_FIRST_ENTRY = 64
_LIVE_PAGES = (0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8)  # active, full, being emptied; anything else is blank or broken
_WRITTEN = 0b10
_NUMBERS = {0x01: "<B", 0x11: "<b", 0x02: "<H", 0x12: "<h", 0x04: "<I", 0x14: "<i", 0x08: "<Q", 0x18: "<q"}
_STRING, _BLOB_V1, _BLOB_DATA, _BLOB_INDEX = 0x21, 0x41, 0x42, 0x48
_NO_CHUNK = 0xFF


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is. dev_eui, join_eui: 8 bytes, big-endian; app_key: 16 bytes; dev_nonce: the least it may use."""

    dev_eui: bytes
    join_eui: bytes
    app_key: bytes = field(repr=False)
    dev_nonce: int = 0


def nvs_image(identity: Identity, size: int) -> bytes:
    """An NVS partition of `size` bytes that holds the identity and nothing else; contract 4 of the firmware.

    Raises ValueError: the identity has other lengths, or the size is no partition.
    """
    from esp_idf_nvs_partition_gen import nvs_partition_gen as generator

    if (len(identity.dev_eui), len(identity.join_eui), len(identity.app_key)) != (8, 8, 16):
        raise ValueError("not an identity")
    if size % PAGE or size < 3 * PAGE or not 0 <= identity.dev_nonce <= 0xFFFF:
        raise ValueError("not a size, or not a DevNonce")
    target = io.BytesIO()
    # one page stays blank: NVS moves its entries there when the others are full
    nvs = generator.nvs_open(target, size - PAGE, version=generator.Page.VERSION2)
    generator.write_entry(nvs, NAMESPACE, "namespace", "", "")
    for key in ("dev_eui", "join_eui", "app_key"):
        generator.write_entry(nvs, key, "data", "hex2bin", getattr(identity, key).hex())
    if identity.dev_nonce:
        generator.write_entry(nvs, "dev_nonce", "data", "i32", identity.dev_nonce)
    generator.nvs_close(nvs)
    return target.getvalue()


def identity_of(nvs: Mapping[tuple[str, str], int | bytes]) -> Identity | None:
    """The identity in what `read_nvs` has found; None unless all of it is whole."""
    values = {key: nvs.get((NAMESPACE, key)) for key in ("dev_eui", "join_eui", "app_key")}
    dev_eui, join_eui, app_key = values["dev_eui"], values["join_eui"], values["app_key"]
    if not (isinstance(dev_eui, bytes) and isinstance(join_eui, bytes) and isinstance(app_key, bytes)):
        return None
    if (len(dev_eui), len(join_eui), len(app_key)) != (8, 8, 16):
        return None
    nonce = nvs.get((NAMESPACE, "dev_nonce"), 0)
    return Identity(dev_eui, join_eui, app_key, nonce if isinstance(nonce, int) and nonce > 0 else 0)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A written entry whose checksums are right. value: a number, or the bytes behind it."""

    namespace: int
    kind: int
    chunk: int
    key: str
    value: int | bytes = field(repr=False)
    raw: bytes = field(repr=False)  # its 8 bytes of data


def read_nvs(image: bytes) -> dict[tuple[str, str], int | bytes]:
    """What an NVS partition holds: (namespace, key) -> number, or bytes of a blob or of a string without its end.

    As ESP-IDF reads it: what was written last counts; what is not whole does not. Bytes of any kind give a result.
    """
    names: dict[int, str] = {}
    found: dict[tuple[int, str], int | bytes] = {}
    chunks: dict[tuple[int, str, int], bytes] = {}
    entries = list(_entries(image))
    for entry in entries:
        if entry.namespace == 0 and entry.kind == 0x01 and isinstance(entry.value, int):
            names[entry.value] = entry.key
        elif entry.kind == _BLOB_DATA and isinstance(entry.value, bytes):
            chunks[entry.namespace, entry.key, entry.chunk] = entry.value
    for entry in entries:
        place = (entry.namespace, entry.key)
        if entry.kind == _BLOB_INDEX:
            size, count, start = struct.unpack_from("<IBB", entry.raw)
            parts = [chunks.get((*place, start + at)) for at in range(count)]
            whole = b"".join(part for part in parts if part is not None)
            if None not in parts and len(whole) == size:
                found[place] = whole
        elif entry.kind == _STRING and isinstance(entry.value, bytes):
            found[place] = entry.value.split(b"\0", 1)[0]
        elif entry.kind != _BLOB_DATA and entry.namespace:
            found[place] = entry.value
    return {(names[namespace], key): value for (namespace, key), value in found.items() if namespace in names}


def _entries(image: bytes) -> Iterator[_Entry]:
    """The entries that count, in the order in which they were written."""
    pages = []
    for at in range(0, len(image) - PAGE + 1, PAGE):
        page = image[at : at + PAGE]
        state, number = struct.unpack_from("<II", page)
        if state in _LIVE_PAGES and _crc(page[4:28]) == struct.unpack_from("<I", page, 28)[0]:
            pages.append((number, page))
    for _, page in sorted(pages, key=lambda numbered: numbered[0]):
        yield from _of_page(page)


def _of_page(page: bytes) -> Iterator[_Entry]:
    states = int.from_bytes(page[32:64], "little")
    written = [states >> 2 * at & 3 == _WRITTEN for at in range(_ENTRIES)]
    at = 0
    while at < _ENTRIES:
        entry, span = (_entry(page, at), page[_FIRST_ENTRY + at * _ENTRY_BYTES + 2]) if written[at] else (None, 1)
        if entry is None or not all(written[at : at + span]) or at + span > _ENTRIES:
            at += 1
            continue
        if entry.kind not in (_STRING, _BLOB_V1, _BLOB_DATA):
            yield entry
        else:
            size, crc = struct.unpack_from("<HxxI", entry.raw)
            begin = _FIRST_ENTRY + (at + 1) * _ENTRY_BYTES
            data = page[begin : begin + size]
            if size <= (span - 1) * _ENTRY_BYTES and _crc(data) == crc:
                yield _Entry(entry.namespace, entry.kind, entry.chunk, entry.key, data, entry.raw)
        at += span


def _entry(page: bytes, at: int) -> _Entry | None:
    """The header of the entry at this place; None when its checksum is wrong or nobody knows its kind."""
    line = page[_FIRST_ENTRY + at * _ENTRY_BYTES :][:_ENTRY_BYTES]
    namespace, kind, span, chunk, crc = struct.unpack_from("<BBBBI", line)
    if _crc(line[:4] + line[8:]) != crc or not span:
        return None
    key, raw = line[8:24].split(b"\0", 1)[0].decode("ascii", "replace"), line[24:]
    if kind in _NUMBERS:
        return _Entry(namespace, kind, chunk, key, struct.unpack_from(_NUMBERS[kind], raw)[0], raw)
    if kind in (_STRING, _BLOB_V1, _BLOB_DATA, _BLOB_INDEX):
        return _Entry(namespace, kind, chunk, key, b"", raw)
    return None


def _crc(data: bytes) -> int:
    """ESP-IDF's esp_rom_crc32_le(0xFFFFFFFF, …)."""
    return zlib.crc32(data, 0xFFFFFFFF)
