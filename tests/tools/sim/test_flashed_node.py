"""The whole firmware, compiled, out of a littlefs and an NVS image: it boots, joins, and a reading arrives."""

from __future__ import annotations

import asyncio
from pathlib import Path

from spatz.images.filesystem import node_files
from spatz.images.nvs_image import Identity, nvs_image, read_nvs
from spatz.sim import nodes
from spatz.sim.air import Air, Propagation, Station
from spatz.sim.airserver import AirServer
from spatz.sim.gateway import VirtualGateway
from spatz.wishes import Wishes
from tools.sim.fake_network import FakeNetwork, Member
from tools.sim.fake_server import fake_server
from tools.sim.flashed import NVS, PROMPT, Flashed


async def test_a_flashed_node_joins_and_its_reading_arrives(tmp_path: Path) -> None:
    identity = Identity(bytes.fromhex("021122fffe334455"), nodes.JOIN_EUI, bytes(range(16)))
    wishes = Wishes("amsel", "heltec-v3", ("bme280",), interval_s=10, safe_window_s=600)
    board = Flashed(tmp_path, node_files(wishes), nvs_image(identity, NVS[1]), vfs=(0x20000, 0x100000))
    async with fake_server() as server:
        member = Member("amsel", identity.join_eui, identity.app_key)
        network = FakeNetwork(server, {identity.dev_eui: member})
        server.on_rxpk = network.take
        air = AirServer(Air(Propagation(1, shadowing_db=0.0)))
        gateway = VirtualGateway(bytes(8), Station("g", nodes.TOWN), server.address, air.transmit)
        air.attach(gateway)
        air.add_node(board.node.station)
        board.air = ("127.0.0.1", await air.start())
        await gateway.start()
        try:
            with board.boot() as console:
                await asyncio.to_thread(console.until, "Funkspatz node amsel")
                await server.until(lambda: member.uplinks, 40)
                console.interrupt()
                said = await asyncio.to_thread(console.until, PROMPT)
                assert "Stopped by Ctrl-C" in said
                assert console.ask("import os; 'spatz.json' in os.listdir()") == "True"
        finally:
            await gateway.stop()
            await air.stop()
    assert network.wrong == []
    found = read_nvs(board.nvs())
    assert found["spatz", "app_key"] == identity.app_key
    assert ("spatz", "state0") in found or ("spatz", "state1") in found
