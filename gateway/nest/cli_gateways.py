"""`nest gateways …`: which gateways may speak to the nest."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from nest import status, town
from nest.cli_common import (
    AsJson,
    Folder,
    Latitude,
    Longitude,
    ago,
    console,
    database,
    eui_table,
    examples,
    new_app,
    position,
)
from nest.cli_status import protocol
from nest.gateways import GatewayRegistry, noted
from nest.i18n import tr
from nest.logs import printable
from nest.tokens import fingerprint, new_token

app = new_app(tr("Which gateways may speak to the nest."))

Eui = Annotated[str, typer.Argument(metavar="EUI", help=tr("the gateway's EUI, 16 hex digits"))]


@app.command(
    "add",
    help=tr("Admit a gateway. A nest that runs hears it at once."),
    epilog=examples(
        "nest gateways add ./town 0016c001f1500812",
        'nest gateways add ./town 0016c001f1500812 --name "Rathaus" --latitude 51.3 --longitude 12.6 --antenna-gain 5',
        "nest gateways add ./town 0016c001f1500812 --station",
    ),
)
def gateways_add(
    folder: Folder,
    eui: Eui,
    name: Annotated[str | None, typer.Option(help=tr("as you call it"))] = None,
    latitude: Latitude = None,
    longitude: Longitude = None,
    altitude: Annotated[float | None, typer.Option(min=-500, max=10_000, help=tr("metres above the sea"))] = None,
    antenna_gain: Annotated[float, typer.Option(min=-20, max=30, help=tr("dBi, cable losses taken off"))] = 2.15,
    station: Annotated[bool, typer.Option("--station", help=tr("make a token for LoRa Basics Station"))] = False,
    as_json: AsJson = False,
) -> None:
    token = new_token() if station else None
    with database(folder) as engine:
        port = _station_port(engine)
        added = GatewayRegistry(engine).add(
            eui,
            name,
            latitude=latitude,
            longitude=longitude,
            altitude_m=altitude,
            antenna_gain_dbi=antenna_gain,
            token=None if token is None else fingerprint(token),
        )
    if as_json:
        print(json.dumps({"eui": added.eui, "name": added.name, **_station_lines(folder, token, port)}))
        return
    print(tr("The gateway {eui} is registered.", eui=added.eui))
    _show_token(folder, token, port)


@app.command(
    "list",
    help=tr("Show the registered gateways, and those that knock without being registered."),
    epilog=examples("nest gateways list ./town", "nest gateways list ./town --json"),
)
def gateways_list(folder: Folder, as_json: AsJson = False) -> None:
    with database(folder) as engine:
        found = _registered(engine)
        strangers = (status.load(engine) or {}).get("strangers", [])
    if as_json:
        print(json.dumps({"gateways": found, "strangers": strangers}))
        return
    out = console()
    if found:
        table = eui_table(
            tr("gateway"), tr("name"), tr("protocol"), tr("last heard"), tr("frames"), tr("position"), tr("token")
        )
        for row in found:
            table.add_row(
                row["eui"], row["name"], protocol(row["protocol"]), ago(row["last_seen"]), f"{row['frames']}",
                position(row["latitude"], row["longitude"]), tr("yes") if row["station"] else tr("no"),
            )  # fmt: skip
        out.print(table)
    else:
        out.print(tr("No gateway is registered yet."))
    if strangers:
        out.print(tr("These knock and are not let in:"))
        table = eui_table(tr("gateway"), tr("protocol"), tr("last heard"), tr("messages"), tr("address"))
        for row in strangers:
            address = printable(row["address"])
            table.add_row(row["eui"], protocol(row["protocol"]), ago(row["last_seen"]), f"{row['count']}", address)
        out.print(table)
        admit = tr("If it is yours, admit it: nest gateways add {folder} {eui}", folder=folder, eui=strangers[0]["eui"])
        out.print(f"→ {admit}", soft_wrap=True)
    elif not found:
        out.print("→ " + tr("Admit one: nest gateways add {folder} EUI", folder=folder), soft_wrap=True)


@app.command(
    "remove",
    help=tr("Take a gateway off the register; what it has heard stays."),
    epilog=examples("nest gateways remove ./town 0016c001f1500812"),
)
def gateways_remove(folder: Folder, eui: Eui) -> None:
    with database(folder) as engine:
        GatewayRegistry(engine).remove(eui)
    print(tr("The gateway {eui} is not let in any more.", eui=printable(eui)))


@app.command(
    "token",
    help=tr("Make a gateway a new token for LoRa Basics Station; its old one is void."),
    epilog=examples("nest gateways token ./town 0016c001f1500812"),
)
def gateways_token(folder: Folder, eui: Eui, as_json: AsJson = False) -> None:
    token = new_token()
    with database(folder) as engine:
        port = _station_port(engine)
        GatewayRegistry(engine).set_token(eui, fingerprint(token))
    if as_json:
        print(json.dumps({"eui": eui, **_station_lines(folder, token, port)}))
        return
    _show_token(folder, token, port)


def _registered(engine: Engine) -> list[dict[str, Any]]:
    """The registered gateways: what is known of each, and what the nest last said of it since its start."""
    said = {gateway["eui"]: gateway for gateway in (status.load(engine) or {}).get("gateways", [])}
    with engine.begin() as connection:
        heard = noted(connection)
    found = []
    for info in GatewayRegistry(engine).list():
        before, now = heard[info.eui], said.get(info.eui, {})
        last_seen = max(before["last_seen"] or 0, now.get("last_seen") or 0)
        found.append(
            {
                "eui": info.eui,
                "name": info.name,
                "latitude": info.latitude,
                "longitude": info.longitude,
                "altitude_m": info.altitude_m,
                "antenna_gain_dbi": info.antenna_gain_dbi,
                "station": info.token is not None,
                "protocol": now.get("protocol") or before["protocol"],
                "last_seen": last_seen or None,
                "frames": now.get("frames", 0),
                "downlinks": now.get("downlinks", 0),
                "software": now.get("software", ""),
                "stat": now.get("stat") or before["stat"],
            }
        )
    return found


def _station_port(engine: Engine) -> int:
    """Where the nest listened last: what counts when the settings say "any free port"."""
    return (status.load(engine) or {}).get("ports", {}).get("basics_station", 0)


def _station_lines(folder: Path, token: str | None, port: int) -> dict[str, str]:
    """What a gateway's files tc.uri and tc.key have to hold."""
    if token is None:
        return {}
    settings = town.load(folder).settings.basics_station
    scheme = "wss" if settings.certificate else "ws"
    host = socket.gethostname() if settings.host in ("0.0.0.0", "::", "127.0.0.1") else settings.host  # noqa: S104
    return {"tc.uri": f"{scheme}://{host}:{settings.port or port}", "tc.key": f"Authorization: Bearer {token}"}


def _show_token(folder: Path, token: str | None, port: int) -> None:
    if token is None:
        return
    lines = _station_lines(folder, token, port)
    print(tr("Its token is shown this once. Put these lines into the gateway's files:"))
    for file, line in lines.items():
        print(f"  {file}:  {line}")
    if lines["tc.uri"].startswith("ws:"):
        print("→ " + tr("Without TLS the token can be read on its way: see certificate and key in town.toml."))
