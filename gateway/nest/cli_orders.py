"""`nest set` and `nest orders`: what a node is told to do, and whether it has answered."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.table import Table

from nest import backfill, orders
from nest.archive.orders import DONE, EXPIRED, REFUSED, REPLACED, SENT, WAITING, Order, Orders
from nest.cli_common import AsJson, Folder, NodeName, ago, console, database
from nest.errors import UserError
from nest.i18n import tr
from nest.orders import Command, Confirmed, Interval, Log, Parity, Restart
from nest.registry import Registry, unknown_node

_AUTO = "auto"

SomeNode = Annotated[str | None, typer.Argument(metavar="[NODE]", help=tr("only this node's"))]


def set_node(
    folder: Folder,
    node: NodeName,
    interval: Annotated[
        int | None, typer.Option(min=5, max=65535, help=tr("seconds from one reading to the next"))
    ] = None,
    parity: Annotated[
        str | None, typer.Option(metavar="0..4|auto", help=tr("parity symbols in each frame; auto: the nest chooses"))
    ] = None,
    confirmed: Annotated[
        bool | None,
        typer.Option(
            "--confirmed/--unconfirmed", help=tr("whether the node asks for an acknowledgement of each frame")
        ),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help=tr("start the node anew"))] = False,
    as_json: AsJson = False,
) -> None:
    """Order settings of a node; they go out together after its next uplink."""
    commands: list[Command] = []
    automatic: list[Command] = []
    if interval is not None:
        commands.append(Interval(interval))
    if parity is not None:
        (automatic if parity == _AUTO else commands).append(_parity(parity))
    if confirmed is not None:
        commands.append(Confirmed(confirmed))
    if restart:
        commands.append(Restart())
    if not commands and not automatic:
        raise UserError(
            tr("There is nothing to set."),
            tr("Say what: --interval, --parity, --confirmed, --unconfirmed or --restart."),
        )
    with database(folder) as engine:
        known = Registry(engine).get(node)
        if known is None:
            raise unknown_node(node)
        archive = Orders(engine)
        numbers: list[int] = []
        for some, by_nest in ((automatic, True), (commands, False)):
            if some:
                numbers += archive.place(known.id, some, automatic=by_nest)
        placed = [order for order in archive.list(node) if order.id in numbers]
    if as_json:
        print(json.dumps([as_dict(order) for order in reversed(placed)]))
        return
    what = ", ".join(words(order.command) for order in reversed(placed))
    if all(order.downlink for order in placed):
        print(tr("Ordered: {what}. It goes out after the next uplink of {slug}.", what=what, slug=node))
    else:
        print(
            tr("Ordered: {what}. {slug} has had {most} downlinks in 24 hours; it goes out when there is room again.",
               what=what, slug=node, most=backfill.MOST_A_DAY)
        )  # fmt: skip
    print("→ " + tr("See whether it has answered: nest orders {folder} {slug}", folder=folder, slug=node))


def show_orders(folder: Folder, node: SomeNode = None, as_json: AsJson = False) -> None:
    """The latest orders, newest first."""
    with database(folder) as engine:
        if node is not None and Registry(engine).get(node) is None:
            raise unknown_node(node)
        found = Orders(engine).list(node)
    if as_json:
        print(json.dumps([as_dict(order) for order in found]))
        return
    if not found:
        print(tr("No orders yet. Give one, for example: nest set {folder} NODE --interval 600", folder=folder))
        return
    table = Table(tr("node"), tr("order"), tr("by"), tr("given"), tr("state"), tr("since"), tr("tries"))
    for order in found:
        table.add_row(
            order.node, words(order.command), tr("the nest") if order.automatic else tr("people"),
            ago(order.created_at), state_words(order), ago(order.state_at), f"{order.tries}",
        )  # fmt: skip
    console().print(table)


def as_dict(order: Order) -> dict[str, object]:
    """An order for programs; times are Unix s."""
    shown = dataclasses.asdict(order)
    del shown["command"]
    return {**shown, "kind": order.command.kind, "value": orders.to_json(order.command)}


def words(command: Command) -> str:
    """What is ordered, for people."""
    match command:
        case Interval(seconds):
            return tr("a reading every {seconds} s", seconds=seconds)
        case Parity(symbols):
            return tr("parity symbols: {count}", count=symbols)
        case Confirmed(on):
            return tr("frames with acknowledgement") if on else tr("frames without acknowledgement")
        case Log(ranges):
            return tr("{count} readings from its log", count=sum(one.count for one in ranges))
        case Restart():
            return tr("restart")


def state_words(order: Order) -> str:
    """How far an order has come, for people."""
    if order.state == WAITING and not order.downlink:
        return tr("waits for room: many downlinks went out today")
    return {
        WAITING: tr("waits for the node's next uplink"),
        SENT: tr("sent, no answer yet"),
        DONE: tr("done"),
        REFUSED: tr("refused by the node"),
        REPLACED: tr("replaced by a later order"),
        EXPIRED: tr("never answered"),
    }.get(order.state, order.state)


def _parity(text: str) -> Parity:
    if text == _AUTO:
        return Parity(1)
    if not (text.isdecimal() and text.isascii() and int(text) <= orders.MOST_PARITY):
        raise UserError(
            tr("{text} is no number of parity symbols.", text=repr(text)),
            tr("Write 0 to {most}, or auto: then the nest chooses.", most=orders.MOST_PARITY),
        )
    return Parity(int(text))
