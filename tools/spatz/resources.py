"""Where the node's firmware lies: in a checkout beside the packages, in an installed wheel inside them."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def firmware_dir() -> Path:
    """The file tree of a node, `main.py` at its root."""
    shipped = _PACKAGE / "_firmware"
    return shipped if shipped.is_dir() else _PACKAGE.parents[1] / "firmware"
