"""The boot ROM and esptool's stub, without I/O: a frame in, what goes out. Everything of esp32-mock-bootloader is here.

That package knows the registers of the chips, the packets and the start of the stub; the flash behind it, and what a
real chip refuses, are ours:

| asked for | answer |
| --- | --- |
| flash before SPI_ATTACH (ROM only) | failed to act |
| more bytes than the BEGIN announced, or a block out of turn | too much data, invalid message |
| an address beyond the flash | flash write or read error |
| what does not inflate | inflate error |
| erase or read by commands that only the stub has | invalid message |
| an end before all announced bytes were there (stub only) | not enough data |

The ROM erases all that a BEGIN announces at once. The stub erases as the data come, so a cut leaves what is new, then
what is erased, then what was there before. [esptool-legacy-flasher-stub, stub_write_flash.c: handle_flash_begin,
handle_flash_data]

[docs.espressif.com/projects/esptool: "Serial protocol"]
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from spatz.sim.board.nor import SECTOR, NorFlash

# SYNC as it is on the line, up to its checksum: what shows that somebody wants the boot loader
SYNC_HEAD = b"\xc0\x00\x08\x24\x00"
_END = b"\xc0"
_LONGEST_FRAME = 1 << 16

# Errors: of the ROM, and of the stub. [serial protocol, "Status bytes"; esptool-legacy-flasher-stub, stub_commands.h]
INVALID, FAILED, CHECKSUM, WRITE_ERROR, READ_ERROR, INFLATE_ERROR = 0x05, 0x06, 0x07, 0x08, 0x09, 0x0B
_AS_STUB = {INVALID: 0xC3, FAILED: 0xC4, CHECKSUM: 0xC1, WRITE_ERROR: 0xC4, READ_ERROR: 0xC4, INFLATE_ERROR: 0xC7}
_NOT_ENOUGH_DATA, _TOO_MUCH_DATA = 0xC8, 0xC9
_BLOCK = 16 * SECTOR  # what the stub erases at once where it can
_INFLATED = 32 << 10  # what the stub writes at once of what it inflated
_UNKNOWN_CHIP_ID = 0x7F


@dataclass(slots=True)
class _Write:
    """What a FLASH_BEGIN or FLASH_DEFL_BEGIN announced. `at` moves on; `left` is what may still come; `erase_at` to
    `erase_end` is still to be erased."""

    at: int
    left: int
    erase_at: int = 0
    erase_end: int = 0
    next_block: int = 0
    inflate: zlib._Decompress | None = None


@dataclass(slots=True)
class _Read:
    """What the stub still has to send; it stays at most `ahead` packets before the acknowledgements."""

    start: int
    count: int
    packet: int
    ahead: int
    sent: int = 0


class Rom:
    """One stay in the boot loader. `baud` is what the chip's UART runs at, once CHANGE_BAUDRATE was answered.

    After `receive`, `ended` says whether the chip was told to run what is in its flash.
    """

    def __init__(self, chip: str, mac: bytes, flash: NorFlash, *, unknown: bool = False) -> None:
        from esp32_mock_bootloader import protocol, server

        self._server, self._commands = server, {number: name for name, number in protocol.CMD.items()}
        self._protocol = protocol
        self._session = server.ChipSession(chip)
        self._session.registers.update(_registers(chip, mac))
        self._session.spi = _spi(flash.size)
        self._session.spi.configure_for_chip(chip)
        self._chip = chip
        self._unknown = unknown
        self._flash = flash
        self._attached = False
        self._write: _Write | None = None
        self._read: _Read | None = None
        self._in = b""
        self.baud: int | None = None
        self.ended = False
        if unknown:
            self._session.registers[0x40001000] = 0x00DE2710  # of no chip that there is

    @property
    def stub(self) -> bool:
        """Whether esptool's stub runs."""
        return self._session.stub_active

    def frames(self, data: bytes) -> Iterator[bytes]:
        """The whole SLIP frames among what came so far; a begun one waits for its rest."""
        self._in += data
        while True:
            start = self._in.find(_END)
            end = self._in.find(_END, start + 1)
            if start < 0 or end < 0:
                self._in = self._in[start:][-_LONGEST_FRAME:] if start >= 0 else b""
                return
            frame, self._in = self._in[start : end + 1], self._in[end:]
            if len(frame) > 2:
                self._in = self._in[1:]
                yield frame

    def receive(self, frame: bytes) -> bytes:
        """The answer to one SLIP frame (still escaped, with both its 0xC0). Raises PowerGone: a write was cut."""
        packet = _unslip(frame)
        if self._read and len(packet) == 4:
            return self._more(struct.unpack("<I", packet)[0])
        if len(packet) < 8 or packet[0] != 0:
            return b""
        self._read = None
        command, size, checksum = struct.unpack_from("<BHI", packet, 1)
        data = packet[8 : 8 + size]
        if len(data) != size or not self._server.checksum_valid(command, checksum, data):
            return self._answer(command, CHECKSUM)
        return self._carry_out(command, self._commands.get(command, ""), data)

    def _carry_out(self, command: int, name: str, data: bytes) -> bytes:
        server, session = self._server, self._session
        match name:
            case "SYNC":
                return server.make_sync_response(stub=self.stub) * 8
            case "READ_REG":
                return server.handle_read_reg(data, session)
            case "WRITE_REG":
                return server.handle_write_reg(data, session)
            case "GET_SECURITY_INFO":
                return self._security_info()
            case "MEM_BEGIN" | "MEM_DATA":
                return self._answer(command)
            case "MEM_END":
                return self._start_stub(command, data)
            case "SPI_ATTACH":
                self._attached = True
                return self._answer(command)
            case "SPI_SET_PARAMS":
                return self._answer(command)
            case "CHANGE_BAUDRATE":
                self.baud = struct.unpack_from("<I", data)[0]
                return self._answer(command)
            case "RUN_USER_CODE" if self.stub:
                self.ended = True
                return b""
            case _:
                try:
                    return self._on_flash(command, name, data)
                except struct.error:
                    return self._answer(command, INVALID)

    def _on_flash(self, command: int, name: str, data: bytes) -> bytes:
        if not (self._attached or self.stub) and name.startswith(("FLASH_BEGIN", "FLASH_DEFL_BEGIN", "SPI_", "READ_")):
            return self._answer(command, FAILED)
        try:
            match name:
                case "FLASH_BEGIN" | "FLASH_DEFL_BEGIN":
                    return self._answer(command, self._begin(data, deflated="DEFL" in name))
                case "FLASH_DATA" | "FLASH_DEFL_DATA":
                    return self._answer(command, self._block(data, deflated="DEFL" in name))
                case "FLASH_END" | "FLASH_DEFL_END":
                    if self.stub and self._write and self._write.left:
                        return self._answer(command, _NOT_ENOUGH_DATA)
                    self._write = None
                    self.ended = struct.unpack_from("<I", data)[0] == 0
                    return self._answer(command)
                case "SPI_FLASH_MD5":
                    digest = self._flash.md5(*struct.unpack_from("<II", data))
                    return self._answer(command, body=digest if self.stub else digest.hex().encode())
                case "READ_FLASH_SLOW" if not self.stub:
                    at, count = struct.unpack_from("<II", data)
                    return self._answer(command, body=self._flash.read(at, min(count, 64)).ljust(64, b"\xff"))
                case "ERASE_FLASH" if self.stub:
                    self._flash.erase(0, self._flash.size)
                    return self._answer(command)
                case "ERASE_REGION" if self.stub:
                    self._flash.erase(*struct.unpack_from("<II", data))
                    return self._answer(command)
                case "READ_FLASH" if self.stub:
                    read = _Read(*struct.unpack_from("<IIII", data))
                    self._flash.read(read.start, read.count)
                    self._read = read
                    return self._answer(command) + self._more(0)
        except ValueError:
            return self._answer(command, READ_ERROR if "READ" in name or "MD5" in name else WRITE_ERROR)
        return self._answer(command, 0xFF if self.stub else INVALID)

    def _begin(self, data: bytes, *, deflated: bool) -> int:
        size, _blocks, _block_size, at = struct.unpack_from("<IIII", data)
        start, end = at // SECTOR * SECTOR, -(-(at + size) // SECTOR) * SECTOR
        if self.stub:
            self._flash.read(at, size)  # an address that is not there is refused
        else:
            self._flash.erase(at, size)
            start = end
        self._write = _Write(at, size, start, end, inflate=zlib.decompressobj() if deflated else None)
        return 0

    def _erase_up_to(self, write: _Write, end: int) -> None:
        """Erase what data up to `end` need: a block of 64 kB where one begins and more than that is to come, else a
        sector."""
        while write.erase_at < min(end, write.erase_end):
            whole = write.erase_at % _BLOCK == 0 and write.erase_end - write.erase_at > _BLOCK
            size = _BLOCK if whole else SECTOR
            self._flash.erase(write.erase_at, size)
            write.erase_at += size

    def _block(self, data: bytes, *, deflated: bool) -> int:
        write = self._write
        count, number, _, _ = struct.unpack_from("<IIII", data)
        block = data[16 : 16 + count]
        if write is None or deflated != bool(write.inflate) or len(block) != count or number != write.next_block:
            return INVALID
        if write.inflate:
            try:
                block = write.inflate.decompress(block)
            except zlib.error:
                return INFLATE_ERROR
        elif len(block) > write.left and block[write.left :].strip(b"\xff") == b"":
            block = block[: write.left]  # esptool fills the last block
        if len(block) > write.left:
            return _TOO_MUCH_DATA
        write.next_block += 1
        for start in range(0, len(block), _INFLATED):
            part = block[start : start + _INFLATED]
            at, write.at, write.left = write.at, write.at + len(part), write.left - len(part)
            self._erase_up_to(write, at + len(part))
            self._flash.program(at, part)
        return 0

    def _more(self, acknowledged: int) -> bytes:
        """The next packets of a READ_FLASH, and its MD5 when all of them have arrived."""
        read = self._read
        if read is None or read.packet <= 0:
            return b""
        if acknowledged >= read.count:
            self._read = None
            return slip(self._flash.md5(read.start, read.count))
        out = []
        while read.sent < read.count and read.sent - acknowledged < read.ahead * read.packet:
            part = self._flash.read(read.start + read.sent, min(read.packet, read.count - read.sent))
            read.sent += len(part)
            out.append(slip(part))
        return b"".join(out)

    def _start_stub(self, command: int, data: bytes) -> bytes:
        stay, entry = struct.unpack_from("<II", data)
        if stay or not entry:
            return self._answer(command)
        answer = self._answer(command)
        self._session.stub_active = True
        return answer + slip(b"OHAI")

    def _security_info(self) -> bytes:
        info = self._server.handle_get_security_info(self._session)
        if not self._unknown or self._chip == "esp32":
            return info
        packet = bytearray(_unslip(info))
        struct.pack_into("<I", packet, 8 + 12, _UNKNOWN_CHIP_ID)
        return slip(bytes(packet))

    def _answer(self, command: int, error: int = 0, *, body: bytes = b"") -> bytes:
        """Status 1 and the error when there is one; the ROM's status has two bytes more."""
        if error and self.stub:
            error = _AS_STUB.get(error, error)
        status = struct.pack("<BB", bool(error), error) + (b"" if self.stub else bytes(2))
        return slip(struct.pack("<BBHI", 1, command, len(body) + len(status), 0) + body + status)


def load() -> None:
    """Load what this is made of, which takes a while: before anybody waits for an answer."""
    import esp32_mock_bootloader.server  # noqa: F401


def slip(packet: bytes) -> bytes:
    """A packet as a SLIP frame. [RFC 1055]"""
    return b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def _unslip(frame: bytes) -> bytes:
    return frame.strip(b"\xc0").replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")


def _registers(chip: str, mac: bytes) -> dict[int, int]:
    """What esptool reads of a chip: its MAC address, its revision (ESP32 v3.0, ESP32-S3 v0.2)."""
    from esp32_mock_bootloader import registers
    from esptool.targets import CHIP_DEFS

    result = dict(registers._mac_registers(chip, tuple(mac)))
    rom = CHIP_DEFS[chip]
    if chip == "esp32":
        efuses = int(rom.EFUSE_RD_REG_BASE)
        result[efuses + 4 * 3] = 1 << 15
        result[efuses + 4 * 5] = 1 << 20
        result[int(rom.APB_CTL_DATE_ADDR)] = 1 << 31
    if chip == "esp32s3":
        result[int(rom.EFUSE_BLOCK1_ADDR) + 4 * 3] = 2 << 18
    return result


def _spi(flash_bytes: int):
    """The SPI peripheral with a flash chip of that size behind it: Winbond W25Q, by its JEDEC number."""
    from esp32_mock_bootloader import protocol, server

    jedec = (flash_bytes.bit_length() - 1) << 16 | 0x4000 | 0xEF

    class Spi(server.SpiPeripheralMock):
        def read_reg(self, addr: int) -> int:
            value = super().read_reg(addr)
            return jedec if value == protocol.MOCK_FLASH_ID and self._last_command == 0x9F else value

    return Spi(None)
