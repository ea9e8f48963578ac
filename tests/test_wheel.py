"""What a town installs with pip is complete: the wheel carries firmware, boards, templates and catalogues."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIRMWARE = sorted(path.relative_to(ROOT / "firmware") for path in (ROOT / "firmware").rglob("*.py"))
BOARDS = sorted(path.relative_to(ROOT / "boards") for path in (ROOT / "boards").rglob("*.toml"))


pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's contents, as pip lays them out."""
    work = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(work), str(ROOT)], check=True, capture_output=True)
    site = work / "site"
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def in_wheel(site: Path, code: str) -> str:
    """What `code` prints with the wheel in front of the checkout."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_finds_its_own_firmware(installed: Path) -> None:
    found = Path(in_wheel(installed, "from spatz.resources import firmware_dir; print(firmware_dir())"))
    assert found.is_relative_to(installed)
    assert FIRMWARE
    assert sorted(path.relative_to(found) for path in found.rglob("*.py")) == FIRMWARE


def test_the_wheel_finds_its_own_boards(installed: Path) -> None:
    found = Path(in_wheel(installed, "from nest.resources import boards_dir; print(boards_dir())"))
    assert found.is_relative_to(installed)
    assert BOARDS
    assert sorted(path.relative_to(found) for path in found.rglob("*.toml")) == BOARDS


def test_the_wheel_makes_the_same_files_for_a_node(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spatz.images.filesystem import node_files
    from spatz.wishes import Wishes

    monkeypatch.setenv("SPATZ_CACHE", str(tmp_path))
    code = (
        "from spatz.images.filesystem import node_files; from spatz.wishes import Wishes; import spatz, json\n"
        "print(json.loads(node_files(Wishes('amsel', 'heltec-v3'))['spatz.json'])['files'], spatz.__file__)"
    )
    made, place = in_wheel(installed, code).rsplit(" ", 1)
    assert Path(place).is_relative_to(installed)
    assert made == str(json.loads(node_files(Wishes("amsel", "heltec-v3"))["spatz.json"])["files"])


def test_every_file_that_is_not_python_is_in_the_wheel(installed: Path) -> None:
    for package, source in (("nest", ROOT / "gateway" / "nest"), ("spatz", ROOT / "tools" / "spatz")):
        for path in source.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (installed / package / path.relative_to(source)).is_file(), path


def test_both_commands_start_from_the_wheel(installed: Path) -> None:
    for command in ("spatz", "nest"):
        code = f"sys.argv = ['{command}', '--help']\nfrom {command}.cli import main\nmain()"
        assert "Usage" in in_wheel(installed, code)


def test_the_checkout_finds_what_lies_beside_it() -> None:
    from nest.resources import boards_dir
    from spatz.resources import firmware_dir

    assert boards_dir() == ROOT / "boards"
    assert firmware_dir() == ROOT / "firmware"
