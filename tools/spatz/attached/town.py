"""The town that an attached node belongs to: its registry knows what is wished of the node."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from spatz.wishes import Wishes, wishes_of

TOWN = "SPATZ_TOWN"
"""Environment variable: the folder of the town, for those who work with one."""

_ONE_AT_A_TIME = threading.Lock()


def town_folder(given: Path | None) -> Path | None:
    """The folder that was given, else that of the environment, else the current one if it is a town's."""
    from nest.town import SETTINGS_FILE

    if given:
        return given
    if os.environ.get(TOWN):
        return Path(os.environ[TOWN])
    return Path() if Path(SETTINGS_FILE).is_file() else None


@dataclass(frozen=True, slots=True)
class Known:
    """A node of the town. wishes: None when nobody has written it from here."""

    slug: str
    wishes: Wishes | None


def find(folder: Path, dev_eui: str) -> Known | None:
    """The node with this DevEUI (16 hex digits); None: it is not of this town. Raises UserError: no such town."""
    from nest.cli_common import database
    from nest.registry import Registry

    with _ONE_AT_A_TIME, database(folder) as engine:
        registry = Registry(engine)
        found = registry.find(bytes.fromhex(dev_eui)) if dev_eui else None
        if found is None:
            return None
        wishes = registry.wishes(found.slug)
    return Known(found.slug, wishes_of(wishes) if wishes else None)


def keep(folder: Path, slug: str, wishes: Wishes) -> None:
    """Note what is wished of a node. Raises UserError: there is none of that name any more."""
    from nest.cli_common import database
    from nest.registry import Registry

    with _ONE_AT_A_TIME, database(folder) as engine:
        Registry(engine).set_wishes(slug, wishes.to_json())


def key_mark(folder: Path, dev_eui: str) -> bytes:
    """The fingerprint of a node's key as the town knows it, b"" for none; see nest.keys."""
    from nest import keys
    from nest.cli_common import database
    from nest.registry import Registry

    with _ONE_AT_A_TIME, database(folder) as engine:
        found = Registry(engine).find(bytes.fromhex(dev_eui))
    return keys.mark(found.dev_eui, found.app_key) if found else b""
