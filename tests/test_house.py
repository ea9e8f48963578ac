"""Who may know whom (DESIGN, "The house"): read from the import statements of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIRMWARE = ROOT / "firmware"
NEST = ROOT / "gateway" / "nest"
SPATZ = ROOT / "tools" / "spatz"

FIRMWARE_PACKAGES = {"lorawan", "node", "payload", "radio", "sensors", "main"}
MICROPYTHON = {"binascii", "cryptolib", "errno", "gc", "io", "json", "math", "micropython", "os", "struct", "sys"}
HARDWARE = {"esp32", "machine", "time", "network", "neopixel", "onewire"}
# What each package of the firmware may import besides itself.
FIRMWARE_MAY = {
    "lorawan": {"binascii", "collections", "cryptolib", "micropython", "struct"},
    "payload": {"array", "hashlib", "micropython", "struct"},
    "sensors": {"micropython", "payload", "struct"},  # payload says what a value may be besides a number
    "radio": {"gc", "lorawan", "micropython"},
    "node": MICROPYTHON | HARDWARE | FIRMWARE_PACKAGES | {"random"},
    "main": MICROPYTHON | HARDWARE | FIRMWARE_PACKAGES,
}
DOES_INPUT_OR_OUTPUT = {
    "aiomqtt", "amqtt", "asyncio", "fastapi", "http", "io", "os", "pathlib", "paho", "random", "secrets", "select",
    "shutil", "socket", "sqlalchemy", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib", "uvicorn",
}


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, at any depth; relative ones made absolute."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = next(root for root in (NEST, SPATZ, FIRMWARE) if root in path.parents)
                parts = path.parent.relative_to(base.parent).parts
                module = ".".join([*parts[: len(parts) - node.level + 1], *([module] if module else [])])
            names.add(module)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files(FIRMWARE), ids=named)
def test_firmware_knows_only_what_its_room_allows(path: Path) -> None:
    package = path.relative_to(FIRMWARE).parts[0].removesuffix(".py")
    assert tops(path) - {package} <= FIRMWARE_MAY[package]


@pytest.mark.parametrize("path", files(NEST), ids=named)
def test_nest_never_knows_spatz(path: Path) -> None:
    assert not tops(path) & {"spatz"}


@pytest.mark.parametrize("path", [*files(NEST / "lorawan"), NEST / "payload.py", NEST / "model.py"], ids=named)
def test_the_network_server_and_the_payload_are_pure(path: Path) -> None:
    assert not tops(path) & DOES_INPUT_OR_OUTPUT
    allowed = {"nest.lorawan", "nest.model", "nest.payload", "nest.quantities"}
    from_nest = [name for name in imports(path) if name.startswith("nest.")]
    assert all(any(f"{name}.".startswith(f"{room}.") for room in allowed) for name in from_nest)


@pytest.mark.parametrize("path", [path for path in files(NEST) if path.name not in {"server.py", "cli.py"}], ids=named)
def test_only_the_server_knows_everybody(path: Path) -> None:
    assert not any(name.startswith("nest.server") for name in imports(path))


@pytest.mark.parametrize("path", [*files(FIRMWARE), *files(NEST), *files(SPATZ)], ids=named)
def test_a_file_is_about_one_thing(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
