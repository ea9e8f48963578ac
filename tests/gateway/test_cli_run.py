"""`nest run` as systemd and an operator meet it: signs of life, logs, quiet, the admin token, metrics."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .running import LIMIT_S, NEST, RunningNest, environment, nest_command


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(LIMIT_S)
        yield listening


def wait_for(manager: socket.socket, state: bytes) -> None:
    """Signs of life may come before and between."""
    while (told := manager.recv(100)) != state:
        assert told == b"WATCHDOG=1"


def start(folder: Path, manager: socket.socket, *options: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [NEST, "run", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "NOTIFY_SOCKET": str(manager.getsockname()), **more},
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()


def test_systemd_is_told_from_the_start_to_the_end(folder: Path, manager: socket.socket) -> None:
    process = start(folder, manager, "--quiet", WATCHDOG_USEC="400000")
    wait_for(manager, b"READY=1")
    wait_for(manager, b"WATCHDOG=1")
    wait_for(manager, b"WATCHDOG=1")
    assert end(process) == ("", "")  # --quiet, and nothing was wrong
    assert process.returncode == 0
    wait_for(manager, b"STOPPING=1")


def test_logs_for_programs(folder: Path, manager: socket.socket) -> None:
    """A broker that is away is worth a warning; its password is not worth telling."""
    settings = folder / "town.toml"
    settings.write_text(settings.read_text().replace('\nurl = ""', '\nurl = "mqtt://nest:s3cret@127.0.0.1:1"', 1))
    process = start(folder, manager, "--log-format", "json")
    wait_for(manager, b"READY=1")
    assert process.stderr
    first = json.loads(process.stderr.readline())
    printed, logged = end(process)
    assert "The nest is listening." in printed
    records = [first, *map(json.loads, logged.splitlines())]
    assert all({"time", "level", "logger", "message"} <= set(record) for record in records)
    assert any(record["level"] == "warning" and "127.0.0.1:1" in record["message"] for record in records)
    assert "s3cret" not in json.dumps(records) + printed


def ask(nest: RunningNest, path: str, token: str = "", body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{nest.ports['web']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310  our own address
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_an_operator_on_a_running_nest(tmp_path: Path) -> None:
    folder = tmp_path / "town"
    ports = [option for part in ("udp", "station", "web", "mqtt") for option in (f"--{part}-port", 0)]
    token = json.loads(nest_command("init", folder, "--name", "Ort", *ports, "--json").stdout)["admin_token"]
    with RunningNest(folder) as nest:
        assert ask(nest, "/api/v1/admin/status")[0] == 401
        status, answer = ask(nest, "/api/v1/admin/status", token)
        assert status == 200
        assert json.loads(answer)["pid"] == (nest.process.pid if nest.process else 0)
        assert ask(nest, "/api/v1/admin/nodes", token, {"slug": "uhu", "dev_eui": "70b3d57ed0000009"})[0] == 201
        assert [node["slug"] for node in nest.api("/api/v1/nodes")["nodes"]] == ["uhu"]
        made = json.loads(ask(nest, "/api/v1/admin/gateways", token, {"eui": "00000000000000a1", "station": True})[1])
        status, text = ask(nest, "/metrics")
        names = {family.name for family in text_string_to_metric_families(text.decode())}
        assert {"funkspatz_uplinks", "funkspatz_build_info", "process_cpu_seconds"} <= names
        assert ask(nest, "/health")[0] == 200
        new = json.loads(nest_command("token", folder, "--json").stdout)["admin_token"]
        assert ask(nest, "/api/v1/admin/status", token)[0] == 401
        assert ask(nest, "/api/v1/admin/status", new)[0] == 200
        assert nest.terminate()[0] == 0
    log = (folder / "log.txt").read_text()
    kept = b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    for secret in (token, new, made["token"]):
        assert secret not in log
        assert secret.encode() not in kept
    assert os.stat(folder / "nest.db").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_a_person_must_mend_is_a_line_of_json_too(folder: Path, language: str) -> None:
    settings = folder / "town.toml"
    settings.write_text(settings.read_text().replace("port = 0", "port = 70000", 1))
    done = nest_command("run", folder, "--log-format", "json", language=language)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "65535" in json.loads(line)["message"]
    assert json.loads(line)["fields"]["next_step"]
