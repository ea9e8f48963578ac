"""The README's program on the virtual board (MicroPython): two starts of it with a network that answers. argv: the
file. Prints what the program prints, and at the end what the network heard."""

# pyright: reportMissingImports=false

import sys

from board import Board
from tiny_network import TinyNetwork

KEY = b"................"


def start(board, network, source):
    def answer(frame):
        join = frame["data"][0] == 0
        reply = network.hear(bytes(frame["data"]))
        if reply:
            end_us = frame["at"] + frame["airtime"]
            board.air.add(end_us + (5000000 if join else 1000000), frame["freq"], frame["sf"], 125000, reply)

    board.air.on_transmit = answer
    exec(source, {"__name__": "__main__"})  # noqa: S102 - the README's own program


with open(sys.argv[1]) as file:
    program = file.read()
first = Board({"clock": "virtual"})
heard = TinyNetwork(KEY)
heard.downlink = (5, b"hi")
start(first, heard, program)
second = first.reboot("power_on")  # a power cut
start(second, heard, program)
print("network:", heard.joins, heard.payloads, heard.fcnt_up)
