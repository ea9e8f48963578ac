"""What a nest with two gateways and a stranger tells of itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nest import status
from nest.forwarders.gateways import Gateways
from nest.model import GatewayInfo

EUI, OTHER, STRANGER = "00000000000000a1", "00000000000000a2", "00000000000000ff"
NOW = 1_777_636_800.0


def gateways() -> Gateways:
    """One that speaks, one that has never spoken, and one that knocks with something nasty in its address."""
    known = Gateways([GatewayInfo(EUI, "Rathaus", 51.3, 12.6, token="ab" * 32), GatewayInfo(OTHER, "Schule")])
    gateway = known.known[EUI]
    gateway.protocol, gateway.last_seen, gateway.reachable = "basics_station", NOW - 5, True
    gateway.frames, gateway.useless, gateway.downlinks, gateway.refused = 12, 2, 3, 1
    gateway.software = "2.0.6"
    known.knock(STRANGER, "semtech_udp", "203.0.113.9:4711\x1b[2J", NOW - 60)
    return known


def snapshot(**changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "running": True,
        "started_at": NOW - 3600,
        "ports": {"web": 8080},
        "counters": Counter(accepted=10, duplicate=4, mic_bad=1, push_data=20, replay=0),
        "gateways": gateways(),
        "airtime_left": {EUI: {"868.0-868.6": 0.25, "869.4-869.65": 1.0}},
        "nodes": 2,
        "downlinks_waiting": 1,
        "outbox_waiting": 5,
        "batch_waiting": 0,
        "trouble": None,
        "mqtt": {"broker": "nest:1883", "connected": True, "published": 7, "trouble": None},
    }
    return status.snapshot(**{**values, **changed})
