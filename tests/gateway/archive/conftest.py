"""A town's database with one node, a journal on it, and the session of that node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway.archive.bursts import EUI, join, session
from nest.archive import open_database
from nest.archive.journal import Journal
from nest.model import SessionState
from nest.registry import Registry
from sqlalchemy import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "nest.db")
    Registry(engine).add("amsel", EUI)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine) -> Iterator[Journal]:
    with contextlib.closing(Journal(engine)) as journal:
        yield journal


@pytest.fixture
def state(journal: Journal) -> SessionState:
    """The session of a node that has just joined."""
    state = session()
    assert not journal.commit([join(state)]).failed
    return state
