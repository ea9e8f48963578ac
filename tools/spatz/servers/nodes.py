"""The nodes of a town as other servers are told of them, and files that hold keys."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nest.archive.snapshots import sync_folder
from nest.errors import UserError
from nest.i18n import tr
from nest.registry import REBUILT, Provisioned, Registry, unknown_node

from spatz.wishes import Wishes, wishes_of

USUAL_INTERVAL_S = 600


@dataclass(frozen=True, slots=True)
class Entry:
    """One node: its identity (`dev_eui` and `join_eui` 8 bytes), its name for people, and what is wished of it."""

    slug: str
    name: str
    dev_eui: bytes
    join_eui: bytes
    app_key: bytes = field(repr=False)
    dev_nonce: int = 0  # the smallest it may still use
    join_nonce: int = 0  # the highest that our nest has given it
    interval_s: int = USUAL_INTERVAL_S


def entries(registry: Registry, only: Collection[str] = ()) -> list[Entry]:
    """Every node that has a board, by slug, or those of the slugs `only`. Raises UserError: one of them is unknown."""
    found = []
    names = {node.slug: node for node in registry.list() if not node.dev_eui.startswith(REBUILT)}
    for slug in only:
        if slug not in names:
            raise unknown_node(slug)
    for slug, node in names.items():
        if only and slug not in only:
            continue
        held = registry.find_slug(slug)
        if held is not None:  # else it was removed this moment
            found.append(entry_of(held, node.name, _interval(registry.wishes(slug))))
    return found


def entry_of(held: Provisioned, name: str, interval_s: int) -> Entry:
    """The same node, for another server."""
    return Entry(
        held.slug, name, held.dev_eui, held.join_eui, held.app_key, held.dev_nonce, held.join_nonce, interval_s
    )


def longest_interval_s(registry: Registry) -> int:
    """Of all nodes that have a board: whoever is silent for longer is missing."""
    found = (node.slug for node in registry.list() if not node.dev_eui.startswith(REBUILT))
    return max((_interval(registry.wishes(slug)) for slug in found), default=USUAL_INTERVAL_S)


def _interval(wishes: str | None) -> int:
    wished = _wishes(wishes)
    return USUAL_INTERVAL_S if wished is None else wished.interval_s


def _wishes(text: str | None) -> Wishes | None:
    if text is None:
        return None
    try:
        return wishes_of(text)
    except UserError:  # of a newer Funkspatz; only `spatz flash` needs to understand it
        return None


def write_private(path: Path, text: str, *, force: bool = False) -> None:
    """A file that only its owner reads, whole or not at all. On Windows the folder's rights count.

    Raises UserError: there is one already and `force` was not said, it is a folder, or it cannot be written.
    """
    if path.is_dir():
        raise UserError(tr("{path} is a folder.", path=path), tr("Say the name of a file in it."))
    if not force and path.exists():
        raise UserError(tr("{path} is there already.", path=path), tr("Choose another name, or say --force."))
    written = part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        written = path
        sync_folder(path.parent)  # whoever has a key in it may forget the key now
    except OSError as error:
        with suppress(OSError):
            written.unlink()  # nobody looks for a key in a file that could not be written
        raise UserError(
            tr("{path} cannot be written: {reason}.", path=path, reason=error.strerror or error),
            tr("Choose a folder that belongs to you."),
        ) from error
