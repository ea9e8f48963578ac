"""Fetching MicroPython: whole or not at all, going on where it broke off, with clear words when it cannot be had."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz import cli_firmware
from spatz.boards import list_boards, load_board
from spatz.cli_firmware import firmware_app
from spatz.images import cache
from spatz.images.cache import Wanted, image_for, kept, wanted_by
from spatz.images.fetch import fetch
from spatz.sim.board.made_image import made_image
from spatz.troubles import Trouble
from tools.images.files import small
from tools.images.mirror import Mirror, mirror
from typer.testing import CliRunner

IMAGE = made_image("esp32s3", 300_000, 7)
NAME = "ESP32_GENERIC_S3-20260824-v1.29.0.bin"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test."""
    monkeypatch.setenv("SPATZ_CACHE", str(tmp_path / "cache"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "firmware"


@pytest.fixture
def server() -> Iterator[Mirror]:
    with mirror() as running:
        running.files[f"/{NAME}"] = IMAGE
        yield running


def wanted(url: str = "http://127.0.0.1:9", sha256: str = "") -> Wanted:
    return Wanted("ESP32_GENERIC_S3", "1.29.0", f"{url}/{NAME}", sha256, "esp32s3", ("heltec-v3",))


def sha256(data: bytes) -> str:
    return cache.image_of(data, "x").sha256


def nothing_wrong_is_kept(folder: Path) -> None:
    assert not (folder / NAME).exists()
    assert not (folder / f"{NAME}.part").exists()


def test_a_file_is_fetched_once_and_then_here(server: Mirror, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    here = fetch(wanted(server.url, sha256(IMAGE)), progress=lambda done, total: seen.append((done, total)))
    assert (folder / NAME).read_bytes() == IMAGE
    assert here == kept(wanted(server.url, sha256(IMAGE)))
    assert (here.checksum, here.size) == ("published", len(IMAGE))
    assert seen[0] == (0, len(IMAGE))
    assert seen[-1] == (len(IMAGE), len(IMAGE))
    fetch(wanted(server.url, sha256(IMAGE)))
    assert len(server.asked) == 1
    assert sorted(path.name for path in folder.iterdir()) == [NAME, "index.json"]


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(server: Mirror, folder: Path) -> None:
    server.cut_after = [100_000, 50_000]
    fetch(wanted(server.url))
    assert (folder / NAME).read_bytes() == IMAGE
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_connection_that_stays_broken_is_said_and_the_next_run_goes_on(server: Mirror, folder: Path) -> None:
    server.cut_after = [120_000, 0]
    with pytest.raises(UserError) as told:
        fetch(wanted(server.url))
    assert str(told.value) == "The connection to 127.0.0.1 broke off.\nStart again: it goes on where it stopped."
    assert not (folder / NAME).exists()
    server.asked.clear()
    fetch(wanted(server.url))
    assert (folder / NAME).read_bytes() == IMAGE
    assert server.asked == [(f"/{NAME}", "bytes=120000-")]


def test_a_server_that_cannot_go_on_sends_all_of_it(server: Mirror, folder: Path) -> None:
    server.ranges = False
    server.cut_after = [100_000]
    fetch(wanted(server.url))
    assert (folder / NAME).read_bytes() == IMAGE


@pytest.mark.parametrize("part", [b"\xe9 of another file" * 500, IMAGE + b"too long", b"\xe9"])
def test_a_first_half_of_another_file_is_thrown_away(server: Mirror, folder: Path, part: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").write_bytes(part)
    fetch(wanted(server.url))
    assert (folder / NAME).read_bytes() == IMAGE
    assert not (folder / f"{NAME}.part").exists()


def test_another_checksum_is_refused(server: Mirror, folder: Path) -> None:
    with pytest.raises(Trouble, match=f"{NAME} is damaged or no MicroPython: its SHA-256 is another one"):
        fetch(wanted(server.url, "0" * 64))
    nothing_wrong_is_kept(folder)


def test_a_damaged_file_is_refused_even_if_nobody_knows_its_checksum(server: Mirror, folder: Path) -> None:
    server.files[f"/{NAME}"] = IMAGE[:200_000] + b"\x00" + IMAGE[200_001:]
    with pytest.raises(Trouble, match="a byte of it is wrong"):
        fetch(wanted(server.url))
    nothing_wrong_is_kept(folder)


def test_another_chips_file_is_refused(server: Mirror, folder: Path) -> None:
    server.files[f"/{NAME}"] = small("esp32")
    with pytest.raises(Trouble, match="This file is for ESP32, the board has ESP32-S3"):
        fetch(wanted(server.url))
    nothing_wrong_is_kept(folder)


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_the_login_page_of_a_network_is_refused(server: Mirror, folder: Path, content_type: str) -> None:
    server.files[f"/{NAME}"] = b"<!DOCTYPE html><title>Welcome to our WiFi</title>"
    server.content_type = content_type
    with pytest.raises(UserError) as told:
        fetch(wanted(server.url))
    assert told.value.message == f"Something else came instead of {NAME}."
    assert "login" in told.value.next_step
    assert not (folder / NAME).exists()
    server.files[f"/{NAME}"] = IMAGE
    server.content_type = "application/octet-stream"
    fetch(wanted(server.url))


def test_what_the_server_does_not_have_is_said(server: Mirror, folder: Path) -> None:
    server.files.clear()
    with pytest.raises(UserError, match=f"127.0.0.1 does not give {NAME}: it says 404"):
        fetch(wanted(server.url))
    nothing_wrong_is_kept(folder)


def test_without_internet_there_is_one_plain_sentence_and_a_next_step() -> None:
    with pytest.raises(UserError) as told:
        fetch(wanted("http://127.0.0.1:9"))
    assert str(told.value) == (
        "This computer does not reach 127.0.0.1.\n"
        "Go online and start again, or take a copy: spatz firmware fetch --from FOLDER"
    )


@pytest.mark.parametrize("source", ["gopher://x", "http://[", "http://127.0.0.1:9"])
def test_addresses_that_are_none(source: str) -> None:
    with pytest.raises(UserError):
        fetch(wanted(), source)


def test_an_unknown_checksum_is_remembered_and_must_stay(server: Mirror, folder: Path) -> None:
    here = fetch(wanted(server.url))
    assert here.checksum == "first seen"
    assert here.since
    (folder / NAME).unlink()
    server.files[f"/{NAME}"] = made_image("esp32s3", 300_000, 8)
    with pytest.raises(UserError, match=f"{NAME} is another one than on {here.since}") as told:
        fetch(wanted(server.url))
    assert not (folder / NAME).exists()
    assert str(folder / "index.json") in told.value.next_step
    (folder / "index.json").unlink()
    fetch(wanted(server.url))


def test_an_index_that_is_damaged_is_no_reason_to_fail(server: Mirror, folder: Path) -> None:
    folder.mkdir(parents=True)
    for text in ("", "[1]", '{"a": 1}', "\x00"):
        (folder / "index.json").write_text(text)
        (folder / NAME).unlink(missing_ok=True)
        fetch(wanted(server.url))


def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(server: Mirror, folder: Path) -> None:
    fetch(wanted(server.url))
    (folder / NAME).write_bytes(IMAGE[:-1] + b"\x00")
    assert kept(wanted(server.url)) is None
    fetch(wanted(server.url))
    assert (folder / NAME).read_bytes() == IMAGE


# --- a USB stick, a mirror


@pytest.mark.parametrize("place", [NAME, f"firmware/{NAME}"])
def test_a_copy_of_the_folder_is_a_source(tmp_path: Path, folder: Path, place: str) -> None:
    stick = tmp_path / "stick"
    (stick / place).parent.mkdir(parents=True)
    (stick / place).write_bytes(IMAGE)
    assert fetch(wanted(sha256=sha256(IMAGE)), str(stick)).checksum == "published"
    assert (folder / NAME).read_bytes() == IMAGE


def test_a_stick_with_a_damaged_file_or_without_it(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=f"{NAME} is not in "):
        fetch(wanted(), str(tmp_path))
    (tmp_path / NAME).write_bytes(IMAGE[:-1])
    with pytest.raises(Trouble, match="cut short"):
        fetch(wanted(), str(tmp_path))
    nothing_wrong_is_kept(folder)


def test_a_web_server_of_the_workshop_is_a_source(server: Mirror, folder: Path) -> None:
    server.files[f"/pub/{NAME}"] = IMAGE
    fetch(wanted(), f"{server.url}/pub/")
    assert (folder / NAME).read_bytes() == IMAGE


def test_a_full_disk_is_said(server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"{NAME} could not be kept: No space left on device"):
        fetch(wanted(server.url))


# --- for a board


def test_boards_with_the_same_build_share_a_file() -> None:
    found = wanted_by(list_boards())
    assert len({one.name for one in found}) == len(found)
    assert {name for one in found for name in one.boards} == {board.name for board in list_boards()}
    assert all(len(one.sha256) in (0, 64) for one in found)


def test_the_image_for_a_board_comes_from_the_cache_or_from_a_file(tmp_path: Path, folder: Path) -> None:
    board = load_board("heltec-v3")
    board = board.model_copy(update={"micropython": board.micropython.model_copy(update={"sha256": ""})})
    with pytest.raises(Trouble) as told:
        image_for(board)
    assert told.value.kind == "no_image"
    assert "spatz firmware fetch heltec-v3" in told.value.next_step
    (tmp_path / "mine.bin").write_bytes(IMAGE)
    assert image_for(board, tmp_path / "mine.bin").data == IMAGE
    folder.mkdir(parents=True)
    (folder / wanted_by([board])[0].name).write_bytes(IMAGE)
    assert image_for(board).data == IMAGE
    with pytest.raises(Trouble, match="This file is for ESP32-S3, the board has ESP32"):
        image_for(load_board("heltec-v2"), tmp_path / "mine.bin")


def test_a_published_checksum_counts_for_what_lies_in_the_cache(folder: Path) -> None:
    board = load_board("heltec-v3")
    assert board.micropython.sha256
    folder.mkdir(parents=True)
    (folder / wanted_by([board])[0].name).write_bytes(IMAGE)
    with pytest.raises(Trouble, match="its SHA-256 is another one"):
        image_for(board)


def test_a_sum_that_one_board_file_has_counts_for_all() -> None:
    board = load_board("heltec-v3")
    other = board.model_copy(
        update={"name": "mine", "micropython": board.micropython.model_copy(update={"sha256": ""})}
    )
    for pair in ([board, other], [other, board]):
        (one,) = wanted_by(pair)
        assert (one.sha256, set(one.boards)) == (board.micropython.sha256, {"heltec-v3", "mine"})
        assert dataclasses.replace(one, boards=()).boards == ()


# --- the command line


def spatz(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from spatz.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LANGUAGE": "en", "COLUMNS": "160", **environment},
    )


def test_the_list_says_what_is_here_and_what_is_missing(folder: Path) -> None:
    shown = CliRunner().invoke(firmware_app, ["list"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0
    assert "What is missing: spatz firmware fetch --all" in shown.stdout
    assert "heltec-v3" in shown.stdout
    assert str(folder) in shown.stdout
    folder.mkdir(parents=True)
    (folder / "OLD-v1.20.bin").write_bytes(b"old")
    listed = json.loads(CliRunner().invoke(firmware_app, ["list", "--json"]).stdout)
    assert listed["others"] == ["OLD-v1.20.bin"]
    row = next(row for row in listed["files"] if "heltec-v3" in row["boards"])
    assert (row["here"], row["bytes"], row["checksum"], row["version"]) == (False, None, "published", "1.29.0")


def test_the_command_tells_what_it_fetched(server: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_firmware, "_wanted", lambda names: [wanted(server.url)])
    first = CliRunner().invoke(firmware_app, ["fetch", "heltec-v3"])
    assert f"{NAME} is here now (0.4 MB)." in first.stdout
    assert sha256(IMAGE) in first.stdout  # nobody has published it
    assert f"{NAME} was here already." in CliRunner().invoke(firmware_app, ["fetch"]).stdout
    told = json.loads(CliRunner().invoke(firmware_app, ["fetch", "--json"]).stdout)
    assert told["folder"] == str(folder)
    assert told["files"][0]["sha256"] == sha256(IMAGE)
    assert told["files"][0]["checksum"] == "first seen"
    assert told["files"][0]["fetched"] is False


def test_what_is_refused_is_said_without_a_traceback(server: Mirror, folder: Path) -> None:
    name = wanted_by([load_board("heltec-v3")])[0].name
    server.files[f"/{name}"] = IMAGE  # is not what was published
    refused = spatz("firmware", "fetch", "heltec-v3", "--from", server.url)
    assert refused.returncode == 2
    assert "its SHA-256 is another one" in refused.stderr
    assert "Traceback" not in refused.stderr
    german = spatz("firmware", "fetch", "heltec-v3", "--from", "http://127.0.0.1:9", LANGUAGE="de")
    assert german.returncode == 2
    assert "Dieser Rechner erreicht 127.0.0.1 nicht." in german.stderr
    assert list(folder.glob("*.bin")) == []
    with pytest.raises(UserError, match="--all and names"):
        CliRunner().invoke(firmware_app, ["fetch", "heltec-v3", "--all"], catch_exceptions=False)


def test_the_help_in_german() -> None:
    shown = spatz("firmware", "fetch", "--help", LANGUAGE="de")
    assert shown.returncode == 0
    assert "spatz firmware fetch --all --from" in shown.stdout
    assert "Beispiele:" in shown.stdout
