"""For tests of the LNS endpoint: the endpoint with a recording engine, stations to talk to it, certificates."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nest.forwarders.basics_station import BasicsStation
from nest.forwarders.gateways import Gateways
from nest.model import Downlink, GatewayInfo, RadioFrame
from nest.tokens import fingerprint, new_token
from websockets.asyncio.client import ClientConnection, connect

EUI = "58a0cbfffe800f8a"
NOW = 1_770_000_000.0


@dataclass(frozen=True)
class NetSettings:
    net_id: int = 0


@dataclass
class Nest:
    """The endpoint under test and what it reported. `answers`: what the engine says to frames, None: not now."""

    endpoint: BasicsStation = field(init=False)
    gateways: Gateways = field(default_factory=Gateways)
    token: str = field(default_factory=new_token)
    frames: list[RadioFrame] = field(default_factory=list)
    drained: int = 0
    results: list[tuple[Downlink, str | None, int | None]] = field(default_factory=list)
    answers: Callable[[RadioFrame], int | None] = lambda _frame: 1
    clock: float = NOW
    clients: list[ClientConnection] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    escaped: list[dict[str, Any]] = field(default_factory=list)  # what nobody caught

    async def open(self) -> Nest:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.escaped.append(context))
        self.gateways.admit(GatewayInfo(EUI, "Church", token=fingerprint(self.token)))
        self.endpoint = await BasicsStation.listen(
            "127.0.0.1", 0, self.gateways, NetSettings(), self._on_frames, self._on_drained,
            lambda *result: self.results.append(result), clock=lambda: self.clock, ssl=self.tls,
        )  # fmt: skip
        return self

    def _on_frames(self, frames: Sequence[RadioFrame], stored: Callable[[], None] | None) -> int | None:
        assert stored is None  # a station expects no acknowledgement
        answers = [self.answers(frame) for frame in frames]
        if None in answers:
            return None
        self.frames += frames
        return sum(answer or 0 for answer in answers)

    def _on_drained(self) -> None:
        self.drained += 1

    @property
    def counted(self) -> dict[str, int]:
        return {kind: count for kind, count in self.endpoint.counters.items() if count}

    def uri(self, path: str, scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.endpoint.port}{path}"

    async def connect(self, path: str, token: str | None = "", uri: str = "", **settings: Any) -> ClientConnection:
        """A connection; `token` "": the right one, None: none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
        headers |= settings.pop("additional_headers", {})
        client = await connect(
            uri or self.uri(path), additional_headers=headers, compression=None, proxy=None, open_timeout=5, **settings
        )
        self.clients.append(client)
        return client

    async def station(self, eui: str = EUI, token: str | None = "", version: str = "2.0.6(test)") -> ClientConnection:
        """A station that has been configured."""
        client = await self.connect(f"/station/{eui}", token)
        await client.send(json.dumps({"msgtype": "version", "station": version, "model": "virtual", "protocol": 2}))
        config = await received(client)
        assert config["msgtype"] == "router_config"
        return client

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - it may be about anything
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        for client in self.clients:
            client.transport.abort()
        await self.endpoint.close()
        assert self.escaped == []


async def received(client: ClientConnection) -> dict[str, Any]:
    """The next message."""
    async with asyncio.timeout(10):
        return json.loads(await client.recv())


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A self-signed certificate for localhost and 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / "station.crt", folder / "station.key"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return crt, pem
