"""The register of nodes: names, EUIs, keys that go in and never come out."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from nest.archive import Archive, open_database
from nest.archive.journal import Journal
from nest.errors import UserError
from nest.gateways import GatewayRegistry
from nest.lorawan.effects import StoreJoin, StoreStatus
from nest.model import JoinRecord, SessionState
from nest.moments import now_ms
from nest.registry import Registry
from sqlalchemy import Engine, text

EUI = "70b3d57ed0000001"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(tmp_path / "nest.db")


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


@pytest.mark.parametrize(
    "spelling", [EUI, EUI.upper(), "70:b3:d5:7e:d0:00:00:01", "70-B3-D5-7E-D0-00-00-01", bytes.fromhex(EUI)]
)
def test_an_eui_is_understood_in_each_of_its_spellings(registry: Registry, spelling: str | bytes) -> None:
    assert registry.add("amsel", spelling).dev_eui == EUI
    device = registry.device(bytes.fromhex(EUI))
    assert device
    assert device.slug == "amsel"


def test_a_node_without_a_key_gets_a_random_one(registry: Registry) -> None:
    registry.add("amsel", EUI)
    registry.add("meise", "70b3d57ed0000002")
    keys = {device.app_key for device in registry.devices()}
    assert len(keys) == 2
    assert all(len(key) == 16 for key in keys)


def test_a_given_key_is_kept_and_never_shown(registry: Registry) -> None:
    key = bytes(range(16))
    node = registry.add("amsel", EUI, app_key=key)
    device = registry.device(bytes.fromhex(EUI))
    assert device
    assert device.app_key == key
    for shown in (repr(node), repr(device), repr(registry.list())):
        assert key.hex() not in shown
        assert repr(key) not in shown


@pytest.mark.parametrize("slug", ["", "Amsel", "a b", "-a", "a/b", "ä", "a" * 49, "a+", "#"])
def test_a_name_that_is_no_address_is_refused(registry: Registry, slug: str) -> None:
    with pytest.raises(UserError):
        registry.add(slug, EUI)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\udcff", "\x1b[31m", "\u202eleman", "a" * 81])
def test_a_name_that_cannot_be_shown_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(UserError) as refused:
        registry.add("amsel", EUI, name=name)
    assert str(refused.value).isascii()


@pytest.mark.parametrize("half", [{"latitude": 51.3}, {"longitude": 12.6}])
def test_half_a_position_is_refused(registry: Registry, half: dict[str, float]) -> None:
    with pytest.raises(UserError):
        registry.add("amsel", EUI, **half)  # type: ignore[arg-type]


@pytest.mark.parametrize("eui", ["", "70b3", EUI + "00", "70b3d57ed000000g"])
def test_an_eui_that_is_none_is_refused(registry: Registry, eui: str) -> None:
    with pytest.raises(UserError, match="16"):
        registry.add("amsel", eui)


def test_a_key_of_another_length_is_refused_without_being_repeated(registry: Registry) -> None:
    with pytest.raises(UserError) as refused:
        registry.add("amsel", EUI, app_key=b"secret")
    assert "secret" not in str(refused.value)


def test_name_and_eui_are_given_once(registry: Registry) -> None:
    registry.add("amsel", EUI)
    with pytest.raises(UserError, match="amsel"):
        registry.add("amsel", "70b3d57ed0000002")
    with pytest.raises(UserError, match="amsel"):
        registry.add("meise", EUI)
    assert [node.slug for node in registry.list()] == ["amsel"]


def test_a_removed_node_loses_key_and_session_but_no_reading(engine: Engine, registry: Registry) -> None:
    archive, eui = Archive(engine), bytes.fromhex(EUI)
    registry.add("amsel", EUI)
    session = SessionState(eui, 1, 0x01020304, bytes(16), bytes(16))
    assert not Journal(engine).commit([StoreJoin(JoinRecord(eui, 0, 1), session)]).failed
    archive.add_reading("amsel", 1000.0, {"temperature": 21.4})
    registry.remove("amsel")
    assert registry.get("amsel") is None
    assert registry.device(eui) is None
    assert registry.removed_slugs() == ["amsel"]
    assert registry.removed_since(0) == [eui]
    assert archive.sessions() == []
    assert archive.series("amsel", "temperature", 0, 2000) == [(1000.0, 21.4)]
    with engine.connect() as connection:
        assert [*connection.scalars(text("select app_key from nodes"))] == [None]
        assert [*connection.execute(text("select nwk_skey, app_skey from sessions"))] == [(None, None)]
    with pytest.raises(UserError):
        registry.remove("amsel")


def test_a_removed_node_comes_back_under_its_old_name_only(engine: Engine, registry: Registry) -> None:
    archive = Archive(engine)
    registry.add("amsel", EUI)
    archive.add_reading("amsel", 1000.0, {"temperature": 21.4})
    registry.remove("amsel")
    with pytest.raises(UserError, match="amsel"):
        registry.add("meise", EUI)
    with pytest.raises(UserError):
        registry.add("amsel", "70b3d57ed0000002")
    registry.add("amsel", EUI)
    assert archive.latest()[0].values["temperature"].value == 21.4


def test_with_a_new_key_dev_nonces_begin_anew_and_join_nonces_go_on(engine: Engine, registry: Registry) -> None:
    archive, eui = Archive(engine), bytes.fromhex(EUI)
    for app_key, dev_nonce in ((None, -1), (bytes(16), 7)):
        if registry.get("amsel"):
            registry.remove("amsel")
        registry.add("amsel", EUI, app_key=app_key)
        nonce = len(archive.joins()) + 1
        join = StoreJoin(JoinRecord(eui, 7, nonce), SessionState(eui, nonce, 1, bytes(16), bytes(16)))
        assert not Journal(engine).commit([join]).failed
        registry.remove("amsel")
        registry.add("amsel", EUI, app_key=app_key)
        assert archive.joins()[-1] == JoinRecord(eui, dev_nonce, len(archive.joins()))


def test_what_changed_is_found_and_what_was_removed(engine: Engine, registry: Registry) -> None:
    registry.add("amsel", EUI, app_key=bytes(16))
    assert [device.slug for device in registry.changed_since(0)[0]] == ["amsel"]
    later = now_ms() + 1000
    assert registry.changed_since(later) == ([], [])
    registry.remove("amsel")
    assert registry.changed_since(0) == ([], [bytes.fromhex(EUI)])


def test_battery_and_margin_are_shown_and_are_no_change_of_the_node(engine: Engine, registry: Registry) -> None:
    registry.add("amsel", EUI)
    with engine.connect() as connection:
        changed_at = connection.execute(text("select changed_at from nodes")).scalar_one()
    Journal(engine).commit([StoreStatus(bytes.fromhex(EUI), 1000.25, 120, -7)])
    node = registry.get("amsel")
    assert node
    assert (node.battery, node.margin_db, node.status_at) == (120, -7, 1000.25)
    assert registry.changed_since(changed_at + 1) == ([], [])


def test_whoever_had_to_wait_for_the_database_is_seen_by_a_nest_that_has_looked_meanwhile(
    engine: Engine, registry: Registry
) -> None:
    GatewayRegistry(engine).add("aa" * 8)

    def change() -> None:
        asking.set()
        registry.add("amsel", EUI)
        GatewayRegistry(engine).add("bb" * 8)
        GatewayRegistry(engine).remove("aa" * 8)

    asking = threading.Event()
    with contextlib.closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        thread = threading.Thread(target=change)
        thread.start()
        asking.wait()
        thread.join(0.2)
        looked = now_ms()
        other.execute("ROLLBACK")
    thread.join()
    assert [device.slug for device in registry.changed_since(looked)[0]] == ["amsel"]
    added, removed = GatewayRegistry(engine).changed_since(looked)
    assert ([info.eui for info in added], removed) == (["bb" * 8], ["aa" * 8])
