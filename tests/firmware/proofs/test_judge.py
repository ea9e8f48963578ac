"""The judges are judged: what is made up to be wrong they must find, what is right they must pass."""

from __future__ import annotations

import lorawan_network as network
import pytest
from proof_judge import ACCEPT, FLASH, HOUR_US, NOTE, OFF, ON, START, TX, Counters, Law, Record, Window, airtime_us

SECOND = 1_000_000
KEY = bytes(range(16))
JOIN_EUI, DEV_EUI = bytes(8), bytes(range(8))
DEV_ADDR = 0x26010203


def record(kind: int, us: int, *, flag: int = 0, number: int = 0, long_us: int = 0, eirp: int = 14, data: bytes = b""):
    return Record(kind, flag, 1, number, us, long_us, eirp, 7, data)


def sent(us: int, long_us: int, freq_hz: int = 868_100_000, eirp: int = 16, data: bytes = b"\x40"):
    return record(TX, us, number=freq_hz // 100, long_us=long_us, eirp=eirp, data=data)


def law(*story: Record) -> Law:
    judge = Law(1)
    judge.take(record(ON, 0))
    for each in story:
        judge.take(each)
    return judge


@pytest.mark.parametrize(
    ("freq_hz", "seconds"), [(868_100_000, 36.0), (863_500_000, 3.6), (868_800_000, 3.6), (869_525_000, 360.0)]
)
def test_an_hour_just_full_passes_and_a_millisecond_more_does_not(freq_hz: int, seconds: float) -> None:
    limit = round(seconds * SECOND)
    half = limit // 2
    second_at = HOUR_US - 2 * half  # all of both in the hour that ends with the second
    assert not law(sent(0, half, freq_hz), sent(second_at, half, freq_hz)).findings
    assert len(law(sent(0, half, freq_hz), sent(second_at, half + 1000, freq_hz)).findings) == 1
    # what has left the hour in part counts in part
    assert not law(sent(0, limit, freq_hz), sent(HOUR_US, half, freq_hz)).findings
    assert law(sent(0, limit, freq_hz), sent(HOUR_US - 1000, half, freq_hz)).findings


def test_bands_are_counted_apart() -> None:
    assert not law(sent(0, 30 * SECOND), sent(60 * SECOND, 30 * SECOND, 867_100_000)).findings


@pytest.mark.parametrize(
    "wrong",
    [
        sent(0, SECOND, eirp=17),
        sent(0, SECOND, freq_hz=868_650_000),
        sent(0, SECOND, freq_hz=870_500_000),
        record(NOTE, 0, flag=1, data=b"trouble"),
    ],
    ids=["power", "between bands", "outside", "note"],
)
def test_other_breaches_are_found(wrong: Record) -> None:
    assert len(law(wrong).findings) == 1


def test_sending_without_power_or_twice_at_a_time_is_found() -> None:
    assert law(record(OFF, 10), sent(20, SECOND)).findings
    assert law(sent(0, SECOND), sent(SECOND // 2, SECOND)).findings


def joins(times_s: list[float], long_s: float = 1.482752) -> Law:
    return law(*[sent(round(at * SECOND), round(long_s * SECOND), data=b"\0" * 23) for at in times_s])


def test_join_backoff() -> None:
    hour = 3600.0
    first = [i * 140.0 for i in range(24)]  # 35.6 s in the first hour
    second = [hour + 60 + i * 1400.0 for i in range(24)]
    days = [11 * hour + 100 + i * 4 * hour for i in range(5)]
    assert not joins(first + second + days).findings
    assert joins([*first, 3500.0, *second]).findings
    assert joins([*first, *second, second[-1] + 1400]).findings
    assert joins([*first, *second, *days, days[-1] + hour]).findings


def test_joins_by_true_time() -> None:
    """A node without power for a day may not count it; one that says it was powered all the time is caught."""
    judge = law(*[sent(i * 100 * SECOND, 1_482_752, data=b"\0" * 23) for i in range(24)])
    judge.take(record(OFF, 3000 * SECOND))
    judge.take(record(ON, 4000 * SECOND))  # powered time goes on at 3000 s: still the first hour
    judge.take(sent(4100 * SECOND, 1_482_752, data=b"\0" * 23))
    assert judge.findings


def test_window_is_exact() -> None:
    window = Window(1000)
    assert window.add(0, 100) == 100
    assert window.add(900, 1000) == 200
    assert window.add(1000, 1050) == 200  # 50 of the first has left
    assert window.add(2000, 2010) == 60 - 10  # 1010..1050 of the third and all of the fourth


def test_airtime() -> None:
    assert airtime_us(7, 23) == 61_696
    assert airtime_us(12, 23) == 1_482_752
    assert airtime_us(10, 64) == 698_368


# Counters


def request(nonce: int, key: bytes = KEY) -> bytes:
    return network.join_request(key, JOIN_EUI, DEV_EUI, nonce)


def uplink(fcnt: int, payload: bytes = b"x", nonce: int = 0, join_nonce: int = 1) -> bytes:
    nwk_skey, app_skey = network.session_keys(KEY, join_nonce, 0x13, nonce)
    return network.data_frame(nwk_skey, app_skey, DEV_ADDR, fcnt, direction=0, port=1, payload=payload)


def accept(join_nonce: int = 1) -> Record:
    frame = network.join_accept(KEY, join_nonce=join_nonce, net_id=0x13, dev_addr=DEV_ADDR)
    return record(ACCEPT, 2, data=frame)


def counters(*story: Record) -> list[str]:
    judge = Counters(1, KEY, bound_us=HOUR_US)
    for each in (record(ON, 0), record(TX, 1, data=request(0)), accept(), *story):
        judge.take(each)
    return judge.findings


def up(fcnt: int, **more: object) -> Record:
    return record(TX, 100, data=uplink(fcnt, **more))  # type: ignore[arg-type]


START_AGAIN = (record(OFF, 200), record(ON, 300))


def test_a_good_story_passes() -> None:
    stored = record(FLASH, 50)
    start = record(START, 400, flag=1, long_us=DEV_ADDR)
    assert counters(stored, up(0), up(0), up(1), *START_AGAIN, start, up(65)) == []
    assert counters(*START_AGAIN, record(TX, 400, data=request(1)), accept(2), up(0, nonce=1, join_nonce=2)) == []


@pytest.mark.parametrize(
    "story",
    [
        (up(0), up(0, payload=b"y")),
        (up(5), up(4)),
        (up(0), *START_AGAIN, up(0, payload=b"y")),
        (up(0), up(300)),
        (record(TX, 5, data=request(0)),),
        (record(TX, 5, data=request(1, bytes(16))),),
        (up(0, nonce=7),),
        (record(FLASH, 50), *START_AGAIN, record(START, 400)),
        (record(FLASH, 50), *START_AGAIN, record(START, 400, flag=1, long_us=DEV_ADDR + 1)),
        (record(FLASH, 50), *START_AGAIN, record(TX, 5, data=request(1))),
        (record(OFF, 200), record(ON, 300), record(TX, 300 + 2 * HOUR_US, data=uplink(1))),
        (record(NOTE, 1, flag=1, data=b"trouble"),),
    ],
    ids=["bytes", "back", "after a cut", "jump", "nonce", "key", "MIC", "gone", "another", "needless", "late", "note"],
)
def test_a_bad_story_is_found(story: tuple[Record, ...]) -> None:
    assert counters(*story)
