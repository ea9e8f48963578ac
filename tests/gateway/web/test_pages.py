"""The pages as HTML, before any JavaScript: languages, states of values, escaping, headers, static files."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest
from nest.archive import Archive
from nest.errors import UserError
from nest.live import Live
from nest.registry import Registry
from nest.town import Town, load
from nest.web import create_app

NOW = 1_777_636_800.0


def text_of(html: str) -> str:
    """What a reader sees of a page, spaces made single."""

    class Reader(HTMLParser):
        seen = ""

        def handle_data(self, data: str) -> None:
            if self.lasttag != "script":
                self.seen += data

    reader = Reader()
    reader.feed(html)
    return " ".join(reader.seen.split())


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", None, "de"),  # the town's
        ("", "en-GB,en;q=0.9,de;q=0.8", "en"),
        ("", "fr, de;q=0.5, en;q=0.7", "en"),
        ("", "fr", "de"),
        ("", "en;q=0, *;q=0.5", "de"),
        ("", ";;q=,=,x;q=nan,en;q=abc", "de"),
        ("?lang=en", "de", "en"),
        ("?lang=de-AT", "en", "de"),
        ("?lang=<script>", "en", "en"),
    ],
)
async def test_language(client: httpx.AsyncClient, query: str, header: str | None, language: str) -> None:
    page = await client.get(f"/{query}", headers={"accept-language": header} if header else {})
    assert f'<html lang="{language}">' in page.text
    assert page.headers["content-language"] == language
    assert page.headers["vary"].startswith("Accept-Language")
    assert ("Was Brandis misst" if language == "de" else "What Brandis measures") in page.text


async def test_the_chosen_language_stays_on_every_link(client: httpx.AsyncClient) -> None:
    assert 'href="/nodes/amsel?lang=en"' in (await client.get("/?lang=en")).text
    assert 'href="/nodes/amsel"' in (await client.get("/")).text


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("de", ["0,0 °C vor 12 s", "Sensor gestört vor 12 s", "Außer Bereich", "Noch nichts gehört", "im Schatten"]),
        ("en", ["0.0 °C 12 s ago", "Sensor failed 12 s ago", "Out of range", "Not heard yet", "in the shade"]),
    ],
)
async def test_the_table_needs_no_javascript(client: httpx.AsyncClient, language: str, says: list[str]) -> None:
    text = text_of((await client.get(f"/?lang={language}")).text)
    for words in says:
        assert words in text


async def test_no_word_stays_english_on_a_german_page(client: httpx.AsyncClient) -> None:
    """Every sentence the pages say is in the catalogue: asked for in both languages, none is the same."""
    from nest.web import present

    german, english = present.words("de"), present.words("en")
    for name in english:
        assert german[name] != english[name], name
    for address in ("/", "/nodes/amsel", "/nodes/meise", "/api"):
        pages = [text_of((await client.get(f"{address}?lang={language}")).text) for language in ("de", "en")]
        sentences = [set(re.split(r"(?<=[.:])\s", page)) for page in pages]
        same = {words for words in sentences[0] & sentences[1] if len(words.split()) > 4}
        assert not same or address == "/api", same


async def test_values_that_are_no_numbers_are_words(client: httpx.AsyncClient, archive: Archive) -> None:
    archive.add_reading("meise", NOW - 60, {"battery": 3.7})
    html = (await client.get("/?lang=en")).text
    cells = {
        (row[0], cell[0]): cell[1]
        for row in re.findall(r'<tr role="row" data-node="(\w+)"(.*?)</tr>', html, re.DOTALL)
        for cell in re.findall(r'data-quantity="(\w+)"[^>]*data-state="(\w+)"', row[1])
    }
    assert cells == {
        ("amsel", "temperature"): "good",
        ("amsel", "humidity"): "failed",
        ("amsel", "pressure"): "out_of_range",
        ("amsel", "battery"): "missing",
        ("meise", "temperature"): "missing",
        ("meise", "humidity"): "missing",
        ("meise", "pressure"): "missing",
        ("meise", "battery"): "good",
    }


async def test_names_are_text_and_never_html(client: httpx.AsyncClient, registry: Registry, archive: Archive) -> None:
    nasty = "<script>alert(1)</script>\"'&{{7*7}}"
    registry.add("boese", "00000000000000ff", name=nasty)
    archive.add_reading("boese", NOW - 5, {"temperature": 1.0})
    for address in ("/", "/nodes/boese"):
        html = (await client.get(address)).text
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;{{7*7}}" in html
        assert "{{7*7}}" in html  # nor a template
    assert (await client.get("/api/v1/nodes/boese")).json()["name"] == nasty


async def test_an_old_reading_is_marked(client: httpx.AsyncClient, archive: Archive) -> None:
    archive.add_reading("meise", NOW - 2 * 3600, {"temperature": 5.0})
    html = (await client.get("/?lang=en")).text
    assert 'data-node="meise" class="stale"' in html
    assert "No new reading for a long time" in text_of(html)
    assert 'data-node="amsel" class="stale"' not in html


async def test_a_town_without_nodes(client: httpx.AsyncClient, registry: Registry) -> None:
    registry.remove("amsel")
    registry.remove("meise")
    page = await client.get("/?lang=de")
    assert page.status_code == 200
    assert "Hier gibt es noch keine Spatzen." in text_of(page.text)


async def test_not_found_in_both_languages(client: httpx.AsyncClient) -> None:
    for address in ("/nodes/kuckuck", "/nothing", "/outlines.geojson", "/nodes/%3Cscript%3E"):
        answer = await client.get(address)
        assert answer.status_code == 404
        assert "Hier ist nichts" in answer.text
        assert "There is nothing here" in answer.text
        assert "<script>" not in answer.text


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    static = re.findall(r'(?:src|href)="(/static/[^"]+)"', (await client.get("/")).text)
    for address in ("/", "/nodes/amsel", "/nothing", "/api", "/api/v1/nodes", "/api/v1/nothing", "/health", *static):
        headers = (await client.get(address)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy, address
        assert "frame-ancestors 'none'" in policy, address
        assert "unsafe" not in policy, address
        assert "http" not in policy, address
        assert headers["x-content-type-options"] == "nosniff", address
        assert headers["referrer-policy"] == "no-referrer", address


async def test_all_files_of_the_page_are_here_and_kept_by_the_browser(client: httpx.AsyncClient) -> None:
    html = (await client.get("/")).text
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', html))
    wanted = {"leaflet.js", "leaflet.css", "uPlot.iife.js", "uPlot.min.css", "page.js", "page.css", "sparrow.svg"}
    assert {path.rsplit("/", 1)[1] for path in files} >= wanted
    for path in files:
        answer = await client.get(path)
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"], path
    assert "//" not in re.sub(r"https?://www\.w3\.org", "", " ".join(re.findall(r'(?:src|href)="([^"]*)"', html)))


async def test_the_page_is_light(client: httpx.AsyncClient) -> None:
    """What a village phone loads the first time, compressed: less than 150 kB, of which our own part is a fifth."""
    html = (await client.get("/")).text
    total = own = 0
    for path in {"/", *re.findall(r'(?:src|href)="(/static/[^"]+)"', html)}:
        async with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            size = sum([len(part) async for part in answer.aiter_raw()])
        total += size
        own += size if "/own-" in path else 0
    assert total < 150_000
    assert own < 30_000


async def test_tiles_only_where_the_operator_wants_them(archive: Archive, live: Live, town: Town) -> None:
    settings = town.path / "town.toml"
    settings.write_text(settings.read_text().replace("tiles = false", "tiles = true"))
    app = create_app(archive, live, load(town.path), dict)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nest") as client:
        page = await client.get("/")
    assert "img-src 'self' data: https://tile.openstreetmap.org" in page.headers["content-security-policy"]
    assert '"tiles_url": "https://tile.openstreetmap.org/{z}/{x}/{y}.png"' in page.text


async def test_a_wrong_tile_address_is_told_at_the_start(archive: Archive, live: Live, town: Town) -> None:
    settings = town.path / "town.toml"
    text = settings.read_text().replace("tiles = false", "tiles = true")
    settings.write_text(text.replace("https://tile.openstreetmap.org/", "tiles; script-src *"))
    with pytest.raises(UserError, match="tiles; script-src"):
        create_app(archive, live, load(town.path), dict)


async def test_outlines_of_the_operator(client: httpx.AsyncClient, town: Town) -> None:
    (town.path / "outlines.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert '"outlines_url": "/outlines.geojson"' in (await client.get("/")).text
    answer = await client.get("/outlines.geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    assert answer.json()["features"] == []
