"""`nest nodes …`: which nodes belong to the town."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from nest import town
from nest.archive import Archive
from nest.cli_common import (
    AsJson,
    Folder,
    Latitude,
    Longitude,
    NodeName,
    ago,
    console,
    database,
    examples,
    new_app,
    position,
)
from nest.errors import UserError
from nest.given import read_text
from nest.i18n import tr
from nest.registry import DEFAULT_PRECISION, Registry

app = new_app(tr("Which nodes belong to the town."))


@app.command(
    "add",
    help=tr("Register a node."),
    epilog=examples(
        "nest nodes add ./town amsel --dev-eui 70b3d57ed0001234",
        "nest nodes add ./town amsel --dev-eui 70b3d57ed0001234 --app-key-file key.txt",
        "… | nest nodes add ./town amsel --dev-eui 70b3d57ed0001234 --app-key-file -",
    ),
)
def nodes_add(
    folder: Folder,
    node: NodeName,
    dev_eui: Annotated[str, typer.Option(help=tr("16 hex digits, from the node's label"))],
    join_eui: Annotated[
        str | None, typer.Option(help=tr("16 hex digits; else the one it had before, else the town's"))
    ] = None,
    app_key_file: Annotated[
        Path | None, typer.Option(help=tr("file with the AppKey, 32 hex digits; - = standard input; else one is made"))
    ] = None,
    name: Annotated[str | None, typer.Option(help=tr("as citizens read it"))] = None,
    latitude: Latitude = None,
    longitude: Longitude = None,
    precision: Annotated[
        int, typer.Option(min=0, max=6, help=tr("decimals of the position that everybody may see"))
    ] = DEFAULT_PRECISION,
    as_json: AsJson = False,
) -> None:
    app_key = None if app_key_file is None else _read_key(app_key_file)
    with database(folder) as engine:
        registry = Registry(engine)
        added = registry.add(
            node,
            dev_eui,
            join_eui or registry.former_join_eui(dev_eui) or town.load(folder).join_eui,
            app_key,
            name=name,
            latitude=latitude,
            longitude=longitude,
            precision=precision,
        )
    if as_json:
        print(json.dumps({"slug": added.slug, "dev_eui": added.dev_eui, "join_eui": added.join_eui}))
    else:
        print(tr("{slug} is registered with DevEUI {dev_eui}.", slug=added.slug, dev_eui=added.dev_eui))


@app.command("list", help=tr("Show the registered nodes."), epilog=examples("nest nodes list ./town"))
def nodes_list(folder: Folder, as_json: AsJson = False) -> None:
    with database(folder) as engine:
        registered = Registry(engine).list()
        last_seen = {info.slug: info.last_seen for info in Archive(engine).nodes()}
    rows = [
        {
            "slug": node.slug,
            "name": node.name,
            "dev_eui": node.dev_eui,
            "join_eui": node.join_eui,
            "latitude": node.latitude,
            "longitude": node.longitude,
            "last_seen": last_seen.get(node.slug),
            "battery": node.battery,
            "margin_db": node.margin_db,
            "status_at": node.status_at,
        }
        for node in registered
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(
        tr("node"),
        tr("name"),
        Column("DevEUI", no_wrap=True, min_width=16),
        tr("position"),
        tr("last heard"),
        tr("battery"),
    )
    for row in rows:
        place = position(row["latitude"], row["longitude"])
        table.add_row(row["slug"], row["name"], row["dev_eui"], place, ago(row["last_seen"]), _supply(row["battery"]))
    console().print(table)


@app.command(
    "remove",
    help=tr("Forget a node's key; its readings stay."),
    epilog=examples("nest nodes remove ./town amsel"),
)
def nodes_remove(folder: Folder, node: NodeName) -> None:
    with database(folder) as engine:
        Registry(engine).remove(node)
    print(tr("{slug} is removed; its readings stay.", slug=node))


def _supply(battery: int | None) -> str:
    """What a DevStatusAns says of the battery (TS001-1.0.4 section 5.5): 0 external supply, 1..254 empty to full."""
    if battery is None or battery == 255:
        return ""
    return f"{round((battery - 1) / 253 * 100)} %" if battery else tr("external supply")


def _read_key(path: Path) -> bytes:
    """An AppKey from a file or standard input; no error ever repeats what was read."""
    text = read_text(path)
    digits = re.sub(r"[-:\s]", "", text)
    if not re.fullmatch(r"[0-9a-fA-F]{32}", digits):
        raise UserError(
            tr("{path} holds no AppKey: 32 hex digits were expected.", path=path),
            tr("Check the file, or leave the key out: the nest makes one."),
        )
    return bytes.fromhex(digits)
