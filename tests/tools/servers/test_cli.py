"""`spatz register`, `spatz export` and `spatz nodes …` as people type them."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nest import town
from nest.archive import open_database
from nest.errors import UserError
from nest.registry import Registry
from spatz.cli import app
from spatz.servers.handing import write as handing_write
from spatz.wishes import Wishes
from sqlalchemy import text
from tools.servers.chirpstack_server import ChirpStack
from tools.servers.tts_server import TheThingsStack
from tools.servers.world import MARKER
from typer.testing import CliRunner

EUI = bytes.fromhex("70b3d57ed0000001")
Run = Callable[..., str]


@contextmanager
def registry_at(folder: Path) -> Iterator[Registry]:
    engine = open_database(folder / "nest.db")
    yield Registry(engine)
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A town with a node whose key is `MARKER`, and one that the registry gave its key."""
    monkeypatch.setattr("nest.i18n.language_of_locale", lambda: "en")
    monkeypatch.delenv("SPATZ_TOWN", raising=False)
    made = town.create(tmp_path / "town", "Brandis")
    with registry_at(made.path) as registry:
        registry.add("amsel", EUI, made.join_eui, MARKER, name="Amsel am Bach")
        registry.set_wishes("amsel", Wishes("amsel", "heltec-v3", ("bme280",), 900).to_json())
        registry.provision(EUI[:7] + b"\2", made.join_eui, slug="meise")
    return made.path


@pytest.fixture
def run(folder: Path) -> Run:
    """One `spatz …` on that town: what it prints. UserErrors are raised; whatever is printed holds no key."""

    def run(*arguments: object, status: int = 0) -> str:
        line = [*map(str, arguments), "--town", str(folder)]
        done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, line)
        assert MARKER.hex() not in done.output.lower()
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            assert MARKER.hex() not in str(done.exception).lower()
            raise done.exception
        assert done.exit_code == status, done.output
        return done.output

    return run


def test_registering_in_chirpstack_twice(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("the-api-key\n")
    with ChirpStack() as server:
        line = ("register", "--to", "chirpstack", "--server", server.url, "--tenant", "Brandis", "--key-file", key)
        assert "2 new, 0 changed" in run(*line, "--dry-run")
        assert server.store.writes() == []
        assert "Nodes: 2 new, 0 changed, 0 as they were, 0 refused." in run(*line)
        assert "Nodes: 0 new, 0 changed, 2 as they were, 0 refused." in run(*line)
        told = json.loads(run(*line, "--json", "--node", "amsel"))
        assert told["nodes"] == {"created": 0, "changed": 0, "unchanged": 1, "failed": 0}
        assert {device.name for device in server.store.devices.values()} == {"amsel", "meise"}
        told = json.loads(run(*line, "--json", "--node", "meise"))  # it measures more often than the other one
        assert {item["outcome"] for item in told["items"]} == {"unchanged"}
        [profile] = server.store.profiles.values()
        assert profile.uplink_interval == 900
        [application] = server.store.applications.values()
        assert application.name == "Brandis"


def test_registering_in_the_things_stack(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with TheThingsStack() as server:
        monkeypatch.setenv("FUNKSPATZ_TTS_KEY", server.key)
        line = ("register", "--to", "tts", "--server", server.url)
        assert "Nodes: 2 new" in run(*line)
        assert ("brandis", "amsel") in server.registries["as"]
        assert "Nodes: 0 new, 0 changed, 2 as they were" in run(*line)


def test_a_node_that_is_refused_is_told_and_the_exit_status_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with TheThingsStack() as server:
        monkeypatch.setenv("FUNKSPATZ_TTS_KEY", server.key)
        server.applications["other"] = {"ids": {"application_id": "other"}}
        line = ("register", "--to", "tts", "--server", server.url)
        run(*line, "--application", "other", "--node", "amsel")
        output = run(*line, status=2)
        assert "1 new, 0 changed, 0 as they were, 1 refused" in output
        assert "registered as `amsel` in `other`" in output


def test_the_nest_knows_its_nodes(run: Run) -> None:
    told = json.loads(run("register", "--to", "nest", "--json"))
    assert told["nodes"]["unchanged"] == 2
    assert [note.split()[0] for note in told["notes"]] == ["meise"]  # nobody has flashed it
    with pytest.raises(UserError, match="no node kuckuck"):
        run("register", "--to", "nest", "--node", "kuckuck")


def test_what_is_missing_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUNKSPATZ_CHIRPSTACK_KEY", raising=False)
    with pytest.raises(UserError, match="Where is ChirpStack"):
        run("register", "--to", "chirpstack")
    with pytest.raises(UserError, match="wants a key"):
        run("register", "--to", "chirpstack", "--server", "http://127.0.0.1:1")


def test_an_exported_file_is_for_its_owner_alone(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "nodes.csv"
    assert "2 nodes are in" in run("export", "--for", "tts", "--output", out)
    assert MARKER.hex().upper() in out.read_text()
    assert sys.platform == "win32" or stat.S_IMODE(out.stat().st_mode) == 0o600
    with pytest.raises(UserError, match="is there already"):
        run("export", "--for", "tts", "--output", out)
    run("export", "--for", "chirpstack", "--format", "json", "--output", out, "--force", "--node", "amsel")
    assert [thing["device"]["name"] for thing in json.loads(out.read_text())] == ["amsel"]


def test_keys_are_not_shown_on_a_screen(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, screen = pty.openpty()
    line = [sys.executable, "-c", "from spatz.cli import main; main()", "export", "--for", "tts", "--town", str(folder)]
    try:
        done = subprocess.run(line, stdout=screen, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(screen)
    assert done.returncode == 2
    assert "--output" in done.stderr
    assert MARKER.hex() not in done.stderr.lower()


def test_the_list_has_boards_and_no_keys(run: Run) -> None:
    output = run("nodes", "list")
    assert "heltec-v3" in output
    assert "bme280" in output
    rows = json.loads(run("nodes", "list", "--json"))
    assert [row["slug"] for row in rows] == ["amsel", "meise"]
    assert rows[0]["wishes"] == {"board": "heltec-v3", "sensors": ["bme280"], "interval_s": 900}


def test_a_new_key_is_given_only_when_somebody_means_it(run: Run, folder: Path) -> None:
    with pytest.raises(UserError, match="must be flashed") as refused:
        run("nodes", "rotate", "amsel")
    assert "--yes" in refused.value.next_step
    with registry_at(folder) as registry:
        before = registry.find(EUI)
        assert "spatz flash" in run("nodes", "rotate", "amsel", "--yes")
        after = registry.find(EUI)
    assert before
    assert after
    assert (before.app_key, after.dev_nonce) == (MARKER, 0)
    assert after.app_key != MARKER
    with pytest.raises(UserError, match="no node kuckuck"):
        run("nodes", "rotate", "kuckuck", "--yes")


def test_retirement_and_its_end(run: Run, folder: Path) -> None:
    assert "ChirpStack" in run("nodes", "retire", "amsel", "--yes")  # there it is still, and is to be deleted by hand
    assert [row["slug"] for row in json.loads(run("nodes", "list", "--json"))] == ["meise"]
    [row] = json.loads(run("nodes", "list", "--retired", "--json"))
    assert (row["slug"], row["dev_eui"]) == ("amsel", EUI.hex())
    assert "amsel" in run("nodes", "list", "--retired")
    with registry_at(folder) as registry:
        with pytest.raises(UserError, match="was retired"):
            registry.provision(EUI, bytes(8), slug="amsel")
        run("nodes", "retire", "amsel", "--undo")
        assert registry.provision(EUI, bytes(8), slug="amsel").new


def test_a_node_that_was_removed_may_be_retired(run: Run, folder: Path) -> None:
    with registry_at(folder) as registry:
        registry.remove("amsel")
        run("nodes", "retire", "amsel", "--yes")
        assert [slug for slug, _, _ in registry.retired()] == ["amsel"]
    with pytest.raises(UserError, match="no node kuckuck"):
        run("nodes", "retire", "kuckuck", "--yes")


def test_a_join_while_a_node_is_handed_over_is_in_the_file(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the other town would give it that JoinNonce once more, and it would refuse it."""
    out, nonces = tmp_path / "amsel.node.json", [1, 2]

    def write(registry: Registry, slug: str, path: Path, *, force: bool) -> None:
        handing_write(registry, slug, path, force=force)
        if nonces:
            joined = text("INSERT INTO joins SELECT id, :nonce, 20 + :nonce, 1 FROM nodes WHERE slug = :slug")
            engine = open_database(folder / "nest.db")
            with engine.begin() as connection:
                connection.execute(joined, {"nonce": nonces.pop(0), "slug": slug})
            engine.dispose()

    monkeypatch.setattr("spatz.servers.handing.write", write)
    run("nodes", "hand-over", "amsel", "--output", out, "--yes")
    said = json.loads(out.read_text())
    assert (said["join_nonce"], said["dev_nonce"]) == (2, 23)
    with registry_at(folder) as registry:
        assert [slug for slug, _, _ in registry.retired()] == ["amsel"]


def test_a_key_is_forgotten_only_when_its_file_is_on_the_disk(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, too: that stands in the folder."""

    def cut_off(path: Path) -> None:
        assert path == tmp_path
        raise OSError(5, "no more power")

    monkeypatch.setattr("spatz.servers.nodes.sync_folder", cut_off)
    with pytest.raises(UserError, match="no more power"):
        run("nodes", "hand-over", "amsel", "--output", tmp_path / "file", "--yes")
    assert not list(tmp_path.glob("*file*"))  # no key lies in what "cannot be written"
    with registry_at(folder) as registry:
        assert registry.find(EUI)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_folder_that_cannot_be_synced_takes_keys_as_well(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Shared folders of virtual machines are such ones."""
    really = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        really(handle)

    monkeypatch.setattr("os.fsync", fsync)
    run("nodes", "hand-over", "amsel", "--output", tmp_path / "file", "--yes")
    assert (tmp_path / "file").stat().st_size
    with registry_at(folder) as registry:
        assert registry.find(EUI) is None


def test_a_node_goes_to_another_town_and_comes_back(run: Run, folder: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "amsel.node.json", town.create(tmp_path / "other", "Borsdorf").path
    with registry_at(folder) as registry:
        held = registry.find(EUI)
    run("nodes", "hand-over", "amsel", "--output", out, "--yes")
    assert sys.platform == "win32" or stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [row["slug"] for row in json.loads(run("nodes", "list", "--json"))] == ["meise"]
    there = CliRunner().invoke(app, ["nodes", "take", str(out), "--town", str(other), "--name", "kuckuck"])
    assert there.exit_code == 0
    assert MARKER.hex() not in there.output
    with registry_at(other) as registry:
        taken = registry.find(EUI)
        assert taken
        assert held
        assert (taken.slug, taken.app_key, taken.join_eui) == ("kuckuck", MARKER, held.join_eui)
        assert json.loads(registry.wishes("kuckuck") or "")["name"] == "kuckuck"
    run("nodes", "take", out)
    with registry_at(folder) as registry:
        assert registry.find(EUI) == held


@pytest.mark.parametrize(
    "wrong",
    [
        {"wishes": "{}"}, {"wishes": 7}, {"wishes": {"name": "amsel", "board": "heltec-v3"}}, {"wishes": "[" * 9000},
        {"wishes": '{"name": "amsel", "board": "heltec-v3", "interval_s": "600"}'},
        {"wishes": '{"name": "amsel", "board": "\\u001b[2J"}'},
        {"name": "\x1b[2J"}, {"name": {"a": 1}}, {"name": None}, {"name": "\ud800"},
        {"slug": "\x1b[2J"}, {"slug": ["a"]}, {"slug": 7},
    ],
)  # fmt: skip
def test_a_file_that_somebody_made_up_is_refused_in_a_sentence(
    run: Run, folder: Path, tmp_path: Path, wrong: dict[str, object]
) -> None:
    out = tmp_path / "amsel.node.json"
    run("nodes", "hand-over", "amsel", "--output", out, "--yes")
    good = json.loads(out.read_text())
    for made in (json.dumps({**good, **wrong}), '{"what":' + "[" * 50_000):
        out.write_text(made)
        with pytest.raises(UserError) as refused:
            run("nodes", "take", out)
        assert "\x1b" not in str(refused.value)
    with registry_at(folder) as registry:
        assert registry.find(EUI) is None


def test_wishes_that_nobody_can_read_harm_neither_list_nor_registration(run: Run, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("the-api-key\n")
    good = Wishes("amsel", "heltec-v3").to_json()
    with ChirpStack() as server:
        line = ("register", "--to", "chirpstack", "--server", server.url, "--tenant", "Brandis", "--key-file", key)
        for said in ("[" * 9000, good[:-1] + ', "interval_s": "x\\u001b"}', good[:-1] + ', "sensors": [{}]}'):
            with registry_at(folder) as registry:
                registry.set_wishes("amsel", said)
            assert json.loads(run("nodes", "list", "--json"))[0]["wishes"] is None
            assert "\x1b" not in run("nodes", "list")
            assert "0 refused" in run(*line)
    run("nodes", "hand-over", "amsel", "--output", tmp_path / "file", "--yes")
    run("nodes", "take", tmp_path / "file")  # what it says of the board is gone, not the node
    with registry_at(folder) as registry:
        assert registry.wishes("amsel") is not None  # nothing better was handed over


def test_a_name_in_the_database_moves_no_terminal(run: Run, folder: Path) -> None:
    engine = open_database(folder / "nest.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE nodes SET name = :name WHERE slug = 'amsel'"), {"name": "\x1b[2JAmsel"})
    engine.dispose()
    shown = run("nodes", "list")
    assert "\x1b" not in shown
    assert "Amsel" in shown


def test_where_the_terminal_knows_few_letters(folder: Path) -> None:
    """As on Windows, where what is piped is written in cp1252: it has no arrow, and no "ž"."""
    with registry_at(folder) as registry:
        registry.provision(EUI, bytes(8), slug="amsel", name="Čížek")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "LC_ALL": "C"}

    def piped(*line: str) -> bytes:
        command = [sys.executable, "-c", "from spatz.cli import main; main()", *line, "--town", str(folder)]
        done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        return done.stdout

    assert b"? " in piped("nodes", "rotate", "meise", "--yes")
    assert "Čížek" in piped("export", "--for", "tts").decode("utf-8")


def test_a_node_is_not_retired_when_its_file_cannot_be_written(run: Run, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        run("nodes", "hand-over", "amsel", "--output", tmp_path / "nowhere" / "file", "--yes")
    with registry_at(folder) as registry:
        assert registry.find(EUI)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '"text"', '{"what": "funkspatz node", "version": 2}', f'{{"app_key": "{MARKER.hex()}"}}'],
)
def test_a_file_that_is_none_is_refused_and_not_repeated(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(UserError, match="is no node"):
        run("nodes", "take", file)


@pytest.mark.parametrize(
    "change",
    [
        {"dev_eui": "70b3"}, {"app_key": MARKER.hex()[2:]}, {"dev_nonce": -1}, {"dev_nonce": True},
        {"dev_nonce": 70000}, {"join_nonce": "1"}, {"version": 9}, {"dev_eui": 5},
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused(run: Run, tmp_path: Path, change: dict[str, object]) -> None:
    out = tmp_path / "file"
    run("nodes", "hand-over", "amsel", "--output", out, "--yes")
    out.write_text(json.dumps({**json.loads(out.read_text()), **change}))
    with pytest.raises(UserError, match="is no node"):
        run("nodes", "take", out)
