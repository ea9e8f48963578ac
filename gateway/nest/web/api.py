"""`/api/v1`: everything that the page shows, for programs. Open data: no key, from any website, read only."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import Response

from nest.archive import Archive, schema
from nest.moments import iso
from nest.quantities import all_quantities, by_name
from nest.town import Town
from nest.web import models, views
from nest.web.events import EventStreams
from nest.web.security import API, address_of

LONGEST_RANGE_S = 31 * 86400 + 3600  # October has an hour more when clocks are set back
MOST_READINGS = 50_000
MOST_DAYS = 366
DAY_S = 86_400
USUAL_READINGS = 10_000

Slug = Annotated[str, Path(description="the node's name in addresses")]
Responses = dict[int | str, dict[str, Any]]
Moment = datetime.datetime | None
Date = datetime.date | None
_NOT_FOUND: Responses = {404: {"model": models.Problem, "description": "No such node"}}
_INVALID: Responses = {422: {"model": models.Problem, "description": "Something asked is not possible"}}
_STREAM: Responses = {
    200: {
        "description": "Server-sent events: `event: reading`, data as ReadingEvent; a comment every 15 s",
        "content": {"text/event-stream": {"schema": models.ReadingEvent.model_json_schema()}},
    },
    503: {"model": models.Problem, "description": "Too many streams are open"},
}


def router(
    archive: Archive,
    town: Town,
    status: Callable[[], dict[str, Any]],
    streams: EventStreams,
    clock: Callable[[], float],
) -> APIRouter:
    """The routes below `/api/v1`. Those that read the archive are plain functions: they run in the thread pool."""
    api = APIRouter(prefix=API, tags=["open data"])

    @api.get("/nodes", summary="All nodes with their latest values")
    def nodes() -> models.Nodes:
        now = clock()
        return models.Nodes(time=iso(now), town=town.slug, nodes=views.node_models(archive, now))

    @api.get("/nodes/{slug}", summary="One node with its latest values", responses={**_NOT_FOUND, **_INVALID})
    def node(slug: Slug) -> models.Node:
        for found in views.node_models(archive, clock(), slug):
            return found
        raise HTTPException(404, "there is no such node")

    @api.get("/nodes/{slug}/readings", summary="Readings over time", responses={**_NOT_FOUND, **_INVALID})
    def readings(
        slug: Slug,
        quantity: Annotated[str, Query(description="one of those in /api/v1/quantities", examples=["temperature"])],
        start: Annotated[Moment, Query(description="from this time on (ISO 8601); usual: 24 h before end")] = None,
        end: Annotated[Moment, Query(description="before this time, at most 31 days after start; usual: now")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_READINGS, description="how many at most")] = USUAL_READINGS,
    ) -> models.Readings:
        if quantity not in by_name():
            raise HTTPException(422, f"quantity: one of {', '.join(by_name())} was expected")
        until = clock() + 1 if end is None else _unix(end)  # + 1: what arrived this very moment belongs to it
        since = until - 86400 if start is None else _unix(start)
        if since > until:
            raise HTTPException(422, "start: a time before end was expected")
        if until - since > LONGEST_RANGE_S:
            raise HTTPException(422, "start, end: at most 31 days at once; ask for longer times in parts")
        if not archive.nodes(slug):
            raise HTTPException(404, "there is no such node")
        found = archive.points(slug, quantity, since, until, limit + 1)
        return models.Readings(
            node=slug,
            quantity=quantity,
            unit=by_name()[quantity].unit,
            readings=[(point.time, point.value) for point in found[:limit]],
            origins=[point.origin for point in found[:limit]],  # type: ignore[misc]  # it is one of those words
            next=iso(found[limit].time) if len(found) > limit else None,
        )

    @api.get("/nodes/{slug}/aggregates", summary="Hours or days, for long ranges", responses={**_NOT_FOUND, **_INVALID})
    def aggregates(
        slug: Slug,
        quantity: Annotated[str, Query(description="one of those in /api/v1/quantities", examples=["temperature"])],
        span: Annotated[Literal["hour", "day"], Query(description="UTC; a minute or so behind the readings")] = "hour",
        start: Annotated[Moment, Query(description="from this time on (ISO 8601); usual: 31 days before end")] = None,
        end: Annotated[Moment, Query(description="before this time; at most 366 days (hours) or 3660 (days)")] = None,
    ) -> models.Aggregates:
        if quantity not in by_name():
            raise HTTPException(422, f"quantity: one of {', '.join(by_name())} was expected")
        until = clock() + 1 if end is None else _unix(end)
        since = until - 31 * DAY_S if start is None else _unix(start)
        most = MOST_DAYS * (10 if span == "day" else 1)
        if since > until:
            raise HTTPException(422, "start: a time before end was expected")
        if until - since > most * DAY_S:
            raise HTTPException(422, f"start, end: at most {most} days at once; ask for longer times in parts")
        if not archive.nodes(slug):
            raise HTTPException(404, "there is no such node")
        found = archive.aggregate(slug, quantity, schema.DAY if span == "day" else schema.HOUR, since, until)
        rows = [(one.time, one.count, one.minimum, one.maximum, one.mean) for one in found]
        return models.Aggregates(
            node=slug, quantity=quantity, unit=by_name()[quantity].unit, span=span, aggregates=rows
        )

    @api.get("/nodes/{slug}/days", summary="How complete a node's days are", responses={**_NOT_FOUND, **_INVALID})
    def days(
        slug: Slug,
        first: Annotated[Date, Query(description="from this UTC day on; usual: 30 days before last")] = None,
        last: Annotated[Date, Query(description="to this UTC day, at most 366 days; usual: today")] = None,
    ) -> models.Completeness:
        until = _day(last) if last else int(clock() // DAY_S)
        since = _day(first) if first else until - 30
        if since > until:
            raise HTTPException(422, "first: a day before last was expected")
        if until - since >= MOST_DAYS:
            raise HTTPException(422, f"first, last: at most {MOST_DAYS} days at once")
        if not archive.nodes(slug):
            raise HTTPException(404, "there is no such node")
        found = archive.completeness(slug, since, until)
        return models.Completeness(node=slug, days=[views.day_model(day) for day in found])

    @api.get("/quantities", summary="What nodes can measure, and what the numbers mean")
    def quantities() -> models.Quantities:
        return models.Quantities(quantities=[views.quantity_model(quantity) for quantity in all_quantities()])

    @api.get("/status", summary="How the nest is doing")
    async def nest_status() -> models.Status:  # in the event loop, where what it counts is changed
        return models.Status.model_validate({**status(), "time": iso(clock())})

    @api.get("/events", summary="New readings as they arrive", response_class=Response, responses=_STREAM)
    async def events(request: Request) -> Response:
        return streams.response(address_of(request.scope))

    return api


def _day(date: datetime.date) -> int:
    """Its Unix day."""
    return (date - datetime.date(1970, 1, 1)).days


def _unix(moment: datetime.datetime) -> float:
    """Unix seconds; a time without a zone is UTC. Years 1 to 9999 are all allowed, and find nothing."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
