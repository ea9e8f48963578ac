"""A gateway whose forwarder can do as little as the worst in the field, strictly: one place for a downlink.

It has no queue: a downlink that comes while another waits takes its place, and nobody is told. It sends no TX_ACK. A
downlink that comes after its moment is lost, one that is not for it or cannot be read raises. Nothing here uses
sockets or a clock: hand datagrams to `take`, move its counter by `advance`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

WRAP = 1 << 32


class PlainForwarder:
    """`aired`: (txpk, payload) of what went on the air; `lost`: why others did not, in order."""

    def __init__(self, eui: str, version: int = 2, tmst: int = 0) -> None:
        self.version = version
        self.tmst = tmst
        self.aired: list[tuple[dict[str, Any], bytes]] = []
        self.lost: list[str] = []
        self.acknowledged: list[int] = []  # tokens
        self._eui = bytes.fromhex(eui)
        self._token = 0
        self._waiting: tuple[dict[str, Any], bytes] | None = None

    def pull(self) -> bytes:
        """A PULL_DATA."""
        return self._datagram(2)

    def push(self, *rxpk: dict[str, Any], **more: Any) -> bytes:
        """A PUSH_DATA with frames, and whatever else."""
        body = {"rxpk": list(rxpk), **more} if rxpk else more
        return self._datagram(0) + json.dumps(body).encode()

    def take(self, datagram: bytes) -> None:
        """A datagram from the nest."""
        assert datagram[0] == self.version, "answered in another version"
        if datagram[3] in (1, 4):
            assert len(datagram) == 4
            self.acknowledged.append(int.from_bytes(datagram[1:3], "big"))
            return
        assert datagram[3] == 3, "not a packet for gateways"
        txpk = json.loads(datagram[4:])["txpk"]
        payload = base64.b64decode(txpk["data"], validate=True)
        assert (txpk["imme"], txpk["ipol"], len(payload)) == (False, True, txpk["size"])
        if not 0 < (txpk["tmst"] - self.tmst) % WRAP < WRAP // 2:
            self.lost.append("late")
            return
        if self._waiting is not None:
            self.lost.append("overwritten")
        self._waiting = (txpk, payload)

    def advance(self, microseconds: int) -> None:
        """Let its counter run on; what waits goes on the air when its moment comes."""
        if self._waiting is not None and (self._waiting[0]["tmst"] - self.tmst) % WRAP <= microseconds:
            self.aired.append(self._waiting)
            self._waiting = None
        self.tmst = (self.tmst + microseconds) % WRAP

    def _datagram(self, kind: int) -> bytes:
        self._token = (self._token + 1) % 0x10000
        return bytes((self.version, *self._token.to_bytes(2, "big"), kind)) + self._eui
