"""How the readings of the last day came: in the API and on the pages; silence while nothing was lost."""

from __future__ import annotations

import httpx
import pytest
from nest.archive import Archive, adding, schema
from nest.archive.database import writing
from sqlalchemy import Engine, insert, select

from .conftest import NOW

HOUR_S = 3600


@pytest.fixture
def losses(archive: Archive, engine: Engine) -> None:
    """Amsel in the last day: 3 heard, 2 recovered, 1 backfilled, 1 open and 1 given up; before it as many again."""
    with writing(engine) as connection:
        node = connection.execute(select(schema.nodes.c.id).where(schema.nodes.c.slug == "amsel")).scalar_one()
        session = connection.execute(
            insert(schema.sessions)
            .values(node_id=node, join_nonce=1, dev_addr=1, fcnt_up=40, fcnt_down=0, active=True, joined_at=NOW - 9e5)
            .values(rx1_delay_s=1, rx1_dr_offset=0, rx2_dr=3, rx2_freq_hz=869_525_000)
        ).inserted_primary_key
        assert session
        came = [schema.HEARD] * 3 + [schema.RECOVERED] * 2 + [schema.BACKFILLED]
        lost = [schema.OPEN, schema.GIVEN_UP, schema.NEVER_WAS, schema.GAP_RECOVERED]
        for day in range(2):
            for number, origin in enumerate(came):
                time = round((NOW - 24 * HOUR_S * day - HOUR_S * (number + 1)) * 1000)
                adding.add_reading(connection, node, time, {"temperature": 800}, origin)
            for number, state in enumerate(lost):
                time = round((NOW - 24 * HOUR_S * day - HOUR_S * (number + 10)) * 1000)
                row = {"session_id": session[0], "fcnt": 10 * day + number, "part": 0, "node_id": node, "time": time}
                connection.execute(insert(schema.gaps).values(**row, opened_at=time, state=state, state_at=time))


@pytest.mark.usefixtures("losses")
async def test_the_api_tells_how_the_last_24_hours_came(client: httpx.AsyncClient) -> None:
    expected = {"heard": 3, "recovered": 2, "backfilled": 1, "missing": 2}
    amsel, meise = (await client.get("/api/v1/nodes")).json()["nodes"]
    assert amsel["last_day"] == (await client.get("/api/v1/nodes/amsel")).json()["last_day"] == expected
    assert meise["last_day"] == dict.fromkeys(expected, 0)


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize("page", ["/", "/nodes/amsel"])
async def test_the_pages_say_it_in_one_line(client: httpx.AsyncClient, page: str) -> None:
    assert "3 gehört, 2 geheilt, 1 nachgeholt, 2 fehlen" in (await client.get(page)).text
    assert "3 heard, 2 healed, 1 fetched, 2 missing" in (await client.get(page + "?lang=en")).text


async def test_where_nothing_was_lost_nothing_is_said(client: httpx.AsyncClient) -> None:
    page = (await client.get("/?lang=en")).text
    assert page.count('<span class="came" data-of="amsel"></span>') == 1
    assert (await client.get("/api/v1/nodes/amsel")).json()["last_day"]["heard"] == 0, "it came another way"
