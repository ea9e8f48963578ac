"""The node's encoder, for the host: `-m parity_frames`, one JSON object per line in and out.

In: {"symbols": m, "fill": n} begins a node anew (as power-on does), {"fcnt": …, "reading": {…}} asks for a frame.
Out, for each of the latter: the FRMPayload as hex. The window goes through its bytes at every frame, as in a sleep.
"""

import json
import sys

from payload.encode import codes
from payload.window import Window


def main():
    kept, symbols, fill = b"", 1, 0
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        asked = json.loads(line)
        if "symbols" in asked:
            kept, symbols, fill = b"", asked["symbols"], asked["fill"]
            continue
        window = Window(kept)
        frame = window.frame(asked.get("tag", 1), codes(asked["reading"]), symbols, b"", fill)
        print(frame(asked["fcnt"]).hex())
        kept = bytes(window.pack())


main()
