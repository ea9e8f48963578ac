"""The web application: wires pages, API, event stream and static files. Knows the nest only by what it is handed."""

from __future__ import annotations

import asyncio
import contextlib
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
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from nest.archive import Archive
from nest.errors import UserError
from nest.i18n import tr
from nest.live import Live
from nest.town import Town
from nest.web import api, pages, views
from nest.web.events import EventStreams
from nest.web.security import API, SecurityHeaders, content_security_policy

_LOG = logging.getLogger(__name__)
_OWN = Path(__file__).parent / "static"


def create_app(
    archive: Archive,
    live: Live,
    town: Town,
    status: Callable[[], dict[str, Any]],
    *,
    clock: Callable[[], float] = time.time,
    streams: EventStreams | None = None,
) -> FastAPI:
    """The application for one town.

    `status` gives what `/api/v1/status` publishes: it must hold no secrets. `clock` gives Unix seconds.
    Whoever stops the server calls `app.state.events.close()` first: uvicorn waits for open streams.

    Raises UserError: `town.toml` switches tiles on and `tiles_url` is no address.
    """
    streams = EventStreams() if streams is None else streams
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
    app.add_middleware(SecurityHeaders, policy=policy)
    site = pages.Pages(archive, town, _mount_static(app), clock)
    app.include_router(api.router(archive, town, status, streams, clock))
    app.include_router(pages.router(site, app))

    @app.get("/health", include_in_schema=False)
    def health() -> dict[str, str]:
        """For a watchdog: 200 when the archive answers."""
        archive.nodes()
        return {"status": "ok", "town": town.slug}

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and not request.url.path.startswith(("/api/", "/static/")):
            return site.missing(request)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        sentences = [f"{'.'.join(str(part) for part in wrong['loc'][1:])}: {wrong['msg']}" for wrong in error.errors()]
        return JSONResponse({"detail": "; ".join(sentences)}, 422)

    return app


async def _tell(live: Live, streams: EventStreams, clock: Callable[[], float]) -> None:
    """Hand every new reading to the open streams, written once for all of them."""
    with live.subscribe() as queue:
        while True:
            event = await queue.get()
            try:
                streams.send("reading", views.event_model(event, clock()).model_dump_json())
            except Exception:  # one odd event must not silence all that follow
                _LOG.exception("an event could not be told: %r", event)


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
