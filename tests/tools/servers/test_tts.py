"""Registering nodes in The Things Stack: four registries in their order, mended where they were left half done."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import pytest
from nest.errors import UserError
from spatz.decoder import render_script
from spatz.servers.access import Access, access
from spatz.servers.report import CHANGED, CREATED, FAILED, UNCHANGED, Report
from spatz.servers.tts import RADIO, device_id, register
from tools.servers.tts_server import ORDER, Refusal, TheThingsStack
from tools.servers.world import MARKER, entry, flock

APP = "brandis"


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def server() -> Iterator[TheThingsStack]:
    with TheThingsStack() as server:
        yield server


@pytest.fixture
def at(server: TheThingsStack) -> Access:
    return access(server.url, server.key)


def of_nodes(report: Report) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {item.name: (item.outcome, item.fields) for item in report.items if item.kind == "node"}


def test_everything_is_made_in_its_order_and_the_second_time_nothing(at: Access, server: TheThingsStack) -> None:
    nodes = flock(3)
    report = register(at, APP, nodes)
    assert {item.outcome for item in report.items if item.kind != "application"} == {CREATED}
    for node in nodes:
        found = {name: server.registries[name][APP, node.slug] for name in ORDER}
        assert {one["ids"]["dev_eui"] for one in found.values()} == {node.dev_eui.hex().upper()}
        assert {one["ids"]["join_eui"] for one in found.values()} == {node.join_eui.hex().upper()}
        assert found["is"]["name"] == node.name
        assert found["is"]["network_server_address"] == server.address
        assert found["js"]["root_keys"]["app_key"]["key"].lower() == node.app_key.hex()
        assert {key: found["ns"][key] for key in RADIO} == RADIO
    formatters = server.links[APP]["default_formatters"]
    assert formatters["up_formatter"] == formatters["down_formatter"] == "FORMATTER_JAVASCRIPT"
    assert formatters["up_formatter_parameter"] == formatters["down_formatter_parameter"] == render_script("tts")
    server.calls.clear()
    again = register(at, APP, nodes)
    assert {item.outcome for item in again.items} == {UNCHANGED}
    assert server.writes() == []


@pytest.mark.parametrize("done", range(4))
def test_a_node_that_was_left_half_done_is_mended(at: Access, server: TheThingsStack, done: int) -> None:
    """The connection broke after each of the four steps."""
    nodes = flock(2)
    register(at, APP, nodes)
    for name in ORDER[done:]:
        del server.registries[name][APP, "spatz-1"]
    server.calls.clear()
    report = register(at, APP, nodes)
    assert of_nodes(report)["spatz-2"] == (UNCHANGED, ())
    assert of_nodes(report)["spatz-1"][0] == (CHANGED if done else CREATED)
    assert [call.split()[1] for call in server.writes()] == [*ORDER[done:]]
    assert of_nodes(register(at, APP, nodes))["spatz-1"] == (UNCHANGED, ())


def test_only_what_differs_is_written(at: Access, server: TheThingsStack) -> None:
    nodes = flock(2)
    register(at, APP, nodes)
    server.registries["ns"][APP, "spatz-1"]["lorawan_version"] = "MAC_V1_0_3"
    server.registries["is"][APP, "spatz-2"]["name"] = "behind the school"
    server.links[APP]["default_formatters"]["up_formatter_parameter"] += "// old"
    server.calls.clear()
    report = register(at, APP, nodes)
    assert of_nodes(report) == {"spatz-1": (CHANGED, ("lorawan_version",)), "spatz-2": (UNCHANGED, ())}
    assert sorted(server.writes()) == ["PUT link", "PUT ns"]
    assert server.registries["ns"][APP, "spatz-1"]["lorawan_version"] == "MAC_V1_0_4"
    assert server.registries["is"][APP, "spatz-2"]["name"] == "behind the school"


def test_a_new_node_joins_with_its_first_number(at: Access, server: TheThingsStack) -> None:
    node = entry(1)
    register(at, APP, [node])
    assert server.join(APP, "spatz-1", node.app_key, 0) == 1


def test_a_node_with_a_rotated_key_joins_from_nought(at: Access, server: TheThingsStack) -> None:
    node = entry(1)
    register(at, APP, [node])
    for dev_nonce in range(5):
        assert server.join(APP, "spatz-1", node.app_key, dev_nonce)
    rotated = dataclasses.replace(node, app_key=bytes(range(16)), join_nonce=9)
    assert of_nodes(register(at, APP, [rotated])) == {"spatz-1": (CHANGED, ("keys",))}
    assert server.join(APP, "spatz-1", rotated.app_key, 0)


def test_a_node_that_moves_here_from_our_nest_goes_on_with_its_counts(at: Access, server: TheThingsStack) -> None:
    """It refuses a JoinNonce that does not rise, and the server a DevNonce that does not."""
    node = entry(1, dev_nonce=8, join_nonce=5)
    register(at, APP, [node])
    assert server.join(APP, "spatz-1", node.app_key, 7) is None
    assert server.join(APP, "spatz-1", node.app_key, 8) == 6


def test_used_numbers_stay_used_while_the_key_stays(at: Access, server: TheThingsStack) -> None:
    node = entry(1)
    register(at, APP, [node])
    server.join(APP, "spatz-1", node.app_key, 7)
    register(at, APP, [node])
    assert server.join(APP, "spatz-1", node.app_key, 7) is None


def test_a_dry_run_says_the_same_and_writes_nothing(at: Access, server: TheThingsStack) -> None:
    nodes = flock(2)
    for _ in range(2):
        server.calls.clear()
        told = register(at, APP, nodes, dry_run=True)
        assert server.writes() == []
        assert told.items == register(at, APP, nodes).items
        nodes = [dataclasses.replace(nodes[0], app_key=bytes(16)), *nodes[1:], entry(9)]


def test_a_node_that_somebody_registered_by_hand_keeps_its_id(at: Access, server: TheThingsStack) -> None:
    node = entry(1)
    register(at, APP, [dataclasses.replace(node, slug="a-hand-made-id")])
    assert of_nodes(register(at, APP, [node])) == {"spatz-1": (UNCHANGED, ())}


@pytest.mark.parametrize("slug", ["x", "am", "a--b", "a" * 37])
def test_a_name_that_cannot_be_an_id_there(at: Access, server: TheThingsStack, slug: str) -> None:
    node = entry(3, slug=slug)
    assert device_id(node) == "eui-70b3d57ed0000003"
    register(at, APP, [node])
    assert (APP, "eui-70b3d57ed0000003") in server.registries["as"]
    assert of_nodes(register(at, APP, [node])) == {slug: (UNCHANGED, ())}


def test_a_node_of_another_application_is_told_and_keeps_no_other_waiting(at: Access, server: TheThingsStack) -> None:
    server.applications["other"] = {"ids": {"application_id": "other"}}
    register(at, "other", [entry(1)])
    report = register(at, APP, flock(2))
    assert report.nodes() == {CREATED: 1, CHANGED: 0, UNCHANGED: 0, FAILED: 1}
    assert [item.why for item in report.failed] == ["an end device is registered as `spatz-1` in `other`"]


def test_another_join_eui_cannot_be_changed_there(at: Access) -> None:
    register(at, APP, [entry(1)])
    [failed] = register(at, APP, [entry(1, join_eui=bytes(8))]).failed
    assert "delete it there first" in failed.why


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_formatter_of_somebody_else_is_left_alone(at: Access, server: TheThingsStack, way: str) -> None:
    theirs = {f"{way}_formatter": "FORMATTER_JAVASCRIPT", f"{way}_formatter_parameter": "function code() {}"}
    server.links[APP] = {"default_formatters": dict(theirs)}
    with pytest.raises(UserError, match="formatter of its own"):
        register(at, APP, flock(1))
    assert server.links[APP]["default_formatters"] == theirs
    assert server.writes() == []


def test_whoever_is_too_fast_waits(at: Access, server: TheThingsStack) -> None:
    server.too_fast = 5
    assert register(at, APP, flock(2)).nodes()[CREATED] == 2


def test_more_nodes_than_a_page(at: Access, server: TheThingsStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatz.servers.tts._PAGE", 2)
    nodes = flock(5)
    register(at, APP, nodes)
    assert register(at, APP, nodes).nodes()[UNCHANGED] == 5


def test_what_a_person_can_do_about_it(at: Access, server: TheThingsStack) -> None:
    with pytest.raises(UserError, match="does not take this key"):
        register(access(server.url, "another"), APP, [])
    with pytest.raises(UserError, match="has no application nowhere"):
        register(at, "nowhere", [])
    for wrong in ("a/b", "..", "Brandis", "a"):
        with pytest.raises(UserError, match="cannot be an application"):
            register(at, wrong, [])
    server.fails["default_formatters"] = Refusal(403, 7, "rights", "insufficient rights")
    with pytest.raises(UserError, match="may not do that") as refused:
        register(at, APP, [])
    assert "read keys" in refused.value.next_step


def test_a_key_that_may_not_read_keys(at: Access, server: TheThingsStack) -> None:
    register(at, APP, flock(1))
    server.may_read_keys = False
    [failed] = register(at, APP, flock(1)).failed
    assert failed.why == "insufficient rights"


def test_nobody_answers() -> None:
    with TheThingsStack() as gone:
        url = gone.url
    with pytest.raises(UserError, match=f"does not answer at {url}"):
        register(access(url, "key"), APP, flock(1))


def test_no_error_report_or_log_ever_holds_a_key(
    at: Access, server: TheThingsStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Even when the server repeats what it was sent."""
    caplog.set_level(logging.DEBUG)
    said = f"cannot store {MARKER.hex().upper()} {MARKER.hex()}, authorization: Bearer {server.key}"
    server.fails[MARKER.hex()] = Refusal(400, 3, "validation", said)
    report = register(at, APP, flock(1))
    shown = f"{report} {report.to_json()} {at} {caplog.text}"
    assert "cannot store" in shown
    for secret in (MARKER.hex(), server.key):
        assert secret.lower() not in shown.lower()
