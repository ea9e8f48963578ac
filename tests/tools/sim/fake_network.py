"""A strict LoRaWAN 1.0.x network behind the strict UDP server: it lets known nodes join and takes their data.

Written from the specification alone [TS001-1.0.4, 4, 6.2], so that it agrees with the firmware by the standard and not
by shared code.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC
from tools.sim.fake_server import FakeServer


def cmac4(key: bytes, message: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()[:4]


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(AES(key), ECB()).encryptor().update(block)  # noqa: S305 - the standard's own construction


def aes_backwards(key: bytes, blocks: bytes) -> bytes:
    return Cipher(AES(key), ECB()).decryptor().update(blocks)  # noqa: S305


@dataclass
class Member:
    """A node of the network, with its session once it has joined."""

    name: str
    join_eui: bytes
    app_key: bytes
    nonces: list[int] = field(default_factory=list)
    dev_addr: int = 0
    nwk_skey: bytes = b""
    app_skey: bytes = b""
    uplinks: list[tuple[int, int, bytes]] = field(default_factory=list)  # FCnt, FPort, payload


@dataclass
class FakeNetwork:
    """Attach it to a FakeServer: `server.on_rxpk = network.take`. `wrong` lists what a node should not have sent."""

    server: FakeServer
    members: dict[bytes, Member]
    wrong: list[str] = field(default_factory=list)
    joins: int = 0

    def take(self, rxpk: dict[str, Any]) -> None:
        phy = base64.b64decode(rxpk["data"])
        if len(phy) != rxpk["size"]:
            self.wrong.append("size")
        if phy[0] == 0x00:
            self._join(phy, rxpk)
        elif phy[0] in (0x40, 0x80):
            self._data(phy)
        else:
            self.wrong.append(f"MHDR {phy[0]:02x}")

    def _join(self, phy: bytes, rxpk: dict[str, Any]) -> None:
        member = self.members.get(phy[9:17][::-1])
        if len(phy) != 23 or member is None or phy[1:9][::-1] != member.join_eui:
            self.wrong.append("join of a stranger")
            return
        dev_nonce = int.from_bytes(phy[17:19], "little")
        if cmac4(member.app_key, phy[:19]) != phy[19:]:
            self.wrong.append("join MIC")
            return
        if member.nonces and dev_nonce <= member.nonces[-1]:
            self.wrong.append("DevNonce used before")
            return
        member.nonces.append(dev_nonce)
        self.joins += 1
        member.dev_addr = self.joins
        fields = self.joins.to_bytes(3, "little") + bytes(3) + member.dev_addr.to_bytes(4, "little") + b"\x00\x01"
        for kind in (1, 2):
            block = bytes((kind,)) + fields[:6] + phy[17:19] + bytes(7)
            key = aes(member.app_key, block)
            if kind == 1:
                member.nwk_skey = key
            else:
                member.app_skey = key
        answer = b"\x20" + aes_backwards(member.app_key, fields + cmac4(member.app_key, b"\x20" + fields))
        txpk = {
            "tmst": (rxpk["tmst"] + 5_000_000) & 0xFFFFFFFF,
            "freq": rxpk["freq"],
            "rfch": 0,
            "powe": 14,
            "modu": "LORA",
            "datr": rxpk["datr"],
            "codr": "4/5",
            "ipol": True,
            "ncrc": True,
            "size": len(answer),
            "data": base64.b64encode(answer).decode(),
        }
        self.server.pull_resp(self.joins.to_bytes(2, "big"), txpk)

    def _data(self, phy: bytes) -> None:
        dev_addr = int.from_bytes(phy[1:5], "little")
        member = next((member for member in self.members.values() if member.dev_addr == dev_addr), None)
        if member is None:
            self.wrong.append("data of a stranger")
            return
        fcnt = int.from_bytes(phy[6:8], "little")
        b0 = b"\x49" + bytes(5) + phy[1:5] + fcnt.to_bytes(4, "little") + bytes((0, len(phy) - 4))
        if cmac4(member.nwk_skey, b0 + phy[:-4]) != phy[-4:]:
            self.wrong.append("data MIC")
            return
        if member.uplinks and fcnt <= member.uplinks[-1][0]:
            self.wrong.append("FCnt used before")
            return
        start = 8 + (phy[5] & 0x0F)
        encrypted = phy[start + 1 : -4]
        stream = b"".join(
            aes(member.app_skey, b"\x01" + bytes(5) + phy[1:5] + fcnt.to_bytes(4, "little") + bytes((0, number)))
            for number in range(1, 2 + len(encrypted) // 16)
        )
        payload = bytes(a ^ b for a, b in zip(encrypted, stream, strict=False))
        member.uplinks.append((fcnt, phy[start], payload))
