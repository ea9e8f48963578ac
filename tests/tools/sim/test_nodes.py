"""Virtual nodes: all of it follows from the seed, and their folders hold what the device reads."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path

import pytest
from nest.town import SLUG
from spatz import names
from spatz.boards import load_board
from spatz.sim import nodes
from spatz.sim.air import Propagation, sensitivity_dbm
from spatz.sim.simulation import Plan


def test_the_same_seed_gives_the_same_flock_and_another_seed_another() -> None:
    first, again, other = Plan(nodes=60, seed=7).flock(), Plan(nodes=60, seed=7).flock(), Plan(nodes=60, seed=8).flock()
    assert first == again
    assert [node.name for node in first] == [node.name for node in other]
    for a, b in zip(first, other, strict=True):
        assert a.app_key != b.app_key
        assert a.dev_eui != b.dev_eui
        assert a.position != b.position


def test_a_larger_flock_begins_with_the_smaller_one() -> None:
    for small, large in zip(Plan(nodes=3).flock(), Plan(nodes=9).flock(), strict=False):
        assert (small.name, small.app_key, small.position) == (large.name, large.app_key, large.position)


def test_names_addresses_and_keys_are_unique_and_good() -> None:
    flock = Plan(nodes=200).flock()
    for what in ("name", "dev_eui", "app_key", "seed"):
        assert len({getattr(node, what) for node in flock}) == 200
    assert flock[0].name == "amsel"
    assert flock[len(names.NAMES)].name == "amsel-2"
    for node in flock:
        assert SLUG.fullmatch(node.name)
        assert node.mac_address[0] == 0x02  # locally administered, one receiver: no real chip has it
        assert node.dev_eui == node.mac_address[:3] + b"\xff\xfe" + node.mac_address[3:]
        assert len(node.app_key) == 16


def test_nodes_stand_where_a_gateway_hears_them_well_at_sf7() -> None:
    for seed in range(20):
        plan = Plan(nodes=20, seed=seed)
        (_, gateway), propagation = plan.gateway_stations()[0], Propagation(seed)
        for node in plan.flock():
            rssi = 16 - propagation.path_loss_db(node.station, gateway) + gateway.gain_dbi
            assert rssi >= sensitivity_dbm(7, 125_000) + 10
            assert node.position.distance_m(nodes.TOWN) <= nodes.RADIUS_M + 1


def test_nodes_are_switched_on_one_after_another() -> None:
    phases = [node.phase_s for node in Plan(nodes=5).flock()]
    assert phases == sorted(phases)
    assert len(set(phases)) == 5
    assert phases[-1] < 4.0


def test_gateways_have_addresses_and_places_of_their_own() -> None:
    made = nodes.gateways(4, 3)
    assert made == nodes.gateways(4, 3)
    assert made[0][1].position == nodes.TOWN
    assert len({eui for eui, _ in made}) == 4
    assert all(eui[0] & 0b11 == 0b10 for eui, _ in made)
    places = [station.position for _, station in made]
    assert all(a.distance_m(b) > 300 for a in places for b in places if a is not b)


def test_a_node_gets_its_folder_and_a_second_start_keeps_its_counters(tmp_path: Path) -> None:
    node = Plan().flock()[0]
    folder = nodes.make(node, tmp_path / "amsel", interval_s=10, safe_window_s=5)
    config = json.loads((folder.fs / "config.json").read_text())
    assert (config["name"], config["interval_s"], config["safe_window_s"]) == ("amsel", 10, 5)
    nvs = json.loads(folder.nvs.read_text())
    assert nvs == {
        "spatz": {
            "dev_eui": {"blob": node.dev_eui.hex()},
            "join_eui": {"blob": "02737061747a0000"},
            "app_key": {"blob": node.app_key.hex()},
        }
    }
    assert stat.S_IMODE(folder.nvs.stat().st_mode) == 0o600
    nvs["spatz"]["dev_nonce"] = {"i32": 17}
    folder.nvs.write_text(json.dumps(nvs))
    nodes.make(node, tmp_path / "amsel", interval_s=20, safe_window_s=5)
    assert json.loads(folder.nvs.read_text())["spatz"]["dev_nonce"] == {"i32": 17}
    assert json.loads((folder.fs / "config.json").read_text())["interval_s"] == 20


def test_the_world_tells_the_device_what_the_board_file_says(tmp_path: Path) -> None:
    node = Plan().flock()[0]
    folder = nodes.make(node, tmp_path / "amsel", interval_s=10, safe_window_s=5)
    world = nodes.world(node, folder, ("127.0.0.1", 4711), cause="deepsleep", wake_at_us=123, boot=2, weather_seed=7)
    assert (world["air"], world["cause"], world["wake_at_us"]) == (["127.0.0.1", 4711], "deepsleep", 123)
    assert world["mac_address"] == node.mac_address.hex()
    assert world["chips"]["radio"] == {
        "chip": "sx1262", "spi": 1, "sck": 9, "mosi": 10, "miso": 11, "cs": 8, "reset": 12, "busy": 13, "dio1": 14,
        "tcxo_mv": 1800, "antenna_gain_dbi": 2.0, "enable": [], "amplifier": [],
    }  # fmt: skip
    assert world["module"] == "esp32s3"
    assert world["chips"]["sensors"] == [{"chip": "bme280", "i2c": 0, "address": 118, "sda": 41, "scl": 42}]
    # what the firmware multiplies the divider by belongs to the real divider
    assert world["chips"]["battery"]["ratio"] == pytest.approx(4.9 * 1.045)
    assert world["weather"]["seed"] == 7
    assert world["seed"] != nodes.world(node, folder, None, cause="power_on", boot=3)["seed"]


def test_a_board_without_a_bus_has_no_sensors() -> None:
    board = load_board("heltec-v3").model_copy(update={"i2c": None, "battery": None, "vext": None})
    assert nodes.chips(board)["sensors"] == []
    assert "battery" not in nodes.chips(board)


def test_boards_with_the_other_radio_and_with_either() -> None:
    assert nodes.chips(load_board("lora32-v2-1-6"))["radio"] == {
        "chip": "sx1276", "spi": 1, "sck": 5, "mosi": 27, "miso": 19, "cs": 18, "reset": 23, "dio0": 26,
        "tcxo": False, "pa_boost": True, "antenna_gain_dbi": 2.0, "enable": [], "amplifier": [],
    }  # fmt: skip
    either = load_board("t3-s3")
    assert [nodes.chips(either, seed)["radio"]["chip"] for seed in (4, 5)] == ["sx1262", "sx1276"]
    assert nodes.chips(load_board("heltec-v4"))["radio"]["amplifier"] == [[5, 13]]


def test_a_node_is_made_of_its_board(tmp_path: Path) -> None:
    node = dataclasses.replace(Plan().flock()[0], board="lora32-v2-1-6")
    folder = nodes.make(node, tmp_path / "amsel", interval_s=10, safe_window_s=5)
    assert json.loads((folder.fs / "config.json").read_text())["board"] == "lora32-v2-1-6"
    world = nodes.world(node, folder, None, cause="power_on")
    assert (world["module"], world["chips"]["radio"]["chip"]) == ("esp32", "sx1276")
