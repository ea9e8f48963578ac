"""What the nest itself wants changed about readings that were missing; `Journal.commit` takes these like the effects
of the network server (`nest.lorawan.effects`), in the same transaction and in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class StoreRecovered:
    """Parity has given back the reading of the frame (dev_eui, join_nonce, fcnt), exactly: `codes` as in
    `nest.payload.Decoded`. Nothing happens unless that reading is missing, as far as the archive knows."""

    dev_eui: bytes
    join_nonce: int
    fcnt: int
    codes: Mapping[str, int]


@dataclass(slots=True)
class CloseGap:
    """That gap has come to the `state` (schema.NEVER_WAS, schema.GIVEN_UP …). Nothing happens unless it is open, or
    given up."""

    dev_eui: bytes
    join_nonce: int
    fcnt: int
    part: int
    state: int


Change = StoreRecovered | CloseGap
