"""`nest status`: how the nest is doing, from its last word in the database; it need not run."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nest import outcomes, status, town
from nest.archive import Archive
from nest.archive.downlinks import DownlinkQueue
from nest.cli_common import AsJson, Folder, ago, console, database, eui_table
from nest.i18n import language_of_locale, tr, translate
from nest.logs import printable
from nest.registry import Registry

PROTOCOLS = {"semtech_udp": "Semtech UDP", "basics_station": "Basics Station"}
HEALTH_S = 4.0  # the nest itself gives its database 3 s
_MOST_NAMED = 10  # silent nodes, strangers
_FIRST = {
    "running": False,
    "counters": {},
    "gateways": [],
    "strangers": [],
    "mqtt": {},
    "ports": {},
    "updated_at": None,
}


def show_status(folder: Folder, as_json: AsJson = False) -> None:
    """Everything at one glance, or the snapshot as it is."""
    with database(folder) as engine:
        full = {**_FIRST, **(status.load(engine) or {})}
        full["archive"] = Archive(engine).counts()
        full["nodes"] = len(Registry(engine).list())
        full["downlinks_waiting"] = DownlinkQueue(engine).count()
        full["health"] = health(town.load(folder), full["ports"].get("web")) if full["running"] else None
        full["disk_free_bytes"] = status.disk_free(folder)
        full["nodes_heard"], full["nodes_silent"] = status.heard_since(engine, time.time() - status.SILENT_AFTER_S)
    if as_json:
        print(json.dumps(full))
        return
    out = console()
    _summary(out, full)
    if warning := little_room(folder, full["disk_free_bytes"]):
        out.print(warning, soft_wrap=True)
    out.print(_gateways(full["gateways"]) if full["gateways"] else tr("No gateway is registered yet."))
    if full["strangers"]:
        out.print(
            tr("{count} gateways knock that are not registered. See them: nest gateways list {folder}",
               count=len(full["strangers"]), folder=folder)
        )  # fmt: skip
    counters = _counters(full["counters"])
    if counters.rows:
        out.print(counters)


def health(of: town.Town, port: int | None) -> str:
    """What a nest that runs says of itself at /health: "ok", or what is wrong; "" when it does not answer. Its last
    word in the database is old where the database refuses it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(of.settings.web.host, of.settings.web.host)  # noqa: S104
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{host}:{port}/health", timeout=HEALTH_S) as answer:
            return json.load(answer)["status"]
    except urllib.error.HTTPError as error:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            return str(json.load(error)["reason"])
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        pass
    return ""


def little_room(folder: Path, free: int) -> str:
    """A warning when the town's disk is nearly full, else "". The running nest could not write that down itself."""
    if free >= status.LITTLE_ROOM:
        return ""
    return tr("Only {megabytes} MB are free on the disk of {folder}.", megabytes=free // 1_000_000, folder=folder)


def _summary(out: Console, full: Mapping[str, Any]) -> None:
    running = tr("The nest runs.") if full["running"] else tr("The nest does not run.")
    out.print(running, tr("Last word: {ago}.", ago=ago(full["updated_at"])))
    if full.get("trouble"):
        reason = printable(full["trouble"])
        out.print(tr("TROUBLE: the database refuses ({reason}). What is heard waits in memory.", reason=reason))
    elif full["running"] and full["health"] != "ok":
        reason = translate(full["health"] or "it does not answer at /health", language_of_locale())
        out.print(tr("TROUBLE: {reason}.", reason=printable(reason)))
    archive = full["archive"]
    out.print(
        tr("{nodes} nodes, {frames} frames, {readings} readings, {waiting} downlinks waiting.",
           nodes=full["nodes"], frames=archive["frames"], readings=archive["readings"],
           waiting=full["downlinks_waiting"])
    )  # fmt: skip
    if full["nodes"]:
        silent: Sequence[str] = full["nodes_silent"]
        named = ", ".join(silent[:_MOST_NAMED]) + (" …" if len(silent) > _MOST_NAMED else "")
        line = tr("Heard in the last 24 h: {heard} of {nodes}.", heard=full["nodes_heard"], nodes=full["nodes"])
        out.print(line, *([tr("Silent: {names}", names=named)] if silent else []))
    if full["running"]:
        out.print(
            tr("Waiting: {batch} for the database, {outbox} for MQTT.",
               batch=full.get("batch_waiting", 0), outbox=full.get("outbox_waiting", 0))
        )  # fmt: skip
    mqtt = full["mqtt"]
    if mqtt and full["running"]:
        trouble = printable(mqtt.get("trouble") or "…")
        state = tr("connected") if mqtt.get("connected") else tr("away ({trouble})", trouble=trouble)
        out.print(tr("MQTT broker {broker}: {state}, {published} readings published.",
                     broker=mqtt.get("broker"), state=state, published=mqtt.get("published", 0)))  # fmt: skip


def _gateways(gateways: Sequence[Mapping[str, Any]]) -> Table:
    table = eui_table(
        tr("gateway"), tr("name"), tr("protocol"), tr("last heard"), tr("frames"), tr("downlinks"), tr("way back"),
        tr("airtime left"),
    )  # fmt: skip
    for gateway in gateways:
        way = tr("open") if gateway.get("downlink_path") else tr("closed")
        table.add_row(
            gateway["eui"], gateway.get("name", ""), protocol(gateway.get("protocol")), ago(gateway["last_seen"]),
            f"{gateway['frames']}", f"{gateway['downlinks']}", way, airtime(gateway.get("airtime_left", {})),
        )  # fmt: skip
    return table


def protocol(name: str | None) -> str:
    """A protocol as people call it."""
    return PROTOCOLS.get(name or "", name or "–")


def airtime(left: Mapping[str, float]) -> str:
    """The share of this hour's lawful airtime that is left: only the bands that were used, the scarcest first."""
    scarce = {band: share for band, share in left.items() if share < 0.995}
    if not scarce:
        return "100 %" if left else ""
    return ", ".join(f"{band} {int(share * 100)} %" for band, share in sorted(scarce.items(), key=lambda pair: pair[1]))


def _counters(counters: Mapping[str, int]) -> Table:
    language = language_of_locale()
    table = Table(tr("what"), tr("how often"))
    for group in outcomes.grouped(counters):
        if table.rows:
            table.add_section()
        table.add_row(translate(outcomes.TITLES[group.name], language), f"{group.total}", style="bold")
        for kind, count in group.kinds.items():
            table.add_row(f"  {translate(outcomes.words(kind), language)} [{kind}]", f"{count}")
    return table
