"""What a restored town does not begin again with, and what the one that it replaces hands on to it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from gateway.archive.bursts import EUI, join, session, store
from gateway.archive.living import Living, written_meanwhile
from nest import server, town
from nest.archive import Archive, carrying, copies, meta, open_database, snapshots
from nest.archive.database import writing
from nest.errors import UserError
from nest.gateways import GatewayRegistry
from nest.locks import locked
from nest.registry import Provisioned, Registry
from sqlalchemy import text

V1 = Path(__file__).with_name("v1.sql")


pytestmark = pytest.mark.usefixtures("english")


def later_backup(living: Living, file: Path) -> Path:
    copies.backup(living.town, file)
    time.sleep(0.002)  # the next change is a later one
    return file


def test_a_token_that_was_made_void_stays_void(file: Path, living: Living, caplog: pytest.LogCaptureFixture) -> None:
    """It was given another because somebody had seen it; the gateway has the other one, too."""
    gateways = GatewayRegistry(living.engine)
    for eui in ("a1", "a2", "a3"):
        gateways.add(f"{eui:>016}", name="Rathaus" if eui == "a2" else None, token="aa" * 32)
    meta.put(living.engine, meta.ADMIN_TOKEN, "seen")
    before = file.with_name("before")
    copies.backup(living.town, before)
    meta.put(living.engine, meta.ADMIN_TOKEN, "new")
    gateways.set_token(f"{'a1':>016}", "bb" * 32)
    gateways.remove(f"{'a2':>016}")
    copies.restore(before, living.town.path)
    assert meta.get(living.engine, meta.ADMIN_TOKEN) == "new"
    assert [(info.eui[-2:], info.token) for info in gateways.list()] == [("a1", "bb" * 32), ("a3", "aa" * 32)]
    said = [record.getMessage() for record in caplog.records if record.name == copies.__name__]
    assert "without their tokens: Rathaus (00000000000000a2)." in said[0]
    assert "nest gateways add" in said[1]
    gateways.add(f"{'a2':>016}")  # with no token, until it gets one
    new = copies.restore(before, file.with_name("new"))
    engine = open_database(new.database)
    assert meta.get(engine, meta.ADMIN_TOKEN) == "seen"  # where nothing stood there is no other
    engine.dispose()


def test_of_two_tokens_the_later_one_stays_whichever_backups_are_restored(living: Living, tmp_path: Path) -> None:
    """The wrong one first, and then the right one; or first one in which the gateway was removed."""
    gateways, eui = GatewayRegistry(living.engine), f"{'a1':>016}"
    gateways.add(eui, token="aa" * 32)
    time.sleep(0.002)
    gateways.remove(eui)
    removed = later_backup(living, tmp_path / "removed")
    gateways.add(eui, token="bb" * 32)
    first = later_backup(living, tmp_path / "first")
    gateways.set_token(eui, "cc" * 32)
    second = later_backup(living, tmp_path / "second")
    for restored, tokens in ((first, ["cc" * 32]), (removed, []), (second, ["cc" * 32]), (removed, []), (first, [])):
        copies.restore(restored, living.town.path)
        assert [info.token for info in gateways.list()] == tokens
    copies.restore(first, tmp_path / "new")
    engine = open_database(copies.restore(second, tmp_path / "new").database)
    assert [info.token for info in GatewayRegistry(engine).list()] == ["cc" * 32]
    engine.dispose()


def test_what_gateways_have_sent_since_the_backup_still_counts(file: Path, living: Living, tmp_path: Path) -> None:
    meta.put(living.engine, server._AIRTIME, "before")
    copies.backup(living.town, tmp_path / "late")
    meta.put(living.engine, server._AIRTIME, "since")
    for restored in (tmp_path / "late", file):  # that one knows of nothing
        copies.restore(restored, living.town.path)
        assert meta.get(living.engine, server._AIRTIME) == "since"


def test_numbers_only_rise_however_often_it_is_restored(file: Path, living: Living) -> None:
    for turn in range(1, 4):
        copies.restore(file, living.town.path)
        [state] = living.archive.sessions()
        assert state.fcnt_down == 7 + turn * carrying.COUNTER_MARGIN
        assert max(record.join_nonce for record in living.archive.joins(EUI)) == 1 + turn * carrying.NONCE_MARGIN


def test_dev_nonces_that_were_left_out_since_the_backup_stay_out(file: Path, living: Living) -> None:
    floor = Registry(living.engine).written_again("amsel")
    copies.restore(file, living.town.path)
    assert held(living).dev_nonce == floor


def test_a_node_that_was_retired_since_the_backup_stays_so_and_its_key_forgotten(file: Path, living: Living) -> None:
    living.journal.commit([join(session(nonce=2), 77)])
    registry, before = Registry(living.engine), held(living)
    registry.retire("amsel")
    copies.restore(file, living.town.path)
    assert registry.list() == []
    assert [slug for slug, _, _ in registry.retired()] == ["amsel"]
    with contextlib.closing(sqlite3.connect(living.town.path / "nest.db")) as connection:
        assert connection.execute("SELECT app_key FROM nodes").fetchall() == [(None,)]
        assert connection.execute("SELECT count(*) FROM sessions WHERE nwk_skey IS NOT NULL").fetchone() == (0,)
    with pytest.raises(UserError, match="was retired"):
        registry.add("amsel", EUI)
    assert registry.take(before).dev_nonce == 78  # another town hands it back: what was used with its key stays used


def test_a_retirement_that_was_taken_back_before_the_backup_is_none(tmp_path: Path, file: Path, living: Living) -> None:
    registry = Registry(living.engine)
    registry.retire("amsel")
    registry.reinstate("amsel")
    registry.add("amsel", EUI)
    copies.backup(living.town, tmp_path / "late")
    registry.retire("amsel")
    with living.engine.begin() as connection:
        connection.execute(
            text("UPDATE nodes SET retired_at = added_at - 1, removed_at = added_at - 1")
        )  # as of the first time
    copies.restore(tmp_path / "late", living.town.path)
    assert [node.slug for node in registry.list()] == ["amsel"]


def held(living: Living) -> Provisioned:
    found = Registry(living.engine).find_slug("amsel")
    assert found
    return found


@pytest.mark.parametrize("by_retiring", [False, True])
def test_a_key_that_was_replaced_since_the_backup_stays_void(file: Path, living: Living, by_retiring: bool) -> None:
    """The board has the new one; the old one may be in wrong hands."""
    living.journal.commit([join(session(nonce=2), 9)])  # with the key of the backup
    registry, old = Registry(living.engine), held(living)
    if by_retiring:
        registry.retire("amsel")
        registry.reinstate("amsel")
        registry.add("amsel", EUI)
    else:
        registry.rotate("amsel")
    third = session(nonce=3)
    living.journal.commit([join(third, 4), store(third, 0, at=2000.0, activates=True)])
    new = held(living)
    assert (new.app_key != old.app_key, new.dev_nonce) == (True, 5)
    for _ in range(2):
        copies.restore(file, living.town.path)
        assert (held(living).app_key, held(living).dev_nonce) == (new.app_key, new.dev_nonce)
        used = {record.join_nonce: record.dev_nonce for record in living.archive.joins(EUI)}
        assert (used[1], used[2], used[3]) == (-1, -1, 4)
        assert living.archive.sessions() == []  # whoever has the old key may have that of its session, too


def test_the_later_of_two_keys_stays_though_it_is_the_backup_s(file: Path, living: Living, tmp_path: Path) -> None:
    """Somebody restores an old backup into a new folder, sees that it is the wrong one, and takes the right one."""
    later = Registry(living.engine).rotate("amsel")
    copies.backup(living.town, tmp_path / "later")
    copies.restore(file, tmp_path / "new")
    new = copies.restore(tmp_path / "later", tmp_path / "new")
    engine = open_database(new.database)
    found = Registry(engine).find_slug("amsel")
    engine.dispose()
    assert found
    assert found.app_key == later.app_key


def test_a_node_that_was_removed_since_stays_so_and_may_be_had_back_with_its_key(
    file: Path, living: Living, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    living.journal.commit([join(session(nonce=2), 77)])
    before, registry = held(living), Registry(living.engine)
    registry.remove("amsel")
    copies.restore(file, living.town.path)
    assert (registry.list(), registry.retired(), living.archive.sessions()) == ([], [], [])
    with contextlib.closing(sqlite3.connect(living.town.path / "nest.db")) as connection:
        assert connection.execute("SELECT app_key FROM nodes").fetchall() == [(None,)]
    said = [record.getMessage() for record in caplog.records if record.name == copies.__name__]
    assert "amsel" in said[0]
    assert "new folder" in said[1]
    assert said[1].endswith(" hand-over NODE --output FILE")
    there = copies.restore(file, tmp_path / "new")
    engine = open_database(there.database)
    handed = Registry(engine).find_slug("amsel")
    engine.dispose()
    assert handed
    assert handed.app_key == before.app_key
    assert registry.take(handed).dev_nonce == 78  # what was used with that key stays used
    copies.restore(file, living.town.path)
    assert held(living).app_key == before.app_key


def test_a_key_that_was_replaced_does_not_come_back_by_way_of_a_backup_in_which_the_node_was_removed(
    living: Living, tmp_path: Path
) -> None:
    registry = Registry(living.engine)
    registry.remove("amsel")
    removed = later_backup(living, tmp_path / "removed")
    registry.add("amsel", EUI)
    first = later_backup(living, tmp_path / "first")
    rotated = registry.rotate("amsel")
    second = later_backup(living, tmp_path / "second")
    for restored in (removed, first, removed, first):
        copies.restore(restored, living.town.path)
        assert registry.list() == []
    copies.restore(second, living.town.path)
    assert held(living).app_key == rotated.app_key  # that one was never made void


def test_a_node_that_was_removed_twice_does_not_come_back_from_between(living: Living, tmp_path: Path) -> None:
    """With the same key, which another town had meanwhile."""
    registry, handed = Registry(living.engine), held(living)
    registry.remove("amsel")
    removed = later_backup(living, tmp_path / "removed")
    registry.take(handed)
    between = later_backup(living, tmp_path / "between")
    registry.remove("amsel")
    for restored in (removed, between):
        copies.restore(restored, living.town.path)
        assert registry.list() == []


@pytest.mark.parametrize("at", ["_set_aside", "make_safe"])
def test_nothing_that_is_written_meanwhile_is_lost(file: Path, living: Living, tmp_path: Path, at: str) -> None:
    """It is refused, so that the nest keeps it, or it is in the backup of what was replaced."""
    Registry(living.engine).add("meise", "70b3d57ed0000002")
    with written_meanwhile(living.journal, living.state, at, fcnt=1) as stored:
        copies.restore(file, living.town.path)
    fcnt = 1 + len(stored)
    [kept] = (living.town.path / "backups").glob("before-restore-*")
    copies.restore(kept, tmp_path / "kept")
    engine = open_database(tmp_path / "kept" / "nest.db")
    assert Archive(engine).counts()["frames"] == fcnt
    engine.dispose()
    [state] = living.archive.sessions()
    assert state.fcnt_up == fcnt - 1


def test_others_write_while_what_was_replaced_is_packed(
    file: Path, living: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(living.engine).add("meise", "70b3d57ed0000002")
    pack = copies.pack

    def meanwhile(*given: Any) -> None:
        with writing(living.engine, patience_ms=50):
            pack(*given)

    monkeypatch.setattr(copies, "pack", meanwhile)
    copies.restore(file, living.town.path)
    [kept] = (living.town.path / "backups").iterdir()
    engine = open_database(copies.restore(kept, tmp_path / "kept").database)
    assert [node.slug for node in Registry(engine).list()] == ["amsel", "meise"]
    engine.dispose()


class KilledError(BaseException):
    """Nothing is done any more, as after kill -9."""


def killed(*_: object) -> None:
    raise KilledError


@pytest.mark.parametrize("next_is_a_restore", [False, True])
def test_what_was_replaced_is_packed_by_the_next_one_when_the_first_was_killed(
    file: Path, living: Living, tmp_path: Path, next_is_a_restore: bool
) -> None:
    Registry(living.engine).add("meise", "70b3d57ed0000002")
    (living.town.path / "outlines.geojson").write_text("mine")
    with patch.object(copies, "pack", killed), pytest.raises(KilledError):
        copies.restore(file, living.town.path)
    assert [node.slug for node in Registry(living.engine).list()] == ["amsel"]
    [aside] = (living.town.path / "backups").iterdir()
    assert {stat.S_IMODE(path.stat().st_mode) for path in aside.rglob("*")} == {0o600, 0o700}
    aside.with_name(f"{aside.name}.nest.tar.gz").touch()  # that of a file that was never filled
    os.utime(aside, (1.0, 1.0))
    if next_is_a_restore:
        copies.restore(tmp_path / "b.nest.tar.gz", living.town.path)
    else:
        copies.backup(living.town, tmp_path / "later")
    kept, *others = sorted((living.town.path / "backups").iterdir())
    assert (kept.name, len(others)) == (f"{aside.name}.nest.tar.gz", next_is_a_restore)
    there = copies.restore(kept, tmp_path / "kept")
    assert (there.path / "outlines.geojson").read_text() == "mine"
    engine = open_database(there.database)
    assert [node.slug for node in Registry(engine).list()] == ["amsel", "meise"]
    engine.dispose()


def test_what_cannot_be_packed_now_stays_and_nothing_is_said_to_have_failed(
    file: Path, living: Living, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "pack", full)
    copies.restore(file, living.town.path)
    [aside] = (living.town.path / "backups").iterdir()
    assert town.load(aside).name == "Brandis"
    assert f"{aside}, not yet packed: No space left" in caplog.text


def test_half_of_what_was_to_be_set_aside_is_cleared_away(file: Path, living: Living, tmp_path: Path) -> None:
    """Nothing was replaced then. Not where it is being made just now."""
    backups = living.town.path / "backups"
    for name in ("before-restore-left", "before-restore-new", "before-restore-in-use"):
        (backups / name).mkdir(parents=True)
        (backups / name / "nest.db").touch()
        (backups / name / "nest.db.part").write_bytes(b"keys")
        if name != "before-restore-new":
            os.utime(backups / name, (1.0, 1.0))
    with locked(backups / "before-restore-in-use"):
        copies.backup(living.town, tmp_path / "later")
    assert {path.name for path in backups.iterdir()} == {"before-restore-new", "before-restore-in-use"}


def test_a_town_that_is_in_use_all_the_time_is_not_replaced(
    file: Path, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "connect", lambda path, patience_ms=0: snapshots.connect(path, min(patience_ms, 50)))
    with writing(living.engine), pytest.raises(UserError, match="in use by another program"):
        copies.restore(file, living.town.path)
    assert len(living.archive.sessions()) == 1


def test_what_cannot_be_taken_over_is_not_passed_over(
    file: Path, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    Registry(living.engine).add("meise", "70b3d57ed0000002")
    monkeypatch.setattr(carrying, "_take_joins", cut_off)
    with pytest.raises(UserError, match="disk I/O error"):
        copies.restore(file, living.town.path)
    assert [node.slug for node in Registry(living.engine).list()] == ["amsel", "meise"]


def test_over_a_town_of_the_first_version(file: Path, living: Living, tmp_path: Path) -> None:
    """It has neither floors nor tokens, but joins and counters."""
    old = town.create(tmp_path / "old", "Brandis")
    old.path.joinpath("nest.db").unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(old.path / "nest.db")) as connection:
        connection.executescript(V1.read_text())
        connection.execute("INSERT INTO joins SELECT id, 900, 70, 1 FROM nodes WHERE dev_eui = ?", (EUI.hex(),))
        connection.commit()
    restored = copies.restore(file, old.path)
    engine = open_database(restored.database)
    joins = {record.join_nonce for record in Archive(engine).joins(EUI)}
    engine.dispose()
    assert {900, 900 + carrying.NONCE_MARGIN} <= joins
