"""For machines that watch the nest: `/health` for a watchdog, `/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client.exposition import choose_encoder
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from nest import status
from nest.archive import Archive
from nest.archive.schema import schema_version
from nest.town import Town
from nest.web import metrics
from nest.web.operations import Operations

PATIENCE_S = 3.0  # a database that takes longer does not answer
HEARD_FOR_S = 60.0  # how long the count of nodes that were heard is good for


def router(
    archive: Archive,
    town: Town,
    operations: Operations | None,
    clock: Callable[[], float],
    patience_s: float = PATIENCE_S,
) -> APIRouter:
    """`/health`, and `/metrics` where the town's settings allow it."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        """200 when the archive answers and what is heard reaches it; else 503 and the reason."""
        reason = None
        try:
            async with asyncio.timeout(patience_s):
                # unlike a thread of the requests' pool, this one can be left behind
                await asyncio.to_thread(_probe, archive, operations)
            if operations is not None and status.stuck(operations.snapshot()):
                reason = "what is heard waits for the database"
        except (SQLAlchemyError, LookupError, TimeoutError):
            reason = "the archive does not answer"
        if reason is None:
            return JSONResponse({"status": "ok", "town": town.slug})
        return JSONResponse({"status": "failing", "town": town.slug, "reason": reason}, 503)

    if operations is None:
        return routes
    heard: list[tuple[float, int]] = []  # when it was counted, how many

    async def nodes_heard() -> int:
        now = clock()
        if not heard or not 0 <= now - heard[0][0] < HEARD_FOR_S:
            counted, _ = await run_in_threadpool(status.heard_since, operations.engine, now - status.SILENT_AFTER_S)
            heard[:] = [(now, counted)]
        return heard[0][1]

    @routes.api_route("/metrics", methods=["GET", "HEAD"])
    async def prometheus(request: Request) -> Response:
        """The text format 0.0.4, or OpenMetrics where it is asked for."""
        if not town.settings.web.metrics:
            raise HTTPException(404)
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        found = metrics.registry(operations.snapshot(), await nodes_heard())
        return Response(encode(found), media_type=kind)

    return routes


def _probe(archive: Archive, operations: Operations | None) -> None:
    """Read something. Raises SQLAlchemyError or LookupError: the archive does not answer."""
    if operations is None:
        archive.nodes()
        return
    with operations.engine.begin() as connection:
        if connection.execute(select(func.max(schema_version.c.version))).scalar_one() is None:
            raise LookupError
