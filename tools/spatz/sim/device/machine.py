"""`machine` of the virtual board (see board.py). What stands here is what the emulator knows; the rest is absent."""

from analog import ADC
from buses import I2C, SPI, SoftI2C
from pins import Pin, Signal
from power import (
    RTC,
    WDT,
    Memory32,
    deepsleep,
    disable_irq,
    enable_irq,
    freq,
    idle,
    lightsleep,
    reset,
    reset_cause,
    soft_reset,
    unique_id,
    wake_reason,
)
from serial_line import UART

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

PIN_WAKE = 2
EXT0_WAKE = 2
EXT1_WAKE = 3
TIMER_WAKE = 4
TOUCHPAD_WAKE = 5
ULP_WAKE = 6

SLEEP = 2
DEEPSLEEP = 4

mem32 = Memory32()
sleep = lightsleep

__all__ = (
    "ADC", "I2C", "RTC", "SPI", "UART", "WDT", "Pin", "Signal", "SoftI2C", "deepsleep", "disable_irq", "enable_irq",
    "freq", "idle", "lightsleep", "mem32", "reset", "reset_cause", "sleep", "soft_reset", "unique_id", "wake_reason",
)  # fmt: skip
