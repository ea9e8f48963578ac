"""The town's side of flashing: names, wishes and keys, each in the registry before it is on a board."""

from __future__ import annotations

import contextlib
import hmac
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nest.errors import UserError
from nest.i18n import tr

from spatz.attached import town as attached_town
from spatz.flash.keeping import KeptLogs
from spatz.flash.plan import Keys
from spatz.names import free_name
from spatz.wishes import Wishes, wishes_of

if TYPE_CHECKING:
    from nest.registry import Former, Provisioned

    from spatz.images.nvs_image import Identity


def town_folder(given: Path | None) -> Path:
    """The town that is meant: as said, else SPATZ_TOWN, else the current folder. Raises UserError: none."""
    found = attached_town.town_folder(given)
    if found is not None:
        return found
    raise UserError(
        tr("Which town do the nodes belong to?"),
        tr("Say it with --town FOLDER. A new one: nest init mytown"),
    )


_TRIES = 20
_LOGS = "interrupted"  # in the town's folder


class KeyChanged(Exception):  # noqa: N818  not an error
    """The node has another key than when it was judged: judge again."""


class FlashTown:
    """A town's registry, for many boards at once. Close it at the end. logs: what was kept of interrupted boards.

    Every method raises UserError when the database cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError: no town there, or its database cannot be opened."""
        from nest.archive.database import open_database
        from nest.registry import Registry
        from nest.town import load

        town = load(folder)
        self.logs = KeptLogs(town.path / _LOGS)
        self._join_eui = town.join_eui
        self._database = town.database
        self._engine = open_database(town.database)
        self._registry = Registry(self._engine)
        self._lock = threading.Lock()  # a name is free until it is taken
        self._promised: dict[bytes, str] = {}  # DevEUI -> name

    def close(self) -> None:
        """Let go of the database."""
        self.logs.close()
        self._engine.dispose()

    def _told(self) -> contextlib.AbstractContextManager[None]:
        """The database's errors as such: they are not the board's."""
        from nest.archive.database import database_errors

        return database_errors(self._database)

    def find(self, dev_eui: bytes) -> Provisioned | None:
        """What the town knows of that chip."""
        with self._told():
            return self._registry.find(dev_eui)

    def former(self, dev_eui: bytes) -> Former | None:
        """What the town knew of that chip, if it does not any more."""
        with self._told():
            return self._registry.former(dev_eui)

    def wishes(self, slug: str) -> Wishes | None:
        """What is wished of that node; None when nothing was, or nobody can read it any more."""
        with self._told():
            said = self._registry.wishes(slug)
        try:
            return wishes_of(said) if said else None
        except UserError:
            return None

    def name(self, dev_eui: bytes, slug: str | None) -> str:
        """What the board will be called: as wished, as it is, or by a free name; nothing is registered."""
        with self._lock, self._told():
            known = self._registry.find(dev_eui)
            return slug or (known.slug if known else self._free_name(dev_eui))

    def keys(
        self, keys: Keys, dev_eui: bytes, slug: str | None, wishes: Wishes, judged: Provisioned | None = None
    ) -> tuple[Wishes, Identity | None]:
        """Register the board, or find it registered. Everything is in the registry when this returns.

        slug: None for the name it has, or a free one. judged: what `keys` was judged by.
        Returns the wishes with the name that it has now, and what is to be written to its NVS; None: it stays.

        Raises UserError: the name is taken or cannot be one, the node was retired; KeyChanged.
        """
        from spatz.images.nvs_image import Identity

        with self._lock, self._told():
            node, wishes = self._provision(dev_eui, slug, wishes)
            if keys is Keys.KEPT:
                if judged and not hmac.compare_digest(judged.app_key, node.app_key):
                    raise KeyChanged
                return wishes, None
            if keys is Keys.ERASED and not node.new:
                node = self._registry.rotate(node.slug)
            first = node.dev_nonce if node.new else self._registry.written_again(node.slug)
        return wishes, Identity(node.dev_eui, node.join_eui, node.app_key, first)

    def _provision(self, dev_eui: bytes, slug: str | None, wishes: Wishes) -> tuple[Provisioned, Wishes]:
        for tries_left in reversed(range(_TRIES)):
            known = self._registry.find(dev_eui)
            name = slug or (known.slug if known else self._free_name(dev_eui))
            wishes = replace(wishes, name=name)
            wishes.config()  # a wish that cannot be is refused before anything is written
            try:
                return self._registry.provision(dev_eui, self._join_eui, slug=name, wishes=wishes.to_json()), wishes
            except UserError:
                taken = self._registry.find_slug(name)
                if slug or known or not tries_left or taken is None or taken.dev_eui == dev_eui:
                    raise  # else another program at this town was faster: the next name
                self._promised.pop(dev_eui, None)
        raise AssertionError

    def _free_name(self, dev_eui: bytes) -> str:
        """Its old one if it was here before, for its readings hang on it; else the first that nobody has or had."""
        from nest.archive.schema import nodes
        from sqlalchemy import select

        with self._engine.connect() as connection:
            was = connection.scalar(select(nodes.c.slug).where(nodes.c.dev_eui == dev_eui.hex()))
        if was or dev_eui in self._promised:
            return was or self._promised[dev_eui]
        taken = {node.slug for node in self._registry.list()} | {*self._registry.removed_slugs()}
        self._promised[dev_eui] = free_name(taken | {*self._promised.values()})
        return self._promised[dev_eui]
