"""The web application: wires pages, API, event stream and static files. Knows the nest only by what it is handed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from nest.archive import Archive
from nest.errors import UserError
from nest.i18n import tr
from nest.live import Live
from nest.town import Town
from nest.web import admin, api, machines, pages, views
from nest.web.events import EventStreams
from nest.web.guard import Guard
from nest.web.operations import Operations, remembered
from nest.web.security import API, BodyLimit, SecurityHeaders, content_security_policy

_LOG = logging.getLogger(__name__)
REMEMBER_S = 0.5
_OWN = Path(__file__).parent / "static"

# readings told at once, and the pause behind them: at most 640 a second, whatever arrives
_AT_ONCE = 32
_PAUSE_S = 0.05


def create_app(
    archive: Archive,
    live: Live,
    town: Town,
    status: Callable[[], dict[str, Any]],
    *,
    clock: Callable[[], float] = time.time,
    streams: EventStreams | None = None,
    operations: Operations | None = None,
    remember_s: float = REMEMBER_S,
) -> FastAPI:
    """The application for one town.

    `status` gives what `/api/v1/status` publishes: it must hold no secrets. `clock` gives Unix seconds. With
    `operations` there are `/metrics` (where the town's settings allow it) and the admin API as well. Both are asked in
    the event loop, and what they said is good for `remember_s`.
    Whoever stops the server calls `app.state.events.close()` first: uvicorn waits for open streams.

    Raises UserError: `town.toml` switches tiles on and `tiles_url` is no address.
    """
    streams = EventStreams() if streams is None else streams
    status = remembered(status, remember_s)
    if operations is not None:
        operations = dataclasses.replace(operations, snapshot=remembered(operations.snapshot, remember_s))
    ground = town.settings.map
    try:
        policy = content_security_policy(ground.tiles_url if ground.tiles else None)
    except ValueError as error:
        raise UserError(
            tr("The address of the map tiles is wrong: {url}", url=ground.tiles_url),
            tr("Correct tiles_url in town.toml, or set tiles = false there."),
        ) from error

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        telling = asyncio.create_task(_tell(live, streams, clock))
        try:
            yield
        finally:
            streams.close()
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    app = FastAPI(
        title=f"Funkspatz {town.name}",
        summary="Open data of the town's sensor network",
        version=importlib.metadata.version("funkspatz"),
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # both documentation pages would load scripts from a CDN; `/api` is ours
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.events = streams
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(BodyLimit)
    if operations is not None:
        app.add_middleware(Guard, engine=operations.engine)
    app.add_middleware(SecurityHeaders, policy=policy)
    site = pages.Pages(archive, town, _mount_static(app), clock)
    app.include_router(api.router(archive, town, status, streams, clock))
    app.include_router(pages.router(site, app))

    if operations is not None:
        app.include_router(admin.router(operations, clock))
    app.include_router(machines.router(archive, town, operations, clock))

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and not request.url.path.startswith(("/api/", "/static/")):
            return site.missing(request)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        sentences = [f"{'.'.join(str(part) for part in wrong['loc'][1:])}: {wrong['msg']}" for wrong in error.errors()]
        return JSONResponse({"detail": "; ".join(sentences)}, 422)

    @app.exception_handler(SQLAlchemyError)
    async def refused(_: Request, error: SQLAlchemyError) -> Response:
        _LOG.error("the database refuses a request: %s", getattr(error, "orig", None) or type(error).__name__)
        problem = {"detail": "the database does not answer now; ask again later"}
        return JSONResponse(problem, 503, headers={"Retry-After": "5"})

    return app


async def _tell(live: Live, streams: EventStreams, clock: Callable[[], float]) -> None:
    """Hand every new reading to the open streams, written once for all of them. While nobody listens, nobody here does
    either: then an event costs nothing. While a backlog arrives, the page gets what it can read."""
    while True:
        await streams.wanted.wait()
        with live.subscribe() as queue:
            told = 0
            while streams.wanted.is_set():
                event = await queue.get()
                if not streams.wanted.is_set():
                    break
                try:
                    streams.send("reading", views.event_model(event, clock()).model_dump_json())
                except Exception:  # one odd event must not silence all that follow
                    _LOG.exception("an event could not be told: %r", event)
                told += 1
                if told % _AT_ONCE == 0:
                    await asyncio.sleep(_PAUSE_S)


class _Unchanging(StaticFiles):
    """Files whose address changes when they do: a browser asks for them once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _mount_static(app: FastAPI) -> dict[str, str]:
    """Mount our own files, Leaflet's and uPlot's from their packages; returns name -> address for the templates."""
    digest = hashlib.sha256()
    for path in sorted(_OWN.iterdir()):
        digest.update(path.read_bytes())
    folders = {
        "own": (_OWN, digest.hexdigest()[:12]),
        "leaflet": (_package_folder("xstatic.pkg.leaflet", "data"), importlib.metadata.version("xstatic-leaflet")),
        "uplot": (_package_folder("uplot", "static"), importlib.metadata.version("uplot-python")),
    }
    addresses = {}
    for name, (folder, version) in folders.items():
        addresses[name] = f"/static/{name}-{version}"
        app.mount(addresses[name], _Unchanging(directory=folder), name=name)
    return addresses


def _package_folder(package: str, folder: str) -> Path:
    """A folder inside an installed package, without importing it: `uplot` would import numpy."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package}", name=package)
    return Path(next(iter(spec.submodule_search_locations))) / folder
