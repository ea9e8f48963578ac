"""Rows of the table of nodes: how one comes in, begins anew with another key, and loses its key.

Every function works inside its caller's transaction (`nest.archive.database.writing`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from nest import keys
from nest.archive.schema import downlinks, joins, nodes, sessions
from nest.archive.sessions import NO_DEV_NONCE
from nest.errors import UserError
from nest.i18n import tr
from nest.moments import iso, now_ms

REBUILT = "ffffffff"  # so begin DevEUIs of nodes of which only day files are left; no maker has that number
DEFAULT_PRECISION = 3  # decimals of a published position: about 100 m


@dataclasses.dataclass(frozen=True, slots=True)
class Provisioned:
    """What a node must hold to belong to the town: its identity, and where its DevNonces may go on.

    `dev_nonce`: the smallest it may still use; `join_nonce`: the highest that the nest has given it (a node refuses one
    that does not rise). `new`: the key was made just now, and no board has it yet.
    """

    slug: str
    dev_eui: bytes
    join_eui: bytes
    app_key: bytes = dataclasses.field(repr=False)
    dev_nonce: int
    join_nonce: int
    new: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Former:
    """A node that is not registered now, but was: removed, or retired. `key_mark`: of the AppKey that was forgotten
    (`nest.keys.mark`); None where a version that kept no marks removed it."""

    slug: str
    key_mark: bytes | None = dataclasses.field(repr=False)
    retired: bool


registered = nodes.c.removed_at.is_(None)


def row_of(connection: Connection, slug: str) -> Row:
    row = connection.execute(select(nodes).where(registered, nodes.c.slug == slug)).one_or_none()
    if row is None:
        raise unknown_node(slug)
    return row


def enter(
    connection: Connection, slug: str, dev_eui: str, join_eui: str, app_key: bytes, *, again: bool = False, **said: Any
) -> int:
    """A node that is not registered, new or as it comes back; its number. `said`: other columns.
    `again`: whoever was retired is meant. Raises UserError: slug or DevEUI is taken."""
    now = now_ms()  # not before: who waited for the database must not be overlooked by `changed_since`
    mark = keys.mark(bytes.fromhex(dev_eui), app_key)
    values = {
        "slug": slug,
        "dev_eui": dev_eui,
        "join_eui": join_eui,
        "app_key": app_key,
        "key_mark": mark,
        "removed_at": None,
        "retired_at": None,
        "battery": None,
        "margin_db": None,
        "status_at": None,
        "added_at": now,
        "changed_at": now,
        **said,
    }
    known = connection.execute(select(nodes).where((nodes.c.slug == slug) | (nodes.c.dev_eui == dev_eui))).all()
    for row in known:
        refuse_taken(row, slug, dev_eui, again=again)
    if not known:
        values = {"name": slug, "precision": DEFAULT_PRECISION, **values}
        return connection.execute(insert(nodes).values(**values).returning(nodes.c.id)).scalar_one()
    node_id, kept = known[0].id, known[0].key_mark
    connection.execute(update(nodes).where(nodes.c.id == node_id).values(**values))
    if not keys.is_same_key(bytes.fromhex(dev_eui), app_key, kept):
        begin_anew(connection, node_id)
    return node_id


def begin_anew(connection: Connection, node_id: int) -> None:
    """The node has another AppKey, which no DevNonce was used with; JoinNonces still go on."""
    connection.execute(update(joins).where(joins.c.node_id == node_id).values(dev_nonce=NO_DEV_NONCE))
    connection.execute(update(nodes).where(nodes.c.id == node_id).values(nonce_floor=0))


def forget_key(connection: Connection, node_id: int) -> None:
    now = now_ms()
    connection.execute(update(nodes).where(nodes.c.id == node_id).values(removed_at=now, changed_at=now, app_key=None))
    connection.execute(
        update(sessions)
        .where(sessions.c.node_id == node_id, sessions.c.ended_at.is_(None))
        .values(ended_at=now, nwk_skey=None, app_skey=None)
    )
    connection.execute(
        update(downlinks)
        .where(downlinks.c.node_id == node_id, downlinks.c.state.in_(("waiting", "queued")))
        .values(state="removed", state_at=now)
    )


def next_dev_nonce(connection: Connection, row: Row) -> int:
    """The smallest DevNonce that the node may still use, as far as is known."""
    highest = select(func.max(joins.c.dev_nonce)).where(joins.c.node_id == row.id)
    seen = connection.execute(highest).scalar_one()
    return max(0 if seen is None else seen + 1, row.nonce_floor)


def provisioned(connection: Connection, node_id: int, *, new: bool) -> Provisioned:
    row = connection.execute(select(nodes).where(nodes.c.id == node_id)).one()
    given = connection.execute(select(func.max(joins.c.join_nonce)).where(joins.c.node_id == node_id)).scalar_one()
    return Provisioned(
        row.slug,
        bytes.fromhex(row.dev_eui),
        bytes.fromhex(row.join_eui),
        row.app_key,
        next_dev_nonce(connection, row),
        max(given or 0, row.join_nonce_floor),
        new,
    )


def refuse_taken(row: Row, slug: str, dev_eui: str, *, again: bool = False) -> None:
    if row.dev_eui == dev_eui and row.retired_at is not None and not again:
        raise UserError(
            tr("{slug} was retired on {day}.", slug=row.slug, day=iso(row.retired_at / 1000)[:10]),
            tr("Is it really to come back? spatz nodes retire {slug} --undo", slug=row.slug),
        )
    if row.slug == slug and row.dev_eui == dev_eui and row.removed_at is not None:
        return
    if row.slug == slug and row.dev_eui.startswith(REBUILT):
        return  # here is the node whose readings came back (nest rebuild)
    if row.slug == slug and row.dev_eui != dev_eui:
        raise UserError(
            tr("The name {slug} is taken by the node with DevEUI {dev_eui}.", slug=slug, dev_eui=row.dev_eui),
            tr("Choose another name."),
        )
    if row.removed_at is not None:
        raise UserError(
            tr("The node with DevEUI {dev_eui} was here before, as {slug}.", slug=row.slug, dev_eui=dev_eui),
            tr("Add it under that name, and its old readings stay with it."),
        )
    raise UserError(
        tr("The node with DevEUI {dev_eui} is here already, as {slug}.", slug=row.slug, dev_eui=dev_eui),
        tr("Remove that one first: nest nodes remove FOLDER {slug}", slug=row.slug),
    )


def unknown_node(slug: str) -> UserError:
    """No node of that name: what to tell the user."""
    return UserError(tr("There is no node {slug}.", slug=slug), tr("See which there are: nest nodes list FOLDER"))
