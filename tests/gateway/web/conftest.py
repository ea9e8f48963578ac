"""A town with an archive in a temporary folder, the web application on it, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from nest import town as towns
from nest.archive import Archive, open_database
from nest.live import Live
from nest.registry import Registry
from nest.town import Town
from nest.web import create_app
from sqlalchemy import Engine

NOW = 1_777_636_800.0  # 2026-05-01T12:00:00Z


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return towns.create(tmp_path / "town", "Brandis", latitude=51.336, longitude=12.61, language="de")


@pytest.fixture
def engine(town: Town) -> Iterator[Engine]:
    engine = open_database(town.database)
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    """Amsel and Meise; Meise stands in somebody's garden."""
    registry = Registry(engine)
    registry.add("amsel", "0000000000000001", name="Amsel", latitude=51.3361234, longitude=12.6102345)
    registry.add("meise", "0000000000000002", name="Meise")
    return registry


@pytest.fixture
def archive(engine: Engine, registry: Registry) -> Archive:
    """Amsel: one good reading, and one broken sensor, 12 s ago. Meise: nothing yet."""
    archive = Archive(engine)
    archive.add_reading("amsel", NOW - 12, {"temperature": 0.0}, failed=["humidity"], out_of_range=["pressure"])
    return archive


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def app(archive: Archive, live: Live, town: Town) -> FastAPI:
    return create_app(archive, live, town, lambda: {"uplinks": {"accepted": 3}}, clock=lambda: NOW)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest") as client:
        yield client
