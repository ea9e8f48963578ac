"""What the counters mean: every kind that the nest counts belongs to one group, and is said in plain words.

Each part of the nest names its own kinds (`KINDS`: kind -> English sentence); here they are put into the order in which
people and Prometheus want to read them. A kind that no group names is a message of a gateway's protocol.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

# group -> (its kinds, in the order of reading)
GROUPS: dict[str, tuple[str, ...]] = {
    "accepted": ("accepted", "late_frame", "join_accepted"),
    "copies": ("duplicate", "late_copy", "retransmission"),
    "refused": (
        "unknown_session", "unknown_device", "mic_bad", "replay", "dev_nonce_used", "dev_nonce_low",
        "join_nonce_exhausted", "join_deferred", "crc_bad", "malformed", "unexpected_type", "not_taken",
    ),
    "readings": ("readings", "recovered", "backfilled", "no_reading", "undecodable", "healing_wrong"),
    "downlinks": (
        "downlink_sent", "downlink_no_room", "downlink_retried", "downlink_failed", "downlink_too_long",
        "adr_request", "adr_refused", "mac_malformed",
    ),
    "database": ("not_stored", "broken"),
}  # fmt: skip
PROTOCOL = "protocol"  # the group of all others

# group -> how it is called
TITLES = {
    "accepted": "Uplinks taken",
    "copies": "Further copies of them",
    "refused": "Not taken",
    "readings": "What they carried",
    "downlinks": "Downlinks and MAC commands",
    "database": "Trouble with the database",
    PROTOCOL: "Messages of gateways",
}

_GROUP_OF = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
_TURN = {kind: turn for turn, kind in enumerate(_GROUP_OF)}


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """The counters of one group that are not zero."""

    name: str
    total: int
    kinds: dict[str, int]


def group_of(kind: str) -> str:
    """The group of a counter."""
    return _GROUP_OF.get(kind, PROTOCOL)


def words(kind: str) -> str:
    """What a counter counts, in English; the kind itself where nobody has said it."""
    return _said().get(kind, kind)


def grouped(counters: Mapping[str, int]) -> list[Group]:
    """The counters by group, groups and kinds in the order of reading, without what never happened."""
    found: dict[str, dict[str, int]] = {}
    for kind in sorted(counters, key=lambda kind: (_TURN.get(kind, len(_TURN)), kind)):
        if counters[kind]:
            found.setdefault(group_of(kind), {})[kind] = counters[kind]
    return [Group(name, sum(found[name].values()), found[name]) for name in TITLES if name in found]


@functools.cache
def _said() -> dict[str, str]:
    """Every kind of every part. They are imported late: whoever only counts needs none of them."""
    from nest import network
    from nest.forwarders import basics_station, gateways, semtech_packets
    from nest.lorawan import effects

    parts = (semtech_packets, basics_station, gateways, network, effects)
    return {kind: sentence for part in parts for kind, sentence in part.KINDS.items()}
