"""`spatz register`, `spatz export`: a town's nodes at a network server, by its API or by a file."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from nest.errors import EXIT_USER_ERROR, UserError
from nest.i18n import tr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spatz.servers.nodes import Entry
    from spatz.servers.report import Report

Town = Annotated[
    Path | None,
    typer.Option("--town", metavar="DIR", help=tr("The town's folder; without it SPATZ_TOWN, or this folder.")),
]
Nodes = Annotated[
    list[str] | None, typer.Option("--node", metavar="NAME", help=tr("Only this node; may be given again."))
]
AsJson = Annotated[bool, typer.Option("--json", help=tr("A machine-readable summary at the end, nothing else."))]


class Server(StrEnum):
    """Where `spatz register` registers."""

    NEST = "nest"
    CHIRPSTACK = "chirpstack"
    TTS = "tts"


class Foreign(StrEnum):
    """Whom `spatz export` writes for."""

    CHIRPSTACK = "chirpstack"
    TTS = "tts"


class Form(StrEnum):
    """How `spatz export` writes."""

    CSV = "csv"
    JSON = "json"


_REGISTER_EPILOG = "\n\n".join(
    [
        tr("Examples:"),
        "[bold]spatz register --to nest --town mytown[/bold]",
        "[bold]spatz register --to chirpstack --server http://192.168.1.20:8080 --key-file chirpstack.key[/bold]",
        "[bold]spatz register --to tts --town mytown --application brandis-spatzen --key-file ttn.key[/bold]",
        "[bold]spatz register --to tts --town mytown --application brandis-spatzen --dry-run --json[/bold]",
    ]
)
_EXPORT_EPILOG = "\n\n".join(
    [
        tr("Examples:"),
        "[bold]spatz export --for tts --town mytown --output nodes.csv[/bold]",
        "[bold]spatz export --for chirpstack --format json --town mytown --output nodes.json[/bold]",
    ]
)


def add_register(app: typer.Typer) -> None:
    """Give `app` the commands `register` and `export`."""
    app.command(
        "register",
        help=tr(
            "Put the town's nodes, their keys and the payload decoder into a network server. Again and again: only "
            "what differs is written, nothing is ever deleted."
        ),
        epilog=_REGISTER_EPILOG,
    )(register)
    app.command(
        "export",
        help=tr("Write the town's nodes with their keys into a file that a network server can import."),
        epilog=_EXPORT_EPILOG,
    )(export)


def register(
    to: Annotated[Server, typer.Option("--to", help=tr("Which server."))],
    town: Town = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help=tr("Its address, as in the browser; for tts without it The Things Network in Europe."),
        ),
    ] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", help=tr("ChirpStack: name or id of the tenant; without it the only one."))
    ] = "",
    application: Annotated[
        str | None, typer.Option("--application", help=tr("Name or id of the application; without it the town's."))
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help=tr("ChirpStack: name or id of the device profile."))
    ] = None,
    nodes: Nodes = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help=tr("File with the API key; without it FUNKSPATZ_CHIRPSTACK_KEY or FUNKSPATZ_TTS_KEY."),
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help=tr("Certificate that vouches for the server (PEM).")),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=tr("Only say what would be done."))] = False,
    as_json: AsJson = False,
) -> None:
    """Put the town's nodes into a network server."""
    from nest.cli_common import database
    from nest.registry import Registry
    from nest.town import load

    from spatz.flash.town import town_folder
    from spatz.servers import nest as our_nest
    from spatz.servers.nodes import entries, longest_interval_s

    folder = town_folder(town)
    only = nodes or ()
    with database(folder) as engine:
        registry = Registry(engine)
        if to is Server.NEST:
            report = our_nest.register(registry, only)
        else:
            found, longest_s = entries(registry, only), longest_interval_s(registry)
            settings = load(folder)
            names = (tenant, application, profile)
            report = _at_a_server(
                to, settings.slug, settings.name, found, longest_s, server, names, key_file, ca_file, dry_run
            )
    _show(report, as_json=as_json, dry_run=dry_run)


def _at_a_server(
    to: Server,
    slug: str,
    town_name: str,
    found: Sequence[Entry],
    longest_s: int,
    server: str | None,
    names: tuple[str, str | None, str | None],
    key_file: Path | None,
    ca_file: Path | None,
    dry_run: bool,
) -> Report:
    from spatz.servers import chirpstack, tts
    from spatz.servers.access import access, not_encrypted, read_key

    library = tts if to is Server.TTS else chirpstack
    if server is None:
        if to is Server.CHIRPSTACK:
            raise UserError(
                tr("Where is ChirpStack?"), tr("Say its address, as in the browser: --server http://192.168.1.20:8080")
            )
        server = tts.COMMUNITY
    key = read_key(key_file, library.KEY)
    at = access(server, key, ca_file, port=chirpstack.PORT if to is Server.CHIRPSTACK else None)
    if warning := not_encrypted(at):
        print(warning, file=sys.stderr)
    tenant, application, profile = names
    if to is Server.TTS:
        return tts.register(at, application or slug, found, dry_run=dry_run)
    where = chirpstack.Where(tenant, application or town_name, profile or chirpstack.PROFILE)
    return chirpstack.register(at, where, found, longest_s=longest_s, dry_run=dry_run)


def _show(report: Report, *, as_json: bool, dry_run: bool) -> None:
    """Exit status 2 when a node was refused."""
    from nest.cli_common import console
    from nest.logs import printable
    from rich.table import Table

    if as_json:
        print(json.dumps({**report.to_json(), "dry_run": dry_run}))
    else:
        if report.differences:
            table = Table(tr("what"), tr("name"), tr("outcome"), tr("different"))
            for item in report.differences:
                said = item.why or ", ".join(item.fields)
                kind, outcome = _kinds().get(item.kind, item.kind), _outcomes()[item.outcome]
                table.add_row(kind, printable(item.name), outcome, printable(said))
            console().print(table)
        says = tr("Nodes: {created} new, {changed} changed, {unchanged} as they were, {failed} refused.")
        print(says.format(**report.nodes()))
        if dry_run:
            print(tr("Nothing was written: this was a dry run."))
        for note in report.notes:
            print(f"→ {printable(note)}", file=sys.stderr)
    if report.failed:
        raise typer.Exit(EXIT_USER_ERROR)


def _kinds() -> dict[str, str]:
    return {
        "node": tr("node"),
        "tenant": tr("tenant"),
        "application": tr("application"),
        "device profile": tr("device profile"),
        "formatter": tr("payload formatter"),
    }


def _outcomes() -> dict[str, str]:
    return {
        "created": tr("new"),
        "changed": tr("changed"),
        "unchanged": tr("as it was"),
        "failed": tr("refused"),
    }


def export(
    server: Annotated[Foreign, typer.Option("--for", help=tr("The server it is for."))],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help=tr("Where to; only you can read it."))
    ] = None,
    form: Annotated[Form, typer.Option("--format", help=tr("Its format."))] = Form.CSV,
    town: Town = None,
    nodes: Nodes = None,
    force: Annotated[bool, typer.Option("--force", help=tr("Replace the file if it is there already."))] = False,
) -> None:
    """Write the town's nodes with their keys into a file."""
    from nest.cli_common import database
    from nest.registry import Registry

    from spatz.flash.town import town_folder
    from spatz.servers.export import render
    from spatz.servers.nodes import entries, write_private

    if output is None and sys.stdout.isatty():
        raise UserError(
            tr("Keys are not shown on a screen."), tr("Say where they go: --output FILE, or pipe them to a program.")
        )
    with database(town_folder(town)) as engine:
        found = entries(Registry(engine), nodes or ())
    text = render(server.value, form.value, found)
    if output is None:
        sys.stdout.buffer.write(text.encode())  # as in a file, whatever the terminal writes
        sys.stdout.buffer.flush()
        return
    write_private(output, text, force=force)
    print(tr("{count} nodes are in {file}.", count=len(found), file=output))
    print("→ " + tr("It holds their keys: delete it when it is imported."), file=sys.stderr)
