# ruff: noqa: PT018 - a check is no pytest function
"""The pads of the first ESP32, and the ADC of both."""

import esp32
import machine
from bench import Bench, rejects
from board import Board
from machine import ADC, Pin


def _esp32(**world):
    """A board with a bare ESP32."""
    return Board(dict({"module": "esp32", "chips": {}}, **world))


def _raises(kind, action):
    try:
        action()
    except kind as error:
        return error
    raise AssertionError("no " + kind.__name__)


def check_unknown_module():
    rejects(lambda: Board({"module": "esp8266"}), "does not model the module")


def check_pads_of_the_esp32():
    _esp32(flash_pads=[16, 17])
    for number in (20, 24, 28, 31, 40):
        _raises(ValueError, lambda n=number: Pin(n))
    for number in (6, 11, 16, 17):
        rejects(lambda n=number: Pin(n), "flash")
    for number in (0, 2, 19, 23, 33):
        Pin(number, Pin.OUT, value=1)


def check_pads_that_are_inputs_only():
    _esp32()
    for number in range(34, 40):
        assert "only be input" in str(_raises(ValueError, lambda n=number: Pin(n, Pin.OUT)))
        rejects(lambda n=number: Pin(n, Pin.IN, Pin.PULL_UP), "no pull resistors")
        assert Pin(number, Pin.IN).value() == 0


def check_pads_that_wake_and_hold():
    b = _esp32()
    for number in (0, 2, 4, 12, 27, 39):
        esp32.wake_on_ext0(Pin(number, Pin.IN), True)
    for number in (5, 18, 23):
        _raises(ValueError, lambda n=number: esp32.wake_on_ext0(Pin(n, Pin.IN), True))
    esp32.wake_on_ext0(None)
    for number in (18, 25):
        Pin(number, Pin.OUT, value=1, hold=True)
    b = b.reboot("deepsleep")
    assert (b.pad(18).held, b.pad(25).held) == (None, 1), "an RTC pad holds by itself"
    esp32.gpio_deep_sleep_hold(True)
    Pin(18, Pin.OUT, value=1, hold=True)
    assert b.reboot("deepsleep").pad(18).held == 1


def check_light_sleep_leaves_the_pads_alone():
    """ESP-IDF isolates the pads of the S3, not those of the ESP32; a wake source must be an RTC pad."""
    chips = {"radio": {"chip": "sx1262", "spi": 1, "cs": 18, "reset": 23, "busy": 32, "dio1": 33, "tcxo_mv": 0}}
    b = _esp32(chips=chips)
    cs = Pin(18, Pin.OUT, value=1)
    seen = []
    line = Pin(33, Pin.IN)
    line.irq(lambda pin: seen.append(1), Pin.IRQ_RISING)
    b.pad(33).driver = lambda: 1
    machine.lightsleep(100)
    assert seen == [], "an edge in light sleep is lost"
    assert b.pad(18).held is None and cs.value() == 1
    rejects(lambda: (Bench().start(), machine.lightsleep(1000)), "not held high")


def check_adc_of_the_esp32():
    _esp32(chips={"battery": {"adc": 35, "ratio": 1.0}})
    assert ADC(Pin(35), atten=ADC.ATTN_11DB).read_uv() == 2450000, "the end of its range"
    _raises(ValueError, lambda: ADC(Pin(5)))


def check_adc_on_an_output():
    for module, number in (("esp32s3", 1), ("esp32", 32)):
        Board({"module": module, "chips": {}})
        pin = Pin(number, Pin.IN)
        adc = ADC(pin)
        assert adc.read_uv() == 0
        pin.init(Pin.OUT, value=1)
        rejects(adc.read_uv, "which is an output")
        rejects(lambda p=pin: ADC(p), "which is an output")
