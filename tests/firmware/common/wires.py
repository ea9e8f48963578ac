"""Serial lines and a one-wire line for checks of sensor drivers, on which time passes only while the driver waits."""

from sensors.errors import SensorError

BYTE_US = 1042  # 10 bits at 9600 baud


class Uart:
    """A UART with a sensor behind it: answer(line, data) is called with what the driver writes.

    say(data, after_ms) lets bytes arrive one by one; noise is what is in the buffer from the beginning. Like the
    ESP32's, the buffer holds 256 bytes; what comes when it is full is lost.
    """

    def __init__(self, answer=None, noise=b""):
        self.us = 0
        self.written = []
        self.lost = 0
        self.chunk = 256  # at most so many bytes with each read
        self._answer = answer
        self._coming = []
        self._free_us = 0
        self._buffer = b""
        self._arrive(noise)

    def say(self, data, after_ms=0):
        start = max(self.us + after_ms * 1000, self._free_us)
        for number in range(len(data)):
            self._coming.append((start + (number + 1) * BYTE_US, data[number : number + 1]))
        self._free_us = start + len(data) * BYTE_US

    def sleep_ms(self, ms):
        assert ms >= 0
        self.us += ms * 1000
        while self._coming and self._coming[0][0] <= self.us:
            self._arrive(self._coming.pop(0)[1])

    def _arrive(self, data):
        room = 256 - len(self._buffer)
        self.lost += max(0, len(data) - room)
        self._buffer += data[:room]

    def any(self):
        return len(self._buffer)

    def read(self, count):
        if not self._buffer:
            return None
        count = min(count, self.chunk)
        data = self._buffer[:count]
        self._buffer = self._buffer[count:]
        return data

    def write(self, data):
        self.written.append(bytes(data))
        if self._answer:
            self._answer(self, bytes(data))
        return len(data)


class Hostile:
    """A UART on which random bytes never end, some of them good frames, torn or damaged."""

    def __init__(self, random, frames):
        self.random = random
        self.frames = frames
        self.us = 0

    def sleep_ms(self, ms):
        assert ms >= 0
        self.us += ms * 1000
        assert self.us < 120000000, "it waits for ever"

    def any(self):
        return self.random.below(400)

    def read(self, count):
        if not self.random.below(10):
            return None
        data = b""
        while len(data) < count:
            frame = bytearray(self.frames[self.random.below(len(self.frames))])
            what = self.random.below(4)
            if what == 0:
                frame = bytes(self.random.below(256) for _ in range(self.random.below(12)))
            elif what == 1:
                frame = frame[: self.random.below(len(frame))]
            elif what == 2:
                frame[self.random.below(len(frame))] = self.random.below(256)
            data += bytes(frame)
        return data[:count]

    def write(self, data):
        return len(data)


def hostile_values(frames, calls, most_us):
    """All values that the functions of a driver give on 60 hostile lines. Each line takes at most `most_us`; that
    nothing comes through at all is an error."""
    values = []
    for seed in range(60):
        line = Hostile(Random(seed), frames)
        for call in calls:
            try:
                values += (call(line, {}, line.sleep_ms) or {}).values()
            except SensorError:
                continue
        assert line.us <= most_us, line.us
    assert values, "no reading came through at all"
    return values


class Random:
    """Repeatable numbers, the same on both interpreters."""

    def __init__(self, seed):
        self._state = seed * 2654435761 & 0xFFFFFFFF

    def below(self, limit):
        self._state = (self._state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self._state >> 8) % limit
