"""A node goes from one town to another: a file with its identity, its counts and what is wished of it.

The node keeps key, DevNonces and JoinNonces; the next nest goes on with them, so nothing has to be written to it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nest import keys
from nest.errors import UserError
from nest.i18n import tr
from nest.registry import Provisioned, Registry, unknown_node

from spatz.servers.nodes import write_private
from spatz.wishes import wishes_of

KIND, VERSION = "funkspatz node", 1
LARGEST = 1 << 16  # bytes; one has 500


def write(registry: Registry, slug: str, path: Path, *, force: bool = False) -> None:
    """Write the file. Raises UserError: no such node, or there is a file, or it cannot be written."""
    held, node = registry.find_slug(slug), registry.get(slug)
    if held is None or node is None:
        raise unknown_node(slug)
    said = {
        "what": KIND,
        "version": VERSION,
        "slug": held.slug,
        "name": node.name,
        "dev_eui": held.dev_eui.hex(),
        "join_eui": held.join_eui.hex(),
        "app_key": held.app_key.hex(),
        "dev_nonce": held.dev_nonce,
        "join_nonce": held.join_nonce,
        "wishes": _readable(registry.wishes(slug)),
    }
    write_private(path, json.dumps(said, ensure_ascii=False, indent=2) + "\n", force=force)


def take(registry: Registry, path: Path, slug: str | None = None) -> Provisioned:
    """Register the node of that file, under its name or as `slug`.

    Raises UserError: the file cannot be read or is no such file, name or DevEUI are taken here.
    """
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(LARGEST))
    except OSError as error:
        raise UserError(
            tr("{path} cannot be read: {reason}.", path=path, reason=error.strerror or error),
            tr("Check that the file belongs to you."),
        ) from error
    except (ValueError, RecursionError):
        said = {}
    handed = _handed(said, slug)
    if handed is None:  # no cause, no content: it may hold a key
        raise UserError(
            tr("{path} is no node that a town has handed over.", path=path),
            tr("Ask for the file that spatz nodes hand-over has made."),
        )
    wished = said.get("wishes")
    try:
        wishes = None if wished is None else replace(wishes_of(wished), name=handed.slug)  # the name that it has here
    except UserError:
        raise UserError(
            tr("What {path} says of the node's board and sensors cannot be read.", path=path),
            tr("Update Funkspatz, or ask for the file once more."),
        ) from None
    return registry.take(handed, name=said["name"], wishes=None if wishes is None else wishes.to_json())


def _readable(wishes: str | None) -> str | None:
    """What the other town can read; else nothing is better than what it refuses."""
    try:
        return None if wishes is None else wishes_of(wishes).to_json()
    except UserError:
        return None


def _handed(said: Any, slug: str | None) -> Provisioned | None:
    try:
        if (said["what"], said["version"]) != (KIND, VERSION):
            return None
        handed = Provisioned(
            slug or said["slug"],
            bytes.fromhex(said["dev_eui"]),
            bytes.fromhex(said["join_eui"]),
            bytes.fromhex(said["app_key"]),
            said["dev_nonce"],
            said["join_nonce"],
            new=False,
        )
        texts = said["slug"], said["name"]
    except (KeyError, TypeError, ValueError):
        return None
    lengths = len(handed.dev_eui), len(handed.join_eui), len(handed.app_key)
    counts = (handed.dev_nonce, keys.LAST_DEV_NONCE), (handed.join_nonce, 0xFFFFFF)
    good = lengths == (8, 8, keys.KEY_BYTES) and all(type(n) is int and 0 <= n <= most for n, most in counts)
    return handed if good and all(isinstance(text, str) for text in texts) else None
