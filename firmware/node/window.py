"""The safe window: when a node stays awake so that people can reach it.

After power-on or a reset, for the configured time; as long as a computer is at its USB socket; as long as the button
is held. A node that sleeps most of the time could not be reached otherwise. The rhythm of readings goes on.
"""

from micropython import const

_USB_CHECK_MS = const(10000)


class Window:
    """began_ms: ticks of the start; length_ms: how long after it, 0 for none (a wake from deep sleep).

    button(), usb(): whether it is held, whether a computer is there. cheap: whether usb() may be asked at any time;
    else each look costs a measurement of the battery. time: ticks_ms, ticks_diff.
    """

    def __init__(self, time, began_ms, length_ms, button, usb, cheap=False):
        self._time = time
        self._began_ms = began_ms
        self._length_ms = length_ms
        self._button = button
        self._usb = usb
        self._usb_check_ms = 0 if cheap else _USB_CHECK_MS
        self._usb_seen = False
        self._usb_looked_ms = None

    def reason(self):
        """Why the node stays awake, in plain words; "" when it may sleep."""
        now_ms = self._time.ticks_ms()
        if self._length_ms:
            if self._time.ticks_diff(now_ms, self._began_ms) < self._length_ms:
                return "it was just switched on"
            self._length_ms = 0  # over for good: ticks come round again after days
        if self._button():
            return "the button is held"
        looked_ms = self._usb_looked_ms
        if looked_ms is None or self._time.ticks_diff(now_ms, looked_ms) >= self._usb_check_ms:
            self._usb_looked_ms = now_ms
            self._usb_seen = self._usb()
        return "a computer is attached" if self._usb_seen else ""
