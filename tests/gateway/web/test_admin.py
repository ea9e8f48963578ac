"""`/api/v1/admin`: who gets in, what an operator can do, and that no key or token ever comes out."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from nest.archive import Archive, meta
from nest.archive.downlinks import DownlinkQueue
from nest.gateways import GatewayRegistry
from nest.live import Live
from nest.registry import Registry
from nest.tokens import fingerprint, matches, new_token
from nest.town import Town
from nest.web import create_app
from nest.web.guard import MOST_FAILURES, Failures
from nest.web.operations import Operations
from nest.web.security import MOST_BODY
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from ..snapshots import snapshot

NOW = 1_777_636_800.0
TOKEN = "not-Random-For-Tests-Have-To-Be-Named-0123456"  # by workers that run them side by side
AUTH = {"authorization": f"Bearer {TOKEN}"}
APP_KEY = "00112233445566778899aabbccddeeff"
NODE = {"slug": "uhu", "dev_eui": "70b3d57ed0000009", "app_key": APP_KEY, "name": "Uhu"}
GATEWAY = {"eui": "0016c001f1500812", "name": "Rathaus", "latitude": 51.3, "longitude": 12.6, "station": True}
SNAPSHOT = snapshot()


@pytest.fixture
def app(archive: Archive, live: Live, town: Town, engine: Engine) -> FastAPI:
    meta.put(engine, meta.ADMIN_TOKEN, fingerprint(TOKEN))
    operations = Operations(engine, lambda: SNAPSHOT, town.join_eui)
    return create_app(archive, live, town, dict, clock=lambda: NOW, operations=operations)


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://nest/api/v1/admin", headers=AUTH) as admin:
        yield admin


EVERYTHING = [
    ("GET", "/status"), ("GET", "/nodes"), ("POST", "/nodes"), ("DELETE", "/nodes/amsel"),
    ("POST", "/nodes/amsel/downlinks"), ("GET", "/gateways"), ("POST", "/gateways"),
    ("POST", "/gateways/0016c001f1500812/token"), ("DELETE", "/gateways/0016c001f1500812"),
    ("GET", ""), ("GET", "/nothing"), ("PUT", "/nodes"), ("OPTIONS", "/nodes"),
]  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x",
        f"Bearer {fingerprint(TOKEN)}", "Bearer \xff\xfe",
    ],
)  # fmt: skip
async def test_without_the_token_nobody_learns_anything(app: FastAPI, engine: Engine, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    answers = set()
    for number, (method, path) in enumerate(EVERYTHING):
        transport = httpx.ASGITransport(app, client=(f"10.0.0.{number}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://nest/api/v1/admin") as stranger:
            answer = await stranger.request(method, path, headers=headers, content=b"{")
        answers.add((answer.status_code, answer.text, answer.headers["www-authenticate"]))
    assert answers == {(401, '{"detail":"unauthorized"}', "Bearer")}
    assert [node.slug for node in Registry(engine).list()] == ["amsel", "meise"]


async def test_every_route_is_tried_above(app: FastAPI) -> None:
    described = {
        (method.upper(), path.removeprefix("/api/v1/admin").format(slug="amsel", eui="0016c001f1500812"))
        for path, operations in app.openapi()["paths"].items()
        if path.startswith("/api/v1/admin")
        for method in operations
    }
    assert described
    assert described <= set(EVERYTHING)


async def test_a_town_without_a_token_lets_nobody_in(admin: httpx.AsyncClient, engine: Engine) -> None:
    meta.put(engine, meta.ADMIN_TOKEN, "")
    assert (await admin.get("/status")).status_code == 401
    for token in ("", "x"):
        assert not matches(token, None)
        assert not matches(token, "")


async def test_a_new_token_counts_at_once(admin: httpx.AsyncClient, engine: Engine) -> None:
    assert (await admin.get("/status")).status_code == 200
    meta.put(engine, meta.ADMIN_TOKEN, fingerprint(new_token()))
    assert (await admin.get("/status")).status_code == 401


async def test_whoever_errs_too_often_has_to_wait(app: FastAPI) -> None:
    async def ask(host: str, token: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://nest") as client:
            return await client.get("/api/v1/admin/status", headers={"authorization": f"Bearer {token}"})

    for _ in range(MOST_FAILURES):
        assert (await ask("2001:db8::1", "wrong")).status_code == 401
    refused = await ask("2001:db8::2", "as wrong")  # a neighbour in the same /64: the same customer
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await ask("2001:db8::2", TOKEN)).status_code == 200  # nobody locks the operator out
    assert (await ask("2001:db8:0:1::1", TOKEN)).status_code == 200
    assert (await ask("203.0.113.9", TOKEN)).status_code == 200


def test_after_a_while_failures_are_forgiven_and_their_list_stays_short() -> None:
    now = 0.0
    failures = Failures(lambda: now)
    for _ in range(MOST_FAILURES):
        assert failures.wait_s("x") == 0
        failures.note("x")
    assert failures.wait_s("x") == 60
    now = 59.0
    assert failures.wait_s("x") == 1
    now = 61.0
    assert failures.wait_s("x") == 0
    for number in range(20_000):
        failures.note(str(number))
    assert len(failures._of) == 10_000


async def test_no_other_website_reaches_it(admin: httpx.AsyncClient) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (
        await admin.options("/nodes", headers=headers),
        await admin.get("/status", headers=headers),
        await admin.get("/nothing", headers=headers),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_the_whole_status(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/status")).json() == {**SNAPSHOT, "time": "2026-05-01T12:00:00.000Z"}


async def test_a_node_is_registered_and_removed(admin: httpx.AsyncClient, engine: Engine, town: Town) -> None:
    answer = await admin.post("/nodes", json={**NODE, "latitude": 51.3361234, "longitude": 12.6})
    assert answer.status_code == 201
    assert answer.json() == {
        "slug": "uhu", "name": "Uhu", "dev_eui": "70b3d57ed0000009", "join_eui": town.join_eui.hex(),
        "latitude": 51.3361234, "longitude": 12.6, "precision": 3,
        "battery": None, "margin_db": None,
    }  # fmt: skip
    device = Registry(engine).device(bytes.fromhex("70b3d57ed0000009"))
    assert device
    assert device.app_key.hex() == APP_KEY
    assert answer.json() in (await admin.get("/nodes")).json()
    assert (await admin.post("/nodes", json=NODE)).status_code == 409
    assert (await admin.delete("/nodes/uhu")).status_code == 204
    assert Registry(engine).get("uhu") is None
    assert (await admin.delete("/nodes/uhu")).status_code == 404


async def test_a_node_without_a_key_is_given_one(admin: httpx.AsyncClient, engine: Engine) -> None:
    asked = {"slug": "uhu", "dev_eui": "70b3d57ed0000009"}
    assert (await admin.post("/nodes", json=asked)).status_code == 201
    device = Registry(engine).device(bytes.fromhex("70b3d57ed0000009"))
    assert device
    assert len(set(device.app_key)) > 4


async def test_a_node_without_a_join_eui_gets_the_towns(admin: httpx.AsyncClient, town: Town) -> None:
    asked = {"slug": "uhu", "dev_eui": "70b3d57ed0000009"}
    assert (await admin.post("/nodes", json=asked)).json()["join_eui"] == town.join_eui.hex()
    assert town.join_eui != bytes(8)
    assert (await admin.delete("/nodes/uhu")).status_code == 204
    other = {**asked, "join_eui": "70b3d57ed00000ff"}
    assert (await admin.post("/nodes", json=other)).json()["join_eui"] == other["join_eui"]
    assert (await admin.delete("/nodes/uhu")).status_code == 204
    assert (await admin.post("/nodes", json=asked)).json()["join_eui"] == other["join_eui"]  # it has it still


async def test_a_gateway_is_admitted_and_its_token_shown_once(admin: httpx.AsyncClient, engine: Engine) -> None:
    answer = await admin.post("/gateways", json=GATEWAY)
    assert answer.status_code == 201
    token = answer.json()["token"]

    def kept() -> str | None:
        gateway = GatewayRegistry(engine).get("0016c001f1500812")
        return gateway.token if gateway else None

    assert matches(token, kept())
    (listed,) = (await admin.get("/gateways")).json()
    assert listed == {
        "eui": "0016c001f1500812", "name": "Rathaus", "latitude": 51.3, "longitude": 12.6, "altitude_m": None,
        "antenna_gain_dbi": 2.15, "station": True,
    }  # fmt: skip
    renewed = (await admin.post("/gateways/0016C001F1500812/token")).json()
    assert renewed["eui"] == "0016c001f1500812"
    assert matches(renewed["token"], kept())
    assert not matches(token, kept())
    assert (await admin.post("/gateways", json=GATEWAY)).status_code == 409
    assert (await admin.delete("/gateways/0016c001f1500812")).status_code == 204
    assert (await admin.delete("/gateways/0016c001f1500812")).status_code == 404
    assert (await admin.post("/gateways/0016c001f1500812/token")).status_code == 404
    assert (await admin.get("/gateways")).json() == []


async def test_a_gateway_without_station_has_no_token(admin: httpx.AsyncClient, engine: Engine) -> None:
    answer = await admin.post("/gateways", json={"eui": "0016C001F1500812"})
    assert answer.json() == {"eui": "0016c001f1500812", "token": None}
    (gateway,) = GatewayRegistry(engine).list()
    assert gateway.token is None


async def test_a_downlink_is_queued(admin: httpx.AsyncClient, engine: Engine) -> None:
    asked = {"payload": "01FF", "port": 10, "confirmed": True, "window": 2}
    answer = await admin.post("/nodes/amsel/downlinks", json=asked)
    assert answer.status_code == 201
    queued = DownlinkQueue(engine).get(answer.json()["id"])
    assert queued
    assert (queued.port, queued.payload, queued.confirmed, queued.window) == (10, b"\x01\xff", True, 2)
    assert queued.dev_eui == bytes.fromhex("0000000000000001")
    assert (await admin.post("/nodes/uhu/downlinks", json=asked)).status_code == 404


@pytest.mark.parametrize(
    ("path", "asked", "says"),
    [
        ("/nodes", {**NODE, "app_key": "0011"}, "app_key"),
        ("/nodes", {**NODE, "app_key": 17}, "app_key"),
        ("/nodes", {**NODE, "app-key": APP_KEY}, "app-key"),
        ("/nodes", {**NODE, "dev_eui": APP_KEY}, "dev_eui"),
        ("/nodes", {**NODE, "slug": "Ä"}, "slug"),
        ("/nodes", {**NODE, "slug": APP_KEY + "\n"}, "slug"),
        ("/nodes", {**NODE, "name": "a\nb"}, "name"),
        ("/nodes", {**NODE, "name": " "}, "name"),
        ("/nodes", {**NODE, "latitude": 51.3}, "both or neither"),
        ("/nodes", {**NODE, "latitude": 91, "longitude": 0}, "latitude"),
        ("/nodes", {**NODE, "precision": 9}, "precision"),
        ("/nodes", {"slug": "uhu"}, "dev_eui"),
        ("/nodes", [NODE], ""),
        ("/nodes", APP_KEY, ""),
        ("/gateways", {"eui": "70b3"}, "eui"),
        ("/gateways", {**GATEWAY, "antenna_gain_dbi": 99}, "antenna_gain_dbi"),
        ("/gateways", {**GATEWAY, "token": APP_KEY}, "token"),
        ("/nodes/amsel/downlinks", {"payload": "0"}, "payload"),
        ("/nodes/amsel/downlinks", {"payload": "00" * 243}, "payload"),
        ("/nodes/amsel/downlinks", {"payload": "00", "port": 224}, "port"),
        ("/nodes/amsel/downlinks", {"payload": "00", "window": 3}, "window"),
    ],
)
async def test_the_impossible_is_refused_and_never_repeated(
    admin: httpx.AsyncClient, path: str, asked: object, says: str
) -> None:
    answer = await admin.post(path, json=asked)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert APP_KEY not in answer.text.lower()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"latitude": NaN}', b"[" * 20_000])
async def test_what_is_no_json_is_refused(admin: httpx.AsyncClient, body: bytes) -> None:
    answer = await admin.post("/nodes", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_long_body_is_not_read_to_its_end(admin: httpx.AsyncClient, told: bool) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 16_384
            yield b" " * 16_384

    headers = {"content-type": "application/json", **({"content-length": str(16_384_000)} if told else {})}
    answer = await admin.post("/nodes", content=body(), headers=headers)
    assert answer.status_code == 413
    assert "64" in answer.json()["detail"]
    assert sent <= MOST_BODY + 2 * 16_384


async def test_a_database_that_does_not_answer_is_no_open_door(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise OperationalError("select secret", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(meta, "get", locked)
        answer = await admin.get("/nodes")
    assert (answer.status_code, "secret" in answer.text) == (503, False)
    monkeypatch.setattr(Registry, "list", locked)
    answer = await admin.get("/nodes")
    assert (answer.status_code, "secret" in answer.text) == (503, False)
    assert int(answer.headers["retry-after"]) > 0


async def test_openapi_tells_how_to_get_in(app: FastAPI) -> None:
    described = app.openapi()
    (scheme,) = described["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) is path.startswith("/api/v1/admin"), path
    assert "app_key" not in described["components"]["schemas"]["AdminNode"]["properties"]
    assert described["components"]["schemas"]["NewNode"]["properties"]["app_key"]["anyOf"][0]["writeOnly"]


async def test_the_citizens_page_about_the_interface_leaves_it_out(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest") as client:
        page = await client.get("/api")
    assert page.status_code == 200
    assert "/api/v1/admin" not in page.text
    assert "/api/v1/nodes" in page.text


def spellings(secret: bytes) -> set[str]:
    """How a key or token could look in a text."""
    both = {base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()}
    return {secret.hex(), secret.hex().upper(), *(text.rstrip("=") for text in both)}


async def test_no_key_and_no_token_in_any_answer_or_log(
    admin: httpx.AsyncClient, app: FastAPI, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is asked, rightly and wrongly; then every answer and every log line is searched for all secrets."""
    caplog.set_level(logging.DEBUG)
    answers = []
    shown: dict[str, str] = {}  # tokens that are shown this once: token -> the answer that may hold it

    async def ask(method: str, path: str, body: object = None) -> None:
        answer = await admin.request(method, path, json=body)
        text = f"{answer.status_code} {answer.text} {answer.headers}"
        if answer.status_code == 201 and (token := answer.json().get("token")):
            shown[token] = text
        answers.append(text)

    await ask("POST", "/nodes", NODE)
    await ask("POST", "/nodes", {"slug": "eule", "dev_eui": "70b3d57ed000000a"})
    await ask("POST", "/gateways", GATEWAY)
    await ask("POST", f"/gateways/{GATEWAY['eui']}/token")
    for method, path in EVERYTHING:
        for body in (None, NODE, GATEWAY, {"payload": "00"}, {**NODE, "slug": APP_KEY}, {**NODE, "dev_eui": APP_KEY}):
            await ask(method, path, body)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest", headers=AUTH) as anyone:
        open_to_all = ("/", "/nodes/uhu", "/api", "/api/v1/nodes", "/api/v1/status", "/metrics", "/health")
        answers += [(await anyone.get(path)).text for path in (*open_to_all, "/api/v1/openapi.json")]
    secrets = {TOKEN, fingerprint(TOKEN), *spellings(bytes.fromhex(APP_KEY))}
    for device in Registry(engine).devices():
        secrets |= spellings(device.app_key)
    for token in shown:
        secrets |= {token, fingerprint(token), *spellings(token.encode())}
    texts = [*answers, *(json.dumps(vars(record), default=str) for record in caplog.records)]
    assert len(shown) >= 2
    for secret in secrets:
        for text in texts:
            assert secret not in text or shown.get(secret) == text, "a secret was told"
