"""From the box to the air: a board is flashed, boots exactly what was flashed, joins the town, and lives.

The real esptool and the real mpremote talk to a virtual board over a pseudo-terminal; what it runs is the firmware that
they put into its flash, on the real MicroPython; what it sends reaches `nest run` through a virtual gateway.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.running import LIMIT_S, RunningNest, environment, free_port
from nest import town
from nest.archive.database import open_database
from nest.registry import Registry
from spatz.images.nvs_image import read_nvs
from spatz.sim import nodes
from spatz.sim.air import Air, Propagation, Station
from spatz.sim.airserver import AirServer
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import made_image
from spatz.sim.gateway import VirtualGateway
from spatz.sim.simulate import register_gateways

SPATZ = str(Path(sys.executable).parent / "spatz")
NVS = slice(0x9000, 0xF000)
BOARD = "heltec-v3"
INTERVAL_S = 5
LONG_S = 90.0  # for everything that is waited for


class AirOverTown:
    """One gateway and the air around it, in a thread of its own, from `with` to its end."""

    def __init__(self, server: tuple[str, int], name: str) -> None:
        ((eui, station),) = self.stations = nodes.gateways(1, seed=1)
        self.air = AirServer(Air(Propagation(1)))
        self.air.add_node(Station(name, nodes.TOWN, gain_dbi=2.0))
        self.gateway = VirtualGateway(eui, station, server, self.air.transmit)
        self.air.attach(self.gateway)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> AirOverTown:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = self._wait(self.air.start())
        self._wait(self.gateway.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self.gateway.stop())
        self._wait(self.air.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)


class Maker:
    """Somebody with a town, a board at the USB socket, and a terminal."""

    def __init__(self, folder: Path, town_folder: Path, nest: RunningNest, board: VirtualBoard) -> None:
        self.folder = folder
        self.town = town_folder
        self.nest = nest
        self.board = board
        self.read = ""  # everything that was on the screen

    def types(self, *words: str) -> str:
        """One `spatz …` command that succeeds: what it prints."""
        shown = {**environment(), "SPATZ_VIRTUAL_BOARDS": self.board.settings.registry, "SPATZ_TOWN": str(self.town)}
        done = subprocess.run(
            [SPATZ, *words], cwd=self.folder, env=shown, capture_output=True, text=True, timeout=LONG_S, check=False
        )
        self.read += done.stdout + done.stderr
        assert done.returncode == 0, f"spatz {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def readings(self, quantity: str = "temperature") -> list[float]:
        """What everybody may read of amsel's past day, oldest first; [] as long as it is a stranger."""
        found = self.nest.api("/api/v1/nodes")["nodes"]
        if not any(node["slug"] == "amsel" for node in found):
            return []
        return [value for _, value in self.nest.api(f"/api/v1/nodes/amsel/readings?quantity={quantity}")["readings"]]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for it."""
        end = time.monotonic() + LONG_S
        while not (found := condition()):
            shown = "\n".join(self.board.lines()[-40:])
            assert time.monotonic() < end, f"{what} did not come:\n{shown}\n{self.nest.log()[-2000:]}"
            time.sleep(0.1)
        return found

    def another_reading(self) -> None:
        """Wait for one that is not there yet."""
        before = len(self.readings())
        self.until(lambda: len(self.readings()) > before, "another reading")


def key_of(town_folder: Path, dev_eui: bytes) -> bytes:
    engine = open_database(town.load(town_folder).database)
    try:
        found = Registry(engine).find(dev_eui)
    finally:
        engine.dispose()
    assert found
    return found.app_key


def test_a_board_from_the_box_to_the_air(tmp_path: Path) -> None:
    udp_port = free_port(socket.SOCK_DGRAM)
    made = town.create(
        tmp_path / "town", "Brandis", udp_host="127.0.0.1", udp_port=udp_port, web_host="127.0.0.1", web_port=0,
        mqtt_port=0, station_host="127.0.0.1", station_port=0,
    )  # fmt: skip
    image = tmp_path / "micropython.bin"
    image.write_bytes(made_image("esp32s3"))
    over_town = AirOverTown(("127.0.0.1", udp_port), "box")
    register_gateways(made.path, over_town.stations)
    with over_town, RunningNest(made.path) as nest:
        board = VirtualBoard(
            tmp_path / "box", registry=tmp_path / "sockets", board=BOARD, air=("127.0.0.1", over_town.port)
        )
        with board:
            maker = Maker(tmp_path, made.path, nest, board)

            maker.types(
                "flash", "--board", BOARD, "--sensor", "bme280", "--interval", str(INTERVAL_S), "--firmware", str(image)
            )
            maker.until(lambda: maker.readings(), "a reading in the archive")
            identity = identity_on(board)
            assert identity["dev_eui"] == board.dev_eui

            board.do("power_cut")
            board.do("power_on")
            board.wait_for("line", text="Funkspatz node amsel")
            maker.another_reading()
            joins = [line for line in board.lines() if line.startswith("joining")]
            assert len(joins) <= 2, "after a power cut the session goes on, without a new join"

            said = json.loads(maker.types("update", "--interval", str(INTERVAL_S + 1), "--json"))
            assert [sent["path"] for sent in said["sent"]] == ["config.json", "spatz.json"]
            maker.another_reading()
            assert identity_on(board) == identity, "an update does not touch the keys"

            stored = json.loads(maker.types("logs", "--stored", "--json"))
            written = [row["values"]["temperature"] for row in stored["readings"]]
            heard = maker.readings()
            assert set(heard[:-1]) <= set(written), "what the archive has, the node has written down"

            maker.types("flash", "--firmware", str(image))  # again: asks nothing, keeps the keys
            assert identity_on(board) == identity
            maker.another_reading()

    app_key = key_of(made.path, board.dev_eui)
    assert identity["app_key"] == app_key
    spellings = [app_key.hex(), app_key.hex().upper(), base64.b64encode(app_key).decode()]
    text = maker.read + "\n".join(board.lines())
    assert not [spelling for spelling in spellings if spelling in text], "nobody ever reads a key"
    holders = {file.name for file in tmp_path.rglob("*") if file.is_file() and app_key in file.read_bytes()}
    assert holders <= {"nest.db", "nest.db-wal", "flash.bin"}


def identity_on(board: VirtualBoard) -> dict[str, Any]:
    """DevEUI, JoinEUI and AppKey in the board's flash."""
    values = read_nvs(board.flash()[NVS])
    return {key: values["spatz", key] for key in ("dev_eui", "join_eui", "app_key")}
