"""A nest as its users run it, `nest run` in a process of its own, and a gateway that speaks Semtech UDP to it.

The gateway is written from PROTOCOL.TXT with a plain socket and shares no code with the nest.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NEST = str(Path(sys.executable).parent / "nest")
LIMIT_S = 20.0  # for everything that is waited for; a healthy nest needs a fraction of it
PROMPTLY_S = 4.5  # less than the 5 s for which a busy database is waited for; half a second on a quiet machine


def nest_command(
    *arguments: object, language: str = "en", stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """One `nest …` command, to its end."""
    return subprocess.run(
        [NEST, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=LIMIT_S,
        env=environment(language),
        check=False,
    )


def environment(language: str = "en") -> Mapping[str, str]:
    return {**os.environ, "LANGUAGE": language, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "200"}


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of the loopback that nobody uses at the moment: for servers that must come back on the same one."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RunningNest:
    """`nest run FOLDER --json`; ends with the `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RunningNest:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def start(self, *, wait: bool = True) -> None:
        """Start it and, unless told otherwise, wait until every part listens."""
        log = (self.folder / "log.txt").open("a")
        self.process = subprocess.Popen(
            [NEST, "run", str(self.folder), "--json"], stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
        )
        log.close()
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self._lines), daemon=True).start()
        if wait:
            self.until_ready()

    def until_ready(self) -> None:
        """Wait until every part listens."""
        while (event := json.loads(self._lines.get(timeout=LIMIT_S)))["event"] != "ready":
            assert event["event"] != "ended", event["log"]
            if event["event"] == "listening":
                self.ports[event["part"]] = event["port"]

    def _read(self, process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        """`lines`: this process's own, for its last one may come when the next has been started."""
        assert process.stdout
        for line in process.stdout:
            lines.put(line)
        lines.put(json.dumps({"event": "ended", "log": (self.folder / "log.txt").read_text()}))

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def terminate(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to end; its exit status and how many seconds it took."""
        assert self.process
        asked = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout=LIMIT_S), time.monotonic() - asked

    def api(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['web']}{path}", timeout=LIMIT_S) as answer:
            return json.load(answer)

    def status(self) -> dict[str, Any]:
        """`nest status --json`."""
        done = nest_command("status", self.folder, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()


class UdpGateway:
    """One gateway, upstream and downstream through one socket."""

    def __init__(self, port: int, eui: str = "aa" * 8) -> None:
        self.eui = bytes.fromhex(eui)
        self.port = port
        self.tmst = 1_000_000
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.downlinks: list[dict[str, Any]] = []
        self.acknowledged = False

    def close(self) -> None:
        self.socket.close()

    def pull(self) -> None:
        """PULL_DATA until it is acknowledged."""
        self._exchange(2, b"", 4)

    def hear(self, phy: bytes, *, freq: float = 868.1, rssi: int = -80, snr: float = 7.5) -> None:
        """PUSH_DATA with one frame, repeated until it is acknowledged."""
        self.tmst = (self.tmst + 1_000_000) % 2**32
        rxpk = {
            "tmst": self.tmst, "freq": freq, "chan": 0, "rfch": 0, "stat": 1, "modu": "LORA", "datr": "SF7BW125",
            "codr": "4/5", "rssi": rssi, "lsnr": snr, "size": len(phy), "data": base64.b64encode(phy).decode(),
        }  # fmt: skip
        self._exchange(0, json.dumps({"rxpk": [rxpk]}).encode(), 1)

    def datagram(self, content: bytes) -> None:
        """Anything at all."""
        self.socket.sendto(content, ("127.0.0.1", self.port))

    def downlink(self, timeout: float = LIMIT_S) -> tuple[bytes, dict[str, Any]] | None:
        """The next PULL_RESP as (PHYPayload, txpk), answered with a TX_ACK; None when none comes."""
        end = time.monotonic() + timeout
        while not self.downlinks and self._receive(end - time.monotonic()) is not None:
            pass
        if not self.downlinks:
            return None
        txpk = self.downlinks.pop(0)
        return base64.b64decode(txpk["data"]), txpk

    def _exchange(self, kind: int, content: bytes, answer: int) -> None:
        token = secrets.token_bytes(2)
        for _ in range(20):
            self.datagram(b"\x02" + token + bytes([kind]) + self.eui + content)
            end = time.monotonic() + 0.5
            while (datagram := self._receive(end - time.monotonic())) is not None:
                if datagram[1:3] == token and datagram[3] == answer:
                    return
        raise AssertionError("no acknowledgement")

    def _receive(self, timeout: float) -> bytes | None:
        if timeout <= 0:
            return None
        self.socket.settimeout(timeout)
        try:
            datagram = self.socket.recv(4096)
        except TimeoutError:
            return None
        if datagram[3] == 3:
            self.downlinks.append(json.loads(datagram[4:])["txpk"])
            self.datagram(b"\x02" + datagram[1:3] + b"\x05" + self.eui)
        return datagram
