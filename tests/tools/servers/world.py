"""A town with nodes, for registering them elsewhere."""

from __future__ import annotations

from spatz.servers.nodes import Entry

MARKER = bytes.fromhex("5ec2e7" * 5 + "aa")  # an AppKey that no output may ever hold


def entry(number: int = 1, **other: object) -> Entry:
    """A node like no other; its key is `MARKER` for number 1."""
    values: dict[str, object] = {
        "slug": f"spatz-{number}",
        "name": f"Spatz {number}",
        "dev_eui": bytes.fromhex("70b3d57ed0000000")[:6] + number.to_bytes(2, "big"),
        "join_eui": bytes.fromhex("0211223344556677"),
        "app_key": MARKER if number == 1 else number.to_bytes(16, "big"),
        **other,
    }
    return Entry(**values)  # type: ignore[arg-type]


def flock(size: int) -> list[Entry]:
    """Spatz 1 to `size`."""
    return [entry(number) for number in range(1, size + 1)]
