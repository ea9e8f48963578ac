"""`/api/v1/admin`: the operator's part of the API. `guard.py` lets nobody in without the admin token; this file checks
once more that it did. Errors say what was expected and never repeat what was sent: it may have been a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.security import HTTPBearer

from nest.archive.downlinks import DownlinkQueue
from nest.errors import UserError
from nest.gateways import GatewayRegistry
from nest.model import GatewayInfo
from nest.moments import iso
from nest.registry import Node, Registry
from nest.tokens import fingerprint, new_token
from nest.web import admin_models as models
from nest.web.guard import PASSED
from nest.web.models import Problem
from nest.web.operations import Operations
from nest.web.security import ADMIN

_BEARER = HTTPBearer(auto_error=False, description="the admin token that `nest init` has shown, or `nest token`")
Responses = dict[int | str, dict[str, Any]]
_REFUSED: Responses = {
    401: {"model": Problem, "description": "No admin token, or a wrong one"},
    429: {"model": Problem, "description": "Too many wrong ones"},
    503: {"model": Problem, "description": "The database does not answer now"},
}
_MISSING: Responses = {404: {"model": Problem, "description": "There is no such thing"}}
_TAKEN: Responses = {409: {"model": Problem, "description": "It is here already"}}
_INVALID: Responses = {422: {"model": Problem, "description": "Something asked is not possible"}}

Slug = Annotated[str, Path(description="the node's name in addresses")]
Eui = Annotated[str, Path(description="the gateway's EUI, 16 hex digits", pattern="^[0-9a-fA-F]{16}$")]


def _operator(request: Request, _: Annotated[object, Depends(_BEARER)]) -> None:
    """The guard's word. Without it nobody is let in, wherever these routes are mounted."""
    if not request.scope.get(PASSED):
        raise HTTPException(401, "unauthorized", {"WWW-Authenticate": "Bearer"})


def router(operations: Operations, clock: Callable[[], float]) -> APIRouter:
    """The routes below `/api/v1/admin`. Those that use the database are plain functions and run in the thread pool."""
    api = APIRouter(prefix=ADMIN, tags=["operator"], dependencies=[Depends(_operator)], responses=_REFUSED)
    nodes, gateways = Registry(operations.engine), GatewayRegistry(operations.engine)
    queue = DownlinkQueue(operations.engine)

    @api.get("/status", summary="Everything the nest tells of itself")
    async def status() -> models.AdminStatus:
        return models.AdminStatus.model_validate({**operations.snapshot(), "time": iso(clock())})

    @api.get("/nodes", summary="The registered nodes")
    def list_nodes() -> list[models.AdminNode]:
        return [_node(node) for node in nodes.list()]

    @api.post("/nodes", status_code=201, summary="Register a node", responses={**_TAKEN, **_INVALID})
    def add_node(asked: models.NewNode) -> models.AdminNode:
        with _problems(409):
            added = nodes.add(
                asked.slug,
                asked.dev_eui,
                asked.join_eui or nodes.former_join_eui(asked.dev_eui) or operations.join_eui,
                None if asked.app_key is None else bytes.fromhex(asked.app_key.get_secret_value()),
                name=asked.name,
                latitude=asked.latitude,
                longitude=asked.longitude,
                precision=asked.precision,
            )
        return _node(added)

    @api.delete(
        "/nodes/{slug}", status_code=204, summary="Forget a node's key; its readings stay", responses={**_MISSING}
    )
    def remove_node(slug: Slug) -> None:
        with _problems(404):
            nodes.remove(slug)

    @api.post(
        "/nodes/{slug}/downlinks",
        status_code=201,
        summary="Queue a downlink; it goes out after the node's next uplink",
        responses={**_MISSING, **_INVALID},
    )
    def queue_downlink(slug: Slug, asked: models.NewDownlink) -> models.QueuedDownlink:
        node = nodes.get(slug)
        if node is None:
            raise HTTPException(404, "there is no such node")
        payload = bytes.fromhex(asked.payload)
        number = queue.add(node.id, asked.port, payload, confirmed=asked.confirmed, window=asked.window)
        return models.QueuedDownlink(id=number, node=slug)

    @api.get("/gateways", summary="The registered gateways")
    def list_gateways() -> list[models.AdminGateway]:
        return [_gateway(gateway) for gateway in gateways.list()]

    @api.post(
        "/gateways",
        status_code=201,
        summary="Admit a gateway; with `station` its token comes back, this once",
        responses={**_TAKEN, **_INVALID},
    )
    def add_gateway(asked: models.NewGateway) -> models.GatewayToken:
        token = new_token() if asked.station else None
        with _problems(409):
            added = gateways.add(
                asked.eui,
                asked.name,
                latitude=asked.latitude,
                longitude=asked.longitude,
                altitude_m=asked.altitude_m,
                antenna_gain_dbi=asked.antenna_gain_dbi,
                token=None if token is None else fingerprint(token),
            )
        return models.GatewayToken(eui=added.eui, token=token)

    @api.post(
        "/gateways/{eui}/token",
        status_code=201,
        summary="Make a gateway a new token; its old one is void",
        responses={**_MISSING, **_INVALID},
    )
    def renew_token(eui: Eui) -> models.GatewayToken:
        token = new_token()
        with _problems(404):
            gateways.set_token(eui.lower(), fingerprint(token))
        return models.GatewayToken(eui=eui.lower(), token=token)

    @api.delete(
        "/gateways/{eui}",
        status_code=204,
        summary="Take a gateway off the register; it is a stranger from now on",
        responses={**_MISSING, **_INVALID},
    )
    def remove_gateway(eui: Eui) -> None:
        with _problems(404):
            gateways.remove(eui.lower())

    return api


@contextmanager
def _problems(status_code: int) -> Iterator[None]:
    """What a registry refuses, as an answer."""
    try:
        yield
    except UserError as error:
        raise HTTPException(status_code, error.message) from error


def _node(node: Node) -> models.AdminNode:
    fields = models.AdminNode.model_fields
    return models.AdminNode(**{name: getattr(node, name) for name in fields})


def _gateway(gateway: GatewayInfo) -> models.AdminGateway:
    return models.AdminGateway(
        eui=gateway.eui,
        name=gateway.name,
        latitude=gateway.latitude,
        longitude=gateway.longitude,
        altitude_m=gateway.altitude_m,
        antenna_gain_dbi=gateway.antenna_gain_dbi,
        station=gateway.token is not None,
    )
