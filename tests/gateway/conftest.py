"""A town in a temporary folder, and commands of `nest` in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nest import town
from nest.cli import main

from .commands import Done, Here


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Runs a command in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `nest run` sets its own

    def run(*arguments: object, language: str = "en", columns: int = 200) -> Done:
        monkeypatch.setattr("nest.i18n.language_of_locale", lambda: language)
        for module in ("cli_common", "cli_status"):
            monkeypatch.setattr(f"nest.{module}.language_of_locale", lambda: language)
        monkeypatch.setattr("sys.argv", ["nest", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(ended.value.code if isinstance(ended.value.code, int) else 0, printed.out, printed.err)

    yield run
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return town.create(tmp_path / "town", "Brandis", udp_port=0, web_port=0, mqtt_port=0).path
