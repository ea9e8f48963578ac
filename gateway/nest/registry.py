"""The register of a town's nodes: who may join, under what name, and where it stands.

Keys go in and stay in: nothing here prints an AppKey; only `device` and `devices` hand it out, to the network server.
"""

from __future__ import annotations

import builtins
import dataclasses
import re
import secrets

from sqlalchemy import Engine, Row, insert, select, update

from nest.archive.database import writing
from nest.archive.schema import downlinks, joins, nodes, sessions
from nest.errors import UserError
from nest.i18n import tr
from nest.model import Device
from nest.moments import now_ms
from nest.town import SLUG

LONGEST_NAME = 80  # characters
REBUILT = "ffffffff"  # so begin DevEUIs of nodes of which only day files are left; no maker has that number
DEFAULT_PRECISION = 3  # decimals of a published position: about 100 m


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One registered node, without its key."""

    id: int
    slug: str
    name: str
    dev_eui: str  # 16 hex, lower case
    join_eui: str
    latitude: float | None
    longitude: float | None
    precision: int  # decimals of the position that are published
    added_at: float  # Unix s
    battery: int | None = None  # of its latest DevStatusAns: 0 external supply, 1..254 of 254, 255 unknown
    margin_db: int | None = None  # SNR of the request it answered
    status_at: float | None = None  # Unix s


class Registry:
    """The nodes in a town's database. Every call is one short transaction; safe beside a running nest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        slug: str,
        dev_eui: bytes | str,
        join_eui: bytes | str = "0000000000000000",
        app_key: bytes | None = None,
        *,
        name: str | None = None,
        latitude: float | None = None,
        longitude: float | None = None,
        precision: int = DEFAULT_PRECISION,
    ) -> Node:
        """Register a node; without `app_key` (16 bytes) it gets a random one.

        A node that was removed comes back, with its readings, under its old slug and DevEUI.
        Raises UserError: slug or EUI malformed or taken, a name that cannot be shown, half a position.
        """
        _check_slug(slug)
        name = slug if name is None else name
        check_name(name)
        if (latitude is None) != (longitude is None):
            raise UserError(
                tr("A position has two numbers, this one has only one."),
                tr("Give both, --latitude and --longitude, or neither."),
            )
        dev_eui, join_eui = plain_eui(dev_eui, "DevEUI"), plain_eui(join_eui, "JoinEUI")
        if app_key is not None and len(app_key) != 16:
            raise UserError(
                tr("An AppKey has 16 bytes (32 hex digits), this one has {size}.", size=len(app_key)),
                tr("Check the file, or leave the key out: the nest makes one."),
            )
        values = {
            "slug": slug,
            "name": name,
            "dev_eui": dev_eui,
            "join_eui": join_eui,
            "app_key": app_key or secrets.token_bytes(16),
            "latitude": latitude,
            "longitude": longitude,
            "precision": precision,
            "removed_at": None,
            "battery": None,
            "margin_db": None,
            "status_at": None,
        }
        with writing(self._engine) as connection:
            now = now_ms()  # not before: who waited for the database must not be overlooked by `changed_since`
            values |= {"added_at": now, "changed_at": now}
            known = connection.execute(select(nodes).where((nodes.c.slug == slug) | (nodes.c.dev_eui == dev_eui))).all()
            for row in known:
                _refuse_taken(row, slug, dev_eui)
            if known:
                node_id = known[0].id
                connection.execute(update(nodes).where(nodes.c.id == node_id).values(**values))
                if app_key is None:  # a key that never was: DevNonces begin anew
                    connection.execute(update(joins).where(joins.c.node_id == node_id).values(dev_nonce=-1))
            else:
                node_id = connection.execute(insert(nodes).values(**values).returning(nodes.c.id)).scalar_one()
            return _node(connection.execute(select(nodes).where(nodes.c.id == node_id)).one())

    def list(self) -> list[Node]:
        """Every registered node, by slug."""
        with self._engine.begin() as connection:
            return [_node(row) for row in connection.execute(select(nodes).where(_registered).order_by(nodes.c.slug))]

    def get(self, slug: str) -> Node | None:
        """The registered node of that slug."""
        with self._engine.begin() as connection:
            row = connection.execute(select(nodes).where(_registered, nodes.c.slug == slug)).one_or_none()
        return _node(row) if row else None

    def remove(self, slug: str) -> None:
        """Forget a node's key and session; its readings and frames stay.

        Raises UserError: no such node.
        """
        with writing(self._engine) as connection:
            row = connection.execute(select(nodes.c.id).where(_registered, nodes.c.slug == slug)).one_or_none()
            if row is None:
                raise unknown_node(slug)
            now = now_ms()
            connection.execute(
                update(nodes).where(nodes.c.id == row.id).values(removed_at=now, changed_at=now, app_key=None)
            )
            connection.execute(
                update(sessions)
                .where(sessions.c.node_id == row.id, sessions.c.ended_at.is_(None))
                .values(ended_at=now, nwk_skey=None, app_skey=None)
            )
            connection.execute(
                update(downlinks)
                .where(downlinks.c.node_id == row.id, downlinks.c.state.in_(("waiting", "queued")))
                .values(state="removed", state_at=now)
            )

    def device(self, dev_eui: bytes) -> Device | None:
        """What the network server needs to let the node of that DevEUI join; None for a stranger."""
        with self._engine.begin() as connection:
            row = connection.execute(select(nodes).where(_registered, nodes.c.dev_eui == dev_eui.hex())).one_or_none()
        return _device(row) if row else None

    def removed_slugs(self) -> builtins.list[str]:
        """The slugs of all nodes that were removed."""
        with self._engine.begin() as connection:
            return [*connection.scalars(select(nodes.c.slug).where(~_registered))]

    def removed_since(self, moment: float) -> builtins.list[bytes]:
        """The DevEUIs of nodes removed at or after `moment` (Unix s)."""
        removed = select(nodes.c.dev_eui).where(nodes.c.changed_at >= int(moment * 1000), ~_registered)
        with self._engine.begin() as connection:
            return [bytes.fromhex(dev_eui) for dev_eui in connection.scalars(removed)]

    def changed_since(self, moment_ms: int) -> tuple[builtins.list[Device], builtins.list[bytes]]:
        """What was added or changed at or after `moment_ms` (Unix ms), and the DevEUIs of what was removed since."""
        with self._engine.begin() as connection:
            rows = connection.execute(select(nodes).where(nodes.c.changed_at >= moment_ms)).all()
        return (
            [_device(row) for row in rows if row.removed_at is None],
            [bytes.fromhex(row.dev_eui) for row in rows if row.removed_at is not None],
        )

    def devices(self) -> builtins.list[Device]:
        """Every node that may join."""
        with self._engine.begin() as connection:
            return [_device(row) for row in connection.execute(select(nodes).where(_registered))]


def unknown_node(slug: str) -> UserError:
    """No node of that name: what to tell the user."""
    return UserError(tr("There is no node {slug}.", slug=slug), tr("See which there are: nest nodes list FOLDER"))


_registered = nodes.c.removed_at.is_(None)


def _node(row: Row) -> Node:
    fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(Node)}
    status_at = None if row.status_at is None else row.status_at / 1000
    return Node(**{**fields, "added_at": row.added_at / 1000, "status_at": status_at})


def _device(row: Row) -> Device:
    return Device(bytes.fromhex(row.dev_eui), bytes.fromhex(row.join_eui), row.app_key, row.slug)


def _refuse_taken(row: Row, slug: str, dev_eui: str) -> None:
    if row.slug == slug and row.dev_eui == dev_eui and row.removed_at is not None:
        return
    if row.slug == slug and row.dev_eui.startswith(REBUILT):
        return  # here is the node whose readings came back (nest rebuild)
    if row.slug == slug:
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


def _check_slug(slug: str) -> None:
    if not SLUG.fullmatch(slug):
        raise UserError(
            tr("{slug} cannot be a node's name.", slug=repr(slug)),
            tr("Use lower-case letters a-z, digits and hyphens, for example amsel or schule-2."),
        )


def check_name(name: str) -> None:
    """Raises UserError: it cannot be shown."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(
            tr("{name} cannot be shown as a name.", name=ascii(name)),
            tr("Use 1 to {most} letters, digits and signs on one line.", most=LONGEST_NAME),
        )


def plain_eui(value: bytes | str, what: str, next_step: str = "") -> str:
    """An EUI as 16 hex digits, whatever its spelling (bytes, upper case, with - or :). Raises UserError; `next_step`:
    where it is found, if not on a node's label."""
    text = value.hex() if isinstance(value, bytes) else re.sub(r"[-:\s]", "", value).lower()
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise UserError(
            tr("A {what} has 16 hex digits; {value} has not.", what=what, value=repr(text)),
            next_step or tr("Copy it from the node's label, for example 70b3d57ed0001234."),
        )
    return text
