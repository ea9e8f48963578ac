"""The air of the virtual laboratory: a clock that only transmissions, windows and waits move, and what passes over it.

CPython only. Everything is kept in `log`, to the microsecond. A downlink is heard when frequency, spreading factor and
bandwidth are the window's and the window holds enough of its preamble; not otherwise, so a MAC that listens in the
wrong place or at the wrong time hears nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PREAMBLE = 8
NEEDED = 5  # symbols of the preamble that a receiver must get to hear a frame
TICKS = 1 << 30  # MicroPython's ticks_us wrap there on most ports

Action = dict[str, Any]


def symbol_us(sf: int, bw_hz: int) -> float:
    return 2**sf / bw_hz * 1e6


def airtime_us(sf: int, bw_hz: int, size: int, *, crc: bool = True) -> float:
    """SX1276 data sheet 4.1.1.7, coding rate 4/5, explicit header, low data rate optimisation above 16 ms a symbol."""
    low = 1 if symbol_us(sf, bw_hz) > 16000 else 0
    blocks = math.ceil((8 * size - 4 * sf + 28 + (16 if crc else 0)) / (4 * (sf - 2 * low)))
    return (PREAMBLE + 4.25 + 8 + max(blocks * 5, 0)) * symbol_us(sf, bw_hz)


@dataclass
class Sent:
    """A transmission of the device."""

    start_us: int
    end_us: int
    freq_hz: int
    sf: int
    bw_hz: int
    eirp_dbm: int
    frame: bytes


@dataclass
class Window:
    """A receive window of the device: from when to when it listened, where, and what it heard."""

    number: int
    open_us: int
    close_us: int
    freq_hz: int
    sf: int
    bw_hz: int
    heard: bytes | None = None


@dataclass
class Down:
    """A downlink on its way: at_us is the beginning of its preamble."""

    at_us: int
    freq_hz: int
    sf: int
    bw_hz: int
    frame: bytes
    rssi: int = -97
    snr: float = 7.25


@dataclass
class Air:
    """on_transmit(sent): the test tool, which may add to `downs`. tamper: what the channel does to each downlink."""

    now_us: int = TICKS - 3_000_000
    log: list[Sent | Window] = field(default_factory=list)
    downs: list[Down] = field(default_factory=list)
    on_transmit: Callable[[Sent], None] = lambda sent: None
    tamper: Callable[[Down], list[Down]] = lambda down: [down]

    def add(self, down: Down) -> None:
        self.downs.extend(self.tamper(down))

    def sleep(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)

    def perform(self, action: Action) -> Action:
        """What the device asks for, done; the answer has the time, and what there is to say besides."""
        answer = {}
        if "transmit" in action:
            answer = self._transmit(action)
        elif "listen" in action:
            answer = self._listen(action)
        else:
            assert action["wait"] >= 0
            self.now_us += action["wait"]
        answer["now_ms"] = self.now_us // 1000
        return answer

    def _transmit(self, action: Action) -> Action:
        frame = bytes.fromhex(action["transmit"])
        sf, bw_hz = action["sf"], action["bw_hz"]
        assert math.isclose(action["airtime_us"], airtime_us(sf, bw_hz, len(frame)), abs_tol=1), "airtime"
        start = self.now_us
        self.now_us += action["airtime_us"]
        sent = Sent(start, self.now_us, action["freq_hz"], sf, bw_hz, action["eirp_dbm"], frame)
        self.log.append(sent)
        self.downs = []
        self.on_transmit(sent)
        return {"ended": self.now_us % TICKS}

    def _listen(self, action: Action) -> Action:
        sent = next(entry for entry in reversed(self.log) if isinstance(entry, Sent))
        opens = sent.end_us + action["delay_us"]
        assert opens >= self.now_us, f"the window opens at {opens} µs, but it is {self.now_us} µs"
        sf, bw_hz = action["sf"], action["bw_hz"]
        symbol = symbol_us(sf, bw_hz)
        closes = opens + round(action["symbols"] * symbol)
        window = Window(action["listen"], opens, closes, action["freq_hz"], sf, bw_hz)
        self.log.append(window)
        for down in self.downs:
            if (down.freq_hz, down.sf, down.bw_hz) != (window.freq_hz, sf, bw_hz):
                continue
            first = max(opens, down.at_us)
            last = min(closes, down.at_us + PREAMBLE * symbol)
            if last - first < NEEDED * symbol - 1:
                continue
            window.heard = down.frame
            window.close_us = self.now_us = down.at_us + round(airtime_us(sf, bw_hz, len(down.frame), crc=False))
            self.downs.remove(down)
            after_us = down.at_us - sent.end_us
            return {"frame": down.frame.hex(), "rssi": down.rssi, "snr": down.snr, "after_us": after_us}
        self.now_us = closes
        return {}
