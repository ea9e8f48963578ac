"""`spatz`: the command line for those who build, try and look after nodes. Thin: each command calls its library."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from nest.errors import UserError, run_command
from nest.i18n import take_language, tr
from typer.models import CommandInfo, TyperInfo

from spatz import cli_attached, cli_labels
from spatz.cli_boards import boards_app
from spatz.cli_firmware import firmware_app
from spatz.cli_flash import add_flash
from spatz.cli_nodes import nodes_app
from spatz.cli_register import add_register
from spatz.sim import cli_virtual

if TYPE_CHECKING:
    from spatz.sim.simulation import Plan

app = typer.Typer(
    name="spatz",
    help=tr("Tools for Funkspatz nodes: try, build, and look after them."),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(boards_app, name="boards")
app.command(help=tr("A sheet of labels for nodes, with QR codes and without any secret."), epilog=cli_labels.EPILOG)(
    cli_labels.labels
)
cli_attached.add_to(app)
app.add_typer(firmware_app, name="firmware")
add_flash(app)
add_register(app)
app.add_typer(nodes_app, name="nodes")
app.command(help=cli_virtual.HELP, epilog=cli_virtual.EPILOG)(cli_virtual.virtual)

Nodes = Annotated[int, typer.Option("--nodes", help=tr("How many virtual nodes."))]
Seed = Annotated[int, typer.Option("--seed", help=tr("The same seed gives the same names, places, keys and weather."))]
Interval = Annotated[int, typer.Option("--interval", help=tr("Seconds between two readings of a node."))]
AsJson = Annotated[bool, typer.Option("--json", help=tr("A machine-readable summary at the end, nothing else."))]
Boards = Annotated[
    list[str] | None,
    typer.Option(
        "--board", help=tr('Of which board the nodes are; may be given again, they take turns ("spatz boards").')
    ),
]
Keep = Annotated[
    Path | None,
    typer.Option("--keep", metavar="DIR", help=tr("Keep everything in this folder instead of a temporary one.")),
]
Lang = Annotated[str, typer.Option("--lang", metavar="de|en", help=tr("The language, anywhere on the line."))]


def _version(asked: bool) -> None:
    if asked:
        import importlib.metadata  # slow, as the catalogue of boards is: not for every --help

        typer.echo(f"spatz {importlib.metadata.version('funkspatz')}")
        raise typer.Exit


@app.callback()
def _spatz(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help=tr("Show the version and exit."))
    ] = False,
    lang: Lang = "",
) -> None:
    pass


_DEMO_EPILOG = (
    f"{tr('Examples:')}\n\n"
    "[bold]spatz demo[/bold]\n\n"
    "[bold]spatz demo --nodes 20 --interval 30[/bold]\n\n"
    "[bold]spatz demo --seconds 60 --no-browser --json[/bold]"
)


@app.command(
    help=tr("Show the whole of Funkspatz on this computer: a town, its nest, and virtual nodes."), epilog=_DEMO_EPILOG
)
def demo(
    nodes: Nodes = 5,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help=tr("End after this time; without it, Ctrl-C ends the demo."))
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", help=tr("Port of the page; without it 8080, or any free one; 0: any free one.")),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help=tr("Open the page in the browser."))] = True,
    interval: Interval = 10,
    seed: Seed = 1,
    board: Boards = None,
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole of Funkspatz on this computer."""
    from spatz.sim import demo as library

    plan = _plan(nodes, seed, interval, boards=board)
    _check("--seconds", seconds, 0, 31_536_000)
    _check("--port", port, 0, 65_535)
    request = library.Request(plan, seconds or None, port, browser, keep, as_json)
    raise typer.Exit(library.run(request))


_SIMULATE_EPILOG = (
    f"{tr('Examples:')}\n\n"
    "[bold]spatz simulate --nodes 10 --server 192.168.1.20:1700 --keys keys.json[/bold]\n\n"
    "[bold]spatz simulate --nodes 50 --server 127.0.0.1:1700 --town ./mytown --seconds 300 --json[/bold]\n\n"
    "[bold]spatz simulate --station wss://nest.example:8887 --token-file token.txt[/bold]\n\n"
    "[bold]spatz simulate --nodes 3 --server 127.0.0.1:1700 --seconds 600 --energy[/bold]"
)


class Protocol(StrEnum):
    """What the virtual gateways of `spatz simulate` speak."""

    UDP = "udp"
    STATION = "station"


@app.command(
    help=tr("Drive any LoRaWAN network server with virtual nodes, through Semtech UDP or LoRa Basics Station."),
    epilog=_SIMULATE_EPILOG,
)
def simulate(
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="HOST:PORT", help=tr("Where the gateway sends to, by Semtech UDP.")),
    ] = None,
    station: Annotated[
        str | None,
        typer.Option("--station", metavar="wss://HOST:PORT", help=tr("Where it connects to as LoRa Basics Station.")),
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option("--protocol", help=tr("What the gateways speak; without it as --server or --station say.")),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help=tr("Tokens of the gateways for --station, one per line, or one for all."),
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help=tr("Certificate that vouches for --station wss://… (PEM).")),
    ] = None,
    nodes: Nodes = 5,
    seed: Seed = 1,
    interval: Interval = 60,
    seconds: Annotated[
        float, typer.Option("--seconds", help=tr("End after this time; 0: Ctrl-C ends the simulation."))
    ] = 0,
    gateways: Annotated[int, typer.Option("--gateways", help=tr("How many virtual gateways."))] = 1,
    loss: Annotated[float, typer.Option("--loss", help=tr("Share of the frames that get lost, 0 to 1."))] = 0.0,
    confirmed: Annotated[bool, typer.Option("--confirmed", help=tr("Nodes ask for an acknowledgement."))] = False,
    board: Boards = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help=tr("Write DevEUI, JoinEUI and AppKey of the nodes to this file.")),
    ] = None,
    town: Annotated[
        Path | None,
        typer.Option("--town", metavar="DIR", help=tr("Register the nodes and gateways in this town's nest.")),
    ] = None,
    keep: Keep = None,
    energy: Annotated[
        bool,
        typer.Option(
            "--energy", help=tr("At the end, what an uplink of each node costs and how long cells last (modelled).")
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Drive any LoRaWAN network server with virtual nodes."""
    from spatz.sim import simulate as library
    from spatz.sim.station import parse_address, read_tokens

    _check("--gateways", gateways, 1, 100)
    _check("--loss", loss, 0, 1)
    _check("--seconds", seconds, 0, 31_536_000)
    plan = _plan(nodes, seed, interval, gateways=gateways, loss=loss, confirmed=confirmed, boards=board)
    if protocol is None:
        protocol = Protocol.STATION if station else Protocol.UDP
    needed, other = ("--station", server) if protocol is Protocol.STATION else ("--server", station)
    where = station if protocol is Protocol.STATION else server
    if where is None or other is not None:
        raise typer.BadParameter(
            tr("--server HOST:PORT is for Semtech UDP, --station wss://HOST:PORT for LoRa Basics Station."),
            param_hint=needed,
        )
    request = library.Request(
        plan,
        parse_address(where) if protocol is Protocol.STATION else library.parse_server(where),
        seconds,
        keys=keys,
        town=town,
        keep=keep,
        as_json=as_json,
        energy=energy,
        tokens=read_tokens(token_file) if token_file else (),
        ca_file=ca_file,
    )
    raise typer.Exit(library.run(request))


_ENERGY_EPILOG = (
    f"{tr('Examples:')}\n\n"
    "[bold]spatz energy[/bold]\n\n"
    "[bold]spatz energy heltec-v3 --sf 7 --sf 12 --interval 3600[/bold]\n\n"
    "[bold]spatz energy --boot frozen --json[/bold]"
)


class Boot(StrEnum):
    """How the firmware lies on a node, for `spatz energy`."""

    FILES = "files"
    FROZEN = "frozen"


@app.command(
    help=tr(
        "What an uplink costs and how long cells last: the real firmware on a virtual board, a day in a few seconds, "
        "without a server. Modelled, not measured."
    ),
    epilog=_ENERGY_EPILOG,
)
def energy(
    board: Annotated[str, typer.Argument(help=tr('Its name, as "spatz boards" lists it.'))] = "heltec-v3",
    sf: Annotated[
        list[int] | None, typer.Option("--sf", help=tr("Only this spreading factor, 7 to 12; may be given again."))
    ] = None,
    interval: Interval = 900,
    boot: Annotated[
        Boot,
        typer.Option(
            "--boot", help=tr("How the firmware starts: from its files, or frozen into the image of MicroPython.")
        ),
    ] = Boot.FILES,
    confirmed: Annotated[bool, typer.Option("--confirmed", help=tr("Nodes ask for an acknowledgement."))] = False,
    as_json: AsJson = False,
) -> None:
    """What an uplink costs and how long cells last."""
    from spatz.sim import lifetime as library

    for one in sf or ():
        _check("--sf", one, 7, 12)
    _check("--interval", interval, 5, 86_400)
    factors = sorted(set(sf)) if sf else library.SPREADING_FACTORS
    raise typer.Exit(library.run(library.Request(board, factors, interval, boot.value, confirmed, as_json)))


_DECODER_EPILOG = (
    f"{tr('Examples:')}\n\n"
    "[bold]spatz decoder --for chirpstack --output decoder.js[/bold]\n\n"
    "[bold]spatz decoder --for tts[/bold]\n\n"
    "[bold]spatz decoder --examples --output decoder-examples.yaml[/bold]"
)


class Server(StrEnum):
    """Whom `spatz decoder` writes for."""

    CHIRPSTACK = "chirpstack"
    TTS = "tts"
    TS013 = "ts013"


@app.command(
    help=tr(
        "The payload decoder in JavaScript, for a network server other than the nest: ChirpStack v4, The Things Stack, "
        "or any that follows the LoRa Alliance's TS013."
    ),
    epilog=_DECODER_EPILOG,
)
def decoder(
    server: Annotated[
        Server,
        typer.Option("--for", help=tr("The server it is for. Only its first lines differ: they say where it goes.")),
    ] = Server.TS013,
    examples: Annotated[
        bool,
        typer.Option("--examples", help=tr("Its examples instead, in the format of the LoRaWAN device repository.")),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help=tr("Write to this file instead of the screen."))
    ] = None,
) -> None:
    """The payload decoder in JavaScript."""
    from spatz import decoder as library

    text = library.render_examples() if examples else library.render_script(server.value)
    if output:
        library.write(text, output)
    else:
        typer.echo(text, nl=False)


def _plan(
    nodes: int,
    seed: int,
    interval: int,
    *,
    gateways: int = 1,
    loss: float = 0.0,
    confirmed: bool = False,
    boards: list[str] | None = None,
) -> Plan:
    from spatz.boards import load_board
    from spatz.sim.simulation import Plan

    _check("--nodes", nodes, 1, 1000)
    _check("--interval", interval, 5, 86_400)
    names = tuple(load_board(name).name for name in boards or ())  # who misspells one hears it before anything starts
    return Plan(nodes, seed, interval, gateways, loss, confirmed, boards=names)


def _check(option: str, value: float | None, low: float, high: float) -> None:
    """An option within its range; UserError when not."""
    if value is not None and not low <= value <= high:
        raise UserError(
            tr("{option} is {value}; possible are {low} to {high}.", option=option, value=value, low=low, high=high),
            tr("Correct the value and start again."),
        )


_PANELS = (
    (tr("Boards at the USB socket"), "flash update doctor identify logs shell firmware boards"),
    (tr("The nodes of a town"), "labels nodes register export decoder"),
    (tr("Without a board"), "demo virtual simulate energy"),
)


def _arranged() -> None:
    """The commands in the order in which people need them, under what they are for."""
    order = {name: (at, title) for at, (title, names) in enumerate(_PANELS) for name in names.split()}
    names = [*order]
    for kind in (app.registered_commands, app.registered_groups):
        for one in kind:
            one.rich_help_panel = order[_name(one)][1]
        kind.sort(key=lambda one: names.index(_name(one)))


def _name(one: CommandInfo | TyperInfo) -> str:
    return one.name or str(getattr(one.callback, "__name__", ""))


_arranged()


def main() -> None:
    """Entry point of the console script."""

    def command() -> None:
        take_language()
        app()

    run_command(command)
