"""`nest …`: the host's command line. A thin layer over the library; errors become one sentence and exit status 2."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from nest import __version__, status, town
from nest.archive import Archive, open_database
from nest.archive.database import database_errors
from nest.archive.downlinks import DownlinkQueue
from nest.errors import UserError, run_command
from nest.i18n import language_of_locale, tr
from nest.moments import age
from nest.registry import DEFAULT_PRECISION, Registry, unknown_node

_EXIT_S = 0.8  # after everything is closed: how long a hanging name lookup may hold up the end

app = typer.Typer(
    help=tr("The nest hears a town's nodes, keeps every reading and shows it."),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
nodes_app = typer.Typer(help=tr("Which nodes belong to the town."), no_args_is_help=True, rich_markup_mode=None)
app.add_typer(nodes_app, name="nodes")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help=tr("the town's folder"))]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help=tr("the node's name, for example amsel"))]
AsJson = Annotated[bool, typer.Option("--json", help=tr("for programs: JSON"))]
Port = Annotated[int, typer.Option(min=0, max=65535, help=tr("0 = any free port, at each start"))]
Latitude = Annotated[float | None, typer.Option(min=-90, max=90, help=tr("degrees north"))]
Longitude = Annotated[float | None, typer.Option(min=-180, max=180, help=tr("degrees east"))]


def _examples(*lines: str) -> str:
    return "\b\n" + tr("Examples:") + "\n" + "\n".join(f"  {line}" for line in lines)


@app.command(help=tr("Make a town's folder."), epilog=_examples('nest init ./town --name "Bad Belzig" --language de'))
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help=tr("the town's name, as citizens read it"))],
    latitude: Latitude = None,
    longitude: Longitude = None,
    language: Annotated[str, typer.Option(help=tr("de or en"))] = "de",
    udp_port: Port = 1700,
    web_port: Port = 8080,
    mqtt_port: Port = 1883,
    mqtt_url: Annotated[str, typer.Option(help=tr("your own broker: mqtt://host:port"))] = "",
) -> None:
    made = town.create(
        folder,
        name,
        latitude=latitude,
        longitude=longitude,
        language=language,
        udp_port=udp_port,
        web_port=web_port,
        mqtt_port=mqtt_port,
        mqtt_url=mqtt_url,
    )
    print(tr("{name} is ready in {folder}.", name=made.name, folder=folder))
    print("→ " + tr("Start it with: nest run {folder}", folder=folder))


@app.command(help=tr("Run the town's nest until Ctrl-C."), epilog=_examples("nest run ./town"))
def run(folder: Folder, as_json: AsJson = False) -> None:
    from nest.server import Nest  # here: the other commands need none of it

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("mqtt", "uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.ERROR)

    def announce(event: dict[str, Any]) -> None:
        line = json.dumps(event) if as_json else _sentence(event)
        if line:
            print(line, flush=True)

    async def serve() -> None:
        nest = Nest(town.load(folder), announce)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, nest.stop)
        await nest.run()

    with asyncio.Runner() as runner:
        runner.run(serve())
        announce({"event": "stopped"})
        # Everything is closed; what may still run is a thread in the resolver, and nobody waits for its answer.
        last = threading.Timer(_EXIT_S, os._exit, (0,))
        last.daemon = True
        last.start()


@app.command(
    help=tr("Check a town's folder before the nest runs: settings, database, broker."),
    epilog=_examples("nest check ./town && nest run ./town"),
)
def check(folder: Folder, as_json: AsJson = False) -> None:
    from nest.publish.mqtt import Broker, check_broker  # here: the other commands need none of it

    settings = town.load(folder)
    open_database(settings.database, check=True).dispose()
    if settings.settings.mqtt.url:
        asyncio.run(check_broker(Broker.from_url(settings.settings.mqtt.url)))
    print(json.dumps({"ok": True, "town": settings.slug}) if as_json else tr("{folder} is in order.", folder=folder))


def _sentence(event: dict[str, Any]) -> str:
    match event:
        case {"event": "listening", "part": "web", "host": host, "port": port}:
            shown = "localhost" if host in ("0.0.0.0", "::", "127.0.0.1") else host  # noqa: S104
            return tr("The page:  http://{host}:{port}/", host=shown, port=port)
        case {"event": "listening", "part": "semtech_udp", "port": port}:
            return tr("Gateways:  UDP port {port}", port=port)
        case {"event": "listening", "part": "mqtt", "host": host, "port": port}:
            return tr("MQTT:      {host}, port {port}", host=host, port=port)
        case {"event": "ready"}:
            return tr("The nest is listening. Stop it with Ctrl-C.")
        case {"event": "stopped"}:
            return tr("The nest is closed.")
    return ""


@nodes_app.command(
    "add",
    help=tr("Register a node."),
    epilog=_examples(
        "nest nodes add ./town amsel --dev-eui 70b3d57ed0001234",
        "nest nodes add ./town amsel --dev-eui 70b3d57ed0001234 --app-key-file key.txt",
        "… | nest nodes add ./town amsel --dev-eui 70b3d57ed0001234 --app-key-file -",
    ),
)
def nodes_add(
    folder: Folder,
    node: NodeName,
    dev_eui: Annotated[str, typer.Option(help=tr("16 hex digits, from the node's label"))],
    join_eui: Annotated[str, typer.Option(help=tr("16 hex digits"))] = "0000000000000000",
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
    with _database(folder) as engine:
        added = Registry(engine).add(
            node,
            dev_eui,
            join_eui,
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


@nodes_app.command("list", help=tr("Show the registered nodes."), epilog=_examples("nest nodes list ./town"))
def nodes_list(folder: Folder, as_json: AsJson = False) -> None:
    with _database(folder) as engine:
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
        }
        for node in registered
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(tr("node"), tr("name"), "DevEUI", tr("position"), tr("last heard"))
    for row in rows:
        position = "" if row["latitude"] is None else f"{row['latitude']}, {row['longitude']}"
        table.add_row(row["slug"], row["name"], row["dev_eui"], position, _ago(row["last_seen"]))
    _console().print(table)


@nodes_app.command(
    "remove",
    help=tr("Forget a node's key; its readings stay."),
    epilog=_examples("nest nodes remove ./town amsel"),
)
def nodes_remove(folder: Folder, node: NodeName) -> None:
    with _database(folder) as engine:
        Registry(engine).remove(node)
    print(tr("{slug} is removed; its readings stay.", slug=node))


@app.command("status", help=tr("Show how the nest is doing."), epilog=_examples("nest status ./town --json"))
def show_status(folder: Folder, as_json: AsJson = False) -> None:
    with _database(folder) as engine:
        full = status.load(engine) or {"running": False, "counters": {}, "gateways": [], "mqtt": {}, "updated_at": None}
        full["archive"] = Archive(engine).counts()
        full["nodes"] = len(Registry(engine).list())
        full["downlinks_waiting"] = DownlinkQueue(engine).count()
    if as_json:
        print(json.dumps(full))
        return
    console = _console()
    running = tr("The nest runs.") if full["running"] else tr("The nest does not run.")
    console.print(running, tr("Last word: {ago}.", ago=_ago(full["updated_at"])))
    archive = full["archive"]
    console.print(
        tr("{nodes} nodes, {frames} frames, {readings} readings, {waiting} downlinks waiting.",
           nodes=full["nodes"], frames=archive["frames"], readings=archive["readings"],
           waiting=full["downlinks_waiting"])
    )  # fmt: skip
    mqtt = full["mqtt"]
    if mqtt and full["running"]:
        state = tr("connected") if mqtt["connected"] else tr("away ({trouble})", trouble=mqtt["trouble"] or "…")
        console.print(tr("MQTT broker {broker}: {state}, {published} readings published.",
                         broker=mqtt["broker"], state=state, published=mqtt["published"]))  # fmt: skip
    console.print(_gateways(full["gateways"]) if full["gateways"] else tr("No gateway has been heard yet."))
    counters = Table(tr("what"), tr("how often"))
    for kind, count in full["counters"].items():
        if count:
            counters.add_row(kind, str(count))
    if counters.rows:
        console.print(counters)


def _gateways(heard: list[dict[str, Any]]) -> Table:
    gateways = Table(tr("gateway"), tr("last heard"), tr("frames"), tr("downlinks"))
    for gateway in heard:
        gateways.add_row(
            gateway["eui"], _ago(gateway["last_seen"]), str(gateway["frames"]), str(gateway["downlinks"])
        )
    return gateways


@app.command(
    help=tr("Queue a downlink; it goes out after the node's next uplink."),
    epilog=_examples("nest send ./town amsel --port 10 --hex 0102", "nest send ./town amsel --hex 01 --confirmed"),
)
def send(
    folder: Folder,
    node: NodeName,
    payload: Annotated[str, typer.Option("--hex", help=tr("the payload, as hex digits"))],
    port: Annotated[int, typer.Option(min=1, max=223, help="FPort")] = 1,
    confirmed: Annotated[bool, typer.Option("--confirmed", help=tr("ask the node for an acknowledgement"))] = False,
    window: Annotated[
        int | None, typer.Option(min=1, max=2, help=tr("1 = RX1, 2 = RX2; else the nest chooses"))
    ] = None,
) -> None:
    try:
        content = bytes.fromhex(payload)
    except ValueError as error:
        raise UserError(
            tr("{text} is not hexadecimal.", text=repr(payload)), tr("Write two hex digits per byte, for example 01ff.")
        ) from error
    if len(content) > 242:
        raise UserError(
            tr("A downlink carries at most {most} bytes, this one has {size}.", most=242, size=len(content)),
            tr("Send less at once."),
        )
    with _database(folder) as engine:
        known = Registry(engine).get(node)
        if known is None:
            raise unknown_node(node)
        number = DownlinkQueue(engine).add(known.id, port, content, confirmed=confirmed, window=window)
    print(tr("Downlink {number} waits for the next uplink of {slug}.", number=number, slug=node))


@contextmanager
def _database(folder: Path) -> Iterator[Engine]:
    """The town's database for one command; its errors become sentences."""
    path = town.load(folder).database
    engine = open_database(path)
    try:
        with database_errors(path):
            yield engine
    finally:
        engine.dispose()


def _read_key(path: Path) -> bytes:
    """An AppKey from a file or standard input; no error ever repeats what was read."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "UTF-8"
        raise UserError(
            tr("{path} cannot be read: {reason}.", path=path, reason=reason), tr("Check that the file belongs to you.")
        ) from error
    digits = re.sub(r"[-:\s]", "", text)
    if not re.fullmatch(r"[0-9a-fA-F]{32}", digits):
        raise UserError(
            tr("{path} holds no AppKey: 32 hex digits were expected.", path=path),
            tr("Check the file, or leave the key out: the nest makes one."),
        )
    return bytes.fromhex(digits)


def _console() -> Console:
    """Prints names as they are: `[/b]` and `:snake:` in them mean nothing."""
    return Console(markup=False, emoji=False)


def _ago(moment: float | None) -> str:
    if moment is None:
        return tr("never")
    return age(time.time() - moment, language_of_locale())


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help=tr("show the version"), is_eager=True)] = False,
) -> None:
    if version:
        print(f"funkspatz {__version__}")
        raise typer.Exit


def main() -> None:
    """The console script `nest`."""
    run_command(app)
