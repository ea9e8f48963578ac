"""What was done at a server, or would be: one item for each thing there, by its outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

CREATED, CHANGED, UNCHANGED, FAILED = "created", "changed", "unchanged", "failed"
OUTCOMES = (CREATED, CHANGED, UNCHANGED, FAILED)
NODE = "node"


@dataclass(frozen=True, slots=True)
class Item:
    """`kind` is "node" or what the server calls it ("tenant", "application" …); `fields`: what was different there;
    `why`: what the server said when it refused, in the user's language or the server's own."""

    kind: str
    name: str
    outcome: str
    fields: tuple[str, ...] = ()
    why: str = ""


@dataclass(slots=True)
class Report:
    """`notes`: sentences for the person who asked, about what no server can mend."""

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, outcome: str, fields: tuple[str, ...] = ()) -> None:
        self.items.append(Item(kind, name, outcome, fields))

    def nodes(self) -> dict[str, int]:
        """How many nodes had each outcome."""
        found = Counter(item.outcome for item in self.items if item.kind == NODE)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def failed(self) -> list[Item]:
        return [item for item in self.items if item.outcome == FAILED]

    @property
    def differences(self) -> list[Item]:
        """What was not as it should be."""
        return [item for item in self.items if item.outcome != UNCHANGED]

    def to_json(self) -> dict[str, Any]:
        items = [
            {"kind": item.kind, "name": item.name, "outcome": item.outcome, "fields": [*item.fields], "why": item.why}
            for item in self.items
        ]
        return {"nodes": self.nodes(), "items": items, "notes": self.notes}


def outcome_of(fields: tuple[str, ...]) -> str:
    """Of a thing that is there: changed where it differs."""
    return CHANGED if fields else UNCHANGED
