"""What the nest remembers: raw frames first, then the readings decoded from them; sessions and counters; queues."""

from nest.archive.archive import Archive
from nest.archive.database import open_database
from nest.archive.reading import Completeness, Gap, LatestValue, NodeInfo, NodeLatest, Point, Shares

__all__ = [
    "Archive",
    "Completeness",
    "Gap",
    "LatestValue",
    "NodeInfo",
    "NodeLatest",
    "Point",
    "Shares",
    "open_database",
]
