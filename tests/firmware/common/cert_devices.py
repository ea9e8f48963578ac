"""The device under test of the virtual laboratory, on CPython or in a MicroPython process of its own.

CPython only. Both have `do`, as `cert_dut.Dut` has it, and call `perform` for what the device asks of radio and clock.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import cert_dut


class DutError(Exception):
    """The device refused what it was asked: `kind` is the exception's name, wait_ms what NoAirtime says."""

    def __init__(self, kind: str, text: str, wait_ms: int | None) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.wait_ms = wait_ms


class MicroPythonDut:
    """A device in a MicroPython process: `do` as `cert_dut.Dut` has it."""

    def __init__(self, path: str, search: str) -> None:
        from spatz.sim.micropython import command

        self.perform: Callable[[dict[str, Any]], dict[str, Any]] = lambda action: {}
        self._command = [*command(), path]
        self._search = search
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env={"MICROPYPATH": self._search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        self._write(order)
        while True:
            assert self._process.stdout
            line = self._process.stdout.readline()
            try:
                said = json.loads(line)
            except ValueError:
                raise AssertionError(line + self._process.stdout.read()) from None
            assert "crash" not in said, said["crash"]
            if "value" in said or "error" in said:
                return said
            try:
                answer = self.perform(said)
            except AssertionError:  # the device waits for an answer that it will not get
                self.close()
                self._start()
                raise
            self._write(answer)

    def _write(self, what: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


class CPythonDut:
    def __init__(self) -> None:
        self.perform: Callable[[dict[str, Any]], dict[str, Any]] = lambda action: {}
        self.do = cert_dut.Dut(lambda action: self.perform(action)).do

    def close(self) -> None:
        pass
