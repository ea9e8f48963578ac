"""The peer: a plain pipeline as one writes it on an afternoon. One datagram, one commit, one publish at a time.

PUSH_DATA in, MIC and decryption with `cryptography`, four values unpacked, one row, commit (WAL, synchronous=FULL),
one QoS 1 publish with paho and its PUBACK awaited, PUSH_ACK out. No deduplication, no joins, no downlinks.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import multiprocessing.synchronize
import secrets
import socket
import sqlite3
import struct
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from paho.mqtt.enums import CallbackAPIVersion

from tests.benchmarks.broker import Mosquitto
from tests.benchmarks.town_load import LoadNode, backlog, pour


def take(count: int, uplinks: int) -> float:
    """Uplinks per second."""
    nodes = [LoadNode(n, 0x02000000 + n, secrets.token_bytes(16), secrets.token_bytes(16)) for n in range(count)]
    datagrams = backlog(nodes, uplinks, "aa" * 8)
    with (
        tempfile.TemporaryDirectory(prefix="funkspatz-plain-") as folder,
        Mosquitto() as broker,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        ready = multiprocessing.get_context("fork").Event()
        arguments = (server, nodes, uplinks, Path(folder) / "plain.db", broker.port, ready)
        worker = multiprocessing.get_context("fork").Process(target=_work, args=arguments)
        worker.start()
        ready.wait(10)
        started = time.perf_counter()
        pour(datagrams, port, in_flight=64, patience_s=30)
        worker.join(60)
        return uplinks / (time.perf_counter() - started)


def _work(
    server: socket.socket,
    nodes: Sequence[LoadNode],
    uplinks: int,
    path: Path,
    mqtt_port: int,
    ready: multiprocessing.synchronize.Event,
) -> None:
    keys = {node.dev_addr: node for node in nodes}
    database = sqlite3.connect(path)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = full")
    database.execute("create table readings (addr, fcnt, time, temperature, humidity, pressure, battery)")
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", mqtt_port)
    client.loop_start()
    ready.set()
    for _ in range(uplinks):
        datagram, address = server.recvfrom(65536)
        for rx in json.loads(datagram[12:])["rxpk"]:
            phy = base64.b64decode(rx["data"])
            addr, fcnt = struct.unpack("<I", phy[1:5])[0], struct.unpack("<H", phy[6:8])[0]
            node = keys[addr]
            block = struct.pack("<BIBIIBB", 0x49, 0, 0, addr, fcnt, 0, len(phy) - 4)
            mac = CMAC(algorithms.AES(node.nwk_skey))
            mac.update(block + phy[:-4])
            if mac.finalize()[:4] != phy[-4:]:
                continue
            key = Cipher(algorithms.AES(node.app_skey), modes.ECB()).encryptor()  # noqa: S305
            stream = key.update(struct.pack("<BIBIIBB", 1, 0, 0, addr, fcnt, 0, 1))
            clear = bytes(a ^ b for a, b in zip(phy[9:-4], stream, strict=False))
            bits = int.from_bytes(clear[1:], "big")
            values = {
                "temperature": -60 + (bits >> 29 & 0x7FF) * 0.1,
                "humidity": (bits >> 21 & 0xFF) * 0.5,
                "pressure": 680 + (bits >> 9 & 0xFFF) * 0.1,
                "battery": 2 + (bits >> 1 & 0xFF) * 0.01,
            }
            now = time.time()
            database.execute("insert into readings values (?, ?, ?, ?, ?, ?, ?)", (addr, fcnt, now, *values.values()))
            database.commit()
            message = json.dumps({"time": now, "values": values})
            client.publish(f"plain/{addr:08x}/reading", message, qos=1, retain=True).wait_for_publish(10)
        server.sendto(datagram[:3] + b"\x01", address)
    client.disconnect()
    client.loop_stop()
