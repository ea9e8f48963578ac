"""Time on air and receive windows, against published values."""

from expect import equal
from lorawan import airtime


def check_semtech_calculator(vectors):
    """Every row of the Semtech calculator for our radios (SX1276 knows no SF5: that row is not applicable)."""
    for row in vectors["airtime"]:
        if row["chip"] == "sx127x" and row["sf"] < 6:
            continue
        us = airtime.airtime_us(
            row["sf"], row["bwHz"], row["payload"], row["crc"], row["preamble"], row["cr"], row["implicitHeader"]
        )
        equal(us, round(row["ms"] * 1000), row["name"])


def check_payload_symbols(vectors):
    for row in vectors["airtime_payload_symbols"]:
        got = airtime.payload_symbols(
            row["sf"], row["payload"], cr=row["cr"], implicit=row["implicitHeader"], low_rate=row["ldro"]
        )
        equal(got, row["payloadSymbols"], row)


def check_eu868_reference_table(vectors):
    for size, row in vectors["airtime_eu868_reference"]["phyPayloadBytes"].items():
        for name, ms in row.items():
            sf = int(name.split("SF")[1])
            equal(airtime.airtime_us(sf, 125000, int(size)), round(ms * 1000), name)


def check_symbol_length():
    equal(airtime.symbol_us(7, 125000), 1024)
    equal(airtime.symbol_us(12, 125000), 32768)
    equal(airtime.symbol_us(7, 250000), 512)
    equal(airtime.symbol_us(5, 500000), 64)


def check_rx_window_reference(vectors):
    """LoRaMac-node counts in whole milliseconds, rounded up; we in microseconds."""
    for sf, error_ms, symbols, window_ms, offset_ms in vectors["rx_window_reference"]["rows"]:
        offset_us, got = airtime.rx_window(sf, 125000, error_ms * 1000)
        equal(got, symbols, (sf, error_ms))
        equal(-(-offset_us // 1000), offset_ms, (sf, error_ms))
        equal(round(got * airtime.symbol_us(sf, 125000) / 10), round(window_ms * 100), (sf, error_ms))


def check_window_holds_a_preamble_however_wrong_the_clock():
    """A frame that starts as early or as late as allowed still has min_symbols of preamble inside the window."""
    for sf in range(7, 13):
        symbol = airtime.symbol_us(sf, 125000)
        for error_us in (0, 1000, 10000, 20000, 35000, 120000):
            for wanted in (6, 8):
                offset_us, symbols = airtime.rx_window(sf, 125000, error_us, wanted)
                for start in (-error_us, error_us):
                    end = min(start + 8 * symbol, offset_us + symbols * symbol)
                    seen = end - max(start, offset_us)
                    assert seen >= (wanted - 1) * symbol, (sf, error_us, wanted, seen / symbol)
