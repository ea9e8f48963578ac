"""Our own server: the town's nest knows its nodes by itself. Here it is looked after that it knows all of each."""

from __future__ import annotations

from collections.abc import Collection

from nest.i18n import tr
from nest.registry import Registry

from spatz.servers.nodes import entries
from spatz.servers.report import NODE, UNCHANGED, Report


def register(registry: Registry, only: Collection[str] = ()) -> Report:
    """Nothing is written: each node of the register has its key there. Raises UserError: one of `only` is unknown."""
    report = Report()
    for entry in entries(registry, only):
        report.add(NODE, entry.slug, UNCHANGED)
        if registry.wishes(entry.slug) is None:
            report.notes.append(
                tr("{slug} was never flashed from here: spatz flash writes its key to a board.", slug=entry.slug)
            )
    return report
