"""Load for a nest: a town's database with joined nodes, their frames, a gateway that sends as fast as it is answered.

Frames and payloads are made here from the specifications (TS001-1.0.4 4.3.3, 4.4; boards/payload.md) with
`cryptography`; nothing of the nest's own protocol code takes part. Only its tables are used, to make a town whose nodes
have joined already.
"""

from __future__ import annotations

import base64
import json
import secrets
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from nest import town
from nest.archive import open_database, schema
from nest.gateways import GatewayRegistry
from sqlalchemy import insert

CHANNELS_MHZ = (868.1, 868.3, 868.5, 867.1, 867.3, 867.5, 867.7, 867.9)
_BLOCK = struct.Struct("<BIBIIBB")


@dataclass(slots=True)
class LoadNode:
    """A node that has joined: its keys are known to the town."""

    number: int
    dev_addr: int
    nwk_skey: bytes
    app_skey: bytes
    fcnt: int = 0

    @property
    def slug(self) -> str:
        return f"n{self.number}"

    def uplink(self, *, confirmed: bool = False, adr: bool = False) -> bytes:
        """The next data frame: fPort 1 with temperature, humidity, pressure and battery, different each time."""
        fcnt, self.fcnt = self.fcnt, self.fcnt + 1
        codes = ((fcnt * 7 + self.number) % 2000, 11), (fcnt % 250, 8), ((3000 + fcnt) % 4000, 12), (180, 8)
        bits = 0
        for code, width in codes:
            bits = bits << width | code
        clear = b"\x0f" + (bits << 1).to_bytes(5, "big")
        stream = _aes(self.app_skey, _BLOCK.pack(1, 0, 0, self.dev_addr, fcnt, 0, 1))
        payload = bytes(a ^ b for a, b in zip(clear, stream, strict=False))
        mhdr = 0x80 if confirmed else 0x40
        message = struct.pack("<BIBHB", mhdr, self.dev_addr, adr << 7, fcnt & 0xFFFF, 1) + payload
        mac = CMAC(algorithms.AES(self.nwk_skey))
        mac.update(_BLOCK.pack(0x49, 0, 0, self.dev_addr, fcnt, 0, len(message)) + message)
        return message + mac.finalize()[:4]


def _aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)  # noqa: S305 - LoRaWAN prescribes it


def make_town(folder: Path, count: int, gateways: Sequence[str], *, udp_port: int, mqtt_url: str) -> list[LoadNode]:
    """A town with `count` joined nodes and the gateways registered; every port but UDP's is any free one."""
    made = town.create(
        folder, "Load", udp_host="127.0.0.1", udp_port=udp_port, web_host="127.0.0.1", web_port=0, mqtt_port=0,
        mqtt_url=mqtt_url, station_host="127.0.0.1",
    )  # fmt: skip
    nodes = [LoadNode(n, 0x02000000 + n, secrets.token_bytes(16), secrets.token_bytes(16)) for n in range(count)]
    engine = open_database(made.database)
    registry = GatewayRegistry(engine)
    for eui in gateways:
        registry.add(eui)
    with engine.begin() as connection:
        connection.execute(
            insert(schema.nodes),
            [
                {
                    "id": node.number + 1, "slug": node.slug, "name": node.slug, "join_eui": "0" * 16,
                    "dev_eui": f"70b3d57e{node.number:08x}",
                    "app_key": bytes(16), "precision": 3, "added_at": 0, "changed_at": 0,
                }
                for node in nodes
            ],
        )  # fmt: skip
        connection.execute(
            insert(schema.joins), [{"node_id": n.number + 1, "join_nonce": 1, "dev_nonce": 0, "time": 0} for n in nodes]
        )
        connection.execute(
            insert(schema.sessions),
            [
                {
                    "node_id": node.number + 1, "join_nonce": 1, "dev_addr": node.dev_addr, "nwk_skey": node.nwk_skey,
                    "app_skey": node.app_skey, "fcnt_up": -1, "fcnt_down": 0, "rx1_delay_s": 1, "rx1_dr_offset": 0,
                    "rx2_dr": 3, "rx2_freq_hz": 869_525_000, "active": True, "joined_at": 0.0,
                    "heard_at": 0.0, "heard_by": "", "tx_power": 0, "nb_trans": 1, "adr_tries": 0,
                    "status_at": time.time(),
                }
                for node in nodes
            ],
        )  # fmt: skip
    engine.dispose()
    return nodes


def rxpk(phy: bytes, tmst: int, *, channel: int = 0, rssi: float = -80.0, snr: float = 7.0) -> dict[str, object]:
    """One frame as the reference forwarder describes it (PROTOCOL.TXT v1.4, section 4)."""
    return {
        "tmst": tmst & 0xFFFFFFFF, "chan": channel, "rfch": 0, "freq": CHANNELS_MHZ[channel], "stat": 1, "modu": "LORA",
        "datr": "SF7BW125", "codr": "4/5", "rssi": rssi, "lsnr": snr, "size": len(phy),
        "data": base64.b64encode(phy).decode(),
    }  # fmt: skip


def push_data(eui: str, token: int, frames: Sequence[dict[str, object]]) -> bytes:
    """A PUSH_DATA, protocol version 2."""
    body = json.dumps({"rxpk": list(frames)}, separators=(",", ":")).encode()
    return b"\x02" + token.to_bytes(2, "big") + b"\x00" + bytes.fromhex(eui) + body


def backlog(nodes: Sequence[LoadNode], count: int, eui: str, per_datagram: int = 1) -> list[bytes]:
    """`count` uplinks, the nodes in turn, as the datagrams of one gateway, numbered by their tokens."""
    frames = [rxpk(nodes[i % len(nodes)].uplink(), i * 1000, channel=i % 8) for i in range(count)]
    groups = [frames[at : at + per_datagram] for at in range(0, count, per_datagram)]
    return [push_data(eui, number & 0xFFFF, group) for number, group in enumerate(groups)]


def pour(datagrams: Sequence[bytes], port: int, *, in_flight: int = 256, patience_s: float = 1.0) -> dict[str, float]:
    """Send as fast as PUSH_ACKs come back, at most `in_flight` unanswered; what stays unanswered is sent again.

    Returns the seconds until the last acknowledgement and how many datagrams had to be repeated.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        gateway.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        gateway.connect(("127.0.0.1", port))
        gateway.setblocking(False)
        open_: dict[int, tuple[int, float]] = {}  # token -> (number of the datagram, when sent)
        following, repeated = 0, 0
        started = time.perf_counter()
        while following < len(datagrams) or open_:
            now = time.perf_counter()
            while following < len(datagrams) and len(open_) < in_flight:
                gateway.send(datagrams[following])
                open_[following & 0xFFFF] = (following, now)
                following += 1
            select.select([gateway], [], [], 0.05)
            while True:
                try:
                    answer = gateway.recv(64)
                except BlockingIOError:
                    break
                if len(answer) == 4 and answer[3] == 1:
                    open_.pop(int.from_bytes(answer[1:3], "big"), None)
            for token, (number, sent) in open_.items():
                if now - sent > patience_s:
                    gateway.send(datagrams[number])
                    open_[token] = (number, now)
                    repeated += 1
        return {"seconds": time.perf_counter() - started, "repeated": repeated}
