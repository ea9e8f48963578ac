"""What `spatz flash` has put aside can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.attached.put_aside import read_put_aside
from spatz.cli import app
from spatz.flash.keeping import KeptLogs
from typer.testing import CliRunner

from tests.tools.attached.test_logs import body, log_file

DEV_EUI = bytes.fromhex("f412fafffe0b1c2d")


def test_what_was_put_aside_is_read_like_what_a_node_has(tmp_path: Path) -> None:
    log = {"log/1.bin": log_file(17, body(7, 6, 80, 0x82)), "log/0.bin": log_file(16, body(7, 5, 60, 0x82))}
    name, found = read_put_aside(KeptLogs(tmp_path).write_aside(DEV_EUI, log))
    assert name == "f412fafffe0b1c2d-1"
    assert [(reading.frame, reading.failed) for reading in found] == [
        ((7, 5), ("temperature",)),
        ((7, 6), ("temperature",)),
    ]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no zip", b"folder"])
def test_what_is_none_is_said_so(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "aside.zip"
    if content == b"folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"aside\.zip") as told:
        read_put_aside(file)
    assert told.value.next_step


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    return KeptLogs(tmp_path).write_aside(DEV_EUI, {"log/0.bin": log_file(16, body(7, 5, 60, 0x82))})


@pytest.mark.parametrize("form", ["--json", "--csv", ""])
def test_people_read_it_by_a_command(aside: Path, form: str) -> None:
    told = CliRunner().invoke(app, ["logs", "--stored", "--file", str(aside), *filter(None, [form])])
    assert told.exit_code == 0
    if form == "--json":
        said = json.loads(told.stdout)
        assert said["name"] == "f412fafffe0b1c2d-1"
        assert len(said["readings"]) == 1
    else:
        assert "temperature" in told.stdout


@pytest.mark.parametrize("words", [["--stored", "amsel"], []])
def test_a_file_is_no_node(aside: Path, words: list[str]) -> None:
    with pytest.raises(UserError, match="--file needs --stored") as told:
        CliRunner().invoke(app, ["logs", "--file", str(aside), *words], catch_exceptions=False)
    assert "spatz logs --stored --file" in told.value.next_step
