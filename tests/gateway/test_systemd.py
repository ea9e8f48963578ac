"""The unit file, as systemd itself reads it, and what a running nest tells the manager."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from nest import systemd, town
from nest.town import Town

from .commands import Here


@pytest.fixture
def nasty(tmp_path: Path) -> Town:
    """A folder whose name means something in a unit file, to a shell and to systemd."""
    return town.create(tmp_path / 'a b%c"$HOME\\', "100 % Düben", web_port=8080)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("user", [False, True])
def test_systemd_understands_the_unit(nasty: Town, tmp_path: Path, user: bool) -> None:
    command = shutil.which("true")
    assert command
    file = tmp_path / "funkspatz-test.service"

    def verify(text: str) -> str:
        file.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 or "funkspatz-test" in done.stderr, done.stderr
        return "\n".join(line for line in done.stderr.splitlines() if "funkspatz-test" in line)

    unit = systemd.unit(nasty, [command], user=user)
    assert verify(unit) == ""
    assert verify(unit.replace("UMask=0077", "UMask=none")), "it would have noticed"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_it_is_shut_in(nasty: Town, tmp_path: Path) -> None:
    """systemd's own measure, 0 (safe) to 10: a plain service has 9.6."""
    file = tmp_path / "funkspatz-test.service"
    file.write_text(systemd.unit(nasty, ["/bin/true"]).replace(f"User={os.getuid()}", "User=nobody"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(file)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "unrecognized option" in done.stderr or "Invalid" in done.stderr:
        pytest.skip("this systemd-analyze is too old for that")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_unit_says(nasty: Town) -> None:
    lines = systemd.unit(nasty, ["/opt/x/nest"]).splitlines()
    owner = nasty.path.stat().st_uid
    for line in (
        "Type=notify", "Restart=on-failure", "StartLimitIntervalSec=0", "TimeoutStartSec=infinity", "WatchdogSec=30",
        f"User={owner}", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "CapabilityBoundingSet=",
        "UMask=0077", "Description=Funkspatz nest 100 %% Düben", "WantedBy=multi-user.target",
    ):  # fmt: skip
        assert line in lines
    folder = str(nasty.path)
    written = folder.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    assert f'ReadWritePaths="{written}"' in lines
    assert f'ExecStart=/opt/x/nest run "{written.replace("$", "$$")}" --quiet' in lines


def test_a_port_below_1024_is_the_one_right_it_gets(tmp_path: Path) -> None:
    lines = systemd.unit(town.create(tmp_path / "t", "Ort", web_port=80), ["/bin/nest"]).splitlines()
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE" in lines
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines


def test_a_users_own_unit_asks_for_nothing_that_needs_rights(nasty: Town) -> None:
    text = systemd.unit(nasty, ["/bin/nest"], user=True)
    assert "WantedBy=default.target" in text
    assert "NoNewPrivileges=yes" in text
    for word in ("User=", "Capabilit", "ProtectSystem", "PrivateTmp", "network-online"):
        assert word not in text


def test_the_command_prints_it(folder: Path, here: Here) -> None:
    done = here("systemd", folder)
    assert done.status == 0
    assert f"run {folder} --quiet" in done.stdout
    assert "does not outlive a restart" in done.stderr  # pytest's folders are in /tmp
    start = next(line for line in done.stdout.splitlines() if line.startswith("ExecStart="))
    assert Path(start.removeprefix("ExecStart=").split()[0]).is_absolute()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@funkspatz-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        for state in ("READY=1", "WATCHDOG=1", "STOPPING=1"):
            assert systemd.notify(state, {"NOTIFY_SOCKET": name})
            assert manager.recv(100) == state.encode()


@pytest.mark.parametrize("name", [None, "", "relative", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(name: str | None) -> None:
    assert not systemd.notify("READY=1", {} if name is None else {"NOTIFY_SOCKET": name})


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        told = [systemd.notify("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})]
        while told[-1] and len(told) < 10_000:  # until its queue is full
            told.append(systemd.notify("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")}))
        assert not told[-1]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_how_often_it_wants_a_sign_of_life(environment: dict[str, str], seconds: float | None) -> None:
    assert systemd.watchdog_s(environment) == seconds
