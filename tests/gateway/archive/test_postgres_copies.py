"""Backups of a town on PostgreSQL, and towns that move from one kind of database to the other by a backup."""

from __future__ import annotations

import contextlib
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from gateway.archive.bursts import EUI, FAR, OTHER, join, rows, session, store
from gateway.archive.living import written_meanwhile
from gateway.archive.postgres_server import needs_postgres
from nest import town
from nest.archive import Archive, carrying, copies, open_database, postgres_copies, schema
from nest.archive.journal import Journal, ReplacedError
from nest.archive.meta import put
from nest.archive.outbox import Outbox
from nest.database_url import DatabaseServer
from nest.errors import UserError
from nest.gateways import GatewayRegistry
from nest.lorawan.effects import MergeCopy
from nest.registry import Registry
from sqlalchemy import Engine, text

pytestmark = [needs_postgres, pytest.mark.xdist_group("postgresql"), pytest.mark.usefixtures("english")]
CHANGED = {"meta", "sessions", "nodes", schema.schema_version.name}  # by a restore, on purpose


def fill(of: town.Town) -> None:
    """Two nodes and a gateway, some readings published and some not."""
    engine = open_database(of.database)
    for slug, eui in (("amsel", EUI), ("meise", OTHER)):
        Registry(engine).add(slug, eui, latitude=51.25, longitude=12.5)
    GatewayRegistry(engine).add("aa" * 8, name="Rathaus ßä")
    put(engine, "odd", 'a "word" \\ with {braces}')
    with contextlib.closing(Journal(engine)) as journal:
        state, other = session(), session(OTHER, fcnt_down=7)
        journal.commit([join(state), join(other)])
        done = journal.commit([store(state, fcnt, at=1000.0 + fcnt) for fcnt in range(20)])
        journal.commit([MergeCopy(EUI, 1, 3, FAR), store(other, 0, b"?")], mark=done.readings[9][0])
    engine.dispose()


def content(of: town.Town) -> dict[str, list[Any]]:
    engine = open_database(of.database)
    found = {name: [*map(tuple, rows(engine, name))] for name in schema.metadata.tables}
    found["meta"] = [row for row in found["meta"] if row[0] != "changes"]
    engine.dispose()
    return found


def check_goes_on(of: town.Town) -> None:
    """What counts up goes on behind what stands there."""
    engine = open_database(of.database)
    last = max(seq for seq, _ in Outbox(engine).after(0))
    assert Registry(engine).add("neu", "70b3d57ed00000ff").id == 3
    with contextlib.closing(Journal(engine)) as journal:
        state = session(nonce=200)
        assert journal.commit([join(state, 5)]).failed == []
        [(seq, _)] = journal.commit([store(state, 0, at=5000.0)]).readings
    assert seq == last + 1
    Archive(engine).add_reading("amsel", 6000.0, {"temperature": 21.5})
    assert Outbox(engine).after(seq)[0][0] == seq + 1
    assert Archive(engine).counts()["frames"] == 22
    engine.dispose()


@pytest.mark.parametrize("to_server", [True, False])
def test_a_town_moves_from_one_kind_of_database_to_the_other(
    server: DatabaseServer, tmp_path: Path, to_server: bool
) -> None:
    urls = ["", server.url] if to_server else [server.url, ""]
    old, new = (town.create(tmp_path / f"town{n}", "Brandis", database_url=url) for n, url in enumerate(urls))
    fill(old)
    told: list[tuple[int, int]] = []
    copies.backup(old, tmp_path / "town.nest.tar.gz", lambda *done: told.append(done))
    assert told
    assert told[-1][0] == told[-1][1]
    with tarfile.open(tmp_path / "town.nest.tar.gz") as tar:
        assert sorted(tar.getnames()) == ["nest.db", "town.toml"]
    restored = copies.restore(tmp_path / "town.nest.tar.gz", new.path)
    assert type(restored.database) is type(new.database)
    before, after = content(old), content(restored)
    for name in before.keys() - CHANGED:
        assert after[name] == before[name], name
    assert [row[1] for row in after["nodes"]] == ["amsel", "meise"]
    nonces = [row[schema.nodes.c.keys().index("join_nonce_floor")] for row in after["nodes"]]
    assert min(nonces) > carrying.NONCE_MARGIN
    down = schema.sessions.c.keys().index("fcnt_down")
    pairs = zip(before["sessions"], after["sessions"], strict=True)
    assert all(new[down] == old[down] + carrying.COUNTER_MARGIN for old, new in pairs)
    assert dict(after["meta"])["odd"] == dict(before["meta"])["odd"]
    assert dict(after["meta"])["generation"] != dict(before["meta"])["generation"]
    check_goes_on(restored)


def test_a_nest_that_runs_goes_on_with_what_was_restored(server: DatabaseServer, tmp_path: Path) -> None:
    living = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    fill(living)
    copies.backup(living, tmp_path / "town.nest.tar.gz")
    engine: Engine = open_database(living.database)
    with contextlib.closing(Journal(engine)) as journal:
        state = session(nonce=7, fcnt_down=9)
        journal.commit([join(state, 9)])  # the backup does not know it
        journal.changed_elsewhere()
        copies.restore(tmp_path / "town.nest.tar.gz", living.path)
        assert journal.changed_elsewhere()
        with pytest.raises(ReplacedError):
            journal.commit([store(state, 0)])
    assert [record.join_nonce for record in Archive(engine).joins(EUI)] == [1, 7, 7 + carrying.NONCE_MARGIN]
    engine.dispose()
    [kept] = (living.path / "backups").glob("before-restore-*")
    other = copies.restore(kept, town.create(tmp_path / "other", "Belzig").path)
    assert len(content(other)["joins"]) == 3


@pytest.mark.parametrize("at", ["_set_aside", "make_safe"])
def test_nothing_that_is_written_meanwhile_is_lost(server: DatabaseServer, tmp_path: Path, at: str) -> None:
    """It is refused, so that the nest keeps it, or it is in the backup of what was replaced."""
    living = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    fill(living)
    copies.backup(living, tmp_path / "town.nest.tar.gz")
    engine: Engine = open_database(living.database)
    with (
        contextlib.closing(Journal(engine)) as journal,
        written_meanwhile(journal, session(nonce=1), at, fcnt=20) as stored,
    ):
        copies.restore(tmp_path / "town.nest.tar.gz", living.path)
    fcnt = 20 + len(stored)
    engine.dispose()
    [kept] = (living.path / "backups").glob("before-restore-*")
    other = copies.restore(kept, town.create(tmp_path / "other", "Belzig").path)
    assert len(content(other)["frames"]) == fcnt + 1  # and the other node's


def test_a_server_that_ends_idle_transactions_does_not_end_a_restore(
    server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits while what stands there is copied; and that is done once."""
    living = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    fill(living)
    copies.backup(living, tmp_path / "town.nest.tar.gz")
    engine: Engine = open_database(living.database)
    with engine.begin() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '500ms'"))
    engine.dispose()
    export, exported = postgres_copies.export, []

    def slow(of: DatabaseServer, target: Path) -> None:
        exported.append(target)
        export(of, target)
        time.sleep(1.0)

    monkeypatch.setattr(postgres_copies, "export", slow)
    copies.restore(tmp_path / "town.nest.tar.gz", living.path)
    assert len(exported) == 1


def test_a_copy_that_is_only_looked_at_does_not_replace_the_town(server: DatabaseServer, tmp_path: Path) -> None:
    living = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    fill(living)
    before = content(living)
    copies.backup(living, tmp_path / "town.nest.tar.gz")
    with pytest.raises(UserError, match="a town is there already"):
        copies.restore(tmp_path / "town.nest.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert content(living) == before


def test_a_node_that_was_removed_may_be_had_back_by_way_of_an_empty_town(
    server: DatabaseServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by way of a new folder: that would get the same database."""
    living = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    fill(living)
    copies.backup(living, tmp_path / "town.nest.tar.gz")
    engine = open_database(living.database)
    Registry(engine).remove("meise")
    engine.dispose()
    copies.restore(tmp_path / "town.nest.tar.gz", living.path)
    [_, step] = [record.getMessage() for record in caplog.records if record.name == copies.__name__]
    assert "new folder" not in step
    assert "nest init" in step
    assert step.endswith(" hand-over NODE --output FILE")
    empty = town.create(tmp_path / "empty", "Belzig")
    engine = open_database(copies.restore(tmp_path / "town.nest.tar.gz", empty.path).database)
    assert Registry(engine).find_slug("meise")
    engine.dispose()


def test_half_a_restore_is_none(server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = town.create(tmp_path / "old", "Belzig")
    fill(old)
    copies.backup(old, tmp_path / "old.nest.tar.gz")
    living = town.create(tmp_path / "town", "Brandis", database_url=server.url)
    fill(living)
    before = content(living)

    def cut_off(*_: object) -> None:
        raise OSError(5, "power cut")

    monkeypatch.setattr("nest.archive.postgres_copies._count_on", cut_off)
    with pytest.raises(UserError, match="power cut"):
        copies.restore(tmp_path / "old.nest.tar.gz", living.path)
    assert content(living) == before
    assert town.load(living.path).name == "Brandis"
