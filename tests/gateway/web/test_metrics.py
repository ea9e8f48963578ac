"""`/metrics`, read as Prometheus reads it, and `/health`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from nest import status
from nest.archive import Archive
from nest.live import Live
from nest.town import Town, load
from nest.web import create_app, machines
from nest.web.operations import Operations
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from ..snapshots import EUI, OTHER, STRANGER, snapshot

NOW = 1_777_636_800.0


class Told:
    """What the nest says; a test may change it."""

    def __init__(self) -> None:
        self.full: dict[str, Any] = snapshot()

    def __call__(self) -> dict[str, Any]:
        return self.full


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def client(
    archive: Archive, live: Live, town: Town, engine: Engine, told: Told
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(archive, live, town, dict, clock=lambda: NOW, operations=Operations(engine, told), remember_s=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest") as client:
        yield client


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """(name, labels) -> value; each may be there once."""
    found: Samples = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


async def test_what_prometheus_reads(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)

    def of(name: str, **labels: str) -> float:
        return found[f"funkspatz_{name}", tuple(sorted(labels.items()))]

    assert of("uplinks_total", outcome="accepted", group="accepted") == 10
    assert of("uplinks_total", outcome="duplicate", group="copies") == 4
    assert of("uplinks_total", outcome="mic_bad", group="refused") == 1
    assert of("uplinks_total", outcome="crc_bad", group="refused") == 0  # known from the start, so that rates are right
    assert of("protocol_messages_total", kind="push_data") == 20
    assert of("gateway_frames_total", gateway=EUI) == 12
    assert of("gateway_useless_frames_total", gateway=EUI) == 2
    assert of("gateway_downlinks_total", gateway=EUI) == 3
    assert of("gateway_downlinks_refused_total", gateway=EUI) == 1
    assert of("gateway_last_seen_timestamp_seconds", gateway=EUI) == NOW - 5
    assert of("gateway_downlink_path", gateway=EUI) == 1
    assert of("gateway_downlink_path", gateway=OTHER) == 0
    assert of("gateway_duty_cycle_left_ratio", gateway=EUI, band="868.0-868.6") == 0.25
    assert of("nodes") == 2
    assert (of("batch_waiting"), of("outbox_waiting"), of("downlinks_waiting"), of("strangers")) == (0, 5, 1, 1)
    assert (of("mqtt_connected"), of("mqtt_published_total"), of("storing")) == (1, 7, 1)
    assert of("build_info", version=importlib.metadata.version("funkspatz")) == 1
    assert found["process_resident_memory_bytes", ()] > 1e6
    never = ("funkspatz_gateway_last_seen_timestamp_seconds", (("gateway", OTHER),))
    assert never not in found, "never is not 1970"


async def test_openmetrics_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(answer.text)}
    assert families["funkspatz_uplinks"].type == "counter"
    assert families["funkspatz_build"].type == "info"


async def test_strangers_and_places_are_no_labels(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    for secret in (STRANGER, "203.0.113.9", "Rathaus", "51.3", "nest:1883", "ab" * 32):
        assert secret not in text


async def test_nothing_heard_makes_a_label(client: httpx.AsyncClient, told: Told) -> None:
    told.full["counters"] = {'x"} 1\nfunkspatz_nodes 9': 1, "accepted": 1, "y" * 41: 1}
    found = samples((await client.get("/metrics")).text)
    assert found["funkspatz_nodes", ()] == 2
    assert not [labels for name, labels in found if name == "funkspatz_protocol_messages_total" and labels]


async def test_nodes_heard_are_counted_once_a_minute(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def heard_since(_: Engine, moment: float) -> tuple[int, list[str]]:
        asked.append(moment)
        return 1, ["meise"]

    monkeypatch.setattr(status, "heard_since", heard_since)
    for _ in range(3):
        assert samples((await client.get("/metrics")).text)["funkspatz_nodes_heard", ()] == 1
    assert asked == [NOW - 86_400]


async def test_a_town_may_close_its_metrics(
    archive: Archive, live: Live, town: Town, engine: Engine, told: Told
) -> None:
    file = town.path / "town.toml"
    file.write_text(file.read_text().replace("metrics = true", "metrics = false"))
    app = create_app(archive, live, load(town.path), dict, operations=Operations(engine, told))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest") as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 404
        assert "funkspatz_" not in answer.text
        assert (await client.get("/health")).status_code == 200


async def test_healthy(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "town": "brandis"})
    assert (await client.head("/health")).status_code == 200


async def test_what_is_heard_waits_for_the_database(client: httpx.AsyncClient, told: Told) -> None:
    told.full = snapshot(trouble="database or disk is full: /home/otto", batch_waiting=9)
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {"status": "failing", "town": "brandis", "reason": "what is heard waits for the database"}
    assert samples((await client.get("/metrics")).text)["funkspatz_storing", ()] == 0
    told.full = snapshot()
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("error", [OperationalError("select", {}, Exception("disk I/O error")), TimeoutError()])
async def test_an_archive_that_does_not_answer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(machines, "_probe", broken)
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the archive does not answer")


async def test_a_table_that_is_gone_is_noticed(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("delete from funkspatz_schema")
    assert (await client.get("/health")).status_code == 503


async def test_however_many_ask_the_nest_is_asked_seldom(
    archive: Archive, live: Live, town: Town, engine: Engine
) -> None:
    asked = []

    def tell() -> dict[str, Any]:
        asked.append(1)
        return snapshot()

    app = create_app(
        archive, live, town, lambda: status.public(tell()), operations=Operations(engine, tell), remember_s=3600
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest") as client:
        for _ in range(5):
            for path in ("/metrics", "/health", "/api/v1/status"):
                assert (await client.get(path)).status_code == 200
    assert len(asked) == 2  # for everybody, and for the operator
