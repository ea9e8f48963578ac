"""The pages: complete in themselves as HTML, so the table needs no JavaScript; that only keeps it up to date."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nest.archive import Archive
from nest.i18n import LANGUAGES, translate
from nest.quantities import Quantity
from nest.town import Town
from nest.web import models, views
from nest.web.language import choose_language
from nest.web.present import STALE_AFTER_S, words
from nest.web.security import ADMIN, API

_TEMPLATES = Path(__file__).parent / "templates"
_SPANS = ((24, "The last 24 hours"), (7 * 24, "The last 7 days"), (31 * 24, "The last 31 days"))
_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept-Language"}
OUTLINES = "/outlines.geojson"


@dataclasses.dataclass(frozen=True, slots=True)
class Pages:
    """What every page is made from. `assets`: name used in templates -> address of a folder of static files."""

    archive: Archive
    town: Town
    assets: dict[str, str]
    clock: Callable[[], float]
    environment: Environment = dataclasses.field(default_factory=lambda: _environment())

    def render(self, request: Request, template: str, status_code: int = 200, **values: object) -> HTMLResponse:
        """A page in the visitor's language. Templates escape everything; `t` translates, `link` keeps `?lang=`."""
        language = self.language(request)

        def t(message: str, **fields: object) -> str:
            text = translate(message, language)
            return text.format(**fields) if fields else text

        def link(path: str) -> str:
            return f"{path}?{urlencode({'lang': language})}" if "lang" in request.query_params else path

        html = self.environment.get_template(template).render(
            t=t, link=link, language=language, town=self.town, **self.assets, **values
        )
        return HTMLResponse(html, status_code, {**_HEADERS, "Content-Language": language})

    def language(self, request: Request) -> str:
        asked = request.query_params.get("lang")
        return choose_language(asked, request.headers.get("accept-language"), self.town.language)

    def page_data(
        self, language: str, now: float, nodes: list[models.Node], quantities: list[Quantity]
    ) -> dict[str, Any]:
        """What the JavaScript needs; the templates write it as JSON."""
        ground = self.town.settings.map
        return {
            "api": API,
            "language": language,
            "now": now,
            "words": words(language),
            "stale_after_s": STALE_AFTER_S,
            "quantities": {
                quantity.name: {"label": quantity.label(language), "unit": quantity.unit, "decimals": quantity.decimals}
                for quantity in quantities
            },
            "nodes": [node.model_dump() for node in nodes],
            "map": {
                "latitude": self.town.latitude,
                "longitude": self.town.longitude,
                "tiles_url": ground.tiles_url if ground.tiles else None,
                "outlines_url": OUTLINES if self.town.outlines else None,
            },
        }

    def missing(self, request: Request) -> HTMLResponse:
        """404, in both languages: whoever followed a broken link has not chosen one."""
        languages = sorted(LANGUAGES, key=lambda language: language != self.language(request))
        texts = {
            "title": "There is nothing here",
            "text": "The address is wrong, or the node is no longer part of the network.",
            "home": "To all readings",
        }
        parts = [
            {"language": language, **{name: translate(text, language) for name, text in texts.items()}}
            for language in languages
        ]
        return self.render(request, "missing.html", 404, parts=parts)


def router(pages: Pages, app: FastAPI) -> APIRouter:
    """The routes of the pages; they stand outside of OpenAPI."""
    site = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    methods = ["GET", "HEAD"]

    @site.api_route("/", methods=methods)
    def town_page(request: Request) -> HTMLResponse:
        now, language = pages.clock(), pages.language(request)
        nodes = views.node_models(pages.archive, now)
        quantities = views.quantities_of(nodes)
        return pages.render(
            request,
            "town.html",
            nodes=[views.node_view(node, quantities, language) for node in nodes],
            quantities=[_named(quantity, language) for quantity in quantities],
            page_data=pages.page_data(language, now, nodes, quantities),
        )

    @site.api_route("/nodes/{slug}", methods=methods)
    def node_page(request: Request, slug: str) -> HTMLResponse:
        now, language = pages.clock(), pages.language(request)
        found = views.node_models(pages.archive, now, slug)
        if not found:
            raise HTTPException(404)
        node = found[0]
        quantities = views.quantities_of([node])
        return pages.render(
            request,
            "node.html",
            node=views.node_view(node, quantities, language),
            quantities=[_named(quantity, language) for quantity in quantities],
            spans=[(hours, translate(text, language)) for hours, text in _SPANS],
            page_data={**pages.page_data(language, now, [node], quantities), "only": slug},
        )

    @site.api_route("/api", methods=methods)
    def api_page(request: Request) -> HTMLResponse:
        values = {"slug": next((node.slug for node in pages.archive.nodes()), "amsel"), "quantity": "temperature"}
        endpoints = _endpoints(app.openapi(), values)
        return pages.render(request, "api.html", endpoints=endpoints, openapi_url=app.openapi_url)

    @site.api_route(OUTLINES, methods=methods)
    def outlines() -> Response:
        if pages.town.outlines is None:
            raise HTTPException(404)
        headers = {"Cache-Control": "no-cache"}
        return FileResponse(pages.town.outlines, media_type="application/geo+json", headers=headers)

    return site


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # quantities stay in the order of their table
    return environment


def _named(quantity: Quantity, language: str) -> dict[str, str]:
    return {
        "name": quantity.name,
        "unit": quantity.unit,
        "label": quantity.label(language),
        "meaning": quantity.meaning(language),
    }


def _endpoints(openapi: dict[str, Any], values: dict[str, str]) -> list[dict[str, Any]]:
    """The API's addresses for a page that needs no CDN. `values` fill in what an example needs, by parameter."""
    endpoints = []
    for path, operations in openapi["paths"].items():
        if path.startswith(f"{ADMIN}/"):  # the operator's; OpenAPI describes them
            continue
        operation = operations["get"]
        parameters = operation.get("parameters", [])
        required = [given["name"] for given in parameters if given["required"] and given["in"] == "query"]
        asked = {name: values[name] for name in required}
        example = path.format_map(values) + (f"?{urlencode(asked)}" if asked else "")
        endpoints.append({"path": path, "text": operation["summary"], "parameters": parameters, "example": example})
    return endpoints
