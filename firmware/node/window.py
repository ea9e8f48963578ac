"""The safe window: when a node stays awake so that people can reach it.

After power-on or a reset, for the configured time; as long as a computer is at its USB socket; as long as the button
is held. A node that sleeps most of the time could not be reached otherwise. The rhythm of readings goes on.

A board that sees data at its socket knows a computer. One that only sees power there, at its power chip or at the
battery's voltage, cannot tell it from a charger or a solar panel, with which it would never sleep: so that counts in
the first hour after power-on or a reset only.
"""

from micropython import const

_USB_CHECK_MS = const(10000)
_FED_MS = const(3600000)


class Window:
    """began_ms: ticks of the start; length_ms: how long after it, 0 for none (a wake from deep sleep).

    button(), usb(): whether it is held, whether a computer is there. cheap: whether usb() may be asked at any time;
    else each look costs a measurement of the battery. since_start_ms(): since power-on or a reset; None when usb() sees
    data, not only power. time: ticks_ms, ticks_diff.
    """

    def __init__(self, time, began_ms, length_ms, button, usb, cheap=False, since_start_ms=None):
        self._time = time
        self._began_ms = began_ms
        self._length_ms = length_ms
        self._button = button
        self._usb = usb
        self._usb_check_ms = 0 if cheap else _USB_CHECK_MS
        self._since_start_ms = since_start_ms
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
        if self._since_start_ms and self._since_start_ms() >= _FED_MS:
            return ""
        looked_ms = self._usb_looked_ms
        if looked_ms is None or self._time.ticks_diff(now_ms, looked_ms) >= self._usb_check_ms:
            self._usb_looked_ms = now_ms
            self._usb_seen = self._usb()
        return "a computer is attached" if self._usb_seen else ""
