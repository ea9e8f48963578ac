"""Every command that the README shows does what it says. A command that nobody tries here makes this test fail."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gateway.running import free_port
from spatz.sim.board.bench import Fleet
from spatz.sim.board.made_image import made_image

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LIMIT_S = 120
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text: str = README) -> list[str]:
    """The shell commands of the README, or of a part of it, in order, without their comments."""
    lines = (line.split("#")[0].strip() for block in BLOCK.findall(text) for line in block.splitlines())
    return [line for line in lines if line]


def section(title: str) -> str:
    """The README from that heading to the next of its kind."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


COMMANDS = commands()
MAKE = [command for command in COMMANDS if command.startswith("make ")]
ACTIVATE = [command for command in COMMANDS if command.startswith(". ")]
BOARDS = [command for command in COMMANDS if command.startswith("spatz boards")]
ENERGY = [command for command in COMMANDS if command.startswith("spatz energy ")]
FIRST, WORKSHOP, KEYS = (
    [command for command in commands(section(title)) if command not in BOARDS]
    for title in ("Your first node", "Ten nodes in twenty minutes", "Keys, other networks, and what becomes of a node")
)
NEST = [
    command
    for command in COMMANDS
    if command.startswith(("nest ", "spatz simulate ", "spatz decoder ")) and command not in {*FIRST, *WORKSHOP, *KEYS}
]


def run(command: str, folder: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    name, *arguments = shlex.split(command)
    environment = {**os.environ, "LANGUAGE": "en", "NO_COLOR": "1", "COLUMNS": "160", **more}
    return subprocess.run(
        [str(BIN / name), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False,
    )  # fmt: skip


def test_every_command_is_tried_here() -> None:
    assert sorted(COMMANDS) == sorted([*MAKE, *ACTIVATE, *BOARDS, *ENERGY, *NEST, *FIRST, *WORKSHOP, *KEYS])
    assert MAKE
    assert BOARDS
    assert NEST


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)", README))))
def test_make_knows_the_target(target: str) -> None:
    """What `make demo` runs is tried in tests/tools/sim/test_demo.py; `make lint` and `make test` are what CI runs."""
    shown = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert shown.returncode == 0, shown.stderr


def test_a_newcomer_is_told_where_the_commands_are() -> None:
    """`make demo` puts them into .venv, where no terminal looks by itself."""
    (activate,) = ACTIVATE
    assert COMMANDS.index("make demo") < COMMANDS.index(activate) < COMMANDS.index(BOARDS[0])
    here = activate.replace(".venv", shlex.quote(sys.prefix))
    found = subprocess.run(
        ["sh", "-c", f"{here} && command -v spatz nest"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert found.stdout.splitlines()[0] == str(BIN / "spatz"), found.stderr


@pytest.mark.parametrize("command", [*BOARDS, *ENERGY])
def test_boards_and_energy(command: str) -> None:
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_first_node_a_workshop_and_their_keys(tmp_path: Path) -> None:
    """The commands one after another: with one virtual board at the computer, and with three. MicroPython is a file
    made up here, because nothing is fetched in a test (tests/tools/images does that)."""
    image = tmp_path / "micropython.bin"
    image.write_bytes(made_image("esp32s3"))
    sockets = tmp_path / "sockets"
    there = {"SPATZ_VIRTUAL_BOARDS": str(sockets), "SPATZ_CACHE": str(tmp_path / "cache")}
    for number, part in ((1, FIRST), (3, WORKSHOP), (0, KEYS)):
        with Fleet(tmp_path / f"boards-{number}", number, registry=sockets, seed=10 * number):
            for command in part:
                if command.startswith("spatz firmware fetch"):
                    command += " --from http://127.0.0.1:9"
                elif command.startswith("spatz flash"):
                    command += f" --firmware {shlex.quote(str(image))} --json"
                elif re.match(r"spatz nodes (rotate|retire|hand-over)", command):
                    command += " --yes"  # they ask
                command = re.sub(r"--seconds \d+", "--seconds 1", command)
                done = run(command, tmp_path, **there)
                fetched = command.startswith("spatz firmware fetch")
                assert done.returncode == (2 if fetched else 0), f"{command}: {done.stdout}{done.stderr}"
                assert "Traceback" not in done.stderr
    assert {(tmp_path / f).stat().st_size > 1000 for f in ("labels.pdf", "lights.pdf", "tts.csv")}


@pytest.fixture
def nest_ports() -> dict[str, str]:
    """The README's ports, and free ones to use in their place."""
    free = {shown: str(free_port(socket.SOCK_STREAM)) for shown in ("8080", "8887")}
    return {"1700": str(free_port(socket.SOCK_DGRAM)), **free}


def test_running_a_nest(tmp_path: Path, nest_ports: dict[str, str]) -> None:
    """The commands of "Running a nest", one after another in an empty folder."""
    server: subprocess.Popen[str] | None = None
    said = {}
    try:
        for command in NEST:
            if command.startswith("nest init"):
                said[command] = run(command, tmp_path)
                settings = tmp_path / "brandis" / "town.toml"
                text = settings.read_text(encoding="utf-8")
                for shown, free in nest_ports.items():
                    assert re.search(rf"^port = {shown}\b", text, re.MULTILINE)
                    text = re.sub(rf"^port = {shown}\b", f"port = {free}", text, flags=re.MULTILINE)
                settings.write_text(re.sub(r"^port = 1883\b", "port = 0", text, flags=re.MULTILINE), encoding="utf-8")
            elif command.startswith("nest run"):
                arguments = [str(BIN / "nest"), *shlex.split(command)[1:], "--json"]
                server = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
                assert server.stdout
                assert any(json.loads(line)["event"] == "ready" for line in server.stdout)
            else:
                ported = command.replace("--seconds 60", "--seconds 50")  # a join in vain is tried again within 44 s
                for shown, free in nest_ports.items():
                    ported = ported.replace(f":{shown}", f":{free}")
                said[command] = run(f"{ported} --interval 10" if "simulate" in command else ported, tmp_path)
            for tried, done in said.items():
                assert done.returncode == 0, f"{tried}: {done.stderr}"
        listed = run("nest nodes list brandis --json", tmp_path)
        assert "marktplatz" in listed.stdout
        status = json.loads(run("nest status brandis --json", tmp_path).stdout)
        assert status["counters"]["accepted"] >= 3, "the simulated nodes were heard"
    finally:
        if server:
            server.kill()
            server.wait()
