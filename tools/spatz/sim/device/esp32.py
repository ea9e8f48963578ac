"""`esp32` of the virtual board: NVS, wake sources, pad hold in deep sleep."""

import board as _board
from fault import SimFault as _SimFault
from nvs import NVS

WAKEUP_ALL_LOW = False
WAKEUP_ANY_HIGH = True


def _rtc_pad(pin):
    number = pin._pad.number
    if number not in pin._pad.board.esp["rtc"]:
        raise ValueError("invalid pin")
    return number


def wake_on_ext0(pin=None, level=False):
    _board.need().wake_ext0 = None if pin is None else (_rtc_pad(pin), 1 if level else 0)


def wake_on_ext1(pins=None, level=False):
    _board.need().wake_ext1 = None if not pins else (tuple(_rtc_pad(pin) for pin in pins), 1 if level else 0)


def gpio_deep_sleep_hold(enable):
    _board.need().deep_sleep_hold = bool(enable)


def mcu_temperature():
    return 30


def wake_on_touch(wake):
    if wake:
        raise _SimFault("the emulator does not model touch pads")


def wake_on_ulp(wake):
    if wake:
        raise _SimFault("the emulator does not model the ULP")


__all__ = (
    "NVS", "WAKEUP_ALL_LOW", "WAKEUP_ANY_HIGH", "gpio_deep_sleep_hold", "mcu_temperature", "wake_on_ext0",
    "wake_on_ext1", "wake_on_touch", "wake_on_ulp",
)  # fmt: skip
