"""The first sign of life, at a port whose chip hangs."""

from __future__ import annotations

from pathlib import Path

import pytest
from spatz import usb
from spatz.flash import life
from spatz.troubles import Trouble
from tools.attached.odd import at_most, full_port


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(tmp_path))
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda *_, **__: [])
    monkeypatch.setattr(life, "_WRITE_S", 0.05)
    monkeypatch.setattr(life, "_READ_S", 0.05)
    return tmp_path


def test_a_port_that_takes_no_more_bytes_gives_no_sign_of_life(registry: Path) -> None:
    told: list[str] = []
    with full_port(registry, "1-1") as port, at_most(15):
        with pytest.raises(Trouble) as raised:
            life.wait_for_life(port, "amsel", 0.5, waiting=told.append)
        assert raised.value.kind == "no_life"
        assert told == ["no_restart"]


def test_nor_does_it_hold_up_who_sees_that_it_was_pulled_out(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def gone() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20  # some of them after Ctrl-C was tried

    with full_port(registry, "1-1") as port, at_most(15):
        with pytest.raises(Trouble) as raised:
            life.wait_for_life(port, "amsel", 2.0, gone=gone)
        assert raised.value.kind == "port_gone"
