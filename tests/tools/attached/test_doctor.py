"""`spatz doctor`: each thing that can be wrong is found, with one thing to do, and the node runs on as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nest.cli_common import database
from nest.registry import Registry
from spatz.cli import app
from spatz.sim.board.bench import VirtualBoard
from tools.attached.flashed import JOIN_EUI, KEY, board_with, files_on, good_files
from tools.attached.odd import OddBoard
from tools.attached.test_update import make_town
from typer.testing import CliRunner


def doctor(*options: str) -> dict[str, dict[str, Any]]:
    """What it says, by check."""
    told = CliRunner().invoke(app, ["doctor", "--json", *options])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.output
    said = json.loads(told.stdout)
    assert said["ok"] == (told.exit_code == 0)
    assert KEY.hex() not in told.output
    for check in said["checks"]:
        assert bool(check["next_step"]) or check["state"] != "wrong", check
    return {check["check"]: check for check in said["checks"]}


def test_a_node_that_is_well(tmp_path: Path, registry: Path) -> None:
    town = make_town(tmp_path)
    with board_with(tmp_path / "board", registry, good_files()) as board:
        with database(town) as engine:
            Registry(engine).add("amsel", board.dev_eui, JOIN_EUI, KEY)
        board.wait_for("line", text="Funkspatz node amsel")
        nvs_before = board.flash()[0x9000:0xF000]
        checks = doctor("--town", str(town))
        assert {check["state"] for name, check in checks.items() if name != "network"} == {"ok"}
        assert "same key" in checks["town"]["detail"]
        assert "temperature" in checks["sensors"]["detail"].lower()
        assert "62 ms" in checks["network"]["detail"]  # JoinRequest of 23 bytes at SF7: 61.7 ms
        assert board.flash()[0x9000:0xF000].startswith(nvs_before[:0x20])
        board.wait_for("reset")
        board.wait_for("line", text="Funkspatz node amsel")


def test_what_is_wrong_is_found(tmp_path: Path, registry: Path) -> None:
    files = {**good_files(), "sensors/scd30.mpy": b"x"}
    del files["node/certified.mpy"]
    town = make_town(tmp_path)
    with board_with(tmp_path / "board", registry, files, sensors=()) as board:
        with database(town) as engine:
            Registry(engine).add("amsel", board.dev_eui, JOIN_EUI, bytes(16))
        board.wait_for("boot")
        checks = doctor("--town", str(town))
    assert checks["files"]["state"] == "wrong"
    assert "node/certified.mpy, sensors/scd30.mpy" in checks["files"]["detail"]
    assert "spatz update" in checks["files"]["next_step"]
    assert "key" in checks["town"]["detail"]
    assert checks["radio"]["state"] == "ok"
    assert checks["sensors"]["state"] == "wrong"


def test_a_sensor_that_is_not_there(tmp_path: Path, registry: Path) -> None:
    with board_with(tmp_path / "board", registry, good_files(), sensors=()) as board:
        board.wait_for("line", text="Funkspatz node amsel")
        check = doctor()["sensors"]
    assert (check["state"], check["detail"]) == ("wrong", "bme280 does not answer")
    assert "wires: SDA to GPIO 41, SCL to GPIO 42, power to Ve (3.3 V)" in check["next_step"]


def test_a_node_that_is_to_have_no_sensor(tmp_path: Path, registry: Path) -> None:
    """It looks for sensors until it is told that there is none, and again once one is wished for."""
    run = CliRunner()
    with board_with(tmp_path / "board", registry, good_files(sensors=("auto",)), sensors=()) as board:
        board.wait_for("line", text="Funkspatz node amsel")
        missing = doctor()["sensors"]
        assert (missing["state"], "--sensor none" in missing["next_step"]) == ("wrong", True)
        assert run.invoke(app, ["update", "--sensor", "none"]).exit_code == 0
        checks = doctor()
        assert (checks["sensors"]["state"], checks["battery"]["state"]) == ("ok", "ok")
        assert "wrong" not in {check["state"] for check in checks.values()}
        assert json.loads(files_on(board)["config.json"])["sensors"] == []
        assert not json.loads(run.invoke(app, ["update", "--json"]).stdout)["changed"]
        assert run.invoke(app, ["update", "--sensor", "bme280"]).exit_code == 0
        assert doctor()["sensors"]["detail"] == "bme280 does not answer"
        told = run.invoke(app, ["update", "--sensor", "ds18b20:pin=6"])
        assert "DS18B20: data to GPIO 6," in told.stdout.replace("\n", " ")
        told = run.invoke(app, ["update", "--sensor", "soil", "--json"])
        assert json.loads(told.stdout)["wiring"] == ["SOIL: signal to GPIO 4, power to Ve (3.3 V), GND to GND"]
        assert json.loads(run.invoke(app, ["update", "--json"]).stdout)["wiring"] == []


def test_a_board_without_anything_on_it(tmp_path: Path, registry: Path) -> None:
    with VirtualBoard(tmp_path / "board", registry=registry):
        checks = doctor()
    assert checks["prompt"]["next_step"] == "Write it: spatz flash"


@pytest.mark.parametrize("command", ["doctor", "logs --stored", "update", "identify"])
def test_a_board_in_its_boot_loader_by_a_wire(command: str, registry: Path) -> None:
    with OddBoard(registry, "1-1", None, says=b"waiting for download\r\n", usb_id=(0x1A86, 0x7523)):
        told = CliRunner().invoke(app, [*command.split(), "--json"])
    words = told.output + str(told.exception)  # some say it, of the others nest.errors.run_command does
    assert "The board waits in its boot loader." in words
    # a CH340 is on a DevKit, too
    assert "Is a wire on BOOT0? Take it off. Then press the reset button once." in words


def test_no_board_at_all(registry: Path) -> None:
    assert "cable" in doctor()["usb"]["next_step"]
