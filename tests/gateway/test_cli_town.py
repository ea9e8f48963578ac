"""`nest backup` and `nest restore`, beside a nest that runs."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
from nest import town
from nest.archive import Archive, open_database
from nest.registry import Registry

from .commands import Here, check_said
from .running import RunningNest, nest_command

EUI = "70b3d57ed0000001"


@pytest.fixture
def kept(folder: Path) -> Path:
    """A town with one node and one reading."""
    engine = open_database(folder / "nest.db")
    Registry(engine).add("amsel", EUI)
    Archive(engine).add_reading("amsel", 1_777_636_800.0, {"temperature": 21.5})
    engine.dispose()
    return folder


def slugs(folder: Path) -> list[str]:
    engine = open_database(folder / "nest.db")
    try:
        return [node.slug for node in Registry(engine).list()]
    finally:
        engine.dispose()


@pytest.mark.parametrize(("language", "said"), [("en", "holds all keys"), ("de", "enthält alle Schlüssel")])
def test_a_town_goes_into_a_file_and_comes_back(
    kept: Path, tmp_path: Path, here: Here, language: str, said: str
) -> None:
    file = tmp_path / "copy.nest.tar.gz"
    done = here("backup", kept, file, language=language)
    assert done.status == 0, done.stderr
    assert str(file) in done.stdout
    assert said in done.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    done = here("restore", file, tmp_path / "elsewhere", language=language)
    assert done.status == 0, done.stderr
    assert slugs(tmp_path / "elsewhere") == ["amsel"]
    assert town.load(tmp_path / "elsewhere").name == "Brandis"
    engine = open_database(tmp_path / "elsewhere" / "nest.db")
    assert Archive(engine).counts()["readings"] == 1


def test_a_backup_without_a_name_is_named_by_town_and_time(
    kept: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = json.loads(here("backup", kept, "--json").stdout)
    assert re.fullmatch(r"brandis-\d{8}T\d{6}Z\.nest\.tar\.gz", done["file"])
    assert (tmp_path / done["file"]).stat().st_size == done["bytes"]


def test_a_town_is_replaced_only_by_somebody_who_says_so(kept: Path, tmp_path: Path, here: Here) -> None:
    file = tmp_path / "copy.nest.tar.gz"
    here("backup", kept, file)
    here("nodes", "add", kept, "meise", "--dev-eui", "70b3d57ed0000002")
    refused = nest_command("restore", file, kept, stdin="y\n")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert slugs(kept) == ["amsel", "meise"]
    done = json.loads(here("restore", file, kept, "--yes", "--json").stdout)
    assert done == {"folder": str(kept), "town": "brandis"}
    assert slugs(kept) == ["amsel"]


def test_both_beside_a_nest_that_runs(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.nest.tar.gz"
    with RunningNest(kept) as nest:
        assert nest_command("backup", kept, file).returncode == 0
        assert nest_command("nodes", "add", kept, "meise", "--dev-eui", "70b3d57ed0000002").returncode == 0
        assert len(nest.api("/api/v1/nodes")["nodes"]) == 2
        done = nest_command("restore", file, kept, "--yes")
        assert done.returncode == 0, done.stderr
        assert [node["slug"] for node in nest.api("/api/v1/nodes")["nodes"]] == ["amsel"]
        assert nest.terminate()[0] == 0


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(
    ("command", "english", "german"),
    [
        (("backup", "{folder}", "{folder}/town.toml"), "is there already", "ist schon da"),
        (("backup", "{folder}", "{folder}/no/such/place.tar.gz"), "cannot be copied", "nicht nach"),
        (("backup", "{folder}/nowhere"), "There is no town", "ist keine Stadt"),
        (("restore", "{folder}/town.toml", "{folder}/new"), "no backup of a town", "keine Sicherung"),
        (("restore", "{folder}/nothing", "{folder}/new"), "cannot be restored", "nicht nach"),
        (("restore", "{folder}/town.toml", "{folder}"), "a town already", "schon eine Stadt"),
    ],
)
def test_refusals_are_one_sentence_and_a_next_step(
    folder: Path, here: Here, command: tuple[str, ...], english: str, german: str, language: str
) -> None:
    done = here(*(part.replace("{folder}", str(folder)) for part in command), language=language)
    check_said(done, {"en": english, "de": german}[language])
    assert not (folder / "new").exists()
