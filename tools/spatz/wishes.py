"""What people wish of one node: its board, its sensors, how often it measures. `config.json` is compiled from it.

It is kept twice: in the town's registry, so that an interrupted board is mended without a question, and in the node's
own `spatz.json`, so that a node can be updated by somebody who does not have the town. Nothing secret is in it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.config import compile_config


@dataclass(frozen=True, slots=True)
class Wishes:
    """As in `spatz.config.compile_config`; sensors as there, by name."""

    name: str
    board: str
    sensors: tuple[str, ...] = ("auto",)
    interval_s: int = 600
    safe_window_s: int = 60
    confirmed: bool = False
    region: str = "EU868"
    antenna_gain_dbi: float | None = None
    fair_use_s: int = 0
    join_dr: int | None = None
    parity: int = 1

    def config(self) -> dict[str, Any]:
        """The node's `config.json`. Raises UserError: a wish cannot be, or the board cannot carry the sensors."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return compile_config(values.pop("board"), values.pop("sensors"), values.pop("name"), **values)

    def to_json(self) -> str:
        """One line; what is as always is left out."""
        always = {field.name: field.default for field in dataclasses.fields(self)}
        return json.dumps({k: v for k, v in dataclasses.asdict(self).items() if v != always[k]}, ensure_ascii=False)


def wishes_of(text: str) -> Wishes:
    """The other way. Raises UserError: it was written by a newer Funkspatz, or is damaged."""
    try:
        values = json.loads(text)
        values["sensors"] = tuple(values.get("sensors", ("auto",)))
        return Wishes(**values)
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            tr("What was wished of this node cannot be read."),
            tr("Say it again: spatz flash --board … --sensor …"),
        ) from None
