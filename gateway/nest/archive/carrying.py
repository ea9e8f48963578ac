"""What a town that comes from a backup must not begin again with, and what one that it replaces hands on to it.

**Why a restored town does not go on where the backup ends.** The backup is older than the last thing that was sent.
With its counters the nest would use each FCntDown since then a second time, under the same keys: two plaintexts under
one keystream give each other away, and nodes refuse a counter they have seen. So every open session's FCntDown is put
`COUNTER_MARGIN` ahead. In the same way a JoinNonce used twice would give a node the same session keys again, if it can
be brought to the same DevNonce; so each node's JoinNonces go on `NONCE_MARGIN` behind the highest.

**What was made void stays void.** Where a town is replaced, what it knows besides is taken over: its counters, where it
is further; the DevNonces used since, and which sessions have ended; the key that a node was given last, for its board
has that one, and the one before may be in wrong hands; which nodes were removed or retired since, whose keys are
nobody's or another town's; and its tokens, which the gateways have, too, and which gateways were removed. Which of two
keys or tokens is the later one `changed_at` says: who restores an old backup by mistake, and then the right one, gets
the later one, too. And what gateways have sent in the last hour counts against the law, whatever was restored since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

from nest import keys
from nest.archive import meta, migrations
from nest.archive.sessions import NO_DEV_NONCE
from nest.archive.snapshots import connect

COUNTER_MARGIN = 4096  # downlinks; a node gets a few a day
NONCE_MARGIN = 1024  # joins; a node joins a few times a year
MAX_JOIN_NONCE = 0xFFFFFF
_FACTS = (meta.ADMIN_TOKEN, "airtime")  # of `meta`, that go on; the second is what `nest.server` notes of each gateway


@dataclasses.dataclass(slots=True)
class StayOut:
    """What the backup has and what was removed since."""

    nodes: list[str] = dataclasses.field(default_factory=list)  # slugs
    gateways: list[str] = dataclasses.field(default_factory=list)  # names with EUIs


def make_safe(database: Path, replaced: Path | None) -> StayOut:
    """Make a database that was restored fit to be gone on with. `replaced`: the one that stood there, if any.

    What was removed since the backup stays so, without its key or token.
    """
    with contextlib.closing(connect(database)) as new:
        new.execute("BEGIN IMMEDIATE")
        out = StayOut()
        if replaced is not None:
            with contextlib.closing(connect(replaced)) as old:
                out = _take_over(old, new)
        new.execute("UPDATE sessions SET fcnt_down = fcnt_down + ? WHERE ended_at IS NULL", (COUNTER_MARGIN,))
        new.execute(
            "UPDATE nodes SET join_nonce_floor = min(?, ? + max(join_nonce_floor,"
            " coalesce((SELECT max(join_nonce) FROM joins WHERE joins.node_id = nodes.id), 0)))",
            (MAX_JOIN_NONCE, NONCE_MARGIN),
        )
        new.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (meta.GENERATION, migrations.new_generation())
        )
        new.execute("COMMIT")
    return out


def _take_over(old: sqlite3.Connection, new: sqlite3.Connection) -> StayOut:
    """`new` has this version's tables, `old` may be of any version, or hold no town at all."""
    of_nodes = _columns(old, "nodes")
    if not of_nodes:
        return StayOut()
    out = StayOut([slug for slug in (_take_node(node, new) for node in _nodes(old, of_nodes)) if slug is not None])
    _take_joins(old, new, of_nodes)
    _take_sessions(old, new)
    if _columns(old, "gateways"):
        out.gateways = _take_gateways(old, new)
    if _columns(old, "meta"):
        facts = old.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", _FACTS).fetchall()
        new.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", facts)
    return out


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Those that a table has in that version; none: it is not there."""
    return {column[1] for column in connection.execute("SELECT * FROM pragma_table_info(?)", (table,))}


def _rows(connection: sqlite3.Connection, query: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    found = connection.execute(query, values)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _nodes(old: sqlite3.Connection, columns: set[str]) -> list[dict[str, Any]]:
    """Every node, as this version would have it."""
    absent = {"key_mark": None, "nonce_floor": 0, "retired_at": None, "join_nonce_floor": 0}
    wanted = ["dev_eui", "app_key", "removed_at", "changed_at", *(name for name in absent if name in columns)]
    found = [absent | node for node in _rows(old, f"SELECT {', '.join(wanted)} FROM nodes")]  # noqa: S608
    for node in found:
        if node["key_mark"] is None and node["app_key"] is not None:
            node["key_mark"] = keys.mark(bytes.fromhex(node["dev_eui"]), node["app_key"])
    return found


def _take_node(node: dict[str, Any], new: sqlite3.Connection) -> str | None:
    """Its slug, if the backup has it and it was removed since."""
    wanted = "SELECT id, slug, added_at, removed_at, changed_at, key_mark FROM nodes WHERE dev_eui = ?"
    for there in _rows(new, wanted, (node["dev_eui"],)):
        let_go = node["removed_at"] is not None
        # other: it had another key since, and then a backup was restored in which it was removed
        other = node["key_mark"] not in (None, there["key_mark"]) and there["changed_at"] < node["changed_at"]
        gone = let_go and (there["added_at"] <= max(node["removed_at"], node["retired_at"] or 0) or other)
        later = gone or (not let_go and there["changed_at"] <= node["changed_at"])
        if node["key_mark"] == there["key_mark"]:
            which = "UPDATE nodes SET nonce_floor = max(nonce_floor, ?) WHERE id = ?"
            new.execute(which, (node["nonce_floor"], there["id"]))
        elif later and node["key_mark"] is not None:
            new.execute(
                "UPDATE nodes SET app_key = CASE WHEN removed_at IS NULL THEN ? END, key_mark = ?, nonce_floor = ?,"
                " changed_at = max(changed_at, ?) WHERE id = ?",
                (node["app_key"], node["key_mark"], node["nonce_floor"], node["changed_at"], there["id"]),
            )
            new.execute("UPDATE joins SET dev_nonce = ? WHERE node_id = ?", (NO_DEV_NONCE, there["id"]))
        floor = "UPDATE nodes SET join_nonce_floor = max(join_nonce_floor, ?) WHERE id = ?"
        new.execute(floor, (node["join_nonce_floor"], there["id"]))
        if gone:
            _let_go(new, there["id"], node["removed_at"], node["retired_at"])
            if there["removed_at"] is None and node["retired_at"] is None:
                return there["slug"]
    return None


def _let_go(new: sqlite3.Connection, node_id: int, removed_at: int, retired_at: int | None) -> None:
    new.execute(
        "UPDATE nodes SET removed_at = max(coalesce(removed_at, 0), ?1), retired_at = coalesce(?2, retired_at),"
        " changed_at = max(changed_at, ?1), app_key = NULL WHERE id = ?3",
        (removed_at, retired_at, node_id),
    )
    new.execute(
        "UPDATE sessions SET ended_at = ?, nwk_skey = NULL, app_skey = NULL WHERE node_id = ? AND ended_at IS NULL",
        (removed_at, node_id),
    )
    new.execute(
        "UPDATE downlinks SET state = 'removed', state_at = ? WHERE node_id = ? AND state IN ('waiting', 'queued')",
        (removed_at, node_id),
    )


def _take_gateways(old: sqlite3.Connection, new: sqlite3.Connection) -> list[str]:
    """Those that the backup lets in and that were removed since: they stay so, and their tokens void."""
    out: list[str] = []
    for gateway in _rows(old, "SELECT eui, token, removed_at, changed_at FROM gateways"):
        wanted = "SELECT id, eui, name, added_at, removed_at, changed_at FROM gateways WHERE eui = ?"
        for there in _rows(new, wanted, (gateway["eui"],)):
            let_go, later = gateway["removed_at"] is not None, there["changed_at"] < gateway["changed_at"]
            # later: it had another token, and then a backup was restored in which it was removed
            gone = let_go and (there["added_at"] <= gateway["removed_at"] or later)
            if there["removed_at"] is None and gone:
                void = "UPDATE gateways SET removed_at = ?, token = NULL WHERE id = ?"
                new.execute(void, (gateway["removed_at"], there["id"]))
                named = there["name"] != there["eui"]
                out.append(f"{there['name']} ({there['eui']})" if named else there["eui"])
            elif there["removed_at"] is None and not let_go and there["changed_at"] <= gateway["changed_at"]:
                new.execute("UPDATE gateways SET token = ? WHERE id = ?", (gateway["token"], there["id"]))
            changed = "UPDATE gateways SET changed_at = max(changed_at, ?) WHERE id = ?"
            new.execute(changed, (gateway["changed_at"], there["id"]))
    return out


def _take_joins(old: sqlite3.Connection, new: sqlite3.Connection, of_nodes: set[str]) -> None:
    """Joins that the backup does not know. A DevNonce of another AppKey says nothing, its JoinNonce does."""
    marks = {node["dev_eui"]: node["key_mark"] for node in _nodes(old, of_nodes)}
    there = {row[0]: row[1:] for row in new.execute("SELECT dev_eui, id, key_mark FROM nodes")}
    joins = "SELECT dev_eui, join_nonce, dev_nonce, time FROM joins JOIN nodes ON nodes.id = node_id"
    for dev_eui, join_nonce, dev_nonce, moment in old.execute(joins).fetchall():
        if dev_eui in there:
            node_id, mark = there[dev_eui]
            same = marks[dev_eui] in (None, mark)  # None: see `keys.is_same_key`
            new.execute(
                "INSERT INTO joins (node_id, join_nonce, dev_nonce, time) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (node_id, join_nonce) DO UPDATE SET dev_nonce = max(dev_nonce, excluded.dev_nonce)",
                (node_id, join_nonce, dev_nonce if same else NO_DEV_NONCE, moment),
            )


def _take_sessions(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    sessions = "SELECT dev_eui, join_nonce, fcnt_up, fcnt_down, ended_at FROM sessions JOIN nodes ON nodes.id = node_id"
    for dev_eui, join_nonce, fcnt_up, fcnt_down, ended_at in old.execute(sessions).fetchall():
        this = "SELECT sessions.id FROM sessions JOIN nodes ON nodes.id = node_id WHERE dev_eui = ? AND join_nonce = ?"
        for (number,) in new.execute(this, (dev_eui, join_nonce)).fetchall():
            counts = "UPDATE sessions SET fcnt_up = max(fcnt_up, ?), fcnt_down = max(fcnt_down, ?) WHERE id = ?"
            new.execute(counts, (fcnt_up, fcnt_down, number))
            if ended_at is not None:  # its node is in a later one: whoever still speaks in it is somebody else
                new.execute(
                    "UPDATE sessions SET ended_at = ?, active = 0, nwk_skey = NULL, app_skey = NULL"
                    " WHERE id = ? AND ended_at IS NULL",
                    (ended_at, number),
                )
