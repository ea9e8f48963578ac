"""`spatz nodes …`: what becomes of a node's key: a new one, none any more, or another town's."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from nest.errors import UserError
from nest.i18n import tr

from spatz.cli_register import AsJson, Town

if TYPE_CHECKING:
    from nest.registry import Node, Registry

nodes_app = typer.Typer(
    help=tr("A node's key: who has one, a new one, none any more, or into another town."),
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Name = Annotated[str, typer.Argument(metavar="NODE", help=tr("The node's name, for example amsel."))]
Yes = Annotated[bool, typer.Option("--yes", help=tr("Do not ask."))]


def _examples(*lines: str) -> str:
    return "\n\n".join([tr("Examples:"), *(f"[bold]{line}[/bold]" for line in lines)])


@nodes_app.command(
    "list",
    help=tr("Show the town's nodes, with their boards; no keys."),
    epilog=_examples("spatz nodes list --town mytown", "spatz nodes list --retired --json"),
)
def list_nodes(
    town: Town = None,
    retired: Annotated[bool, typer.Option("--retired", help=tr("Those that were retired instead."))] = False,
    as_json: AsJson = False,
) -> None:
    """Show the town's nodes."""
    from nest.cli_common import console, database
    from nest.logs import printable
    from nest.registry import Registry
    from rich.table import Column, Table

    from spatz.flash.town import town_folder

    rows: list[dict[str, Any]]
    with database(town_folder(town)) as engine:
        registry = Registry(engine)
        if retired:
            rows = [
                {"slug": slug, "dev_eui": dev_eui, "retired_at": datetime.fromtimestamp(at, UTC).isoformat()}
                for slug, dev_eui, at in registry.retired()
            ]
        else:
            rows = [_row(registry, node) for node in registry.list()]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    eui = Column("DevEUI", no_wrap=True, min_width=16)
    if retired:
        table = Table(tr("node"), eui, tr("retired"))
        for row in rows:
            table.add_row(printable(row["slug"]), row["dev_eui"], row["retired_at"][:10])
    else:
        table = Table(tr("node"), tr("name"), eui, tr("board"), tr("sensors"), tr("every"))
        for row in rows:
            wishes = row["wishes"] or {}
            seconds = f"{wishes['interval_s']} s" if "interval_s" in wishes else ""
            sensors = ", ".join(wishes.get("sensors", ()))
            said = (row["slug"], row["name"], row["dev_eui"], wishes.get("board", ""), sensors, seconds)
            table.add_row(*map(printable, said))
    console().print(table)


@nodes_app.command(
    "rotate",
    help=tr(
        "Give a node a new key. It goes on as it is until it joins again; then it needs the new key: flash it, and "
        "register it again with other servers."
    ),
    epilog=_examples("spatz nodes rotate amsel --town mytown", "spatz nodes rotate amsel --yes"),
)
def rotate(node: Name, town: Town = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Give a node a new key."""
    from nest.cli_common import database
    from nest.registry import Registry

    from spatz.flash.town import town_folder

    with database(town_folder(town)) as engine:
        registry = Registry(engine)
        _must_be_known(registry, node)
        _ask(tr("Give {node} a new key? It must be flashed before it can join again.", node=node), yes=yes)
        rotated = registry.rotate(node)
    if as_json:
        print(json.dumps({"slug": rotated.slug, "dev_eui": rotated.dev_eui.hex()}))
        return
    print(tr("{node} has a new key.", node=node))
    print("→ " + tr("Plug it in and write the key: spatz flash"))


@nodes_app.command(
    "retire",
    help=tr("A node is not to come back: its key is forgotten, its readings stay."),
    epilog=_examples("spatz nodes retire amsel --town mytown", "spatz nodes retire amsel --undo"),
)
def retire(
    node: Name,
    town: Town = None,
    undo: Annotated[bool, typer.Option("--undo", help=tr("It may come back, with a new key."))] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """A node is not to come back."""
    from nest.cli_common import database
    from nest.registry import Registry

    from spatz.flash.town import town_folder

    with database(town_folder(town)) as engine:
        registry = Registry(engine)
        if undo:
            registry.reinstate(node)
        else:
            if node not in registry.removed_slugs():  # its board may turn up again all the same
                _must_be_known(registry, node)
            _ask(tr("Retire {node}? Its key is forgotten, its readings stay.", node=node), yes=yes)
            registry.retire(node)
    if as_json:
        print(json.dumps({"slug": node, "retired": not undo}))
    elif undo:
        print(tr("{node} may come back.", node=node))
        print("→ " + tr("Plug it in and write a new key: spatz flash"))
    else:
        print(tr("{node} is retired; its readings stay.", node=node))
        print(
            "→ "
            + tr(
                "If it is registered with ChirpStack or The Things Stack too, delete it there: nothing here does that."
            )
        )


@nodes_app.command(
    "hand-over",
    help=tr("Give a node to another town: a file with its key, for them; here it is retired, its readings stay."),
    epilog=_examples("spatz nodes hand-over amsel --town mytown --output amsel.node.json"),
)
def hand_over(
    node: Name,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help=tr("Where to; only you can read it."))],
    town: Town = None,
    force: Annotated[bool, typer.Option("--force", help=tr("Replace the file if it is there already."))] = False,
    yes: Yes = False,
) -> None:
    """Give a node to another town."""
    from nest.cli_common import database
    from nest.registry import Registry

    from spatz.flash.town import town_folder
    from spatz.servers.handing import write

    with database(town_folder(town)) as engine:
        registry = Registry(engine)
        _must_be_known(registry, node)
        _ask(tr("Hand {node} over? Here it may not join any more.", node=node), yes=yes)
        while True:  # once, unless it joins meanwhile
            held = registry.find_slug(node)
            write(registry, node, output, force=force)
            if held is not None and registry.hand_over(held):  # not before: without the file the key would be lost
                break
            force = True  # the file is ours
    print(tr("{node} is in {file}, and retired here.", node=node, file=output))
    print("→ " + tr("There: spatz nodes take FILE. It holds the key: hand it over yourself, then delete it."))


@nodes_app.command(
    "take",
    help=tr("Take a node that another town hands over, from its file."),
    epilog=_examples("spatz nodes take amsel.node.json --town mytown", "spatz nodes take amsel.node.json --name meise"),
)
def take(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=tr("As spatz nodes hand-over makes it."))],
    town: Town = None,
    name: Annotated[str | None, typer.Option("--name", help=tr("Another name for it here."))] = None,
    as_json: AsJson = False,
) -> None:
    """Take a node that another town hands over."""
    from nest.cli_common import database
    from nest.registry import Registry

    from spatz.flash.town import town_folder
    from spatz.servers.handing import take as take_it

    with database(town_folder(town)) as engine:
        taken = take_it(Registry(engine), file, name)
    if as_json:
        print(json.dumps({"slug": taken.slug, "dev_eui": taken.dev_eui.hex()}))
        return
    print(tr("{node} belongs to this town now.", node=taken.slug))
    print("→ " + tr("It joins here by itself within days. Delete the file: it holds the key."))


def _row(registry: Registry, node: Node) -> dict[str, Any]:
    from spatz.wishes import wishes_of

    said = registry.wishes(node.slug)
    try:
        wished = wishes_of(said) if said else None
    except UserError:
        wished = None
    wishes = wished and {"board": wished.board, "sensors": [*wished.sensors], "interval_s": wished.interval_s}
    return {
        "slug": node.slug,
        "name": node.name,
        "dev_eui": node.dev_eui,
        "join_eui": node.join_eui,
        "wishes": wishes,
    }


def _must_be_known(registry: Registry, slug: str) -> None:
    """Before anybody is asked. Raises UserError: there is none of that name."""
    from nest.registry import unknown_node

    if registry.get(slug) is None:
        raise unknown_node(slug)


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(question, tr("Say --yes."))
    typer.confirm(question, abort=True)
