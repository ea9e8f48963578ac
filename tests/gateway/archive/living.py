"""A town that lives: for what is done to it as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gateway.archive.bursts import EUI, join, session, store
from nest import town
from nest.archive import Archive, copies, open_database
from nest.archive.journal import Journal, RefusedError
from nest.model import SessionState
from nest.registry import Registry


class Living:
    """A town with a node that has joined and was heard, and an open journal on it."""

    def __init__(self, folder: Path) -> None:
        self.town = town.create(folder, "Brandis", mqtt_url="mqtt://u:secret@broker")
        (folder / "outlines.geojson").write_text("{}")
        (folder / "tls").mkdir()
        (folder / "tls" / "key.pem").write_text("key")
        self.engine = open_database(self.town.database)
        Registry(self.engine).add("amsel", EUI, app_key=bytes(16))
        self.journal = Journal(self.engine)
        self.state = session(fcnt_down=7)
        self.journal.commit([join(self.state), store(self.state, 0)])

    @property
    def archive(self) -> Archive:
        return Archive(self.engine)

    def close(self) -> None:
        self.journal.close()
        self.engine.dispose()


@contextlib.contextmanager
def written_meanwhile(journal: Journal, state: SessionState, at: str, fcnt: int) -> Iterator[list[int]]:
    """Frames come before and after the step `at` of a restore, from `fcnt` on: those that were stored."""
    stored: list[int] = []
    step = getattr(copies, at)

    def write() -> None:
        new = fcnt + len(stored)
        with contextlib.suppress(RefusedError):
            journal.commit([store(state, new, at=2000.0 + new)])
            stored.append(new)

    def between(*given: Any) -> Any:
        write()
        done = step(*given)
        write()
        return done

    with patch.object(copies, at, between):
        yield stored
