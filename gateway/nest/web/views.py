"""From the archive's rows to what is shown. Everything, the moment too, comes in as an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nest.archive import Archive, Completeness, NodeLatest, Shares
from nest.i18n import translate
from nest.live import ReadingEvent as LiveEvent
from nest.moments import age, iso
from nest.quantities import Quantity, by_name
from nest.web import models
from nest.web.present import CAME, STALE_AFTER_S, STATES, number

LAST_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in words, in one language."""

    quantity: str
    label: str
    unit: str
    meaning: str
    state: str  # models.State or "missing"
    text: str  # the number, or what stands in its place
    why: str  # why there is no number, else ""
    time: str  # ISO 8601, "" when missing
    age: str


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, as a page shows it."""

    slug: str
    name: str
    last_seen: str | None
    stale: bool
    cells: list[Cell]  # one per quantity of the table
    came: str  # how the readings of the last day came, "" while none was lost


def node_models(archive: Archive, now: float, slug: str | None = None) -> list[models.Node]:
    """Every node for the API, or the one of that slug."""
    shares = archive.shares(now - LAST_DAY_S, slug)
    return [node_model(latest, now, shares.get(latest.slug, Shares())) for latest in archive.latest(slug)]


def node_model(latest: NodeLatest, now: float, shares: Shares) -> models.Node:
    """A node for the API. Its position is rounded by the archive already, which gives out no other."""
    heard = [value.time for value in latest.values.values()]  # a reading that came without a frame counts as well
    last_seen = max([*heard, latest.last_seen or 0.0]) or None
    return models.Node(
        slug=latest.slug,
        name=latest.name,
        latitude=latest.latitude,
        longitude=latest.longitude,
        last_seen=None if last_seen is None else iso(last_seen),
        stale=last_seen is None or now - last_seen > STALE_AFTER_S,
        values={
            name: value_model(by_name()[name], value.value, value.quality, value.time, now, value.origin)
            for name, value in latest.values.items()
        },
        last_day=models.Shares(
            heard=shares.heard, recovered=shares.recovered, backfilled=shares.backfilled, missing=shares.missing
        ),
    )


def value_model(
    quantity: Quantity, value: float | None, quality: str, time: float, now: float, origin: str = "heard"
) -> models.Value:
    """One value for the API. It is null exactly when its state is not `good`; a word this nest does not know counts as
    failed, never as good."""
    state: models.State = "good" if quality == "good" and value is not None else "failed"
    if quality == "out_of_range":
        state = "out_of_range"
    return models.Value(
        value=value if state == "good" else None,
        unit=quantity.unit,
        time=iso(time),
        age_s=max(0, int(now - time)),
        state=state,
        origin=origin,  # type: ignore[arg-type]  # it is one of those words
    )


def day_model(day: Completeness) -> models.Day:
    """One day of a node for the API."""
    return models.Day(
        day=iso(day.day * 86_400)[:10],
        expected=day.expected,
        present=day.present,
        recovered=day.recovered,
        backfilled=day.backfilled,
        missing=day.missing,
    )


def event_model(event: LiveEvent, now: float) -> models.ReadingEvent:
    """A new reading for the stream of events."""
    return models.ReadingEvent(
        node=event.node_slug,
        time=iso(event.time),
        now=iso(now),
        heard_at=None if event.heard_at is None else iso(event.heard_at),
        origin=event.origin,  # type: ignore[arg-type]  # it is one of those words
        values={
            name: value_model(by_name()[name], value, event.qualities.get(name, "good"), event.time, now, event.origin)
            for name, value in event.values.items()
            if name in by_name()
        },
    )


def quantity_model(quantity: Quantity) -> models.Quantity:
    """A quantity for the API."""
    return models.Quantity(
        name=quantity.name,
        unit=quantity.unit,
        ucum=quantity.ucum,
        minimum=quantity.minimum,
        maximum=quantity.maximum,
        resolution=quantity.resolution,
        decimals=quantity.decimals,
        label={"de": quantity.label_de, "en": quantity.label_en},
        meaning={"de": quantity.meaning_de, "en": quantity.meaning_en},
    )


def quantities_of(nodes: Iterable[models.Node]) -> list[Quantity]:
    """The quantities that any of the nodes has sent, in the order of the table of quantities."""
    sent = {name for node in nodes for name in node.values}
    return [quantity for name, quantity in by_name().items() if name in sent]


def node_view(node: models.Node, columns: Iterable[Quantity], language: str) -> NodeView:
    """A node in words: one cell per quantity of `columns`."""
    cells = [_cell(quantity, node.values.get(quantity.name), language) for quantity in columns]
    shares = {name: str(count) for name, count in node.last_day.model_dump().items()}
    lost = node.last_day.recovered + node.last_day.backfilled + node.last_day.missing
    came = translate(CAME, language).format(**shares) if lost else ""
    return NodeView(node.slug, node.name, node.last_seen, node.stale, cells, came)


def _cell(quantity: Quantity, value: models.Value | None, language: str) -> Cell:
    state = value.state if value else "missing"
    if value is not None and value.value is not None:
        text, why = number(value.value, quantity.decimals, language), ""
    else:
        text, why = (translate(message, language) for message in STATES[state])
    return Cell(
        quantity=quantity.name,
        label=quantity.label(language),
        unit=quantity.unit,
        meaning=quantity.meaning(language),
        state=state,
        text=text,
        why=why,
        time=value.time if value else "",
        age=age(value.age_s, language) if value else "",
    )
