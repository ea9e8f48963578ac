"""A town's database with one node, on SQLite and on PostgreSQL; a journal on it, and the session of that node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway.archive.bursts import EUI, join, session
from gateway.archive.living import Living
from gateway.archive.postgres_server import PostgresServer, needs_postgres
from nest.archive import copies, open_database
from nest.archive.journal import Journal
from nest.database_url import DatabaseServer
from nest.model import SessionState
from nest.registry import Registry
from sqlalchemy import Engine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that takes a database takes both kinds, unless it is about one of them."""
    if "where" not in metafunc.fixturenames or hasattr(metafunc.module, "where"):
        return
    kinds = ["sqlite"]
    if metafunc.definition.get_closest_marker("only_sqlite") is None:
        kinds += [pytest.param("postgresql", marks=[needs_postgres, pytest.mark.xdist_group("postgresql")])]
    metafunc.parametrize("where", kinds, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests; each has a database of its own."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[DatabaseServer]:
    """An empty database on PostgreSQL."""
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | DatabaseServer:
    """Where a database is, or may be made."""
    return tmp_path / "nest.db" if request.param == "sqlite" else request.getfixturevalue("server")


@pytest.fixture
def engine(where: Path | DatabaseServer) -> Iterator[Engine]:
    engine = open_database(where)
    Registry(engine).add("amsel", EUI)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine) -> Iterator[Journal]:
    with contextlib.closing(Journal(engine)) as journal:
        yield journal


@pytest.fixture
def new_journal(engine: Engine) -> Iterator[Callable[[], Journal]]:
    """Makes further ones, as a nest that is started again has them."""
    with contextlib.ExitStack() as parts:
        yield lambda: parts.enter_context(contextlib.closing(Journal(engine)))


@pytest.fixture
def state(journal: Journal) -> SessionState:
    """The session of a node that has just joined."""
    state = session()
    assert not journal.commit([join(state)]).failed
    return state


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Living]:
    living = Living(tmp_path / "town")
    yield living
    living.close()


@pytest.fixture
def file(tmp_path: Path, living: Living) -> Path:
    copies.backup(living.town, tmp_path / "b.nest.tar.gz")
    return tmp_path / "b.nest.tar.gz"
