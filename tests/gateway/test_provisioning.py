"""What a node must hold to belong to the town: keys that are given once, counts that never go back, wishes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from gateway.lorawan.device import EndDevice
from gateway.test_server_network import READING, Town
from nest import keys, town
from nest.archive import Archive, open_database
from nest.archive.journal import Journal
from nest.errors import UserError
from nest.lorawan.effects import StoreJoin
from nest.model import JoinRecord, SessionState
from nest.registry import Provisioned, Registry
from sqlalchemy import Engine, text

EUI = bytes.fromhex("70b3d57ed0000001")
JOIN_EUI = bytes.fromhex("0211223344556677")
JOIN_EUI_OF_BRANDIS = "eaa1bccc373da3df"
WISHES = '{"name": "amsel", "board": "heltec-v3"}'


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(tmp_path / "nest.db")


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


@pytest.fixture
def nest(tmp_path: Path) -> Town:
    return Town(tmp_path)


def has_joined(engine: Engine, dev_nonce: int) -> None:
    nonce = len(Archive(engine).joins()) + 1
    join = StoreJoin(JoinRecord(EUI, dev_nonce, nonce), SessionState(EUI, nonce, 1, bytes(16), bytes(16)))
    assert not Journal(engine).commit([join]).failed


def test_a_new_board_gets_a_key_and_asked_again_the_same_one(registry: Registry) -> None:
    first = registry.provision(EUI, JOIN_EUI, slug="amsel", wishes=WISHES)
    assert (first.slug, first.dev_eui, first.join_eui, first.dev_nonce, first.new) == ("amsel", EUI, JOIN_EUI, 0, True)
    again = registry.provision(EUI, bytes(8), slug="amsel")
    assert again == dataclasses.replace(first, new=False)
    assert registry.find(EUI) == registry.find_slug("amsel") == again
    assert registry.wishes("amsel") == WISHES
    device = registry.device(EUI)
    assert device
    assert device.app_key == first.app_key
    assert registry.provision(EUI[:7] + b"\2", JOIN_EUI, slug="meise").app_key != first.app_key
    assert registry.find(bytes(8)) is None


def test_a_key_is_never_shown(registry: Registry) -> None:
    made = registry.provision(EUI, JOIN_EUI, slug="amsel")
    assert made.app_key.hex() not in repr(made)
    assert repr(made.app_key) not in repr(made)


def test_a_name_belongs_to_one_board_and_a_board_keeps_its_name(registry: Registry) -> None:
    registry.provision(EUI, JOIN_EUI, slug="amsel")
    with pytest.raises(UserError, match="This board is amsel already"):
        registry.provision(EUI, JOIN_EUI, slug="meise")
    with pytest.raises(UserError, match="amsel is taken"):
        registry.provision(EUI[:7] + b"\2", JOIN_EUI, slug="amsel")
    assert [node.slug for node in registry.list()] == ["amsel"]


def test_name_and_wishes_change_where_they_are_given_and_stay_where_not(registry: Registry) -> None:
    registry.provision(EUI, JOIN_EUI, slug="amsel", wishes=WISHES, name="Amsel am Bach")
    registry.provision(EUI, JOIN_EUI, slug="amsel")
    node = registry.get("amsel")
    assert node
    assert (node.name, registry.wishes("amsel")) == ("Amsel am Bach", WISHES)
    registry.provision(EUI, JOIN_EUI, slug="amsel", wishes="{}")
    assert registry.wishes("amsel") == "{}"
    registry.set_wishes("amsel", None)
    assert registry.wishes("amsel") is None
    for slug in ("meise", "AMSEL"):
        with pytest.raises(UserError):
            registry.wishes(slug)


def test_a_removed_board_comes_back_with_its_place_and_another_key(engine: Engine, registry: Registry) -> None:
    old_key = bytes(16)
    registry.add("amsel", EUI, JOIN_EUI, old_key, name="Amsel", latitude=51.3, longitude=12.6)
    has_joined(engine, 40)
    registry.remove("amsel")
    back = registry.provision(EUI, JOIN_EUI, slug="amsel")
    assert (back.new, back.dev_nonce, back.join_nonce) == (True, 0, 1)
    assert back.app_key != old_key
    node = registry.get("amsel")
    assert node
    assert (node.name, node.latitude) == ("Amsel", 51.3)


def test_dev_nonces_go_on_above_what_was_seen(engine: Engine, registry: Registry) -> None:
    registry.provision(EUI, JOIN_EUI, slug="amsel")
    for dev_nonce in (0, 7, 3):
        has_joined(engine, dev_nonce)
    found = registry.find(EUI)
    assert found
    assert (found.dev_nonce, found.join_nonce) == (8, 3)


def test_written_again_leaves_out_what_nobody_has_seen(engine: Engine, registry: Registry) -> None:
    registry.provision(EUI, JOIN_EUI, slug="amsel")
    floors = [registry.written_again("amsel"), registry.written_again("amsel")]
    assert floors == [keys.WRITTEN_AGAIN, 2 * keys.WRITTEN_AGAIN]
    has_joined(engine, 5000)
    floors.append(registry.written_again("amsel"))
    assert floors[-1] == 5001 + keys.WRITTEN_AGAIN
    found = registry.provision(EUI, JOIN_EUI, slug="amsel")
    assert found.dev_nonce == floors[-1]


def test_when_the_numbers_run_out_a_new_key_begins_them_anew(registry: Registry) -> None:
    registry.provision(EUI, JOIN_EUI, slug="amsel")
    floors: list[int] = []

    def write_for_ever() -> None:
        while True:
            floors.append(registry.written_again("amsel"))

    with pytest.raises(UserError, match="too often") as refused:
        write_for_ever()
    assert floors[-1] <= keys.LAST_DEV_NONCE - keys.WRITTEN_AGAIN
    assert "spatz nodes rotate amsel" in refused.value.next_step
    assert registry.rotate("amsel").dev_nonce == 0
    assert registry.written_again("amsel") == keys.WRITTEN_AGAIN


@pytest.mark.parametrize("same", [True, False])
def test_after_a_removal_counts_go_on_with_the_same_key_only(engine: Engine, registry: Registry, *, same: bool) -> None:
    """However the key came: made by the nest and given back, or given both times."""
    made = registry.provision(EUI, JOIN_EUI, slug="amsel")
    has_joined(engine, 40)
    registry.remove("amsel")
    registry.add("amsel", EUI, JOIN_EUI, made.app_key if same else bytes(16))
    found = registry.find(EUI)
    assert found
    assert found.dev_nonce == (41 if same else 0)
    assert {record.dev_nonce for record in Archive(engine).joins()} == {40 if same else -1}


def test_a_key_of_which_no_mark_was_kept_may_be_the_same(engine: Engine, registry: Registry) -> None:
    registry.add("amsel", EUI, app_key=bytes(16))
    has_joined(engine, 40)
    registry.remove("amsel")
    with engine.begin() as connection:
        connection.execute(text("UPDATE nodes SET key_mark = NULL"))
    registry.add("amsel", EUI, app_key=bytes(range(16)))
    assert [record.dev_nonce for record in Archive(engine).joins()] == [40]


def test_the_mark_is_not_the_key_and_another_one_for_each_node() -> None:
    key = keys.new_key()
    mark = keys.mark(EUI, key)
    assert mark not in (key, keys.mark(bytes(8), key), keys.mark(EUI, keys.new_key()))
    assert len(mark) == 16
    assert keys.is_same_key(EUI, key, mark)
    assert not keys.is_same_key(bytes(8), key, mark)


def test_a_retired_node_comes_back_only_when_somebody_means_it(engine: Engine, registry: Registry) -> None:
    Registry(engine).provision(EUI, JOIN_EUI, slug="amsel")
    has_joined(engine, 4)
    Archive(engine).add_reading("amsel", 1000.0, {"temperature": 21.4})
    registry.retire("amsel")
    registry.retire("amsel")
    assert registry.list() == []
    assert registry.device(EUI) is None
    assert registry.changed_since(0) == ([], [EUI])
    [(slug, dev_eui, when)] = registry.retired()
    assert (slug, dev_eui) == ("amsel", EUI.hex())
    assert when > 1.7e9
    for come_back in (
        lambda: registry.provision(EUI, JOIN_EUI, slug="amsel"),
        lambda: registry.provision(EUI, JOIN_EUI, slug="meise"),
        lambda: registry.add("amsel", EUI),
    ):
        with pytest.raises(UserError, match="amsel was retired on 20") as refused:
            come_back()
        assert "spatz nodes retire amsel --undo" in refused.value.next_step
    registry.reinstate("amsel")
    assert registry.retired() == []
    assert registry.provision(EUI, JOIN_EUI, slug="amsel").new
    assert len(Archive(engine).series("amsel", "temperature", 0, 2000)) == 1
    with pytest.raises(UserError, match="No node amsel was retired"):
        registry.reinstate("amsel")
    with pytest.raises(UserError, match="no node meise"):
        registry.retire("meise")


def test_of_a_node_that_was_here_before_name_and_mark_of_its_key_are_known(registry: Registry) -> None:
    assert registry.former(EUI) is None
    key = registry.provision(EUI, JOIN_EUI, slug="amsel").app_key
    assert registry.former(EUI) is None  # it is here
    registry.remove("amsel")
    removed = registry.former(EUI)
    assert removed
    assert (removed.slug, removed.retired) == ("amsel", False)
    assert keys.is_same_key(EUI, key, removed.key_mark)
    assert not keys.is_same_key(EUI, bytes(16), removed.key_mark)
    assert "key_mark" not in repr(removed)
    registry.retire("amsel")
    retired = registry.former(EUI)
    assert retired
    assert retired.retired
    registry.reinstate("amsel")
    assert registry.former(EUI) == removed


def test_a_node_moves_to_another_town_with_its_counts(tmp_path: Path, engine: Engine, registry: Registry) -> None:
    registry.provision(EUI, JOIN_EUI, slug="amsel")
    for dev_nonce in range(3):
        has_joined(engine, dev_nonce)
    handed = registry.find(EUI)
    assert handed
    other = Registry(open_database(tmp_path / "other.db"))
    taken = other.take(handed, name="Amsel", wishes=WISHES)
    assert taken == handed
    assert (taken.dev_nonce, taken.join_nonce) == (3, 3)
    assert other.wishes("amsel") == WISHES
    with pytest.raises(UserError, match="is here already"):
        other.take(handed)
    registry.retire("amsel")
    assert registry.take(handed).app_key == handed.app_key  # it was handed back


def test_a_running_nest_hears_of_a_new_board_at_once(nest: Town) -> None:
    device = EndDevice()
    device.app_key = nest.registry.provision(device.dev_eui, device.join_eui, slug="amsel").app_key
    nest.join(device)
    nest.hear(device.uplink(READING))
    assert nest.counters["readings"] == 1


def _rotated(nest: Town) -> tuple[EndDevice, Provisioned]:
    """A node that has joined with DevNonce 100 and sent once, and its key since."""
    device = EndDevice()
    nest.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    device.dev_nonce = 99
    nest.join(device)
    nest.hear(device.uplink(READING))
    return device, nest.registry.rotate("amsel")


def test_with_a_rotated_key_the_session_goes_on_until_the_node_joins_and_counts_from_nought(nest: Town) -> None:
    device, rotated = _rotated(nest)
    assert rotated.app_key != device.app_key
    for _ in range(3):  # the board has not been at the cable yet, and the nest has noticed meanwhile
        nest.hear(device.uplink(READING))
    assert nest.counters["readings"] == 4
    nest.hear(device.join_request())
    assert (nest.sent, nest.counters["mic_bad"]) == ([], 1)
    device.app_key, device.dev_nonce = rotated.app_key, rotated.dev_nonce - 1
    nest.join(device)
    assert device.dev_nonce == 0
    nest.hear(device.uplink(READING))
    assert nest.counters["readings"] == 5
    assert [session.join_nonce for session in nest.archive.sessions()] == [2]


def test_with_a_rotated_key_a_nest_that_was_started_anew_does_the_same(nest: Town) -> None:
    device, rotated = _rotated(nest)
    nest.start()
    nest.hear(device.uplink(READING))
    device.app_key, device.dev_nonce = rotated.app_key, -1
    nest.join(device)
    nest.hear(device.uplink(READING))
    assert nest.counters["readings"] == 3


def test_what_the_registry_calls_the_smallest_good_dev_nonce_the_nest_accepts_and_none_below(nest: Town) -> None:
    device = EndDevice()
    nest.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    device.dev_nonce = 6
    nest.join(device)
    found = nest.registry.find(device.dev_eui)
    assert found
    for dev_nonce in (found.dev_nonce - 1, found.dev_nonce - 2):
        nest.hear(device.join_request(dev_nonce))
        assert nest.sent == []
    nest.hear(device.join_request(found.dev_nonce))
    assert len(nest.sent) == 1


@pytest.mark.parametrize("again", [False, True], ids=["running", "started anew"])
def test_numbers_that_another_town_has_let_in_are_refused_here(nest: Town, again: bool) -> None:
    device = EndDevice()
    key, join_nonce = device.app_key, 5
    nest.registry.take(Provisioned("amsel", device.dev_eui, device.join_eui, key, 41, join_nonce, new=False))
    if again:
        nest.start()
    for dev_nonce in (40, 39, 0):
        nest.hear(device.join_request(dev_nonce))
        assert nest.sent == []
    nest.hear(device.join_request(41))
    device.join_accept(nest.sent.pop().phy)
    nest.hear(device.uplink(READING))
    assert nest.counters["readings"] == 1
    assert nest.archive.sessions()[0].join_nonce == join_nonce + 1


def test_numbers_that_were_left_out_when_a_key_was_written_again_are_refused_by_a_running_nest(nest: Town) -> None:
    device = EndDevice()
    nest.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    nest.join(device)
    nest.hear(device.uplink(READING))
    floor = nest.registry.written_again("amsel")
    nest.hear(device.uplink(READING))  # who was heard before goes on
    assert nest.counters["readings"] == 2
    nest.hear(device.join_request(floor - 1))
    assert nest.sent == []
    nest.hear(device.join_request(floor))
    assert len(nest.sent) == 1


def test_a_retired_node_is_neither_heard_nor_let_in(nest: Town) -> None:
    device = EndDevice()
    nest.registry.add("amsel", device.dev_eui, device.join_eui, device.app_key)
    nest.join(device)
    nest.hear(device.uplink(READING))
    nest.registry.retire("amsel")
    nest.hear(device.uplink(READING))
    nest.hear(device.join_request())
    assert nest.counters["readings"] == 1
    assert nest.sent == []


def test_each_town_has_a_join_eui_of_its_own_that_no_maker_gives(tmp_path: Path) -> None:
    found = {town.create(tmp_path / name, name).join_eui for name in ("a", "b")}
    found |= {town.load(tmp_path / name).join_eui for name in ("a", "b")}
    assert len(found) == 2
    assert {(eui[0] & 3, len(eui)) for eui in found} == {(2, 8)}


def test_a_town_made_before_join_euis_has_one_all_the_same(tmp_path: Path) -> None:
    settings = tmp_path / "town.toml"
    settings.write_text('[town]\nname = "Brandis"\nslug = "brandis"\n')
    # the first 8 bytes of SHA-256("brandis"), two bits of which are set to say that it is a local one
    assert town.load(tmp_path).join_eui.hex() == JOIN_EUI_OF_BRANDIS
    settings.write_text(settings.read_text() + 'join_eui = "70B3D57ED0000000"\n')
    assert town.load(tmp_path).join_eui.hex() == "70b3d57ed0000000"
    settings.write_text('[town]\nname = "Brandis"\nslug = "brandis"\njoin_eui = "70b3"\n')
    with pytest.raises(UserError, match=r"line 4: town\.join_eui: 16 hex digits were expected"):
        town.load(tmp_path)
