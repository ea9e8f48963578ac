"""The payload of one uplink: the reading, what the node says beside it, and parity in what room is left."""

from micropython import const

from payload import extras

FRESH_MS = const(500)  # a younger reading says no age: five bytes for half a second
_QUARTER_MS = const(250)


class Payload:
    """To be handed to the MAC, which calls it with the FCnt when the frame is made; `len` is how long it is at most.

    window: payload.window; tag: of the session; codes: of the reading; parity: symbols; room: bytes that the MAC has
    beside its own answers (parity and items keep to it, the reading may be longer); age_ms(): how old the reading is.
    """

    def __init__(self, window, tag, codes, parity, room, age_ms):
        self._window = window
        self._tag = tag
        self._codes = codes
        self._room = room
        self._age_ms = age_ms
        self._items = b""
        self._taken = 0  # bytes of items
        self.earlier = None  # node.earlier.Earlier
        self.ticket = 0  # of the answer that it says
        while True:
            self._len = len(window.frame(tag, codes, parity))
            if self._len <= room or not parity:
                break
            parity -= 1
        self._parity = parity
        self._aged = False
        if age_ms() >= FRESH_MS:
            self.keep_age()

    def __len__(self):
        return self._len

    def keep_age(self):
        """Keep room for the reading's age, because something that takes a while comes first."""
        self._aged = self._aged or self._take(3)

    def left(self):
        """Bytes that another item may have; the first one needs one more for the length of all."""
        return max(0, min(self._room - self._len - (not self._taken), extras.MOST - self._taken))

    def add(self, item):
        """Say it, if there is room. Returns whether there is."""
        if not self._take(len(item)):
            return False
        self._items += item
        return True

    def carry(self, earlier):
        """Take readings of the log along, which were looked for with `left` in mind."""
        if earlier.used and self._take(earlier.used):
            self.earlier = earlier

    def fill(self, size):
        """Up to so many bytes cost nothing more: there will be more parity."""
        if self._parity:
            self._len = max(self._len, min(size, self._room))

    def __call__(self, fcnt):
        items = self._items + (self.earlier.items() if self.earlier else b"")
        age_ms = self._age_ms()
        if age_ms >= FRESH_MS and len(items) + 3 <= extras.MOST:
            frame = self._frame(extras.age(age_ms // _QUARTER_MS) + items)
            if len(frame) <= self._len:  # else the age gives way to a reading
                return frame(fcnt)
        return self._frame(items)(fcnt)

    def _frame(self, items):
        """With as many symbols of parity as there is room for."""
        symbols = self._parity
        while True:
            frame = self._window.frame(self._tag, self._codes, symbols, items, self._len if self._parity else 0)
            if len(frame) <= self._len or not symbols:
                return frame
            symbols -= 1

    def _take(self, size):
        if size > self.left():
            return False
        self._len += size + (not self._taken)
        self._taken += size
        return True
