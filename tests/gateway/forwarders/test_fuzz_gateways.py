"""Twenty thousand malformed datagrams and messages; `make bench` has a million (tests/benchmarks/fuzz_gateways.py)."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from benchmarks import fuzz_gateways
from benchmarks.fuzz_gateways import SocketFuzz, StationFuzz, UdpFuzz

SEED = fuzz_gateways.SEED
FLAT_BYTES = 300_000  # beside what JSON and the generators hold at a moment


def test_no_datagram_does_harm() -> None:
    fuzz = UdpFuzz(SEED)
    fuzz.feed(12_500)
    assert fuzz.nest.frames > 1000  # many are spoilt where nothing hangs on it
    assert fuzz.wire.downlinks >= 28
    counted = {kind for kind, count in fuzz.udp.counters.items() if count}
    assert counted >= {"rxpk_malformed", "rxpk_fsk", "rxpk_size", "rxpk_buffered", "stat_malformed"}
    assert counted >= {"source_locked", "unknown_gateway", "token_needed", "datagram_json", "datagram_short"}
    assert counted >= {"frames_refused", "datagram_version", "datagram_type", "path_moved", "path_contested"}
    assert counted >= {"tx_ack_unknown", "tx_ack_malformed", "tx_ack_error", "tx_ack_warning"}


def test_memory_stays_flat() -> None:
    fuzz = UdpFuzz(SEED + 1)
    fuzz.feed(1_000)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        fuzz.feed(1_500)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < FLAT_BYTES
    finally:
        tracemalloc.stop()


async def test_no_message_of_a_station_does_harm() -> None:
    fuzz = StationFuzz(SEED)
    await fuzz.feed(5_000)
    assert fuzz.nest.frames > 100


async def test_no_datagram_from_a_socket_does_harm() -> None:
    fuzz = SocketFuzz(SEED)
    await fuzz.feed_by_socket(1_000)
    assert fuzz.nest.frames > 100


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_datagrams(seed: int) -> None:
    one, other = UdpFuzz(seed), UdpFuzz(seed)
    assert [one.datagram() for _ in range(200)] == [other.datagram() for _ in range(200)]
