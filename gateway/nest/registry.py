"""The register of a town's nodes: who may join, under what name, and where it stands.

Keys go in and stay in: nothing here prints an AppKey. It is handed out to the network server (`device`, `devices`), and
as `Provisioned` to whoever writes it to the node itself or registers the node with another network server.
"""

from __future__ import annotations

import builtins
import dataclasses
import re
from typing import Any

from sqlalchemy import Engine, Row, select, update

from nest import keys
from nest.archive.database import writing
from nest.archive.schema import nodes, sessions
from nest.errors import UserError
from nest.i18n import tr
from nest.model import Device
from nest.moments import now_ms
from nest.registry_rows import (
    DEFAULT_PRECISION,
    REBUILT,
    Former,
    Provisioned,
    begin_anew,
    enter,
    forget_key,
    next_dev_nonce,
    provisioned,
    registered,
    row_of,
    unknown_node,
)
from nest.town import SLUG

__all__ = [
    "DEFAULT_PRECISION", "LONGEST_NAME", "REBUILT", "Former", "Node", "Provisioned", "Registry", "check_name",
    "plain_eui", "unknown_node",
]  # fmt: skip

LONGEST_NAME = 80  # characters


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
        if app_key is not None and len(app_key) != keys.KEY_BYTES:
            raise UserError(
                tr("An AppKey has 16 bytes (32 hex digits), this one has {size}.", size=len(app_key)),
                tr("Check the file, or leave the key out: the nest makes one."),
            )
        place: dict[str, Any] = {"latitude": latitude, "longitude": longitude, "precision": precision}
        with writing(self._engine) as connection:
            node_id = enter(connection, slug, dev_eui, join_eui, app_key or keys.new_key(), name=name, **place)
            return _node(connection.execute(select(nodes).where(nodes.c.id == node_id)).one())

    def provision(
        self, dev_eui: bytes, join_eui: bytes, *, slug: str, wishes: str | None = None, name: str | None = None
    ) -> Provisioned:
        """What the board with this DevEUI must hold. A known one keeps its key, slug and JoinEUI, so that this can be
        asked any number of times; a new one, or one that was removed, gets a key of its own.

        `wishes` and `name`, where given, take the place of what was there.
        Raises UserError: slug taken or malformed, the board has another slug here, or it was retired.
        """
        _check_slug(slug)
        if name is not None:
            check_name(name)
        said: dict[str, Any] = {key: value for key, value in (("wishes", wishes), ("name", name)) if value is not None}
        with writing(self._engine) as connection:
            row = connection.execute(select(nodes).where(registered, nodes.c.dev_eui == dev_eui.hex())).one_or_none()
            if row is None:
                node_id = enter(connection, slug, dev_eui.hex(), join_eui.hex(), keys.new_key(), **said)
            else:
                if row.slug != slug:
                    raise UserError(
                        tr("This board is {slug} already.", slug=row.slug),
                        tr("Leave the new name away: a node keeps its name, for its readings hang on it."),
                    )
                node_id = row.id
                if said:
                    connection.execute(update(nodes).where(nodes.c.id == node_id).values(**said))
            return provisioned(connection, node_id, new=row is None)

    def take(self, handed: Provisioned, *, name: str | None = None, wishes: str | None = None) -> Provisioned:
        """A node that another town hands over, with its key and its counts. One that was retired here may come back.

        Raises UserError: slug malformed, slug or DevEUI taken, a name that cannot be shown.
        """
        _check_slug(handed.slug)
        if name is not None:
            check_name(name)
        said: dict[str, Any] = {key: value for key, value in (("wishes", wishes), ("name", name)) if value is not None}
        with writing(self._engine) as connection:
            dev_eui, join_eui = handed.dev_eui.hex(), handed.join_eui.hex()
            node_id = enter(connection, handed.slug, dev_eui, join_eui, handed.app_key, again=True, **said)
            row = connection.execute(select(nodes).where(nodes.c.id == node_id)).one()
            floors = {
                "nonce_floor": max(row.nonce_floor, handed.dev_nonce),
                "join_nonce_floor": max(row.join_nonce_floor, handed.join_nonce),
            }
            connection.execute(update(nodes).where(nodes.c.id == node_id).values(**floors))
            return provisioned(connection, node_id, new=False)

    def find(self, dev_eui: bytes) -> Provisioned | None:
        """What the registered node of that DevEUI holds; None for a stranger."""
        return self._find(nodes.c.dev_eui == dev_eui.hex())

    def find_slug(self, slug: str) -> Provisioned | None:
        """What the registered node of that slug holds."""
        return self._find(nodes.c.slug == slug)

    def written_again(self, slug: str) -> int:
        """To be called before a node's key is written to a board that has lost its own count of DevNonces: the smallest
        it may use from now on. DevNonces of joins that the nest has not seen are left out (`keys.WRITTEN_AGAIN`).

        Raises UserError: no such node, or there are none left.
        """
        with writing(self._engine) as connection:
            row = row_of(connection, slug)
            floor = next_dev_nonce(connection, row) + keys.WRITTEN_AGAIN
            if floor > keys.LAST_DEV_NONCE - keys.WRITTEN_AGAIN:
                raise UserError(
                    tr("The key of {slug} was written too often: it has no unused numbers left.", slug=slug),
                    tr("Give it a new one: spatz nodes rotate {slug}", slug=slug),
                )
            values = {"nonce_floor": floor, "changed_at": now_ms()}  # a running nest refuses those below from now on
            connection.execute(update(nodes).where(nodes.c.id == row.id).values(**values))
            return floor

    def rotate(self, slug: str) -> Provisioned:
        """A new AppKey. DevNonces begin anew; the running session goes on until the node joins with the new key.

        Raises UserError: no such node.
        """
        with writing(self._engine) as connection:
            row = row_of(connection, slug)
            app_key = keys.new_key()
            mark = keys.mark(bytes.fromhex(row.dev_eui), app_key)
            values = {"app_key": app_key, "key_mark": mark, "changed_at": now_ms()}
            connection.execute(update(nodes).where(nodes.c.id == row.id).values(**values))
            begin_anew(connection, row.id)
            return provisioned(connection, row.id, new=True)

    def wishes(self, slug: str) -> str | None:
        """What is wished of that node, as JSON; None: nobody has flashed it from here.

        Raises UserError: no such node.
        """
        with self._engine.begin() as connection:
            return row_of(connection, slug).wishes

    def set_wishes(self, slug: str, wishes: str | None) -> None:
        """Raises UserError: no such node."""
        with writing(self._engine) as connection:
            row = row_of(connection, slug)
            connection.execute(update(nodes).where(nodes.c.id == row.id).values(wishes=wishes))

    def list(self) -> list[Node]:
        """Every registered node, by slug."""
        with self._engine.begin() as connection:
            return [_node(row) for row in connection.execute(select(nodes).where(registered).order_by(nodes.c.slug))]

    def get(self, slug: str) -> Node | None:
        """The registered node of that slug."""
        with self._engine.begin() as connection:
            row = connection.execute(select(nodes).where(registered, nodes.c.slug == slug)).one_or_none()
        return _node(row) if row else None

    def remove(self, slug: str) -> None:
        """Forget a node's key and session; its readings and frames stay.

        Raises UserError: no such node.
        """
        with writing(self._engine) as connection:
            forget_key(connection, row_of(connection, slug).id)

    def hand_over(self, written: Provisioned) -> bool:
        """Retire a node of which `written` was written down for another town. False: it has joined since then, or has
        another key, and nothing was done: a count that was used here must not be used there again.

        Raises UserError: no such node.
        """
        with writing(self._engine) as connection:
            row = row_of(connection, written.slug)
            if provisioned(connection, row.id, new=False) != written:
                return False
            forget_key(connection, row.id)
            connection.execute(update(nodes).where(nodes.c.id == row.id).values(retired_at=now_ms()))
            return True

    def retire(self, slug: str) -> None:
        """Remove a node that is not to come back: neither `add` nor `provision` takes it in again, until `reinstate`.
        It may have been removed before.

        Raises UserError: no such node.
        """
        with writing(self._engine) as connection:
            row = connection.execute(select(nodes).where(nodes.c.slug == slug)).one_or_none()
            if row is None:
                raise unknown_node(slug)
            if row.removed_at is None:
                forget_key(connection, row.id)
            if row.retired_at is None:
                connection.execute(update(nodes).where(nodes.c.id == row.id).values(retired_at=now_ms()))

    def reinstate(self, slug: str) -> None:
        """Take a retirement back: the node is a removed one again, which may be added.

        Raises UserError: no node of that name was retired.
        """
        with writing(self._engine) as connection:
            retired = update(nodes).where(nodes.c.slug == slug, nodes.c.retired_at.is_not(None))
            if connection.execute(retired.values(retired_at=None)).rowcount != 1:
                raise UserError(
                    tr("No node {slug} was retired.", slug=slug), tr("See which were: spatz nodes list --retired")
                )

    def retired(self) -> builtins.list[tuple[str, str, float]]:
        """Slug, DevEUI and date (Unix s) of the nodes that were retired, by slug."""
        found = select(nodes.c.slug, nodes.c.dev_eui, nodes.c.retired_at).where(nodes.c.retired_at.is_not(None))
        with self._engine.begin() as connection:
            rows = connection.execute(found.order_by(nodes.c.slug)).all()
        return [(row.slug, row.dev_eui, row.retired_at / 1000) for row in rows]

    def former(self, dev_eui: bytes) -> Former | None:
        """The node of that DevEUI where it is not registered now, but was; None: it is, or it never was here."""
        with self._engine.begin() as connection:
            row = connection.execute(select(nodes).where(~registered, nodes.c.dev_eui == dev_eui.hex())).one_or_none()
        return None if row is None else Former(row.slug, row.key_mark, row.retired_at is not None)

    def former_join_eui(self, dev_eui: bytes | str) -> str | None:
        """The JoinEUI (16 hex) of a node that was removed: it has it still. None: it never was here, or is.

        Raises UserError: no DevEUI.
        """
        row = select(nodes.c.join_eui).where(~registered, nodes.c.dev_eui == plain_eui(dev_eui, "DevEUI"))
        with self._engine.begin() as connection:
            return connection.execute(row).scalar_one_or_none()

    def device(self, dev_eui: bytes) -> Device | None:
        """What the network server needs to let the node of that DevEUI join; None for a stranger."""
        with self._engine.begin() as connection:
            row = connection.execute(select(nodes).where(registered, nodes.c.dev_eui == dev_eui.hex())).one_or_none()
        return _device(row) if row else None

    def removed_slugs(self) -> builtins.list[str]:
        """The slugs of all nodes that were removed."""
        with self._engine.begin() as connection:
            return [*connection.scalars(select(nodes.c.slug).where(~registered))]

    def removed_since(self, moment: float) -> builtins.list[bytes]:
        """The DevEUIs of nodes removed at or after `moment` (Unix s)."""
        removed = select(nodes.c.dev_eui).where(nodes.c.changed_at >= int(moment * 1000), ~registered)
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
            return [_device(row) for row in connection.execute(select(nodes).where(registered))]

    def sessions_of(self, dev_eui: bytes) -> set[int]:
        """The JoinNonces of a device's sessions that have not ended."""
        stand = (
            select(sessions.c.join_nonce)
            .join(nodes, nodes.c.id == sessions.c.node_id)
            .where(nodes.c.dev_eui == dev_eui.hex(), sessions.c.ended_at.is_(None))
        )
        with self._engine.begin() as connection:
            return {*connection.scalars(stand)}

    def _find(self, which: Any) -> Provisioned | None:
        with self._engine.begin() as connection:
            node_id = connection.execute(select(nodes.c.id).where(registered, which)).scalar_one_or_none()
            return None if node_id is None else provisioned(connection, node_id, new=False)


def _node(row: Row) -> Node:
    fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(Node)}
    status_at = None if row.status_at is None else row.status_at / 1000
    return Node(**{**fields, "added_at": row.added_at / 1000, "status_at": status_at})


def _device(row: Row) -> Device:
    return Device(bytes.fromhex(row.dev_eui), bytes.fromhex(row.join_eui), row.app_key, row.slug)


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
