"""A computer whose only boards are virtual ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from spatz import usb


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which virtual boards say where they are."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(folder))
    monkeypatch.setenv("LANGUAGE", "en")
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda *_, **__: [])
    return folder
