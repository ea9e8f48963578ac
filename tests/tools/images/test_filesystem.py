"""The node's files: what is in them, that MicroPython mounts them, and reading a board's without reading all of it."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import zlib
from pathlib import Path

import pytest
from spatz.config import compile_config
from spatz.images.filesystem import (
    FilesystemDamaged,
    filesystem_image,
    firmware_files,
    firmware_version,
    node_files,
    read_filesystem,
)
from spatz.resources import firmware_dir
from spatz.sim.micropython import command
from spatz.troubles import Trouble
from spatz.wishes import Wishes, wishes_of

from tests.tools.images.planted import endless, planted

MIB = 1 << 20
WISHES = Wishes("amsel", "heltec-v3", ("bme280",), 300)

# MicroPython: mount the image sys.argv[1], print what is in it, import the modules named behind it, write a file
MOUNTED = r"""
import binascii, hashlib, json, os, sys, vfs

class Blocks:
    # a file as a flash with erase blocks of 4096 bytes

    def __init__(self, path):
        self._file = open(path, "r+b")
        self._count = os.stat(path)[6] // 4096

    def readblocks(self, block, buffer, offset=0):
        self._file.seek(block * 4096 + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self._file.seek(block * 4096 + offset)
        self._file.write(buffer)

    def ioctl(self, op, arg):
        if op == 3:
            self._file.flush()
        if op == 4:
            return self._count
        if op == 5:
            return 4096
        if op == 6:
            self.writeblocks(arg, b"\xff" * 4096)
        return 0


def files(folder):
    for name, kind, *_ in os.ilistdir(folder):
        path = folder + "/" + name
        if kind == 0x4000:
            yield from files(path)
        else:
            with open(path, "rb") as file:
                yield path[len("/flash/") :], binascii.hexlify(hashlib.sha256(file.read()).digest()).decode()


vfs.mount(vfs.VfsLfs2(Blocks(sys.argv[1]), readsize=32, progsize=32, lookahead=32), "/flash")
print(json.dumps(dict(files("/flash"))))
for module in sys.argv[2:]:
    sys.path.insert(0, "/flash")
    __import__(module)
try:
    os.mkdir("/flash/log")
except OSError:
    pass
with open("/flash/log/0001", "wb") as log:
    log.write(b"measured" * 1000)
vfs.umount("/flash")
"""


pytestmark = pytest.mark.xdist_group("filesystem")


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory):
    """One cache for these tests, not that of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPATZ_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def mounted(image: bytes, folder: Path, *modules: str) -> tuple[dict[str, str], bytes]:
    """What MicroPython finds in an image (path -> SHA-256), and the image after MicroPython wrote log/0001 to it."""
    file = folder / "flash.bin"
    file.write_bytes(image)
    script = folder / "mounted.py"
    script.write_text(MOUNTED, encoding="utf-8")
    done = subprocess.run(
        [*command(), str(script), str(file), *modules],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), file.read_bytes()


# --- the files


def test_the_program_is_there_compiled_and_main_as_source() -> None:
    files = firmware_files()
    sources = {path.relative_to(firmware_dir()).as_posix() for path in firmware_dir().rglob("*.py")}
    assert {path.replace(".mpy", ".py") for path in files} == sources
    assert files["main.py"] == (firmware_dir() / "main.py").read_bytes()
    assert all(data[:2] == b"M\x06" for path, data in files.items() if path != "main.py")  # bytecode version 6
    assert "node/app.mpy" in files


def test_a_nodes_files_say_what_they_are() -> None:
    files = node_files(WISHES)
    assert json.loads(files["config.json"]) == compile_config("heltec-v3", ["bme280"], "amsel", interval_s=300)
    manifest = json.loads(files["spatz.json"])
    assert manifest["firmware"] == firmware_version()
    assert wishes_of(json.dumps(manifest["wishes"])) == WISHES
    assert set(manifest["files"]) == set(files) - {"spatz.json"}
    for path, mark in manifest["files"].items():
        assert hashlib.sha256(files[path]).hexdigest().startswith(mark)
        assert len(mark) == 16
    assert not any(path.startswith("log/") for path in files)


def test_two_nodes_differ_in_two_files_only() -> None:
    one, other = node_files(WISHES), node_files(Wishes("star", "heltec-v3", ("bme280",), 300))
    assert {path for path in one if one[path] != other[path]} == {"config.json", "spatz.json"}


# --- the image


@pytest.mark.parametrize("size", [2 * MIB, 6 * MIB, 0xF0000])
def test_micropython_mounts_it_and_finds_every_byte(size: int, tmp_path: Path) -> None:
    files = node_files(WISHES)
    image = filesystem_image(files, size)
    assert len(image) == size
    found, after = mounted(image, tmp_path, "payload.table", "node.schedule", "lorawan.region")
    assert found == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert read_filesystem(after, size) == {**files, "log/0001": b"measured" * 1000}
    assert read_filesystem(after, size, ["log"]) == {"log/0001": b"measured" * 1000}


def test_the_same_files_give_the_same_bytes() -> None:
    files = node_files(WISHES)
    image = filesystem_image(files, MIB)
    assert filesystem_image(dict(reversed(files.items())), MIB) == image
    assert read_filesystem(image, MIB) == files


def test_files_of_every_length_come_back() -> None:
    chance = random.Random(3)  # noqa: S311
    files = {f"f{size}": chance.randbytes(size) for size in (0, 1, 31, 32, 127, 128, 4095, 4096, 4097, 50_000)}
    files |= {f"a/b/c{at}/{'x' * 200}": b"deep" for at in range(20)}
    assert read_filesystem(filesystem_image(files, MIB), MIB) == files


def test_files_that_do_not_fit_are_said_so() -> None:
    with pytest.raises(Trouble) as told:
        filesystem_image({"big": bytes(300_000)}, 0x40000)
    assert told.value.kind == "flash_full"


# --- reading a board's


class Slow:
    """A board behind a slow cable: counts what is asked of it."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, size: int) -> bytes:
        self.asked.append((offset, size))
        return self.image[offset : offset + size]


def test_a_log_is_read_without_reading_everything(tmp_path: Path) -> None:
    _, image = mounted(filesystem_image(node_files(WISHES), 6 * MIB), tmp_path)
    board = Slow(image)
    assert read_filesystem(board, 6 * MIB, ["log"]) == {"log/0001": b"measured" * 1000}
    assert {size for _, size in board.asked} == {4096}
    assert len(set(board.asked)) == len(board.asked)  # nothing twice
    assert len(board.asked) <= 30  # of 1536
    everything = Slow(image)
    assert len(read_filesystem(everything, 6 * MIB)) > 60
    assert len(everything.asked) < 120


def test_what_reading_raises_comes_through() -> None:
    image = filesystem_image({"log/1": b"x" * 9000}, MIB)

    def cut(offset: int, size: int) -> bytes:
        if offset > 4 * 4096:
            raise ConnectionError("the cable is out")
        return image[offset : offset + size]

    with pytest.raises(ConnectionError, match="the cable is out"):
        read_filesystem(cut, MIB)


@pytest.mark.parametrize("image", [b"", b"\xff" * MIB, b"\x00" * MIB, bytes(range(256)) * 4096])
def test_what_is_no_filesystem_is_said_so(image: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FilesystemDamaged):
        read_filesystem(image, MIB)
    assert capfd.readouterr().err == ""


def test_a_file_that_cannot_be_read_takes_no_other_with_it() -> None:
    files = {"log/1": random.Random(1).randbytes(40_000), "log/2": b"x" * 5000, "spatz.json": b"{}"}  # noqa: S311
    image = filesystem_image(files, MIB)
    last = image.index(files["log/1"][-1000:]) // 4096 * 4096  # it begins with where the block before it lies
    found = read_filesystem(image[:last] + b"\xff" * 4 + image[last + 4 :], MIB)
    assert found == {path: data for path, data in files.items() if path != "log/1"}


def test_a_board_that_says_its_log_has_gigabytes_takes_none() -> None:
    files = {"log/1": bytes(9000), "log/2": b"whole", "spatz.json": b" " * 70_000, "main.py": b"1"}
    image = bytearray(filesystem_image(files, MIB))
    size = (9000).to_bytes(4, "little")
    at = next(at for at in range(MIB) if _sum_behind(image, at, size))
    first, end = _sum_behind(image, at, size) or (0, 0)
    image[at : at + 4] = (0x7FFFFFF0).to_bytes(4, "little")
    image[end : end + 4] = lfs_sum(image[first:end])
    assert read_filesystem(bytes(image), MIB) == {"log/2": b"whole", "main.py": b"1"}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("log/XXYboot.py", b"XXYboot.py", b"../boot.py"),
        ("log/QQQ/boot.py", b"QQQ", b"../"),
        ("log/a_b", b"a_b", b"a/b"),
        ("log/XXname", b"XXname", b"\xff\xfename"),
        ("XX/boot.py", b"XX", b".."),
    ],
)
def test_a_name_that_is_none_costs_itself_alone(path: str, old: bytes, new: bytes) -> None:
    """Neither does it lead out of its folder, nor are the files beside it lost."""
    good = {"log/1.bin": b"readings", "boot.py": b"evil", "grün.txt": b"1", "log/a/b": b"2"}
    image = planted({**good, path: b"planted"}, MIB, {old: new})
    assert new in image
    assert read_filesystem(image, MIB) == good
    assert read_filesystem(image, MIB, ["log/1.bin"]) == {"log/1.bin": b"readings"}


@pytest.mark.parametrize("empty", [False, True])
def test_a_folder_that_goes_on_with_itself_ends_in_a_sentence(*, empty: bool) -> None:
    """Through an empty one littlefs would go round for ever in C, where no signal ends it."""
    image = endless({"log/1.bin": b"readings", "other/a": b"1"}, MIB, empty=empty)
    with pytest.raises(FilesystemDamaged, match="endless"):
        read_filesystem(image, MIB)


@pytest.mark.parametrize("size", [MIB // 2, 2 * MIB])
def test_a_filesystem_of_another_size_is_said_so(size: int) -> None:
    image = filesystem_image({"a": b"1"}, MIB).ljust(size, b"\xff")
    with pytest.raises(FilesystemDamaged):
        read_filesystem(image, size)


def test_a_crafted_superblock_ends_no_process() -> None:
    """A number of blocks of 0, with the right checksum: littlefs would divide by it."""
    image = bytearray(filesystem_image({"a": b"1"}, MIB))
    for block in (image[:4096], image[4096:8192]):
        number = block.index(b"littlefs") + 8 + 4 + 8  # behind the name, the next tag, version and block size
        assert int.from_bytes(block[number : number + 4], "little") == MIB // 4096
        sum_at = next(at for at in range(number, 4092) if block[at : at + 4] == lfs_sum(block[:at]))
        block[number : number + 4] = bytes(4)
        block[sum_at : sum_at + 4] = lfs_sum(block[:sum_at])
        image = block + image[4096:] if image[:4] == block[:4] else image[:4096] + block + image[8192:]
    with pytest.raises(FilesystemDamaged):
        read_filesystem(bytes(image), MIB)


def _sum_behind(image: bytearray, at: int, wanted: bytes) -> tuple[int, int] | tuple[()]:
    """Where the commit with these bytes at `at` begins and where its checksum lies; () when it is no commit."""
    if image[at : at + 4] != wanted:
        return ()
    block = at // 4096 * 4096
    for end in range(at + 4, at + 40):
        for first in range(block, at):
            if image[end : end + 4] == lfs_sum(image[first:end]):
                return first, end
    return ()


def lfs_sum(data: bytearray) -> bytes:
    """littlefs's checksum of a commit."""
    return (zlib.crc32(data) ^ 0xFFFFFFFF).to_bytes(4, "little")


def test_damage_gives_files_or_one_clear_error() -> None:
    files = {f"d/{at}": bytes([at]) * (100 + 400 * at) for at in range(12)}
    image = filesystem_image(files, 64 * 4096)
    used = [at for at in range(64) if image[at * 4096 : at * 4096 + 4096].strip(b"\xff")]
    chance = random.Random(5)  # noqa: S311
    for _ in range(150):
        changed = bytearray(image)
        for _ in range(chance.choice((1, 3, 30))):
            changed[chance.choice(used) * 4096 + chance.randrange(chance.choice((64, 4096)))] ^= 1 << chance.randrange(
                8
            )
        if chance.random() < 0.3:
            at = chance.choice(used) * 4096
            changed[at : at + 4096] = b"\xff" * 4096
        try:
            assert isinstance(read_filesystem(bytes(changed), len(changed)), dict)
        except FilesystemDamaged:
            continue
