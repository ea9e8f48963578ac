"""One board, one port, one connection: a process that speaks esptool to the board and JSON lines to its parent.

A process of its own, because esptool has one logger per process, and what goes wrong at one port must not harm another.

    parent: {"device", "key", "location", "baud": [921600, 460800, 115200], "wait_s"}       how to find the board
    worker: {"t": "waiting", "said"}                                it does not answer; goes on trying for wait_s
            {"t": "chip", "chip", "mac", "flash_bytes", "revision", "baud"}
            {"t": "read", "at", "data"}                                  what lies at 0x8000..0x10000, without asking
    parent: {"do": "read", "at", "size"}                                  -> "read"
            {"do": "write", "parts": [[at, data]...], "nvs": [at, size], "keys": bool, "erase_all": bool,
             "before": bytes written in an earlier "write", "total": bytes of all of them}
                                                           -> {"t": "progress", "done", "total"}..., {"t": "written"}
            {"do": "end"}                                               -> hard reset, {"t": "ended"}
    worker, at any time: {"t": "trouble", "kind", "said"}, and it ends. kind is "" where only the words are known.

data: base64. A key is only ever in what the parent sends on stdin, and in this process's memory.

NVS, where the node counts its DevNonces, is written only with "keys": true. Every write is compared with the flash by
MD5 (esptool does it); what lies there already is left as it is. A slower speed is tried by itself when data arrive
damaged. The process ends when its parent does.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

HEAD = (0x8000, 0x8000)
"""Offset and size of what is read first: the partition table and what lies before the app, NVS among it."""

SLOW = 115200
_ANSWER_S = 0.5  # at a new speed
_WAIT_S = 60.0
_BETWEEN_S = 0.2
_SILENT_S = 2.0  # so long nobody is asked for anything
_BUSY_S = 2.0  # a program that has just ended may hold the port still
_PATIENT_SYNC_S = 0.4  # from the second try on; esptool's 0.1 are short for a busy computer
_ATTEMPTS = 2  # of esptool, each time


class Refused(Exception):  # noqa: N818  the word for it
    """It will not be done: (kind, what was wrong)."""


class Worker:
    """The conversation; `said` writes one line to the parent, `asked` are the parent's lines."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._asked: queue.Queue[dict[str, Any]] = queue.Queue()
        self._esp: Any = None
        self._port: Any = None
        self._mac = b""
        self._bauds: list[int] = [SLOW]
        self._start: dict[str, Any] = {}

    def say(self, t: str, **fields: object) -> None:
        """One line to the parent."""
        self._out.write(json.dumps({"t": t, **fields}) + "\n")
        self._out.flush()

    def listen(self, lines: TextIO) -> None:
        """The parent's lines, in a thread of its own: when they end, so does this process."""
        last = False
        try:
            for line in lines:
                message = json.loads(line)
                last = message.get("do") == "end"
                self._asked.put(message)
                if last:
                    return
        except ValueError:  # the parent was ended in the middle of a line
            pass
        finally:
            if not last:
                os._exit(3)

    def run(self) -> int:
        """Until the parent says it is enough. Returns the exit status."""
        try:
            self._start = self._asked.get()
            self._bauds = list(self._start.get("baud") or [SLOW])
            self._remember()
            self._import()
            self._connect(float(self._start.get("wait_s", _WAIT_S)))
            self._tell()
            while (message := self._asked.get())["do"] != "end":
                if message["do"] == "read":
                    self._read(message["at"], message["size"])
                elif message["do"] == "write":
                    self._write(message)
            self._reset()
            self._close()  # first: the parent wants to listen to the board
            self.say("ended")
        except Refused as refused:
            kind, said = refused.args
            self.say("trouble", kind=kind, said=said)
        except Exception as error:
            self.say("trouble", kind="", said=_words(error))
        else:
            return 0
        finally:
            self._close()
        return 1

    # --- the connection ----------------------------------------------------------------------------------------------

    def _import(self) -> None:
        from esp_pylib.logger import EspLog

        EspLog.instance = _logger(self)  # before esptool makes its own
        import esptool.cmds
        import esptool.loader

        # esptool makes a hex dump of all that goes over the wire, though nobody traces it: a third of its time
        if formatter := getattr(esptool.loader, "HexFormatter", None):
            formatter.__str__ = lambda _: ""
        self._cmds = esptool.cmds
        self._loader: Any = esptool.loader
        from esptool.util import FatalError

        self._errors = (FatalError, OSError)  # pyserial's are OSErrors

    def _remember(self) -> None:
        """This process has not seen yet in which socket the board is, and its serial number may not be its own."""
        from spatz.usb import remember

        key, location = self._start.get("key"), self._start.get("location")
        if key and location:
            remember(key, location)

    def _device(self) -> str:
        """The name that the board's port has now: it changes with a reset."""
        key = self._start.get("key")
        if not key:
            return self._start["device"]
        from spatz.usb import at_key

        return next((port.device for port in at_key(key) if port.device), "")

    def _connect(self, within_s: float) -> None:
        """To the boot loader, with the stub, at the first speed that works."""
        began = time.monotonic()
        until = began + within_s
        told = ""
        for mode in itertools.cycle(("default-reset", "no-reset")):
            try:
                device = self._device()
                if not device:
                    raise Refused("port_gone", "")
                self._open(device, mode)
                self._faster()
                return
            except Refused as refused:
                kind, said = refused.args
                if kind != "port_gone":
                    raise
            except self._errors as error:
                kind, said = "", _words(error)
            self._close()
            now = time.monotonic()
            if now >= until or (_hopeless(said) and now >= began + _BUSY_S):
                raise Refused(kind, said)
            self._loader.SYNC_TIMEOUT = _PATIENT_SYNC_S
            if told != kind + said and now > began + _SILENT_S:
                told = kind + said
                self.say("waiting", kind=kind, said=said)
            time.sleep(_BETWEEN_S)

    def _open(self, device: str, mode: str) -> None:
        self._port = _open_port(device)
        esp: Any = self._cmds.detect_chip(self._port, SLOW, mode, connect_attempts=_ATTEMPTS)
        self._esp = esp
        if not getattr(esp, "sync_stub_detected", False):
            esp = self._esp = self._cmds.run_stub(esp)
        esp.WRITE_FLASH_ATTEMPTS = 1  # who is at that port after it was lost, this class asks itself
        mac = bytes(esp.read_mac("BASE_MAC"))
        if self._mac and mac != self._mac:
            raise Refused("port_gone", "another board")
        self._mac = mac

    def _faster(self) -> None:
        """To the first of the speeds; an OSError or FatalError when the board cannot be understood at it. A speed that
        did not work is not tried again."""
        baud = self._bauds[0]
        try:
            if baud != SLOW:
                self._esp.change_baud(baud)
                self._esp.read_reg(self._esp.CHIP_DETECT_MAGIC_REG_ADDR, timeout=_ANSWER_S)
            self._cmds.attach_flash(self._esp)
        except self._errors:
            if len(self._bauds) > 1:
                del self._bauds[0]
            raise

    def _again_slower(self, error: Exception) -> None:
        """After data were damaged on the way: the same board once more, slower. Raises `error` when it was the slowest
        already."""
        self._close()
        if len(self._bauds) < 2 or _gone(error):
            raise error
        del self._bauds[0]
        self.say("slower", baud=self._bauds[0])
        self._connect(_WAIT_S / 4)

    def _close(self) -> None:
        self._esp = None
        if self._port is not None:
            with contextlib.suppress(Exception):
                self._port.close()
            self._port = None

    def _reset(self) -> None:
        with contextlib.suppress(*self._errors):  # USB of the chip itself goes away while it restarts
            if self._has_wires():
                self._cmds.reset_chip(self._esp, "hard-reset")
            else:
                self._esp.flash_begin(0, 0)
                self._esp.flash_finish(reboot=True)

    def _has_wires(self) -> bool:
        """Whether the port can pull at the chip's reset. Not all can: those of virtual boards, those over a network."""
        try:
            self._port.rts = False
        except OSError:
            return False
        return True

    # --- what is asked for -------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        from esptool.util import flash_size_bytes

        size = self._cmds.detect_flash_size(self._esp)
        self.say(
            "chip",
            chip=self._esp.CHIP_NAME.lower().replace("-", ""),
            mac=self._mac.hex(),
            flash_bytes=flash_size_bytes(size) if size else 0,
            revision=self._esp.get_chip_revision(),
            baud=self._bauds[0],
        )
        self._read(*HEAD)

    def _read(self, at: int, size: int) -> None:
        while True:
            try:
                data = self._cmds.read_flash(self._esp, at, size, no_progress=True)
                break
            except self._errors as error:
                self._again_slower(error)
        self.say("read", at=at, data=base64.b64encode(data or b"").decode())

    def _write(self, message: dict[str, Any]) -> None:
        parts = [(int(at), base64.b64decode(data)) for at, data in message["parts"]]
        keep_nvs_whole(parts, tuple(message["nvs"]), keys=message.get("keys") is True, erase_all=message["erase_all"])
        if message["erase_all"]:
            self._patiently(lambda: self._cmds.erase_flash(self._esp))
        total, before = int(message["total"]), int(message["before"])
        for part in parts:
            self._progress = (before, len(part[1]), total)
            self._patiently(lambda part=part: self._cmds.write_flash(self._esp, [part], skip_flashed=True))
            before += len(part[1])
            self.say("progress", done=before, total=total)
        self.say("written")

    _progress = (0, 0, 1)

    def _patiently(self, do: Any) -> None:
        while True:
            try:
                return do()
            except self._errors as error:
                self._again_slower(error)

    def progressed(self, done: int, of: int) -> None:
        """esptool's progress bar: of what goes over the wire, which is compressed."""
        before, size, total = self._progress
        self.say("progress", done=before + size * done // max(of, 1), total=total)


def keep_nvs_whole(
    parts: list[tuple[int, bytes]], nvs: tuple[int, int], *, keys: bool, erase_all: bool, sector: int = 0x1000
) -> None:
    """Raises Refused: something of it would erase a byte of NVS, and nobody said that keys are written."""
    at, size = nvs
    for start, data in parts:
        first, end = start // sector * sector, -(-(start + len(data)) // sector) * sector
        if first < at + size and end > at and not keys:
            raise Refused("unknown", f"{start:#x} lies in the keys")
    if erase_all and not any(start <= at and at + size <= start + len(data) for start, data in parts if keys):
        raise Refused("unknown", "no keys after erasing")


def _open_port(device: str) -> Any:
    """As esptool opens it; but this process has it, and can let go of it when esptool has failed."""
    import serial

    port = serial.serial_for_url(device, exclusive=True, do_not_open=True)
    if sys.platform == "win32":  # else opening resets the board
        port.rts = False
        port.dtr = False
    port.open()
    return port


def _words(error: BaseException) -> str:
    """What it says and what it came from, with the numbers of errors: for `spatz.troubles.explain`."""
    said: list[str] = []
    at: BaseException | None = error
    while at is not None and len(said) < 5:
        first = at.args[0] if at.args else None
        number = at.errno if isinstance(at, OSError) else first if isinstance(first, int) else None  # termios.error
        said.append(f"{f'[Errno {number}] ' if number else ''}{str(at) or type(at).__name__}")
        at = at.__cause__ or at.__context__
    return "\n".join(said)


def _gone(error: BaseException) -> bool:
    """Whether it is not the data but the port that is broken."""
    return isinstance(error, OSError)


_HOPELESS = ("Errno 13]", "PermissionError(13", "Permission denied", "exclusively lock", "Errno 16]", "chip revision",
             "Unexpected chip", "Secure Download", "unsupported by this version")  # fmt: skip


def _hopeless(said: str) -> bool:
    """Whether waiting will not help."""
    return any(sign in said for sign in _HOPELESS)


def _logger(worker: Worker) -> Any:
    from esp_pylib.logger import EspLogBase

    class Quiet(EspLogBase):
        """Nothing that esptool says reaches anybody, but how far it is does."""

        def _nothing(self, *_args: Any, **_fields: Any) -> None:
            pass

        print = err = warn = note = hint = debug = set_verbosity = warning = error = _nothing

        def progress_bar(
            self, cur_iter: int, total_iters: int, prefix: str = "", suffix: str = "", bar_length: int = 30
        ) -> None:
            del prefix, suffix, bar_length
            worker.progressed(cur_iter, total_iters)

    return Quiet()


@contextlib.contextmanager
def _stdout_for_lines() -> Iterator[TextIO]:
    """What anything else prints goes to stderr; only our lines are on stdout."""
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        yield out
    finally:
        sys.stdout = out


def main() -> int:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with _stdout_for_lines() as out:
        worker = Worker(out)
        threading.Thread(target=worker.listen, args=(sys.stdin,), daemon=True).start()
        return worker.run()


if __name__ == "__main__":
    sys.exit(main())
