"""The virtual laboratory: every scenario runs with the device on CPython and, in its own process, on MicroPython."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cert_devices import CPythonDut, MicroPythonDut
from cert_lab import Lab

FIRMWARE_TESTS = Path(__file__).resolve().parents[1]
ROOT = FIRMWARE_TESTS.parents[1]


@pytest.fixture(scope="session", params=["cpython", "micropython"])
def dut(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One device for all scenarios: each begins by giving it back its factory settings."""
    common = FIRMWARE_TESTS / "common"
    if request.param == "cpython":
        yield CPythonDut()
        return
    device = MicroPythonDut(str(common / "cert_dut.py"), f"{ROOT / 'firmware'}:{common}:.frozen")
    yield device
    device.close()


@pytest.fixture
def fresh(dut: Any) -> Lab:
    """A laboratory with a device that has not joined."""
    return Lab(dut)


@pytest.fixture
def lab(fresh: Lab) -> Lab:
    """A laboratory with a device that has joined at DR5."""
    assert fresh.join()
    return fresh
