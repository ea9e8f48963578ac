"""Uplinks to be counted by callgrind: `-m proof_work mac|device|collect COUNT`. Run twice, the difference is theirs.

`mac`: `Mac.uplink` and what an exchange needs of it, carried out by the shortest loop there is: 11 bytes of payload at
SF7 on eight channels, with two empty windows. `device`: the same through `Device`, with a record in RTC memory before
each transmission and after it, and one in flash where the counters ask for it, and a collection of garbage after each.
`collect` is such a collection alone.
"""

import gc
import sys
from random import randrange, seed

from lorawan import eu868
from lorawan.actions import Transmit
from lorawan.device import Device
from lorawan.mac import Mac
from lorawan.session import Session

KEY = bytes(range(16))
PAYLOAD = bytes(range(11))
_INTERVAL_MS = 900000


class Store:
    data = b""

    def read(self, slot=0):
        return self.data

    def write(self, *what):
        self.data = what[-1]


class Nothing(Store):
    def read(self, slot=0):
        return None


def carry_out(exchange, before_transmit=None):
    answer = None
    try:
        while True:
            action = exchange.send(answer)
            answer = None
            if isinstance(action, Transmit):
                if before_transmit is not None:
                    before_transmit(action)
                answer = 12345
    except StopIteration as end:
        return end.value


def session():
    made = Session(0x26011BDA, 0x13, KEY, KEY, eu868)
    for index in range(3, 8):
        made.set_channel(index, 866500000 + 200000 * index, 0x50)
    return made


def main(kind, count):
    seed(1)
    clock = [0]
    device = Device(eu868, bytes(8), bytes(8), KEY, Nothing(), Store(), carry_out, lambda: clock[0], randrange)
    mac = device.mac if kind == "device" else Mac(eu868, None, randrange)
    mac.session = session()
    if kind == "collect":
        carry_out(mac.uplink(1, PAYLOAD, False, clock[0]))
    elif kind == "mac":
        gc.disable()
    for number in range(count):
        clock[0] += _INTERVAL_MS
        if not number % 32:
            mac.session.adr_ack_cnt = 0  # as if a downlink came now and then: no backoff
        if kind == "mac":
            carry_out(mac.uplink(1, PAYLOAD, False, clock[0]))
        elif kind == "device":
            device.uplink(1, PAYLOAD)
        if kind != "mac":
            gc.collect()


main(sys.argv[1], int(sys.argv[2]))
