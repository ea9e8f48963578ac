"""What the encoder costs, to be counted by callgrind: `-m parity_work crypto|alone|one|two|four COUNT`.

`crypto`: encrypting and signing a frame of 10 bytes of payload. `alone`: the reading's own bytes. The others: a frame
with so many parity symbols over a full window of the climate set, its memory read and written as a wake does.
"""

import gc
import sys

from lorawan import frames
from payload.encode import codes, encode
from payload.window import Window

KEY = bytes(range(16))
SYMBOLS = {"one": 1, "two": 2, "four": 4}


def reading(number):
    near = number % 7 / 10
    return {"temperature": 20 + near, "humidity": 60 - near, "pressure": 1000 + near, "battery": 3.9}


def main(kind, count):
    gc.disable()
    readings = [reading(number) for number in range(7)]
    window = Window()
    for fcnt in range(130):
        window.frame(1, codes(readings[fcnt % 7]))(fcnt)
    kept = bytes(window.pack())
    for number in range(count):
        if kind == "crypto":
            frames.data_up(KEY, KEY, 0x26011BDA, number, 1, KEY[:10])
        elif kind == "alone":
            encode(readings[number % 7])
        else:
            window = Window(kept)
            frame = window.frame(1, codes(readings[number % 7]), SYMBOLS[kind])
            frame(130 + number)
            kept = bytes(window.pack())


main(sys.argv[1], int(sys.argv[2]))
