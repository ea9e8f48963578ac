"""`spatz logs` and `spatz identify`: what a node prints and has written down, and which one it is."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from pathlib import Path

from nest.payload import bitmap_of
from nest.quantities import by_name
from spatz.attached import logs, stored
from spatz.cli import app
from spatz.labels.shortcode import short_code
from tools.attached.flashed import board_with, good_files
from typer.testing import CliRunner


def failed(name: str) -> bytes:
    """A payload that says: this sensor did not deliver."""
    bits = by_name()[name].bits
    size = (bits + 7) // 8
    return bitmap_of([name]) + (((1 << bits) - 1) << (8 * size - bits)).to_bytes(size, "big")


def log_file(sequence: int, *bodies: bytes) -> bytes:
    """A file of the node's log, as firmware/node/log.py describes it."""
    head = struct.pack(">3sII", b"FL\x01", sequence, 0)
    data = head + struct.pack(">H", zlib.crc32(head) & 0xFFFF)
    for body in bodies:
        sealed = bytes((len(body),)) + body
        check = zlib.crc32(sealed, sequence << 12 & 0xFFFFF000 | len(data)) & 0xFFFF
        data += sealed + struct.pack(">H", check)
    return data


def body(session: int, fcnt: int, when: int, flags: int) -> bytes:
    """The record of a reading."""
    return struct.pack(">BHIB", session, fcnt, when, flags) + failed("temperature")


def test_readings_are_in_order_amended_and_whole() -> None:
    older = log_file(1, body(0xFF, 0xFFFF, 8, 1), body(7, 5, 40, 0x82))
    newer = log_file(17, body(7, 6, 80, 0x82), struct.pack(">BH", 7, 9))
    torn = log_file(16, body(7, 5, 60, 0x82))[:-1]
    damaged = bytearray(log_file(18, body(7, 10, 90, 0x82), body(7, 11, 100, 0x82)))
    damaged[20] ^= 1
    found = stored.readings({"log/1.bin": newer, "log/2.bin": bytes(damaged), "log/0.bin": torn, "log/9.bin": older})
    assert [reading.frame for reading in found] == [None, (7, 5), (7, 9), (7, 11)]
    assert [(reading.start, reading.start_s) for reading in found[:2]] == [(1, 2.0), (2, None)]
    assert found[1].to_json()["time"] == "2020-01-01T00:00:10.000Z"
    assert found[0].failed == ("temperature",)


def test_what_a_node_has_written_down(tmp_path: Path, registry: Path) -> None:
    with board_with(tmp_path / "board", registry, good_files()) as board:
        board.wait_for("line", text="joining, try 1")
        told = CliRunner().invoke(app, ["logs", "--stored", "--json"])
        assert told.exit_code == 0, told.output
        said = json.loads(told.stdout)
        table = CliRunner().invoke(app, ["logs", "amsel", "--stored", "--csv"])
        rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert said["name"] == "amsel"
    assert 10 < said["readings"][0]["values"]["temperature"] < 30
    assert float(rows[0]["temperature"]) == said["readings"][0]["values"]["temperature"]


def test_what_a_node_prints_is_followed_over_a_reset(tmp_path: Path, registry: Path) -> None:
    with board_with(tmp_path / "board", registry, good_files()) as board:
        board.wait_for("line", text="Funkspatz node amsel")
        seen = []
        for line in logs.follow(board.port, 30):
            seen.append(line.text)
            if len(seen) == 1:
                board.do("press_reset")
            if line.text == "Funkspatz node amsel":
                break
        assert seen[-1] == "Funkspatz node amsel"


def test_a_board_is_told_by_its_light(tmp_path: Path, registry: Path) -> None:
    with board_with(tmp_path / "board", registry, good_files()) as board:
        board.wait_for("line", text="Funkspatz node amsel")
        told = CliRunner().invoke(app, ["identify", "--seconds", "0.5", "--json"])
        assert told.exit_code == 0, told.output
        said = json.loads(told.stdout)
        assert (said["name"], said["code"], said["light"]) == ("amsel", short_code(board.dev_eui), True)
        board.wait_for("reset")
        board.wait_for("line", text="Funkspatz node amsel")  # it goes on
