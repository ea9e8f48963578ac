"""A board's MicroPython on a pseudo-terminal, straight from a flash file: board_boot.py without what is around it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
import tty
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from spatz.images.filesystem import filesystem_image, read_filesystem
from spatz.sim import nodes
from spatz.sim.micropython import command

DEVICE = Path(__file__).parents[3] / "tools" / "spatz" / "sim" / "device"
NVS = (0x9000, 0x6000)
VFS = (0x20000, 0x40000)
LIMIT_S = 20.0
CTRL_A, CTRL_C, CTRL_D = b"\x01", b"\x03", b"\x04"
PROMPT = b">>> "


class Flashed:
    """A flash file and what boots from it. `files`: what is in its filesystem, None: the flash is empty."""

    def __init__(
        self, folder: Path, files: Mapping[str, bytes | str] | None, nvs: bytes = b"", vfs: tuple[int, int] = VFS
    ) -> None:
        self.flash = folder / "flash.bin"
        self.state = folder / "state"
        self.state.mkdir()
        self.vfs = vfs
        content = bytearray(b"\xff" * sum(vfs))
        content[NVS[0] : NVS[0] + len(nvs)] = nvs
        if files is not None:
            whole = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
            content[vfs[0] :] = filesystem_image(whole, vfs[1])
        self.flash.write_bytes(content)
        self.node = nodes.VirtualNode("amsel", 1, bytes.fromhex("021122334455"), bytes(16), nodes.TOWN, 0.0)
        self.air: tuple[str, int] | None = None

    def files(self) -> dict[str, bytes]:
        """What is in the filesystem now."""
        return read_filesystem(self.flash.read_bytes()[self.vfs[0] :], self.vfs[1])

    def nvs(self) -> bytes:
        """The NVS partition now."""
        return self.flash.read_bytes()[NVS[0] : sum(NVS)]

    def boot(self, cause: str = "power_on", **world: Any) -> Console:
        """Start it. `world`: other keys of world.json."""
        content = nodes.world(self.node, nodes.Folder(self.state), self.air, cause=cause)
        size = self.flash.stat().st_size
        content |= {"boot_us": 0, "flash": str(self.flash), "flash_bytes": size, "nvs": NVS, "vfs": self.vfs, **world}
        (self.state / "world.json").write_text(json.dumps(content))
        (self.state / "power.json").unlink(missing_ok=True)
        return Console(self.state)


class Console:
    """A running board: what it prints, and what is typed. Use it in a `with`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.said = b""
        self._all = b""
        self._master, slave = pty.openpty()
        tty.setraw(slave)

        def become() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*command(), "-X", "heapsize=2M", str(DEVICE / "board_boot.py")],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(state),
                "SPATZ_WORLD": str(state / "world.json"),
                "MICROPYPATH": f"{DEVICE}:.frozen",
            },
            start_new_session=True,
            preexec_fn=become,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, until: float) -> bool:
        """Whether it may still say something."""
        left = until - time.monotonic()
        assert left > 0, self._all.decode(errors="replace")
        if select.select([self._master], [], [], min(left, 0.2))[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return False
            self.said += data
            self._all += data
            return bool(data)
        return True

    def until(self, text: bytes | str, within_s: float = LIMIT_S) -> str:
        """Everything up to `text` that was not asked for yet."""
        wanted = text.encode() if isinstance(text, str) else text
        end = time.monotonic() + within_s
        while wanted not in self.said:
            assert self._read(end), self._all.decode(errors="replace")
        before, _, self.said = self.said.partition(wanted)
        return before.decode(errors="replace")

    def type(self, text: bytes) -> None:
        """Press keys."""
        with contextlib.suppress(OSError):
            os.write(self._master, text)

    def interrupt(self) -> None:
        """Ctrl-C; when it is not noticed (console_keys.py), the signal."""
        before = termios.tcgetattr(self._master)[3]
        self.type(CTRL_C)
        end = time.monotonic() + 0.3
        while time.monotonic() < end and not before & termios.ISIG:
            time.sleep(0.01)
            if termios.tcgetattr(self._master)[3] != before:
                return
        if not before & termios.ISIG:
            self.process.send_signal(signal.SIGINT)

    def ask(self, line: str) -> str:
        """What a line at the prompt prints."""
        self.type(line.encode() + b"\r")
        self.until(b"\n")
        return self.until(PROMPT).strip()

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Wait for its end: exit status, power.json ({}: none), what it said last."""
        limit = time.monotonic() + LIMIT_S
        while self._read(limit):
            pass
        status = self.process.wait(LIMIT_S)
        power = self.state / "power.json"
        return status, json.loads(power.read_text()) if power.exists() else {}, self.said.decode(errors="replace")
