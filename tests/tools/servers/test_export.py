"""Files for other servers' imports, and who may read them."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.servers.export import render
from spatz.servers.nodes import write_private
from tools.servers.tts_server import ID, PLANS, VERSIONS
from tools.servers.world import MARKER, entry, flock

# as documented: thethingsindustries.com/docs/hardware/devices/adding-devices/adding-devices-in-bulk/device-csv
DOCUMENTED = {
    "dev_eui", "join_eui", "app_eui", "id", "name", "description", "lorawan_version", "lorawan_phy_version",
    "frequency_plan_id", "brand_id", "model_id", "firmware_version", "hardware_version", "band_id", "app_key",
    "nwk_key", "vendor_id", "supports_class_b", "supports_class_c", "rx1_delay",
}  # fmt: skip


def test_csv_for_the_things_stack() -> None:
    text = render("tts", "csv", [entry(1, name='Spatz "eins"; am Bach'), entry(2, name="=1+1")])
    rows = [*csv.DictReader(io.StringIO(text), delimiter=";")]
    assert set(rows[0]) <= DOCUMENTED
    assert {"dev_eui", "join_eui"} <= set(rows[0])
    assert (rows[0]["id"], rows[0]["name"]) == ("spatz-1", 'Spatz "eins"; am Bach')
    assert rows[1]["name"] == "'=1+1"  # no formula in a spreadsheet
    assert [row["app_key"] for row in rows] == [MARKER.hex().upper(), (2).to_bytes(16, "big").hex()]
    assert {row["frequency_plan_id"] for row in rows} <= PLANS
    assert {row["lorawan_phy_version"] for row in rows} <= VERSIONS[rows[0]["lorawan_version"]]


def test_json_for_the_things_stack_is_one_object_after_the_other() -> None:
    decoder, text, found = json.JSONDecoder(), render("tts", "json", flock(3)), []
    while text:
        thing, end = decoder.raw_decode(text)
        found.append(thing)
        text = text[end:].lstrip()
    assert [thing["ids"]["device_id"] for thing in found] == ["spatz-1", "spatz-2", "spatz-3"]
    assert all(ID.fullmatch(thing["ids"]["device_id"]) for thing in found)
    assert found[0]["root_keys"]["app_key"]["key"] == MARKER.hex().upper()
    assert found[0]["supports_join"] is True
    assert (found[0]["ids"]["dev_eui"], found[0]["ids"]["join_eui"]) == ("70B3D57ED0000001", "0211223344556677")


def test_for_chirpstack_the_app_key_is_called_nwk_key() -> None:
    [row] = csv.DictReader(io.StringIO(render("chirpstack", "csv", [entry(1)])))
    assert (row["dev_eui"], row["name"], row["nwk_key"]) == ("70b3d57ed0000001", "spatz-1", MARKER.hex())
    [[thing]] = [json.loads(render("chirpstack", "json", [entry(1)]))]
    assert thing["device"]["joinEui"] == "0211223344556677"
    assert thing["deviceKeys"] == {"devEui": "70b3d57ed0000001", "nwkKey": MARKER.hex()}


def test_only_the_owner_reads_such_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    before = os.umask(0)
    try:
        write_private(path, "secret")
    finally:
        os.umask(before)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_is_replaced_only_when_somebody_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("of somebody")
    path.chmod(0o644)
    with pytest.raises(UserError, match=r"nodes\.csv"):
        write_private(path, "secret")
    assert path.read_text() == "of somebody"
    write_private(path, "secret", force=True)
    assert path.read_text() == "secret"
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UserError):
        write_private(tmp_path / "nowhere" / "nodes.csv", "secret")
    for folder in (tmp_path, Path(), Path("..")):
        with pytest.raises(UserError, match="is a folder"):
            write_private(folder, "secret", force=True)
