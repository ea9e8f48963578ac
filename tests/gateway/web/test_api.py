"""`/api/v1`: what programs get, and what they are told when they ask for the impossible."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from nest.archive import Archive
from nest.archive.day_files_folder import DataFolder
from nest.archive.days import DayWorker
from sqlalchemy import Engine

NOW = 1_777_636_800.0


async def test_nodes_with_their_latest_values(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/nodes")).json()
    assert answer["time"] == "2026-05-01T12:00:00.000Z"
    assert answer["town"] == "brandis"
    amsel, meise = answer["nodes"]
    assert amsel["values"]["temperature"] == {
        "value": 0.0,
        "unit": "°C",
        "time": "2026-05-01T11:59:48.000Z",
        "age_s": 12,
        "state": "good",
        "origin": "other",
    }
    assert amsel["last_seen"] == "2026-05-01T11:59:48.000Z"
    assert amsel["stale"] is False
    assert (meise["slug"], meise["last_seen"], meise["values"], meise["stale"]) == ("meise", None, {}, True)


async def test_missing_is_not_zero(client: httpx.AsyncClient) -> None:
    values = (await client.get("/api/v1/nodes/amsel")).json()["values"]
    assert (values["humidity"]["value"], values["humidity"]["state"]) == (None, "failed")
    assert (values["pressure"]["value"], values["pressure"]["state"]) == (None, "out_of_range")
    assert "battery" not in values


async def test_positions_are_rounded(client: httpx.AsyncClient) -> None:
    amsel = (await client.get("/api/v1/nodes/amsel")).json()
    assert (amsel["latitude"], amsel["longitude"]) == (51.336, 12.61)
    for address in ("/api/v1/nodes", "/", "/nodes/amsel"):
        assert "51.3361" not in (await client.get(address)).text, address


async def test_readings_in_order_with_gaps_and_in_parts(client: httpx.AsyncClient, archive: Archive) -> None:
    for age, value in ((3600, 1.5), (1800, -2.5)):
        archive.add_reading("amsel", NOW - age, {"temperature": value})
    archive.add_reading("amsel", NOW - 900, {}, failed=["temperature"])
    archive.add_reading("amsel", NOW - 2 * 86400, {"temperature": 99.0})  # before the usual 24 h
    address = "/api/v1/nodes/amsel/readings"
    answer = (await client.get(address, params={"quantity": "temperature"})).json()
    everything = [[NOW - 3600, 1.5], [NOW - 1800, -2.5], [NOW - 900, None], [NOW - 12, 0.0]]
    assert answer == {
        "node": "amsel", "quantity": "temperature", "unit": "°C", "readings": everything, "origins": ["other"] * 4,
        "next": None,
    }  # fmt: skip

    parts, start = [], "2026-05-01T00:00:00Z"
    while start:
        query = {"quantity": "temperature", "start": start, "limit": 1}
        part = (await client.get(address, params=query)).json()
        parts += part["readings"]
        start = part["next"]
    assert parts == everything


async def test_times_with_and_without_a_zone(client: httpx.AsyncClient) -> None:
    for start in ("2026-05-01T11:59:48", "2026-05-01T13:59:48+02:00", "2026-05-01T11:59:48Z", str(int(NOW - 12))):
        query = {"quantity": "temperature", "start": start}
        answer = await client.get("/api/v1/nodes/amsel/readings", params=query)
        assert len(answer.json()["readings"]) == 1, start
    query = {"quantity": "temperature", "end": "2026-05-01T11:59:48Z"}  # the end itself is not in it
    assert (await client.get("/api/v1/nodes/amsel/readings", params=query)).json()["readings"] == []


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("/nodes/kuckuck", 404, "no such node"),
        ("/nodes/kuckuck/readings?quantity=temperature", 404, "no such node"),
        ("/nodes/amsel/readings", 422, "quantity"),
        ("/nodes/amsel/readings?quantity=mood", 422, "temperature, humidity"),
        ("/nodes/amsel/readings?quantity=temperature&limit=0", 422, "limit"),
        ("/nodes/amsel/readings?quantity=temperature&limit=1000000", 422, "limit"),
        ("/nodes/amsel/readings?quantity=temperature&start=yesterday", 422, "start"),
        ("/nodes/amsel/readings?quantity=temperature&start=9e999", 422, "start"),
        ("/nodes/amsel/readings?quantity=temperature&start=2027-01-01", 422, "before end"),
        ("/nodes/amsel/readings?quantity=temperature&start=2025-01-01", 422, "31 days"),
        ("/nodes/amsel/readings?quantity=temperature&start=0001-01-01&end=9999-12-31", 422, "31 days"),
        ("/nodes/amsel%00/readings?quantity=temperature", 404, ""),
        ("/nothing", 404, ""),
    ],
)
async def test_the_impossible_is_refused_in_one_sentence(
    client: httpx.AsyncClient, address: str, status: int, says: str
) -> None:
    answer = await client.get(f"/api/v1{address}")
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    assert says in answer.json()["detail"]


async def test_writing_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/v1/nodes", json={})).status_code == 405
    assert (await client.delete("/api/v1/nodes/amsel")).status_code == 405


async def test_quantities_say_what_numbers_mean(client: httpx.AsyncClient) -> None:
    first = (await client.get("/api/v1/quantities")).json()["quantities"][0]
    assert (first["name"], first["unit"], first["ucum"]) == ("temperature", "°C", "Cel")
    assert first["minimum"] == -60.0
    assert first["resolution"] == 0.1
    assert first["label"] == {"de": "Temperatur", "en": "Temperature"}
    assert set(first["meaning"]) == {"de", "en"}


async def test_status_and_health(client: httpx.AsyncClient) -> None:
    status = (await client.get("/api/v1/status")).json()
    assert status == {"time": "2026-05-01T12:00:00.000Z", "uplinks": {"accepted": 3}}
    assert (await client.get("/health")).json() == {"status": "ok", "town": "brandis"}


async def test_open_data_is_open_to_every_website_and_pages_are_not(client: httpx.AsyncClient) -> None:
    for address in ("/api/v1/nodes", "/api/v1/nodes/kuckuck", "/api/v1/openapi.json"):
        assert (await client.get(address)).headers["access-control-allow-origin"] == "*", address
    preflight = await client.options("/api/v1/nodes")
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-methods"] == "GET"
    assert "access-control-allow-origin" not in (await client.get("/")).headers


async def test_days_say_how_complete_they_are(client: httpx.AsyncClient, archive: Archive) -> None:
    archive.add_reading("amsel", NOW - 3 * 86400, {"temperature": 1.5})
    whole = {"recovered": 0, "backfilled": 0, "missing": 0}
    three_days_ago = {"day": "2026-04-28", "expected": 1, "present": 1, **whole}
    today = {"day": "2026-05-01", "expected": 1, "present": 1, **whole}
    address = "/api/v1/nodes/amsel/days"
    assert (await client.get(address)).json() == {"node": "amsel", "days": [three_days_ago, today]}
    for query, found in (
        ({"last": "2026-04-30"}, [three_days_ago]),
        ({"first": "2026-04-29"}, [today]),
        ({"first": "2025-05-01", "last": "2026-04-28"}, [three_days_ago]),
    ):
        assert (await client.get(address, params=query)).json()["days"] == found, query
    for query, status in (
        ({"first": "2026-05-02"}, 422),
        ({"first": "2025-04-30"}, 422),
        ({"first": "yesterday"}, 422),
    ):
        assert (await client.get(address, params=query)).status_code == status, query
    assert (await client.get("/api/v1/nodes/kuckuck/days")).status_code == 404


async def test_openapi_describes_what_is_answered(client: httpx.AsyncClient) -> None:
    described = (await client.get("/api/v1/openapi.json")).json()
    assert sorted(described["paths"]) == [
        "/api/v1/events",
        "/api/v1/nodes",
        "/api/v1/nodes/{slug}",
        "/api/v1/nodes/{slug}/aggregates",
        "/api/v1/nodes/{slug}/days",
        "/api/v1/nodes/{slug}/readings",
        "/api/v1/quantities",
        "/api/v1/status",
    ]
    for path, operations in described["paths"].items():
        answers = operations["get"]["responses"]
        for status, answer in answers.items():
            schema = next(iter(answer["content"].values()))["schema"]
            if status == "200":
                assert schema, path
            else:
                assert schema == {"$ref": "#/components/schemas/Problem"}, path
    value = described["components"]["schemas"]["Value"]["properties"]
    assert value["state"]["enum"] == ["good", "failed", "out_of_range"]
    assert {"type": "null"} in value["value"]["anyOf"]


async def test_the_interface_is_explained_without_a_cdn(client: httpx.AsyncClient, app: FastAPI) -> None:
    assert app.docs_url is None
    assert app.redoc_url is None
    page = (await client.get("/api")).text
    for path in app.openapi()["paths"]:
        assert f"GET {path}<" in page
    assert "https://" not in page
    assert (await client.get("/api/v1/nodes/amsel/readings?quantity=temperature")).status_code == 200
    assert "/api/v1/nodes/amsel/readings?quantity=temperature" in page


async def test_hours_and_days_for_long_ranges(
    client: httpx.AsyncClient, archive: Archive, engine: Engine, tmp_path: Path
) -> None:
    for age, value in ((3600, 1.5), (3599, 2.5), (200 * 86_400, -4.0)):
        archive.add_reading("amsel", NOW - age, {"temperature": value})
    DayWorker(engine, DataFolder(tmp_path / "data", ("brandis", "Brandis"))).work(round(NOW * 1000))
    address = "/api/v1/nodes/amsel/aggregates"
    hours = {"quantity": "temperature"}
    answer = (await client.get(address, params=hours)).json()
    recent = [[NOW - 3600, 3, 0.0, 2.5, 1.333]]
    assert answer == {"node": "amsel", "quantity": "temperature", "unit": "°C", "span": "hour", "aggregates": recent}
    days = {"quantity": "temperature", "span": "day", "start": "2020-01-01"}
    found = (await client.get(address, params=days)).json()["aggregates"]
    assert [row[1:] for row in found] == [[1, -4.0, -4.0, -4.0], [3, 0.0, 2.5, 1.333]]
    for query, status in (
        ({"quantity": "mood"}, 422),
        ({**hours, "span": "week"}, 422),
        ({**hours, "start": "2025-04-01"}, 422),
        ({**hours, "start": "2027-01-01"}, 422),
    ):
        assert (await client.get(address, params=query)).status_code == status, query
    assert (await client.get("/api/v1/nodes/kuckuck/aggregates", params=hours)).status_code == 404
