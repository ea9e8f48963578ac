"""Registering nodes in ChirpStack: all of it, once; and again without a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import grpc
import pytest
from chirpstack_api import api, common
from nest.errors import UserError
from spatz.decoder import render_script
from spatz.servers.access import Access, access
from spatz.servers.chirpstack import PROFILE, Where, register
from spatz.servers.report import CHANGED, CREATED, FAILED, UNCHANGED, Report
from tools.servers.chirpstack_server import ChirpStack, Store
from tools.servers.world import MARKER, entry, flock

KEY = "the-api-key"
WHERE = Where("Brandis", "Spatzen")


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def server() -> Iterator[ChirpStack]:
    with ChirpStack() as server:
        yield server


@pytest.fixture
def store(server: ChirpStack) -> Store:
    return server.store


@pytest.fixture
def at(server: ChirpStack) -> Access:
    return access(server.url, KEY)


def outcomes(report: Report) -> list[tuple[str, str]]:
    return [(item.kind, item.outcome) for item in report.items]


def test_everything_is_made_from_the_tenant_down_and_the_second_time_nothing(at: Access, store: Store) -> None:
    nodes = flock(3)
    report = register(at, WHERE, nodes)
    kinds = ["tenant", "application", "device profile"] + ["node"] * 3
    assert outcomes(report) == [(kind, CREATED) for kind in kinds]
    [tenant], [application], [profile] = store.tenants.values(), store.applications.values(), store.profiles.values()
    assert (tenant.name, application.name, profile.name) == ("Brandis", "Spatzen", PROFILE)
    assert (application.tenant_id, profile.tenant_id) == (tenant.id, tenant.id)
    assert (profile.region, profile.mac_version) == (common.EU868, common.LORAWAN_1_0_4)
    assert profile.reg_params_revision == common.RP002_1_0_4
    assert (profile.supports_otaa, profile.payload_codec_runtime) == (True, api.JS)
    assert profile.payload_codec_script == render_script("chirpstack")
    for node in nodes:
        device, keys = store.devices[node.dev_eui.hex()], store.keys[node.dev_eui.hex()]
        assert (device.name, device.description) == (node.slug, node.name)
        assert (device.join_eui, device.device_profile_id) == (node.join_eui.hex(), profile.id)
        assert (keys.nwk_key, keys.app_key) == (node.app_key.hex(), "0" * 32)
    store.calls.clear()
    again = register(at, WHERE, nodes)
    assert {outcome for _, outcome in outcomes(again)} == {UNCHANGED}
    assert again.nodes() == {CREATED: 0, CHANGED: 0, UNCHANGED: 3, FAILED: 0}
    assert store.writes() == []


def test_only_what_differs_is_written_and_what_people_changed_besides_stays(at: Access, store: Store) -> None:
    nodes = flock(3)
    register(at, WHERE, nodes)
    [profile] = store.profiles.values()
    profile.payload_codec_script = "function decodeUplink() {}"
    profile.adr_algorithm_id = "lora_lr_fhss"
    changed = store.devices[nodes[0].dev_eui.hex()]
    changed.join_eui, changed.description, changed.tags["street"] = "00" * 8, "in the garden", "Lindenweg"
    del store.keys[nodes[1].dev_eui.hex()]  # the registration was interrupted here
    store.calls.clear()
    report = register(at, WHERE, nodes)
    told = {item.name: (item.outcome, item.fields) for item in report.differences}
    assert told == {
        PROFILE: (CHANGED, ("payload_codec_script",)),
        "spatz-1": (CHANGED, ("join_eui",)),
        "spatz-2": (CHANGED, ("keys",)),
    }
    assert sorted(store.writes()) == ["devices.CreateKeys", "devices.Update", "profiles.Update"]
    [profile] = store.profiles.values()
    assert profile.payload_codec_script == render_script("chirpstack")
    assert profile.adr_algorithm_id == "lora_lr_fhss"
    changed = store.devices[nodes[0].dev_eui.hex()]
    assert (changed.join_eui, changed.description, changed.tags["street"]) == (
        nodes[0].join_eui.hex(), "in the garden", "Lindenweg",
    )  # fmt: skip


def test_a_node_with_a_rotated_key_joins_from_nought(at: Access, store: Store) -> None:
    """ChirpStack keeps used DevNonces when a key changes; they are flushed, else the node is refused."""
    node = entry(1)
    register(at, WHERE, [node])
    for dev_nonce in range(3):
        assert store.join(node.dev_eui.hex(), node.app_key, dev_nonce)
    rotated = dataclasses.replace(node, app_key=bytes(range(16)))
    assert [item.fields for item in register(at, WHERE, [rotated]).differences] == [("keys",)]
    assert store.join(node.dev_eui.hex(), rotated.app_key, 0) == 4
    calls = [call for call in store.writes() if call in ("devices.FlushDevNonces", "devices.UpdateKeys")]
    assert calls == ["devices.FlushDevNonces", "devices.UpdateKeys"]  # an interruption in between is mended next time


def test_used_numbers_stay_used_while_the_key_stays(at: Access, store: Store) -> None:
    node = entry(1)
    register(at, WHERE, [node])
    store.join(node.dev_eui.hex(), node.app_key, 7)
    register(at, WHERE, [dataclasses.replace(node, slug="renamed")])
    assert store.join(node.dev_eui.hex(), node.app_key, 7) is None


def test_a_node_that_has_joined_our_nest_is_told_of(at: Access) -> None:
    report = register(at, WHERE, [entry(1, join_nonce=5), entry(2)])
    [note] = report.notes
    assert "spatz-1 has joined our nest" in note
    assert "spatz nodes rotate spatz-1" in note
    assert register(at, WHERE, [entry(1, join_nonce=5)]).notes == []


def test_a_dry_run_says_the_same_and_writes_nothing(at: Access, store: Store) -> None:
    nodes = flock(2)
    for _ in range(2):
        told = register(at, WHERE, nodes, dry_run=True)
        assert store.writes() == []
        store.calls.clear()
        assert outcomes(told) == outcomes(register(at, WHERE, nodes))
        nodes = [dataclasses.replace(nodes[0], app_key=bytes(16)), *nodes[1:], entry(9)]
        store.calls.clear()


def test_lists_are_read_to_their_end(at: Access, store: Store) -> None:
    """More tenants than a page, all of them like ours, ours the last."""
    for number in range(250):
        key = f"00000000-0000-4000-8000-{number:012d}"
        store.tenants[key] = api.Tenant(id=key, name=f"AA Brandis {number}")
    ours = "10000000-0000-4000-8000-000000000000"
    store.tenants[ours] = api.Tenant(id=ours, name="Brandis")
    register(at, WHERE, [])
    [application] = store.applications.values()
    assert application.tenant_id == ours
    assert store.greatest_page <= 100


def test_tenant_and_application_by_id(at: Access, store: Store) -> None:
    register(at, WHERE, [])
    [tenant], [application], [profile] = store.tenants, store.applications, store.profiles
    store.may_not |= {"tenants.List", "tenants.Create", "applications.List", "profiles.List"}
    report = register(at, Where(tenant, application, profile), flock(1))
    assert outcomes(report)[-1] == ("node", CREATED)
    for wrong, what in (
        (Where("0" * 8 + tenant[8:], application), "tenant"),
        (Where(tenant, "0" * 8 + application[8:]), "application"),
        (Where(tenant, application, "0" * 8 + profile[8:]), "device profile"),
    ):
        with pytest.raises(UserError, match=f"ChirpStack has no {what}"):
            register(at, wrong, [])


def test_without_a_name_the_only_tenant_is_meant(at: Access, store: Store) -> None:
    nobody = dataclasses.replace(WHERE, tenant="")
    with pytest.raises(UserError, match="Which tenant"):
        register(at, nobody, [])
    register(at, WHERE, [])
    assert {item.outcome for item in register(at, nobody, []).items} == {UNCHANGED}
    register(at, Where("Borsdorf", "Spatzen"), [])
    with pytest.raises(UserError, match="Borsdorf, Brandis") as refused:
        register(at, nobody, [])
    assert "--tenant" in refused.value.next_step


def test_a_key_that_may_not_look_through_tenants_needs_the_id(at: Access, store: Store) -> None:
    store.may_not.add("tenants.List")
    with pytest.raises(UserError, match="may not look through") as refused:
        register(at, WHERE, [])
    assert "--tenant" in refused.value.next_step


def test_one_node_that_is_refused_keeps_no_other_waiting(at: Access, store: Store) -> None:
    register(at, WHERE, flock(1))
    register(at, dataclasses.replace(WHERE, application="Other"), [entry(2)])
    report = register(at, WHERE, flock(3))
    assert report.nodes() == {CREATED: 1, CHANGED: 0, UNCHANGED: 1, FAILED: 1}
    [failed] = report.failed
    assert failed.name == "spatz-2"
    assert "another application" in failed.why
    assert len(store.devices) == 3


def test_a_name_that_is_taken_there_is_told(at: Access) -> None:
    register(at, WHERE, [entry(1)])
    report = register(at, WHERE, [entry(2, slug="spatz-1")])
    assert [(item.name, item.why) for item in report.failed] == [("spatz-1", "Object already exists (name: spatz-1)")]


@pytest.mark.parametrize("marker", ["spatz-1", MARKER.hex(), MARKER.hex().upper()])
def test_no_error_and_no_report_ever_holds_a_key(at: Access, store: Store, marker: str) -> None:
    """Even when the server repeats what it was sent."""
    said = f"cannot store {marker}, authorization: Bearer {KEY}"
    store.fails["spatz-1"] = (grpc.StatusCode.INTERNAL, said)
    store.fails[MARKER.hex()] = (grpc.StatusCode.INTERNAL, said)
    report = register(at, WHERE, flock(1))
    [failed] = report.failed
    shown = f"{report} {failed} {report.to_json()} {at} {flock(1)}"
    assert "cannot store" in shown
    assert MARKER.hex() not in shown.lower()
    assert repr(MARKER) not in shown
    assert KEY not in shown


def test_a_key_that_is_not_taken(server: ChirpStack) -> None:
    with pytest.raises(UserError, match="does not take this key") as refused:
        register(access(server.url, "another"), WHERE, flock(1))
    assert "API keys" in refused.value.next_step
    assert "another" not in str(refused.value)


def test_a_key_that_may_not_write(at: Access, store: Store) -> None:
    store.may_not.add("applications.Create")
    with pytest.raises(UserError, match="may not do that"):
        register(at, WHERE, [])


def test_nobody_answers() -> None:
    with ChirpStack() as gone:
        url = gone.url
    with pytest.raises(UserError, match=f"does not answer at {url}"):
        register(access(url, KEY), WHERE, [])


def test_over_tls_with_a_certificate_of_ones_own(tls: tuple[bytes, bytes]) -> None:
    with ChirpStack(tls) as server:
        at = dataclasses.replace(access(server.url, KEY), ca=tls[1])
        assert outcomes(register(at, WHERE, flock(1)))[-1] == ("node", CREATED)
        with pytest.raises(UserError, match="does not answer"):
            register(access(server.url, KEY), WHERE, [])
