"""The citizens' page in a real browser: what stands on it, that it stays up to date, that it asks nobody else."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from nest import town as towns
from nest.archive import Archive, codes, open_database, schema
from nest.archive.database import writing
from nest.live import Live, ReadingEvent
from nest.registry import Registry
from nest.web import create_app
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Locator, Page, Request, Route, expect, sync_playwright
from sqlalchemy import insert, select, update

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"),
]

expect.set_options(timeout=60_000)  # a slow machine may take its time, a healthy one takes none of it

HOUR = 3600
ONE_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CORNERS = [[12.58, 51.32], [12.65, 51.325], [12.66, 51.35], [12.60, 51.36], [12.58, 51.32]]
OUTLINES = {
    "type": "FeatureCollection",
    "attribution": "Umriss: Stadt Brandis <b>",
    "features": [{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [CORNERS]}}],
}


class Served:
    """A town with three nodes on a free port: Amsel is well, Meise has a broken sensor, Zaunkönig fell silent."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, folder: Path, tiles_url: str = "") -> None:
        self.town = towns.create(folder, "Brandis", latitude=51.336, longitude=12.61, language="de")
        if tiles_url:
            text = (folder / "town.toml").read_text(encoding="utf-8").replace("tiles = false", "tiles = true")
            text = re.sub(r'tiles_url = ".*"', f'tiles_url = "{tiles_url}"', text)
            (folder / "town.toml").write_text(text, encoding="utf-8")
            self.town = towns.load(folder)
        self.engine = open_database(self.town.database)
        self.archive = Archive(self.engine)
        self.live = Live()
        registry = Registry(self.engine)
        registry.add("amsel", f"{1:016x}", name="Amsel", latitude=51.3361, longitude=12.6102)
        registry.add("meise", f"{2:016x}", name="Meise", latitude=51.3302, longitude=12.6304)
        registry.add("zaunkoenig", f"{3:016x}", name="Zaunkönig", latitude=51.3451, longitude=12.6199)
        now = time.time()
        keep = self.archive.add_reading
        for step in range(80, -1, -1):  # Amsel: every ten minutes, with a hole of an hour
            if not 30 <= step <= 36:
                keep("amsel", now - 20 - 600 * step, {"temperature": 21.4 - step / 10, "humidity": 56.5})
        keep("meise", now - 200, {"temperature": -0.5}, failed=["humidity"], out_of_range=["battery"])
        keep("zaunkoenig", now - 5 * HOUR, {"temperature": 18.0})
        (folder / "outlines.geojson").write_text(json.dumps(OUTLINES), encoding="utf-8")
        self.app = create_app(self.archive, self.live, self.town, dict)
        self.server = uvicorn.Server(uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self.server.serve()

        asyncio.run(serve())

    def measure(self, slug: str, values: dict[str, float], origin: str = "other") -> None:
        """A new reading, as the nest does it: kept first, then told."""
        now = time.time()
        self.archive.add_reading(slug, now, values)
        with writing(self.engine) as connection:
            added = update(schema.readings).where(schema.readings.c.time == round(now * 1000))
            connection.execute(added.values(origin=schema.ORIGIN_NAMES.index(origin)))
        event = ReadingEvent(slug, now, values, dict.fromkeys(values, "good"), origin=origin)
        self.loop.call_soon_threadsafe(self.live.publish, event)

    def end_streams(self) -> None:
        """Cut everybody off, as a nest that is started again does."""
        self.loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        self.app.state.events.close()
        self.app.state.events.closed = False

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.app.state.events.close)
        self.server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "open event streams hold the server"
        self.engine.dispose()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "town")
    yield served
    served.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        yield browser
        browser.close()


class Visitor:
    """A browser window that notes every request and every complaint."""

    def __init__(self, browser: Browser, language: str, *, javascript: bool = True, width: int = 1200) -> None:
        self.context = browser.new_context(
            locale=language, java_script_enabled=javascript, viewport={"width": width, "height": 900}
        )
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)
        self.context.set_default_timeout(10_000)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):  # a violated Content-Security-Policy is one of these
            self.complaints.append(message.text)

    def open(self, url: str) -> Page:
        self.page.goto(url)
        return self.page

    def cell(self, slug: str, quantity: str) -> Locator:
        return self.page.locator(f'#latest [data-node="{slug}"] td[data-quantity="{quantity}"]')

    def marker(self, name: str) -> Locator:
        return self.page.locator(".leaflet-marker-icon", has_text=name)

    def plotted(self, card: str) -> tuple[list[float], list[float | None]]:
        """Times and values of a card's chart, once it is drawn."""
        self.page.locator(card).scroll_into_view_if_needed()
        expect(self.page.locator(f"{card} .plot canvas")).to_be_visible()
        plot = f"document.querySelector('{card} .plot').uplot"
        times, values = self.page.evaluate(f"{plot}.data")
        assert self.page.evaluate(f"{plot}.series[1]._paths !== null"), "there is a canvas, and no line on it"
        return times, values


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Callable[..., Visitor]]:
    """A window on the town's page; afterwards: nothing but this machine was asked, and nothing went wrong."""
    visitors: list[Visitor] = []

    def open_window(language: str, path: str = "/", **options: Any) -> Visitor:
        visitors.append(Visitor(browser, language, **options))
        visitors[-1].open(served.url + path)
        return visitors[-1]

    yield open_window
    for visitor in visitors:
        visitor.context.close()
        assert visitor.requests
        assert {urlsplit(url).hostname for url in visitor.requests} == {"127.0.0.1"}
        assert visitor.complaints == []


@pytest.mark.parametrize(
    ("language", "says"),
    [
        (
            "de-DE",
            {
                "title": "Was Brandis misst",
                "live": "Live: Neue Messwerte erscheinen von selbst.",
                "marker": "21,4\xa0°C",
                "cold": "−0,5\xa0°C",
                "age": re.compile(r"vor \d+ s"),
                "older": "vor 3 min",
                "failed": "Sensor gestört",
                "range": "Außer Bereich",
                "silent": "Schon lange kein neuer Messwert",
                "chart": "Temperatur bei Amsel",
            },
        ),
        (
            "en-GB",
            {
                "title": "What Brandis measures",
                "live": "Live: new readings appear by themselves.",
                "marker": "21.4\xa0°C",
                "cold": "−0.5\xa0°C",
                "age": re.compile(r"\d+ s ago"),
                "older": "3 min ago",
                "failed": "Sensor failed",
                "range": "Out of range",
                "silent": "No new reading for a long time",
                "chart": "Temperature at Amsel",
            },
        ),
    ],
)
def test_map_table_and_charts_show_the_nodes(
    visit: Callable[..., Visitor], language: str, says: dict[str, Any], tmp_path: Path
) -> None:
    visitor = visit(language)
    page = visitor.page
    expect(page.locator("h1")).to_have_text(says["title"])
    expect(page.locator("#connection")).to_have_text(says["live"])

    expect(page.locator(".leaflet-marker-icon")).to_have_count(3)
    expect(visitor.marker("Amsel")).to_contain_text(says["marker"])
    expect(visitor.marker("Meise")).to_contain_text(says["cold"])
    expect(page.locator(".marker.stale")).to_have_text(re.compile("Zaunkönig"))
    expect(page.locator("path.outline")).to_have_count(1)
    expect(page.locator("#map-credit")).to_have_text("Umriss: Stadt Brandis <b>")
    expect(page.locator(".leaflet-tile")).to_have_count(0)

    expect(visitor.cell("amsel", "temperature")).to_contain_text(says["marker"])
    expect(visitor.cell("amsel", "temperature").locator(".age")).to_have_text(says["age"])
    expect(visitor.cell("meise", "temperature").locator(".age")).to_have_text(says["older"])
    expect(visitor.cell("meise", "humidity")).to_contain_text(says["failed"])
    expect(visitor.cell("meise", "battery")).to_contain_text(says["range"])
    expect(visitor.cell("zaunkoenig", "humidity")).to_have_text("–")
    expect(page.locator('tr[data-node="zaunkoenig"] th')).to_contain_text(says["silent"])
    expect(page.locator("#meaning-temperature dd")).not_to_be_empty()

    times, values = visitor.plotted('.chart[data-node="amsel"]')
    readings = [value for value in values if value is not None]
    assert len(readings) == 74
    assert (readings[0], readings[-1]) == pytest.approx((13.4, 21.4))
    assert values.count(None) == 1, "the hole of an hour must be a hole in the line"
    assert times == sorted(times)
    expect(page.locator('.chart[data-node="amsel"] .plot')).to_have_attribute("aria-label", re.compile(says["chart"]))
    assert visitor.plotted('.chart[data-node="zaunkoenig"]')[1] == [None, 18.0, None]
    page.screenshot(path=tmp_path / f"page-{language}.png", full_page=True)


def test_a_reading_appears_by_itself(served: Served, visit: Callable[..., Visitor]) -> None:
    visitor = visit("de-DE")
    page = visitor.page
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    before = visitor.plotted('.chart[data-node="zaunkoenig"]')[1]
    page.evaluate("window.sameDocument = true")
    served.measure("zaunkoenig", {"temperature": 19.5})
    expect(visitor.cell("zaunkoenig", "temperature")).to_contain_text("19,5\xa0°C")
    expect(visitor.cell("zaunkoenig", "temperature").locator(".age")).to_have_text(re.compile(r"vor \d s"))
    expect(visitor.marker("Zaunkönig")).to_contain_text("19,5\xa0°C")
    expect(page.locator(".marker.stale")).to_have_count(0)
    expect(page.locator("tr.stale")).to_have_count(0)
    expect(page.locator("#announce")).to_have_text("Neuer Messwert von Zaunkönig: Temperatur 19,5\xa0°C")
    after = [value for value in visitor.plotted('.chart[data-node="zaunkoenig"]')[1] if value is not None]
    assert after == [*(value for value in before if value is not None), 19.5]
    served.measure("meise", {"temperature": 3.0}, "recovered")
    expect(page.locator('.came[data-of="meise"]')).to_have_text("0 gehört, 1 geheilt, 0 nachgeholt, 0 fehlen")
    assert page.evaluate("window.sameDocument"), "the page was loaded again"


def test_a_new_quantity_and_a_new_node_find_their_place(served: Served, visit: Callable[..., Visitor]) -> None:
    visitor = visit("en-GB")
    page = visitor.page
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("window.sameDocument = true")
    Registry(served.engine).add("star", f"{4:016x}", name="Star", latitude=51.34, longitude=12.60)
    served.measure("star", {"temperature": 12.0, "co2": 417.0})
    expect(visitor.cell("star", "co2")).to_contain_text("417\xa0ppm")
    expect(page.locator("#latest thead")).to_contain_text("Carbon dioxide")
    expect(visitor.marker("Star")).to_contain_text("12.0\xa0°C")
    assert visitor.plotted('.chart[data-node="star"]')[1] == [None, 12.0, None]
    assert page.evaluate("window.sameDocument"), "the page was loaded again"


def test_after_a_lost_connection_the_page_catches_up(served: Served, visit: Callable[..., Visitor]) -> None:
    visitor = visit("en-GB")
    page = visitor.page
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.route("**/api/v1/events", lambda route: route.abort())
    served.end_streams()
    expect(page.locator("#live")).to_have_attribute("data-state", "lost")
    served.archive.add_reading("meise", time.time(), {"temperature": 7.0})  # nobody tells the page of this one
    page.unroute("**/api/v1/events")
    expect(visitor.cell("meise", "temperature")).to_contain_text("7.0\xa0°C")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_FAILED" not in text]


def test_the_chart_shows_the_quantity_that_is_chosen(visit: Callable[..., Visitor]) -> None:
    visitor = visit("de-DE")
    visitor.plotted('.chart[data-node="amsel"]')
    card = visitor.page.locator('.chart[data-node="amsel"]')
    card.locator("select").select_option("humidity")
    expect(card.locator(".plot")).to_have_attribute("aria-label", re.compile("Luftfeuchte"))
    assert set(visitor.plotted('.chart[data-node="amsel"]')[1]) == {56.5, None}


def test_a_reading_that_comes_while_a_chart_is_loading_hides_nothing(
    served: Served, visit: Callable[..., Visitor]
) -> None:
    visitor = visit("de-DE")
    page = visitor.page
    visitor.plotted('.chart[data-node="amsel"]')
    waiting: list[Route] = []
    page.route("**/readings?*", lambda route: waiting.append(route))
    card = page.locator('.chart[data-node="amsel"]')
    card.locator("select").select_option("humidity")
    served.measure("amsel", {"temperature": 22.0, "humidity": 60.0})
    expect(visitor.cell("amsel", "humidity")).to_contain_text("60,0")
    while not waiting:
        page.wait_for_timeout(10)
    waiting[0].continue_()
    expect(card.locator(".plot")).to_have_attribute("aria-label", re.compile("Luftfeuchte.*75 Messwerte"))
    assert [value for value in visitor.plotted('.chart[data-node="amsel"]')[1] if value is not None][-2:] == [56.5, 60]


def test_a_node_that_was_never_heard_offers_no_empty_choice(served: Served, visit: Callable[..., Visitor]) -> None:
    Registry(served.engine).add("star", f"{4:016x}", name="Star")
    card = visit("de-DE").page.locator('.chart[data-node="star"]')
    card.scroll_into_view_if_needed()
    expect(card.locator(".summary")).to_have_text("Keine Messwerte in dieser Zeit.")
    expect(card.locator(".plot")).to_have_attribute("aria-label", "Keine Messwerte in dieser Zeit.")
    expect(card.locator("select")).to_be_hidden()


def test_a_month_of_frequent_readings_is_drawn(served: Served, visit: Callable[..., Visitor]) -> None:
    now = round(time.time() * 1000)
    with writing(served.engine) as connection:
        node = connection.execute(select(schema.nodes.c.id).where(schema.nodes.c.slug == "meise")).scalar_one()
        packed = [codes.pack({"temperature": 600 + step}) for step in range(300)]
        rows = [
            {"node_id": node, "time": now - 10_000 * step, "origin": schema.HEARD, "codes": packed[step % 300]}
            for step in range(30, 200_000)
        ]
        connection.execute(insert(schema.readings), rows)
    page = visit("de-DE", "/nodes/meise").page
    page.locator("#span").select_option("744")
    expect(page.locator(".chart .summary").first).to_contain_text("Messwerte")
    expect(page.locator(".chart .summary").first).to_contain_text("199971 Messwerte")


def test_the_page_of_a_node(served: Served, visit: Callable[..., Visitor]) -> None:
    visitor = visit("de-DE", "/nodes/amsel")
    page = visitor.page
    expect(page.locator("h1")).to_have_text("Amsel")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    assert visitor.plotted('.chart[data-quantity="temperature"]')[1][-1] == pytest.approx(21.4)
    served.measure("meise", {"temperature": 3.0})
    served.measure("amsel", {"temperature": 22.5, "humidity": 50.0})
    expect(visitor.cell("amsel", "humidity")).to_contain_text("50,0\xa0%")
    assert visitor.plotted('.chart[data-quantity="temperature"]')[1][-1] == 22.5
    page.locator("#span").select_option("744")
    expect(page.locator(".chart .summary").first).to_contain_text("75 Messwerte")


def test_a_marker_opens_by_keyboard(visit: Callable[..., Visitor]) -> None:
    visitor = visit("de-DE")
    expect(visitor.page.locator("#map-credit")).not_to_be_empty()
    visitor.marker("Meise").focus()
    visitor.page.keyboard.press("Enter")
    popup = visitor.page.locator(".popup")
    expect(popup.locator("li")).to_have_text(
        [
            "Temperatur: −0,5\xa0°C (vor\xa03\xa0min)",
            "Luftfeuchte: Sensor gestört (vor\xa03\xa0min)",
            "Batterie: Außer Bereich (vor\xa03\xa0min)",
        ]
    )
    expect(visitor.page.locator(".leaflet-popup-close-button")).to_have_attribute("aria-label", "Schließen")
    popup.locator("a").click()
    expect(visitor.page.locator("h1")).to_have_text("Meise")


def test_a_name_that_is_html_stays_a_name(served: Served, visit: Callable[..., Visitor]) -> None:
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    Registry(served.engine).add("boese", f"{5:016x}", name=nasty, latitude=51.335, longitude=12.62)
    served.archive.add_reading("boese", time.time() - 5, {"temperature": 1.0})
    visitor = visit("en-GB")
    asked: list[str] = []

    def note(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    visitor.page.on("dialog", note)
    expect(visitor.page.locator("#live")).to_have_attribute("data-state", "live")
    visitor.marker(nasty).focus()
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator(".popup a")).to_have_text(nasty)
    served.measure("boese", {"temperature": 2.0})
    expect(visitor.page.locator("#announce")).to_contain_text(nasty)
    assert visitor.page.locator("img[src=x]").count() == 0
    assert asked == []


def test_without_javascript_the_table_is_there(visit: Callable[..., Visitor]) -> None:
    visitor = visit("de-DE", javascript=False)
    expect(visitor.cell("amsel", "temperature")).to_contain_text("21,4\xa0°C")
    expect(visitor.cell("amsel", "temperature")).to_contain_text("vor 2")
    expect(visitor.page.locator("noscript").first).to_be_visible()


def test_on_a_phone_nothing_sticks_out(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    for path in ("/", "/nodes/amsel", "/api"):
        page = visit("de-DE", path, width=320).page
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
        page.screenshot(path=tmp_path / f"phone{path.replace('/', '-')}.png", full_page=True)


def test_tiles_are_asked_for_only_where_the_operator_wants_them(browser: Browser, tmp_path: Path) -> None:
    served = Served(tmp_path / "town", tiles_url="https://{s}.tile.example/{z}/{x}/{y}.png")
    visitor = Visitor(browser, "de-DE")
    asked: list[Request] = []

    def tile(route: Route) -> None:  # stands for the server of tiles; nothing leaves this machine
        asked.append(route.request)
        route.fulfill(status=200, content_type="image/png", body=ONE_PIXEL)

    visitor.context.route("https://*.tile.example/**", tile)
    visitor.open(served.url)
    expect(visitor.page.locator("#map-credit")).to_contain_text("© OpenStreetMap")
    expect(visitor.page.locator(".leaflet-tile-loaded").first).to_be_visible()
    assert {request.header_value("referer") for request in asked} == {f"{served.url}/"}
    visitor.page.locator(".leaflet-control-zoom-in").click()  # tiles that are no longer wanted become a data: image
    expect(visitor.page.locator("#live")).to_have_attribute("data-state", "live")
    visitor.context.close()
    served.close()
    assert visitor.complaints == []
