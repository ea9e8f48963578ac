"""Where the shipped data lies: in a checkout beside the packages, in an installed wheel inside them."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def boards_dir() -> Path:
    """The hardware catalogue: `quantities.toml`, board files, `sensors/`."""
    shipped = _PACKAGE / "_boards"
    return shipped if shipped.is_dir() else _PACKAGE.parents[1] / "boards"
