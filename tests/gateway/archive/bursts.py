"""A node, its session and its frames, as the network server hands them to the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nest.archive import schema
from nest.archive.decoding import airtime_ms
from nest.archive.outbox import Outbox
from nest.lorawan.effects import StoreJoin, StoreUplink
from nest.model import Heard, JoinRecord, SessionState, Uplink
from sqlalchemy import Engine, select

EUI = bytes.fromhex("70b3d57ed0000001")
OTHER = bytes.fromhex("70b3d57ed0000002")
CLIMATE = bytes.fromhex("0f65ce39a776")  # 21.4 °C, 56.5 %, 1008.3 hPa, 3.87 V
HUMIDITY_FAILED = bytes.fromhex("0f65dff9a776")
TEMPERATURE_OUT_OF_RANGE = bytes.fromhex("01ffc0")
NEAR = Heard("aa" * 8, -60.0, 9.0, 868_100_000, 1000.0)
FAR = Heard("bb" * 8, -110.0, -5.0, 868_100_000, 1000.1)


def session(eui: bytes = EUI, nonce: int = 1, **more: Any) -> SessionState:
    return SessionState(eui, nonce, 0x01020304 + nonce, bytes([nonce]) * 16, bytes([nonce + 1]) * 16, **more)


def join(state: SessionState, dev_nonce: int = 0) -> StoreJoin:
    return StoreJoin(JoinRecord(state.dev_eui, dev_nonce, state.join_nonce), state)


def uplink(
    fcnt: int, content: bytes = CLIMATE, *, at: float = 1000.0, fport: int | None = 1, eui: bytes = EUI
) -> Uplink:
    phy = b"\x40" + fcnt.to_bytes(4, "little") + content
    return Uplink("amsel", eui, at, fcnt, fport, content, False, (NEAR,), 7, 125_000, 868_100_000, phy)


def store(
    state: SessionState, fcnt: int, content: bytes = CLIMATE, *, activates: bool = False, **more: Any
) -> StoreUplink:
    """A fresh frame, and what the network server does to its session."""
    state.fcnt_up, state.active = fcnt, True
    state.heard_at = more.get("at", 1000.0)
    return StoreUplink(uplink(fcnt, content, eui=state.dev_eui, **more), state, activates)


def measured(at: float, content: bytes = CLIMATE) -> float:
    """When the reading of a frame was measured that was heard at `at`: as its transmission began (SF7)."""
    return (round(at * 1000) - airtime_ms(7, 125_000, len(uplink(0, content).phy))) / 1000


def rows(engine: Engine, table: str) -> Sequence[Any]:
    wanted = schema.metadata.tables[table]
    with engine.begin() as connection:
        return connection.execute(select(wanted).order_by(*wanted.primary_key)).all()


def heard(engine: Engine) -> tuple[Heard, ...]:
    """Who heard the first frame that waits in the outbox."""
    return Outbox(engine).after(0)[0][1].heard
