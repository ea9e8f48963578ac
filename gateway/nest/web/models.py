"""What `/api/v1` answers: the shapes, from which OpenAPI is made. Times are ISO 8601 in UTC unless they say Unix."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["good", "failed", "out_of_range"]
Origin = Literal["heard", "recovered", "backfilled", "other"]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-05-01T12:00:00.250Z"])]
_ORIGIN = (
    "how it came: heard in a frame of its own; recovered, exactly, from what later frames say of a lost one; "
    "backfilled from the node's log; other: by another way than Funkspatz's own frames"
)


class Value(BaseModel):
    """The latest value of one quantity."""

    value: Annotated[float | None, Field(description="null, and never 0, when it failed or was out of range")]
    unit: Annotated[str, Field(examples=["°C"])]
    time: Annotated[Time, Field(description="when it was measured")]
    age_s: Annotated[int, Field(ge=0, description="how old it was when this was answered, s")]
    state: State
    origin: Annotated[Origin, Field(description=_ORIGIN)]


class Shares(BaseModel):
    """How the readings of the last 24 hours came, of those that the node sends."""

    heard: Annotated[int, Field(description="in frames of their own")]
    recovered: Annotated[int, Field(description="lost, and recovered exactly from what later frames say")]
    backfilled: Annotated[int, Field(description="lost, and sent again from the node's log")]
    missing: Annotated[int, Field(description="not there, or not yet")]


class Node(BaseModel):
    """One node: where it stands and what it last sent."""

    slug: Annotated[str, Field(description="its name in addresses")]
    name: str
    latitude: Annotated[float | None, Field(description="degrees, WGS 84, rounded: people live there")]
    longitude: Annotated[float | None, Field(description="degrees, WGS 84, rounded")]
    last_seen: Time | None
    stale: Annotated[bool, Field(description="true when nothing was heard for an hour")]
    values: Annotated[dict[str, Value], Field(description="by quantity; one that was never sent is not there")]
    last_day: Shares


class Nodes(BaseModel):
    """Every node of the town."""

    time: Annotated[Time, Field(description="when this was answered")]
    town: Annotated[str, Field(description="the town's slug")]
    nodes: list[Node]


class Readings(BaseModel):
    """Readings of one quantity of one node, oldest first. What never came is not there: a gap is a gap."""

    node: str
    quantity: str
    unit: str
    readings: Annotated[
        list[tuple[float, float | None]],
        Field(description="[Unix time in s, value]; null when the sensor failed or it was out of range"),
    ]
    origins: Annotated[list[Origin], Field(description=f"of each of them, {_ORIGIN}")]
    next: Annotated[Time | None, Field(description="where more wait: ask again with this as `start`")]


class Aggregates(BaseModel):
    """Hours or UTC days of one quantity of one node, oldest first; those without a good value are not there."""

    node: str
    quantity: str
    unit: str
    span: Literal["hour", "day"]
    aggregates: Annotated[
        list[tuple[float, int, float, float, float]],
        Field(description="[Unix time in s of its beginning, how many values, minimum, maximum, mean]"),
    ]


class Day(BaseModel):
    """How complete one UTC day of a node is, as far as it is known by now."""

    day: Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-05-01"])]
    expected: Annotated[int, Field(description="readings that the node made, as far as anybody knows")]
    present: Annotated[int, Field(description="of them, those in the archive")]
    recovered: Annotated[int, Field(description="of those, from what later frames say of a lost one")]
    backfilled: Annotated[int, Field(description="of those, from the node's log")]
    missing: Annotated[int, Field(description="of the expected, those that are not there")]


class Completeness(BaseModel):
    """How complete a node's days are, oldest first. A day of which nothing is known is not there."""

    node: str
    days: list[Day]


class Quantity(BaseModel):
    """Something that nodes measure."""

    name: Annotated[str, Field(examples=["temperature"])]
    unit: Annotated[str, Field(description="for people", examples=["°C"])]
    ucum: Annotated[str, Field(description="for machines: the Unified Code for Units of Measure", examples=["Cel"])]
    minimum: Annotated[float, Field(description="the least value a node can send")]
    maximum: Annotated[float, Field(description="the greatest value a node can send")]
    resolution: Annotated[float, Field(description="the smallest difference a node can send")]
    decimals: int
    label: Annotated[dict[Literal["de", "en"], str], Field(description="by language")]
    meaning: Annotated[dict[Literal["de", "en"], str], Field(description="one plain sentence, by language")]


class Quantities(BaseModel):
    """Everything that nodes can measure."""

    quantities: list[Quantity]


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class ReadingEvent(BaseModel):
    """The data of `event: reading`."""

    node: Annotated[str, Field(description="the node's slug")]
    time: Time
    now: Annotated[Time, Field(description="when this was sent")]
    heard_at: Annotated[Time | None, Field(description="when the frame that brought it was heard, if one did")]
    origin: Origin
    values: dict[str, Value]


class Status(BaseModel):
    """How the nest's parts are doing."""

    model_config = ConfigDict(extra="allow")

    time: Time
