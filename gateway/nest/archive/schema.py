"""The tables of a town's database, and the one place where its versions follow each other.

Times are Unix milliseconds in UTC (`BigInteger`), EUIs lower-case hex, keys and frames bytes. Everything is written in
SQLAlchemy's own expressions, so that PostgreSQL can take SQLite's place by a URL.

A change of the schema: raise `VERSION` by one and add one function to `MIGRATIONS` in `migrations.py`. A new column
goes to the end of its table, with a `server_default` where it may not be NULL, as `ALTER TABLE` would put it there.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

VERSION = 4

# how a reading came
HEARD, RECOVERED, BACKFILLED, OTHER = 0, 1, 2, 3
ORIGIN_NAMES = ("heard", "recovered", "backfilled", "other")  # in a frame; from parity; from the node's log; no frame

# what became of a reading that was missing when a later frame came. Those in MISSING are wanted, the others are settled
OPEN, GAP_RECOVERED, GAP_BACKFILLED, HEARD_LATE, NEVER_WAS, GIVEN_UP = 0, 1, 2, 3, 4, 5
MISSING = (OPEN, GIVEN_UP)

DAY_MS = 86_400_000

# spans of aggregates
HOUR, DAY = 0, 1

# bits of flags
SPIKE, STUCK, NEIGHBOURS = 1, 2, 4

# how far a frame has come
NOT_DECODED, DECODED, UNDECODABLE, NO_READING = 0, 1, 2, 3

metadata = MetaData()
# SQLite counts up by itself only in a column that is exactly INTEGER
_ID = BigInteger().with_variant(Integer(), "sqlite")

schema_version = Table(
    "funkspatz_schema",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("applied_at", BigInteger, nullable=False),
)

quantities = Table(
    "quantities",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, comment="its bit in boards/quantities.toml"),
    Column("name", String, nullable=False, unique=True),
    Column("unit", String, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("slug", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("dev_eui", String(16), nullable=False, unique=True),
    Column("join_eui", String(16), nullable=False),
    Column("app_key", LargeBinary, comment="forgotten when the node is removed"),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("precision", SmallInteger, nullable=False, comment="decimals of the position that are published"),
    Column("added_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger, comment="its readings stay"),
    Column("changed_at", BigInteger, nullable=False, index=True, comment="how a running nest finds what is new"),
    Column("battery", SmallInteger, comment="of the latest DevStatusAns: 0 external, 1..254, 255 unknown"),
    Column("margin_db", SmallInteger, comment="SNR of its request, from the same answer"),
    Column("status_at", BigInteger, comment="when that answer came"),
    Column(
        "join_nonce_floor",
        Integer,
        nullable=False,
        server_default="0",
        comment="JoinNonces up to here may have been used, though `joins` does not know of them",
    ),
    Column(
        "wishes", String, comment="JSON of spatz.wishes: board, sensors, interval; NULL: nobody flashed it from here"
    ),
    Column("key_mark", LargeBinary, comment="fingerprint of its AppKey (nest.keys.mark); stays when the key goes"),
    Column(
        "nonce_floor",
        Integer,
        nullable=False,
        server_default="0",
        comment="DevNonces below may have been used, though `joins` does not know of them",
    ),
    Column("retired_at", BigInteger, comment="it left the town for good; removed_at is set, too"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
    # the fields of nest.model.SessionState, by their names
    Column("join_nonce", Integer, nullable=False),
    Column("dev_addr", BigInteger, nullable=False),
    Column("nwk_skey", LargeBinary, comment="both keys are forgotten when the session ends"),
    Column("app_skey", LargeBinary),
    Column("fcnt_up", BigInteger, nullable=False, comment="last accepted, -1 before the first"),
    Column("fcnt_down", BigInteger, nullable=False, comment="next to use"),
    Column("rx1_delay_s", SmallInteger, nullable=False),
    Column("rx1_dr_offset", SmallInteger, nullable=False),
    Column("rx2_dr", SmallInteger, nullable=False),
    Column("rx2_freq_hz", Integer, nullable=False),
    Column("active", Boolean, nullable=False, comment="false until the first uplink under its keys"),
    Column("joined_at", Double, nullable=False, comment="Unix s"),
    Column("ended_at", BigInteger, comment="when another session took over"),
    Column("heard_at", Double, nullable=False, server_default="0", comment="Unix s, of the frame of fcnt_up"),
    Column("heard_by", String, nullable=False, server_default="", comment="the gateway that heard it first"),
    Column("heard_tmst", BigInteger, comment="that gateway's counter then"),
    Column("tx_power", SmallInteger, nullable=False, server_default="0"),
    Column("nb_trans", SmallInteger, nullable=False, server_default="1"),
    Column("adr_tries", SmallInteger, nullable=False, server_default="0"),
    Column("status_at", Double, nullable=False, server_default="0", comment="Unix s"),
    UniqueConstraint("node_id", "join_nonce"),
)

joins = Table(
    "joins",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("join_nonce", Integer, primary_key=True),
    Column("dev_nonce", Integer, nullable=False, comment="-1: used under an AppKey that is gone"),
    Column("time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

frames = Table(
    "frames",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
    Column("session_id", ForeignKey("sessions.id"), nullable=False),
    Column("fcnt", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False, comment="time of hearing"),
    Column("fport", SmallInteger),
    Column("payload", LargeBinary, nullable=False, comment="FRMPayload, decrypted"),
    Column("phy", LargeBinary, nullable=False, comment="PHYPayload as heard"),
    Column("confirmed", Boolean, nullable=False),
    Column("freq_hz", Integer, nullable=False),
    Column("sf", SmallInteger, nullable=False),
    Column("bw_hz", Integer, nullable=False),
    Column("heard", JSON, nullable=False, comment="[{gateway, rssi, snr, freq_hz, received_at}], one per copy"),
    Column("decoded", SmallInteger, nullable=False, comment="0 not yet, 1 yes, 2 undecodable, 3 carries no reading"),
    UniqueConstraint("session_id", "fcnt"),
    UniqueConstraint("node_id", "time"),
)
Index("frames_not_decoded", frames.c.id, sqlite_where=frames.c.decoded == 0, postgresql_where=frames.c.decoded == 0)

# A reading never overwrites another: where its millisecond is taken, it has the next free one.
readings = Table(
    "readings",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("time", BigInteger, primary_key=True, comment="time of measuring"),
    Column("origin", SmallInteger, nullable=False, comment="0 heard, 1 recovered, 2 backfilled, 3 another source"),
    Column("delay_ms", BigInteger, comment="until the frame that brought it was heard; NULL: no frame did"),
    # a column for each quantity would take a byte where there is nothing: 41 bytes on the disk, for 28 of these
    Column("codes", LargeBinary, nullable=False, comment="as in boards/payload.md; see nest.archive.codes"),
    sqlite_with_rowid=False,
)

# Where a quantity was last measured that the node's newest reading has not: see `adding.note_measured`.
last_measured = Table(
    "last_measured",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("quantity_id", ForeignKey("quantities.id"), primary_key=True),
    Column("time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

gaps = Table(
    "gaps",
    metadata,
    Column("session_id", ForeignKey("sessions.id"), primary_key=True),
    Column("fcnt", BigInteger, primary_key=True),
    Column(
        "part", SmallInteger, primary_key=True, comment="0: what that frame carried; k: k-th unsent reading before it"
    ),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
    Column("time", BigInteger, nullable=False, comment="of measuring: estimated until the reading is there"),
    Column("opened_at", BigInteger, nullable=False),
    Column(
        "state",
        SmallInteger,
        nullable=False,
        comment="0 open, 1 recovered, 2 backfilled, 3 heard late, 4 never was, 5 given up",
    ),
    Column("state_at", BigInteger, nullable=False),
    Column("asked", SmallInteger, nullable=False, server_default="0", comment="how often the node was asked for it"),
    Column("asked_at", BigInteger),
    sqlite_with_rowid=False,
)
Index("gaps_of_node", gaps.c.node_id, gaps.c.state, gaps.c.time)

days = Table(
    "days",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("day", Integer, primary_key=True, comment="Unix day of the time of measuring"),
    Column("dirty", Boolean, nullable=False, comment="something has changed since it was closed"),
    Column("sha256", String(64), comment="of its file"),
    sqlite_with_rowid=False,
)

_dirty = days.c.dirty == literal_column("1")  # SQLite takes the index only for the very words of the query
Index("days_dirty", days.c.node_id, days.c.day, sqlite_where=_dirty, postgresql_where=days.c.dirty)

aggregates = Table(
    "aggregates",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("quantity_id", ForeignKey("quantities.id"), primary_key=True),
    Column("span", SmallInteger, primary_key=True, comment="0 hour, 1 day"),
    Column("start", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("minimum", Double, nullable=False),
    Column("maximum", Double, nullable=False),
    Column("mean", Double, nullable=False),
    sqlite_with_rowid=False,
)

flags = Table(
    "flags",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("time", BigInteger, primary_key=True),
    Column("quantity_id", ForeignKey("quantities.id"), primary_key=True),
    Column("flags", SmallInteger, nullable=False, comment="1 spike, 2 stuck, 4 unlike its neighbours"),
    sqlite_with_rowid=False,
)

downlinks = Table(
    "downlinks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("node_id", ForeignKey("nodes.id"), nullable=False, index=True),
    Column("port", SmallInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("window", SmallInteger, comment="1 or 2; NULL leaves the choice to the network server"),
    Column("queued_at", BigInteger, nullable=False),
    # waiting, then the outcomes of nest.lorawan.DownlinkOutcome; the history grows for ever, and is not looked through
    Column("state", String, nullable=False, index=True),
    Column("state_at", BigInteger, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", _ID, primary_key=True, comment="rises within a ticket in the order of its commands"),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("value", JSON),
    Column("ticket", SmallInteger, nullable=False),
    Column("downlink_id", ForeignKey("downlinks.id")),
    Column("created_at", BigInteger, nullable=False),
    Column("state", String, nullable=False, comment="waiting, sent, done, refused, replaced, expired"),
    Column("state_at", BigInteger, nullable=False),
)
Index("orders_of_node", orders.c.node_id, orders.c.state)

status = Table(
    "status",
    metadata,
    Column("part", String, primary_key=True),
    Column("updated_at", BigInteger, nullable=False),
    Column("value", JSON, nullable=False),
)

gateways = Table(
    "gateways",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("eui", String(16), nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("altitude_m", Double),
    Column("antenna_gain_dbi", Double, nullable=False),
    Column("token", String(64), comment="SHA-256 (hex) of its Basics Station token; forgotten when it is removed"),
    Column("added_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False, index=True, comment="by the operator"),
    Column("protocol", String, comment="what it spoke last"),
    Column("last_seen_at", BigInteger),
    Column("stat", JSON, comment="what it last told about itself"),
)

outbox = Table(
    "outbox",
    metadata,
    # a number is never used again, even when its row is gone: sinks remember numbers
    Column("seq", _ID, primary_key=True, autoincrement=True),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
    Column("time", BigInteger, nullable=False, comment="of the reading to publish"),
    Column("frame_id", ForeignKey("frames.id"), comment="NULL: it came another way"),
    sqlite_autoincrement=True,
)

sinks = Table(
    "sinks",
    metadata,
    Column("name", String, primary_key=True),
    Column("done", BigInteger, nullable=False, comment="everything up to this seq is published for good"),
)

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)
