"""The nest's snapshot as Prometheus metrics. Labels are bounded: registered gateways, their bands, and the kinds that
the nest counts; nothing that a stranger sends becomes a label.

| metric | labels |
| --- | --- |
| `funkspatz_uplinks_total` | `outcome`: accepted, duplicate, mic_bad …; `group`: accepted, copies, refused |
| `funkspatz_readings_total` | `result`: readings, no_reading, undecodable |
| `funkspatz_downlinks_total` | `outcome` |
| `funkspatz_database_trouble_total` | `kind` |
| `funkspatz_protocol_messages_total` | `kind`: what gateways send besides frames, and what is wrong with it |
| `funkspatz_gateway_…` | `gateway`: its EUI; duty cycle also `band` |
| `funkspatz_batch_waiting`, `…_outbox_waiting`, `…_downlinks_waiting`, `…_storing` | |
| `funkspatz_nodes`, `…_nodes_heard`, `…_strangers`, `…_mqtt_connected`, `…_mqtt_published_total` | |
| `funkspatz_build_info`, `funkspatz_start_time_seconds`, `process_…` | `version` |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from nest import outcomes, status

_KIND = re.compile(r"[a-z0-9_]{1,40}")

# name, what it says, label, groups of nest.outcomes
_COUNTERS = (
    ("funkspatz_readings", "What uplinks carried", "result", ("readings",)),
    ("funkspatz_downlinks", "Downlinks and MAC commands by outcome", "outcome", ("downlinks",)),
    ("funkspatz_database_trouble", "What the database refused", "kind", ("database",)),
    ("funkspatz_protocol_messages", "Messages of gateways by kind", "kind", (outcomes.PROTOCOL,)),
)
_UPLINK_GROUPS = ("accepted", "copies", "refused")

# name behind funkspatz_gateway_, what it says, from a gateway's part of the snapshot
_Of = Callable[[Mapping[str, Any]], float | None]
_GATEWAY_COUNTERS: tuple[tuple[str, str, _Of], ...] = (
    ("frames", "Receptions that the gateway sent", lambda gateway: gateway["frames"]),
    ("useless_frames", "Those of them that were not ours", lambda gateway: gateway["useless"]),
    ("downlinks", "Downlinks handed to the gateway", lambda gateway: gateway["downlinks"]),
    ("downlinks_refused", "Those of them that it would not send", lambda gateway: gateway["refused"]),
)
_GATEWAY_GAUGES: tuple[tuple[str, str, _Of], ...] = (
    ("last_seen_timestamp_seconds", "When it was last heard, Unix s", lambda gateway: gateway["last_seen"]),
    ("downlink_path", "1: a downlink would find its way", lambda gateway: float(gateway["downlink_path"])),
)
_GAUGES: tuple[tuple[str, str, _Of], ...] = (
    ("nodes", "Registered nodes", lambda full: full["nodes"]),
    ("strangers", "Gateways that knock without being registered", lambda full: len(full["strangers"])),
    ("batch_waiting", "Effects that wait for the database", lambda full: full["batch_waiting"]),
    ("outbox_waiting", "Readings that MQTT has not taken over yet", lambda full: full["outbox_waiting"]),
    ("downlinks_waiting", "Downlinks that have not gone out", lambda full: full["downlinks_waiting"]),
    ("storing", "0: what is heard waits for a database that refuses it", lambda full: float(not status.stuck(full))),
    ("start_time_seconds", "When the nest was started, Unix s", lambda full: full["started_at"]),
    ("mqtt_connected", "1: the broker is there", lambda full: float(bool(full["mqtt"].get("connected")))),
)


def registry(full: Mapping[str, Any], nodes_heard: int) -> CollectorRegistry:
    """Everything there is to tell of a snapshot (`nest.status.snapshot`), and of this process; for one answer."""
    found = CollectorRegistry(auto_describe=False)
    found.register(_Snapshot(full, nodes_heard))
    ProcessCollector(registry=found)
    return found


class _Snapshot(Collector):
    def __init__(self, full: Mapping[str, Any], nodes_heard: int) -> None:
        self._full, self._nodes_heard = full, nodes_heard

    def collect(self) -> Iterator[Metric]:
        full = self._full
        yield InfoMetricFamily("funkspatz_build", "The version of Funkspatz", {"version": str(full["version"])})
        yield from _counted(full["counters"])
        for name, text, of in _GAUGES:
            yield GaugeMetricFamily(f"funkspatz_{name}", text, of(full))
        yield GaugeMetricFamily("funkspatz_nodes_heard", "Nodes heard in the last 24 h", self._nodes_heard)
        yield CounterMetricFamily(
            "funkspatz_mqtt_published", "Readings taken over by the broker", full["mqtt"].get("published", 0)
        )
        yield from _gateways(full["gateways"])


def _counted(counters: Mapping[str, int]) -> Iterator[Metric]:
    of_group: dict[str, dict[str, int]] = {}
    for kind, count in counters.items():
        if _KIND.fullmatch(kind):
            of_group.setdefault(outcomes.group_of(kind), {})[kind] = count
    uplinks = CounterMetricFamily(
        "funkspatz_uplinks", "Frames that gateways sent, by what became of them", labels=("outcome", "group")
    )
    for group in _UPLINK_GROUPS:
        for kind in outcomes.GROUPS[group]:
            uplinks.add_metric((kind, group), of_group.get(group, {}).get(kind, 0))
    yield uplinks
    for name, text, label, groups in _COUNTERS:
        family = CounterMetricFamily(name, text, labels=(label,))
        for group in groups:
            for kind, count in sorted(of_group.get(group, {}).items()):
                family.add_metric((kind,), count)
        yield family


def _gateways(gateways: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    gateways = list(gateways)
    made: tuple[tuple[type[CounterMetricFamily | GaugeMetricFamily], tuple[tuple[str, str, _Of], ...]], ...] = (
        (CounterMetricFamily, _GATEWAY_COUNTERS),
        (GaugeMetricFamily, _GATEWAY_GAUGES),
    )
    for family, rows in made:
        for name, text, of in rows:
            metric = family(f"funkspatz_gateway_{name}", text, labels=("gateway",))
            for gateway in gateways:
                if (value := of(gateway)) is not None:
                    metric.add_metric((gateway["eui"],), value)
            yield metric
    left = GaugeMetricFamily(
        "funkspatz_gateway_duty_cycle_left_ratio",
        "How much of the lawful airtime of this hour is left, by band",
        labels=("gateway", "band"),
    )
    for gateway in gateways:
        for band, share in sorted(gateway["airtime_left"].items()):
            left.add_metric((gateway["eui"], band), share)
    yield left
