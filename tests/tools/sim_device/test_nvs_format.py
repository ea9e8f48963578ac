"""NVS pages of the virtual board: Espressif's own images are read, and others read what it writes."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from esp_idf_nvs_partition_gen import nvs_partition_gen as generator
from spatz.images.nvs_image import Identity, identity_of, nvs_image, read_nvs
from spatz.sim.micropython import command

HERE = Path(__file__).parent
DEVICE = Path(__file__).parents[3] / "tools" / "spatz" / "sim" / "device"
START = 0x1000
SIZE = 0x6000
FRESH = b"\xff" * SIZE


def live(path: Path, image: bytes, *, steps: int = 0, seed: int = 1, limit: int = -1) -> tuple[dict[str, Any], bytes]:
    """What MicroPython finds and does in an NVS partition that begins as `image`; and the partition afterwards."""
    flash = path / "flash.bin"
    flash.write_bytes(b"\xff" * START + image)
    numbers = [str(number) for number in (len(image), steps, seed, limit)]
    done = subprocess.run(
        [*command(), "-X", "heapsize=2M", str(HERE / "nvs_life.py"), str(flash), *numbers],
        env={**os.environ, "MICROPYPATH": f"{DEVICE}:{HERE}:.frozen"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), flash.read_bytes()[START:]


def plain(tree: dict[str, dict[str, dict[str, Any]]]) -> dict[tuple[str, str], int | bytes]:
    """A tree as nvs_life prints it, as read_nvs gives it."""
    return {
        (space, key): bytes.fromhex(value["blob"]) if "blob" in value else value["i32"]
        for space, keys in tree.items()
        for key, value in keys.items()
    }


def by_the_book(image: bytes) -> dict[tuple[str, str], int | bytes]:
    """An NVS partition that is in order, strictly by ESP-IDF's description: whatever is not as it says is an error."""
    names, values, blobs, parts = {}, {}, {}, {}
    empty_pages = 0
    for page in (image[at : at + 4096] for at in range(0, len(image), 4096)):
        if page == b"\xff" * 4096:
            empty_pages += 1
            continue
        state, _, version, crc = struct.unpack("<IIB19xI", page[:32])
        assert state in (0xFFFFFFFE, 0xFFFFFFFC), hex(state)
        assert version == 0xFE
        assert page[9:28] == b"\xff" * 19
        assert zlib.crc32(page[4:28], 0xFFFFFFFF) == crc
        states = [page[32 + at // 4] >> at % 4 * 2 & 3 for at in range(126)]
        entries = [page[64 + at * 32 : 96 + at * 32] for at in range(126)]
        used = max((at + 1 for at in range(126) if states[at] != 3), default=0)
        assert 3 not in states[:used]
        assert all(entry == b"\xff" * 32 for entry in entries[used:])
        at = 0
        while at < used:
            if states[at] == 0:
                at += 1
                continue
            entry = entries[at]
            space, kind, span, chunk, crc = struct.unpack("<BBBBI", entry[:8])
            assert zlib.crc32(entry[:4] + entry[8:], 0xFFFFFFFF) == crc
            assert states[at : at + span] == [2] * span
            key = entry[8:24].rstrip(b"\0").decode()
            if kind == 0x42:
                size, data_crc = struct.unpack("<HxxI", entry[24:])
                data = b"".join(entries[at + 1 : at + span])
                assert span == 1 + -(-size // 32)
                assert zlib.crc32(data[:size], 0xFFFFFFFF) == data_crc
                assert (space, key, chunk) not in parts
                parts[space, key, chunk] = data[:size]
            else:
                assert span == 1
                assert chunk == 0xFF
                assert kind in ((0x01,) if space == 0 else (0x14, 0x48))
                target = names if space == 0 else values if kind == 0x14 else blobs
                assert (space, key) not in {**values, **blobs}
                target[space, key] = entry[24:]
            at += span
    spaces = {data[0]: name for (_, name), data in names.items()}
    result: dict[tuple[str, str], int | bytes] = {
        (spaces[space], key): struct.unpack("<i", data[:4])[0] for (space, key), data in values.items()
    }
    for (space, key), data in blobs.items():
        size, count, first = struct.unpack("<IBB", data[:6])
        assert first in (0, 0x80)
        whole = b"".join(parts.pop((space, key, first + number)) for number in range(count))
        assert len(whole) == size
        result[spaces[space], key] = whole
    assert not parts, "chunks of no blob"
    assert empty_pages >= 1, "no page is free"
    return result


def test_what_espressifs_tool_made_is_read(tmp_path: Path) -> None:
    target = io.BytesIO()
    nvs = generator.nvs_open(target, SIZE - 0x1000, version=generator.Page.VERSION2)
    generator.write_entry(nvs, "spatz", "namespace", "", "")
    long, short = bytes(range(256)) * 19, bytes(16)
    generator.write_entry(nvs, "long", "data", "hex2bin", long.hex())
    generator.write_entry(nvs, "short", "data", "hex2bin", short.hex())
    generator.write_entry(nvs, "a_number", "data", "i32", "-7")
    generator.write_entry(nvs, "other_number", "data", "u16", "7")
    generator.write_entry(nvs, "text", "data", "string", "Spatz")
    generator.write_entry(nvs, "abcdefghijklmno", "namespace", "", "")
    generator.write_entry(nvs, "short", "data", "i32", "2147483647")
    generator.nvs_close(nvs)
    said, after = live(tmp_path, target.getvalue())
    assert said["live"] == {
        "spatz": {
            "long": {"blob": long.hex()}, "short": {"blob": short.hex()}, "a_number": {"i32": -7},
            "other_number": {"other": None}, "text": {"other": None},
        },
        "abcdefghijklmno": {"short": {"i32": 2147483647}},
    }  # fmt: skip
    assert after[: SIZE - 0x1000] == target.getvalue()[: SIZE - 0x1000], "reading writes nothing"


def test_a_nodes_identity_is_read_and_stays_through_a_life(tmp_path: Path) -> None:
    identity = Identity(bytes(range(8)), bytes(range(8, 16)), bytes(range(100, 116)), 1024)
    said, after = live(tmp_path, nvs_image(identity, SIZE), steps=300)
    assert said["before"]["spatz"]["app_key"] == {"blob": identity.app_key.hex()}
    assert identity_of(read_nvs(after)) == identity


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_others_read_what_it_wrote(tmp_path: Path, seed: int) -> None:
    size = (0x3000, 0x4000, 0x6000)[seed - 1]
    said, after = live(tmp_path, b"\xff" * size, steps=40 if size == 0x3000 else 400, seed=seed)
    assert len(plain(said["live"])) > 6
    assert by_the_book(after) == plain(said["live"])
    assert read_nvs(after) == plain(said["live"])


def test_after_a_power_cut_others_find_the_old_value_or_the_new_one(tmp_path: Path) -> None:
    image, cuts = FRESH, 0
    for seed in range(12):
        said, image = live(tmp_path, image, steps=120, seed=seed, limit=(seed * 7919 + 13) % 30_000)
        whole = plain(said["live"])
        found = read_nvs(image)
        if "key" in said:
            cuts += 1
            place = tuple(said["key"])
            allowed = [plain({place[0]: {place[1]: value}} if value else {}) for value in (said["old"], said["new"])]
            allowed.append({})  # it was to be erased
            assert {k: v for k, v in found.items() if k == place} in allowed, seed
            whole.pop(place, None)
            found.pop(place, None)
        assert found == whole, seed
    assert cuts > 4
