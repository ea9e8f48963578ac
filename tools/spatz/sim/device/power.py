"""Sleep, reset, RTC memory and the watchdog of `machine`."""

import time

import board
from fault import SimFault

RTC_MEMORY_MAX = 2048
LIGHT_SLEEP_US = 700  # into light sleep and out again, on top of the time asked for
IDLE_US = 1000
LONGEST_US = 86400000000  # how far a deep sleep without an end is looked into
HARD_FREQUENCIES = (20000000, 40000000, 80000000, 160000000, 240000000)


def _wake_pin(b):
    """The wake reason that the lines give now, or 0."""
    if b.wake_ext0 is not None and b.pad(b.wake_ext0[0]).level() == b.wake_ext0[1]:
        return 2
    if b.wake_ext1 is not None:
        levels = [b.pad(number).level() for number in b.wake_ext1[0]]
        if any(levels) if b.wake_ext1[1] else not any(levels):
            return 3
    return 0


def _check(time_ms):
    if time_ms is not None and not isinstance(time_ms, int):
        raise TypeError("can't convert float to int")
    if time_ms is not None and time_ms < 0:
        raise SimFault(f"a sleep of {time_ms} ms never ends: the port takes it as an unsigned 64 bit number")


def _feeds_nothing(b):
    """A pin that is high feeds a radio without power through its protection diode: it neither sleeps nor works."""
    radio = b.world["chips"]["radio"]
    for name in ("cs", "reset"):
        pad = b.pad(radio[name])
        if pad.held == 1 or (pad.is_output() and pad.held is None and pad.output == 1 and name == "cs"):
            raise SimFault(f"sleep with {name} (pin {radio[name]}) high and the radio without power: it is fed by it")


def lightsleep(time_ms=None):
    """Light sleep; edges on pins are lost meanwhile (see pins.py), only a wake source ends it early.

    ESP-IDF isolates all pads of an ESP32-S3 in it (CONFIG_ESP_SLEEP_GPIO_RESET_WORKAROUND, on by default and in
    MicroPython; off for the first ESP32), so an NSS that the firmware drives must be held.
    """
    b = board.need()
    _check(time_ms)
    if b.clock.halted is None and b.radio is not None and b.radio.mode == "off":
        _feeds_nothing(b)
    elif b.clock.halted is None and b.radio is not None and b.esp["isolates"]:
        number = b.world["chips"]["radio"]["cs"]
        if b.pad(number).is_output() and b.pad(number).held != 1:
            raise SimFault(f"light sleep with NSS (pin {number}) not held high: it floats, and an edge wakes the radio")
    pins = b.wake_ext0 is not None or b.wake_ext1 is not None
    if not time_ms and not pins:
        raise SimFault("lightsleep() without a time or a wake pin never ends")
    start = b.clock.now
    if b.watchdog is not None:
        b.watchdog.pause()
    b.asleep = True
    if b.esp["isolates"]:
        b.isolate(True)
    b.energy.enter("cpu", "light")
    try:
        if not _wake_pin(b):
            span = time_ms * 1000 if time_ms else 1 << 50
            b.clock.sleep_node_us(span, lambda: _wake_pin(b) != 0)
    finally:
        b.asleep = False
        b.energy.run()
    if b.esp["isolates"]:
        b.isolate(False)
        b.reconnect()
    b.wake_reason = _wake_pin(b) or 4
    b.clock.spend(LIGHT_SLEEP_US)
    b.light_sleep_us += b.clock.now - start
    if b.watchdog is not None:
        b.watchdog.feed()


def deepsleep(time_ms=None):
    """Ends this boot; the invariants of reference 4.3 (radio asleep, NSS high and held) are checked first."""
    b = board.need()
    _check(time_ms)
    if b.clock.halted is None and b.radio is not None and b.radio.mode == "off":
        _feeds_nothing(b)
    elif b.clock.halted is None and b.radio is not None:
        if not b.radio.asleep():
            raise SimFault(f"deep sleep with the radio in mode {b.radio.mode}: it must sleep first (10 mA otherwise)")
        number = b.world["chips"]["radio"]["cs"]
        select = b.pad(number)
        if select.held != 1:
            raise SimFault(f"deep sleep with NSS (pin {number}) not held high: a falling edge wakes the radio")
        if number not in b.esp["rtc"] and not b.deep_sleep_hold:
            raise SimFault(f"pin {number} is not held in deep sleep without esp32.gpio_deep_sleep_hold(True)")
    if not time_ms and b.wake_ext0 is None and b.wake_ext1 is None:
        raise SimFault("deepsleep() without a time or a wake pin never ends")
    wake = b.clock.now + b.clock.true_duration(time_ms * 1000) if time_ms else None
    b.wake_reason = 4
    at_us = _contact_wakes(b, b.clock.now + LONGEST_US if wake is None else wake)
    if at_us is not None:
        wake = max(at_us, b.clock.now + 1)
        b.wake_reason = 2
    b.end({"event": "deepsleep", "wake_at_us": wake})


def _contact_wakes(b, end_us):
    """When a contact ends the deep sleep by ext0, or None."""
    if b.wake_ext0 is None:
        return None
    number, level = b.wake_ext0
    for config, chip in b.sensors:
        if config.get("pulse") == number:
            return chip.next_level(level, end_us)
    return b.clock.now if b.pad(number).level() == level else None


def reset():
    board.need().end({"event": "reset"})


def soft_reset():
    board.need().end({"event": "soft_reset"})


def reset_cause():
    b = board.need()
    return board.BOOT_CAUSES[b.cause]


def wake_reason():
    return board.need().wake_reason


def idle():
    """Wait for the next interrupt, at most one tick."""
    clock = board.need().clock
    due = clock.next_event_us()
    tick = clock.now + IDLE_US
    clock.run_until(tick if due is None or due > tick else max(due, clock.now + 1))


def unique_id():
    from binascii import unhexlify

    return unhexlify(board.need().world["mac_address"])


def freq(hz=None):
    b = board.need()
    if hz is None:
        return b.cpu_hz
    if hz not in HARD_FREQUENCIES:
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    b.cpu_hz = hz
    b.energy.frequency(hz)
    return None


def disable_irq():
    return 0


def enable_irq(state=0):
    return None


class RTC:
    def __init__(self, id=0):
        self._board = board.need()

    def memory(self, data=None):
        if data is None:
            return self._board.rtc_memory
        data = bytes(data.encode() if isinstance(data, str) else data)
        if len(data) > RTC_MEMORY_MAX:
            raise ValueError("buffer too long")
        self._board.rtc_memory = data
        self._board.write("rtc.bin", data)
        return None

    def datetime(self, fields=None):
        b = self._board
        if fields is None:
            now = b.rtc_us()
            t = time.gmtime(now // 1000000)
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], now % 1000000)
        year, month, day, _, hour, minute, second, micros = fields
        wanted = time.mktime((year, month, day, hour, minute, second, 0, 0)) * 1000000 + micros
        b.rtc_offset_us += wanted - b.rtc_us()
        return None

    init = datetime


class WDT:
    """The task watchdog: when it is not fed in node time, the board resets. It stands still in light sleep."""

    def __init__(self, id=0, timeout=5000):
        b = board.need()
        if id != 0:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        self._board = b
        self._timeout_us = timeout * 1000
        self._entry = None
        b.watchdog = self
        self.feed()

    def feed(self):
        self.pause()
        self._entry = self._board.clock.at(self._board.clock.now + self._timeout_us, self._bite)

    def pause(self):
        self._board.clock.cancel(self._entry)

    def _bite(self):
        self._board.end({"event": "wdt"})


class Memory32:
    """machine.mem32: only the S3's counters of USB frames, which count while a host is attached: of its
    USB-Serial-JTAG, and SOFFN in DSTS of the USB OTG, which MicroPython uses."""

    USB_FRAME = 0x60038024
    OTG_STATUS = 0x60080808

    def __getitem__(self, address):
        b = board.need()
        if address not in (self.USB_FRAME, self.OTG_STATUS):
            raise SimFault(f"the emulator does not model the register at 0x{address:08x}")
        b.clock.spend(1)
        frame = (b.clock.now // 1000) & 0x7FF if b.world["usb"] else 0
        return frame << 8 if address == self.OTG_STATUS else frame

    def __setitem__(self, address, value):
        raise SimFault(f"the emulator does not model the register at 0x{address:08x}")
