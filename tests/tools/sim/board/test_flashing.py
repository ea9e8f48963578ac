"""The real esptool against a virtual board: what it writes is in the flash, and what a chip refuses is refused."""

from __future__ import annotations

import struct

import pytest
from esptool.util import FatalError
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import made_image
from tools.sim.board.bench_help import esptool, flashed, in_boot_loader


@pytest.fixture
def registry(tmp_path):
    return tmp_path / "registry"


def test_esptool_flashes_a_new_board_and_the_board_starts(tmp_path, registry):
    image = made_image("esp32s3", 0x20000)
    (tmp_path / "image.bin").write_bytes(image)
    with VirtualBoard(tmp_path / "b", registry=registry, mac="f412fa010203") as board:
        assert "0xffffffff" in board.wait_for("refused")["why"]
        written = esptool(board, "write-flash", "0x0", str(tmp_path / "image.bin"))
        assert written.returncode == 0, written.stdout + written.stderr
        assert "f4:12:fa:01:02:03" in written.stdout
        assert "Hash of data verified" in written.stdout
        assert board.flash()[: len(image)] == image
        assert set(board.flash()[-(4 << 20) :]) == {0xFF}
        assert board.wait_for("boot")["cause"] == "power_on"  # closing the port was the reset
        board.wait_for("line", text="Performing initial setup")
        verified = esptool(board, "--no-stub", "verify-flash", "0x0", str(tmp_path / "image.bin"))
        assert "Verification successful" in verified.stdout


def test_flash_id_knows_chip_and_size(tmp_path, registry):
    with VirtualBoard(tmp_path / "b", registry=registry, board="heltec-v2", flash_mb=16) as board:
        told = esptool(board, "flash-id").stdout
    assert "revision v3.0" in told
    assert "16MB" in told


def test_one_connection_writes_reads_and_erases(tmp_path, registry):
    from esptool.cmds import attach_flash, erase_region, read_flash, run_stub, write_flash

    flashed(tmp_path / "b", {})
    with VirtualBoard(tmp_path / "b", registry=registry) as board:
        before = board.flash()
        with in_boot_loader(board) as esp:
            stub = run_stub(esp)
            attach_flash(stub)
            write_flash(stub, [(0x9000, b"key" * 100)], flash_mode="keep", flash_freq="keep", flash_size="keep")
            assert read_flash(stub, 0x9000, 300) == b"key" * 100
            erase_region(stub, 0x200000, 0x10000)
        after = board.flash()
    assert after[0x9000:0x912C] == b"key" * 100
    assert after[0x912C:0xA000] == b"\xff" * (0x1000 - 300)
    assert after[0x200000:0x210000] == b"\xff" * 0x10000
    assert (after[:0x9000], after[0xA000:0x200000], after[0x210000:]) == (
        before[:0x9000], before[0xA000:0x200000], before[0x210000:],
    )  # fmt: skip


def test_what_a_chip_refuses_is_refused(tmp_path, registry):
    with VirtualBoard(tmp_path / "b", registry=registry, flash_mb=4) as board, in_boot_loader(board) as esp:
        begin = struct.pack("<IIIII", 4096, 4, 1024, 0x9000, 0)
        with pytest.raises(FatalError, match="0106"):  # the flash is not attached yet
            esp.check_command("begin", esp.ESP_CMDS["FLASH_BEGIN"], begin)
        esp.flash_spi_attach(0)
        with pytest.raises(FatalError, match="0108"):
            esp.check_command("begin", esp.ESP_CMDS["FLASH_BEGIN"], struct.pack("<IIIII", 4096, 4, 1024, 4 << 20, 0))
        esp.check_command("begin", esp.ESP_CMDS["FLASH_BEGIN"], begin)
        with pytest.raises(FatalError, match="0105"):  # the second block before the first
            esp.check_command(
                "block", esp.ESP_CMDS["FLASH_DATA"], struct.pack("<IIII", 4, 1, 0, 0) + b"data", esp.checksum(b"data")
            )
        with pytest.raises(FatalError, match="0107"):
            esp.check_command("block", esp.ESP_CMDS["FLASH_DATA"], struct.pack("<IIII", 4, 0, 0, 0) + b"data", 1)
        with pytest.raises(FatalError, match="0105"):  # only the stub can
            esp.check_command("erase", esp.ESP_CMDS["ERASE_FLASH"])
    assert set(board.flash()) == {0xFF}


def test_the_power_goes_while_esptool_writes(tmp_path, registry):
    image = made_image("esp32s3", 0x40000)
    (tmp_path / "image.bin").write_bytes(image)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "flash.bin").write_bytes(bytes(8 << 20))
    with VirtualBoard(tmp_path / "b", registry=registry) as board:
        # the stub erases blocks of 64 kB as the data come: two of them here
        board.do("cut_after", bytes=2 * 65536 + 70_001)
        assert esptool(board, "write-flash", "0x0", str(tmp_path / "image.bin"), attempts=1).returncode != 0
        board.wait_for("cut")
        with pytest.raises(LookupError):
            _ = board.port
        flash = board.flash()
        assert flash[:70_001] == image[:70_001]
        assert set(flash[70_001 : 2 * 65536]) == {0xFF}
        assert set(flash[2 * 65536 : len(image)]) == {0}, "what was there before"
        board.do("power_on")
        board.wait_for("refused")
        assert esptool(board, "write-flash", "0x0", str(tmp_path / "image.bin")).returncode == 0
        board.wait_for("boot")
        assert board.flash()[: len(image)] == image
