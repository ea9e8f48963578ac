"""The register of a town's gateways: which may speak to the nest, and where they stand.

A token goes in as its fingerprint and stays in: nothing here prints it, and nobody can get the token back from it.
"""

from __future__ import annotations

import builtins
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from nest.archive.database import writing
from nest.archive.schema import gateways
from nest.errors import UserError
from nest.i18n import tr
from nest.model import GatewayInfo
from nest.moments import now_ms
from nest.registry import check_name, plain_eui

DEFAULT_GAIN_DBI = 2.15  # a half-wave dipole, as most gateways come with


class GatewayRegistry:
    """The gateways in a town's database. Every call is one short transaction; safe beside a running nest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        eui: bytes | str,
        name: str | None = None,
        *,
        latitude: float | None = None,
        longitude: float | None = None,
        altitude_m: float | None = None,
        antenna_gain_dbi: float = DEFAULT_GAIN_DBI,
        token: str | None = None,
    ) -> GatewayInfo:
        """Register a gateway; `token`: the fingerprint (`nest.tokens`) of its Basics Station token.

        A gateway that was removed comes back. Raises UserError: EUI malformed or registered already, a name that cannot
        be shown, half a position or one that is not on Earth.
        """
        plain = _plain(eui)
        name = plain if name is None else name
        check_name(name)
        _check_place(latitude, longitude, altitude_m, antenna_gain_dbi)
        _check_fingerprint(token)
        values = {
            "eui": plain,
            "name": name,
            "latitude": latitude,
            "longitude": longitude,
            "altitude_m": altitude_m,
            "antenna_gain_dbi": antenna_gain_dbi,
            "token": token,
            "removed_at": None,
        }
        with writing(self._engine) as connection:
            now = now_ms()  # not before: who waited for the database must not be overlooked by `changed_since`
            values |= {"added_at": now, "changed_at": now}
            row = connection.execute(select(gateways).where(gateways.c.eui == plain)).one_or_none()
            if row is None:
                connection.execute(insert(gateways).values(**values))
            elif row.removed_at is None:
                raise UserError(
                    tr("The gateway {eui} is registered already, as {name}.", eui=plain, name=row.name),
                    tr("To change it, remove it first: nest gateways remove FOLDER {eui}", eui=plain),
                )
            else:
                connection.execute(update(gateways).where(gateways.c.id == row.id).values(**values))
            return _info(connection.execute(select(gateways).where(gateways.c.eui == plain)).one())

    def get(self, eui: bytes | str) -> GatewayInfo | None:
        """The registered gateway of that EUI."""
        wanted = select(gateways).where(_registered, gateways.c.eui == _plain(eui))
        with self._engine.begin() as connection:
            row = connection.execute(wanted).one_or_none()
        return _info(row) if row else None

    def list(self) -> list[GatewayInfo]:
        """Every registered gateway, by EUI."""
        with self._engine.begin() as connection:
            rows = connection.execute(select(gateways).where(_registered).order_by(gateways.c.eui)).all()
        return [_info(row) for row in rows]

    def remove(self, eui: bytes | str) -> None:
        """Let a gateway in no more; its token is forgotten, what it has heard stays. Raises UserError: no such one."""
        self._change(eui, removed=True, token=None)

    def set_token(self, eui: bytes | str, token: str | None) -> None:
        """Give a gateway another token, by its fingerprint; None takes it away. Raises UserError: no such gateway."""
        _check_fingerprint(token)
        self._change(eui, token=token)

    def changed_since(self, moment_ms: int) -> tuple[builtins.list[GatewayInfo], builtins.list[str]]:
        """What was added or changed at or after `moment_ms` (Unix ms), and the EUIs of what was removed since."""
        wanted = select(gateways).where(gateways.c.changed_at >= moment_ms).order_by(gateways.c.eui)
        with self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        return (
            [_info(row) for row in rows if row.removed_at is None],
            [row.eui for row in rows if row.removed_at is not None],
        )

    def _change(self, eui: bytes | str, *, token: str | None, removed: bool = False) -> None:
        plain = _plain(eui)
        with writing(self._engine) as connection:
            now = now_ms()
            values = {"token": token, "changed_at": now, **({"removed_at": now} if removed else {})}
            statement = update(gateways).where(_registered, gateways.c.eui == plain).values(**values)
            if not connection.execute(statement).rowcount:
                raise UserError(
                    tr("There is no gateway {eui}.", eui=plain),
                    tr("See which there are: nest gateways list FOLDER"),
                )


def _plain(eui: bytes | str) -> str:
    where = tr("Copy it from the gateway's own page, for example {eui}.", eui="0016c001f1500812")
    return plain_eui(eui, tr("gateway's EUI"), where)


_registered = gateways.c.removed_at.is_(None)
_FIELDS = [field.name for field in dataclasses.fields(GatewayInfo)]


def note(connection: Connection, told: Iterable[Mapping[str, Any]]) -> None:
    """Keep what gateways speak, when they were last heard and what they tell about themselves beyond the end of the
    nest. `told`: their part of a snapshot (`nest.status`). Of one that was not heard what is there stays."""
    for gateway in told:
        if gateway["last_seen"] is not None:
            values = {"last_seen_at": round(gateway["last_seen"] * 1000)}
            values |= {name: gateway[name] for name in ("protocol", "stat") if gateway.get(name) is not None}
            connection.execute(update(gateways).where(_registered, gateways.c.eui == gateway["eui"]).values(**values))


def noted(connection: Connection) -> dict[str, dict[str, Any]]:
    """By EUI, what was noted of the registered gateways: `protocol`, `last_seen` (Unix s), `stat`, each None where
    nothing was."""
    wanted = select(gateways.c.eui, gateways.c.protocol, gateways.c.last_seen_at, gateways.c.stat).where(_registered)
    return {
        row.eui: {
            "protocol": row.protocol,
            "last_seen": None if row.last_seen_at is None else row.last_seen_at / 1000,
            "stat": row.stat,
        }
        for row in connection.execute(wanted)
    }


def _info(row: Row) -> GatewayInfo:
    return GatewayInfo(*(getattr(row, name) for name in _FIELDS))


def _check_place(
    latitude: float | None, longitude: float | None, altitude_m: float | None, antenna_gain_dbi: float
) -> None:
    if (latitude is None) != (longitude is None):
        raise UserError(
            tr("A position has two numbers, this one has only one."),
            tr("Give both, --latitude and --longitude, or neither."),
        )
    for value, low, high, what in (
        (latitude, -90.0, 90.0, tr("latitude")),
        (longitude, -180.0, 180.0, tr("longitude")),
        (altitude_m, -500.0, 10_000.0, tr("altitude")),
        (antenna_gain_dbi, -20.0, 30.0, tr("antenna gain")),
    ):
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise UserError(
                tr("{value} is no {what} for a gateway.", value=value, what=what),
                tr("Give a number from {low:g} to {high:g}.", low=low, high=high),
            )


def _check_fingerprint(token: str | None) -> None:
    """A token itself must never get here: it would be kept as it is."""
    if token is not None and not re.fullmatch(r"[0-9a-f]{64}", token):
        raise ValueError("that is no SHA-256 in hex")
