"""The node's end of the air: TCP on loopback, one JSON object per line (protocol version 1).

node -> air: hello, state, tx (when a transmission starts); air -> node: welcome or refused, then rx announcements.
The clock calls wait() while it waits for the wall, so an announcement is seen while the node sleeps.
"""

import json
import select
import socket
from binascii import hexlify, unhexlify

import utime
from fault import SimFault

WELCOME_WITHIN_MS = 5000


class AirLink:
    def __init__(self, board, address):
        self.board = board
        self._rest = b""
        self._frames = []
        self.socket = socket.socket()
        try:
            self.socket.connect(socket.getaddrinfo(address[0], address[1])[0][-1])
        except OSError as error:
            raise SimFault(f"no air at {address[0]}:{address[1]} ({error})")
        self.socket.setblocking(False)
        self._poller = select.poll()
        self._poller.register(self.socket, select.POLLIN)
        self._send({"t": "hello", "node": board.world["node"], "v": 1})
        self._answer = None
        until = utime.ticks_ms() + WELCOME_WITHIN_MS
        while self._answer is None:
            left = until - utime.ticks_ms()
            if left <= 0:
                raise SimFault("the air did not answer hello")
            self._poller.poll(left)
            self.poll()
        if self._answer["t"] != "welcome":
            raise SimFault("the air refused this node: {}".format(self._answer.get("why")))

    def _send(self, message):
        line = (json.dumps(message) + "\n").encode()
        while line:
            try:
                sent = self.socket.send(line)
                line = line[sent:]
            except OSError as error:
                if error.errno != 11:  # EAGAIN
                    raise SimFault("the air closed the connection")
                utime.sleep_ms(1)

    def wait(self, duration_us):
        """Wait up to duration_us of wall time, or until something was read."""
        if duration_us < 1000:
            utime.sleep_us(duration_us)
            self.poll()
        elif self._poller.poll(min(duration_us // 1000, 1000)):
            self.poll()

    def poll(self):
        """Read what has come, without waiting."""
        while True:
            try:
                data = self.socket.recv(2048)
            except OSError as error:
                if error.errno == 11:
                    return
                raise SimFault("the air closed the connection")
            if not data:
                raise SimFault("the air closed the connection")
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                self._message(json.loads(line))

    def _message(self, message):
        kind = message["t"]
        if kind == "rx":
            message["data"] = unhexlify(message["data"])
            self._frames = self.frames()  # forget what is over
            self._frames.append(message)
            if self.board.radio is not None:
                self.board.radio.announce(message)
        elif kind in ("welcome", "refused"):
            self._answer = message

    def frames(self):
        """Announced frames that are on the air now or later."""
        now = self.board.clock.now
        return [frame for frame in self._frames if frame["at"] + frame["airtime"] > now]

    def transmit(self, frame, flaws):
        message = dict(frame)
        message["t"] = "tx"
        message["data"] = hexlify(frame["data"]).decode()
        message["flaws"] = flaws
        self._send(message)

    def state(self, message):
        message["t"] = "state"
        self._send(message)

    def close(self):
        self.socket.close()
