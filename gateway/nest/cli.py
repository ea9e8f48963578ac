"""`nest …`: the host's command line. A thin layer over the library; errors become one sentence and exit status 2.

This file starts the nest and puts the groups of commands together; each group has a file of its own, `cli_*.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from nest import (
    __version__,
    cli_archive,
    cli_gateways,
    cli_nodes,
    cli_orders,
    cli_status,
    cli_town,
    cli_usage,
    logs,
    status,
    town,
)
from nest.archive import open_database
from nest.archive.downlinks import DownlinkQueue
from nest.cli_common import AsJson, Folder, Latitude, Longitude, NodeName, database, examples
from nest.errors import EXIT_USER_ERROR, UserError, run_command
from nest.i18n import take_language, tr
from nest.registry import Registry, unknown_node

_log = logging.getLogger(__name__)

_EXIT_S = 0.8  # after everything is closed: how long a hanging name lookup may hold up the end

app = typer.Typer(
    help=tr("The nest hears a town's nodes, keeps every reading and shows it."),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Port = Annotated[int, typer.Option(min=0, max=65535, help=tr("0 = any free port, at each start"))]


@app.command(
    help=tr("Make a town's folder."),
    epilog=examples(
        'nest init ./town --name "Bad Belzig" --language de',
        'nest init ./town --name "Bad Belzig" --mqtt-url mqtts://nest@broker.example --mqtt-password-file -',
    ),
)
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help=tr("the town's name, as citizens read it"))],
    latitude: Latitude = None,
    longitude: Longitude = None,
    language: Annotated[str, typer.Option(help=tr("de or en"))] = "de",
    udp_port: Port = 1700,
    station_port: Port = 8887,
    web_port: Port = 8080,
    mqtt_port: Port = 1883,
    mqtt_url: Annotated[str, typer.Option(help=tr("your own broker: mqtt://user@host:port"))] = "",
    mqtt_password_file: Annotated[
        Path | None, typer.Option(help=tr("file with the broker's password; - = standard input"))
    ] = None,
    database_url: Annotated[
        str, typer.Option(help=tr("your own PostgreSQL: postgresql://user@host/database, without the password"))
    ] = "",
    password_file: Annotated[
        str, typer.Option(help=tr("the file in that folder that holds the database's password"))
    ] = "",
    as_json: AsJson = False,
) -> None:
    made = town.create(
        folder,
        name,
        latitude=latitude,
        longitude=longitude,
        language=language,
        udp_port=udp_port,
        station_port=station_port,
        web_port=web_port,
        mqtt_port=mqtt_port,
        mqtt_url=cli_town.with_password(mqtt_url, mqtt_password_file) if mqtt_password_file else mqtt_url,
        database_url=database_url,
        password_file=password_file,
    )
    with database(folder) as engine:
        token = cli_town.new_admin_token(engine)
    if as_json:
        print(json.dumps({"folder": str(folder), "town": made.slug, "admin_token": token}))
        return
    print(tr("{name} is ready in {folder}.", name=made.name, folder=folder))
    cli_town.show_admin_token(token)
    print("→ " + tr("Start it with: nest run {folder}", folder=folder))


@app.command(
    help=tr("Run the town's nest until Ctrl-C."),
    epilog=examples("nest run ./town", "nest run ./town --log-format json --quiet"),
)
def run(
    folder: Folder,
    as_json: AsJson = False,
    log_format: Annotated[logs.Format, typer.Option(help=tr("how logs are written to standard error"))] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", help=tr("say nothing but warnings and errors"))] = False,
) -> None:
    from nest.server import Nest  # here: the other commands need none of it

    logs.configure(log_format, quiet=quiet)

    def announce(event: dict[str, Any]) -> None:
        line = json.dumps(event) if as_json else "" if quiet else _sentence(event)
        if line:
            print(line, flush=True)

    async def serve() -> None:
        nest = Nest(town.load(folder), announce)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends it by KeyboardInterrupt
                loop.add_signal_handler(number, nest.stop)
        await nest.run()

    with asyncio.Runner() as runner:
        try:
            runner.run(serve())
        except UserError as error:
            if log_format != "json":
                raise
            _log.error("%s", error.message, extra={"next_step": error.next_step})
            raise typer.Exit(EXIT_USER_ERROR) from error
        announce({"event": "stopped"})
        # Everything is closed; what may still run is a thread in the resolver, and nobody waits for its answer.
        last = threading.Timer(_EXIT_S, os._exit, (0,))
        last.daemon = True
        last.start()


@app.command(
    help=tr("Check a town before the nest runs: settings, disk, database, certificates, broker."),
    epilog=examples("nest check ./town && nest run ./town"),
)
def check(folder: Folder, as_json: AsJson = False) -> None:
    from nest.forwarders.station_door import tls_context  # here: the other commands need none of it
    from nest.publish.mqtt import Broker, check_broker

    settings = town.load(folder)
    if warning := cli_status.little_room(settings.path, status.disk_free(settings.path)):
        raise UserError(warning, tr("Make room there: what cannot be stored waits in memory only."))
    open_database(settings.database, check=True).dispose()
    station, mqtt = settings.settings.basics_station, settings.settings.mqtt
    tls_context(settings.path, station.certificate, station.key)
    if mqtt.url:
        ca_file = settings.path / mqtt.ca_file if mqtt.ca_file else None
        asyncio.run(check_broker(Broker.from_url(mqtt.url, ca_file)))
    print(json.dumps({"ok": True, "town": settings.slug}) if as_json else tr("{folder} is in order.", folder=folder))


def _sentence(event: dict[str, Any]) -> str:
    match event:
        case {"event": "listening", "part": "web", "host": host, "port": port}:
            shown = "localhost" if host in ("0.0.0.0", "::", "127.0.0.1") else host  # noqa: S104
            return tr("The page:  http://{host}:{port}/", host=shown, port=port)
        case {"event": "listening", "part": "semtech_udp", "port": port}:
            return tr("Gateways:  UDP port {port}", port=port)
        case {"event": "listening", "part": "basics_station", "port": port}:
            return tr("Stations:  port {port} (LoRa Basics Station)", port=port)
        case {"event": "listening", "part": "mqtt", "host": host, "port": port}:
            return tr("MQTT:      {host}, port {port}", host=host, port=port)
        case {"event": "ready"}:
            return tr("The nest is listening. Stop it with Ctrl-C.")
        case {"event": "stopped"}:
            return tr("The nest is closed.")
    return ""


@app.command(
    help=tr("Queue a downlink; it goes out after the node's next uplink."),
    epilog=examples("nest send ./town amsel --port 10 --hex 0102", "nest send ./town amsel --hex 01 --confirmed"),
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
    with database(folder) as engine:
        known = Registry(engine).get(node)
        if known is None:
            raise unknown_node(node)
        number = DownlinkQueue(engine).add(known.id, port, content, confirmed=confirmed, window=window)
    print(tr("Downlink {number} waits for the next uplink of {slug}.", number=number, slug=node))


app.command(
    "set",
    help=tr("Tell a node how often to send, with how much parity, or to start anew."),
    epilog=examples("nest set ./town amsel --interval 600", "nest set ./town amsel --parity 2 --unconfirmed"),
)(cli_orders.set_node)
app.command(
    "orders",
    help=tr("Show what nodes were told, and whether they have answered."),
    epilog=examples("nest orders ./town", "nest orders ./town amsel --json"),
)(cli_orders.show_orders)
app.command(
    "rebuild",
    help=tr("Make readings and gaps again from the day files, into an empty database. Keys do not come back."),
    epilog=examples("nest rebuild ./town", "nest rebuild ./town --into ./new-town"),
)(cli_archive.rebuild)
app.command(
    "redecode",
    help=tr("Decode history again from the raw frames, and correct readings. The nest may run meanwhile."),
    epilog=examples("nest redecode ./town --dry-run", "nest redecode ./town amsel --since 2026-05-01"),
)(cli_archive.redecode)
app.add_typer(cli_nodes.app, name="nodes")
app.add_typer(cli_gateways.app, name="gateways")
app.command("status", help=tr("Show how the nest is doing."), epilog=examples("nest status ./town --json"))(
    cli_status.show_status
)
app.add_typer(cli_town.app)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help=tr("show the version"), is_eager=True)] = False,
    lang: Annotated[str, typer.Option("--lang", metavar="de|en", help=tr("The language, anywhere on the line."))] = "",
) -> None:
    if version:
        print(f"funkspatz {__version__}")
        raise typer.Exit


def main() -> None:
    """The console script `nest`."""

    def command() -> None:
        take_language()
        cli_usage.spoken(app)()

    run_command(command)
