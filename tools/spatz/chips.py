"""What the chips on the boards can do: which pins for what."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Chip:
    """The pins of a chip (Espressif data sheets: pin overview, strapping pins, ADC)."""

    title: str
    gpios: frozenset[int]
    flash: frozenset[int]  # taken by the flash chip
    input_only: frozenset[int]
    strapping: frozenset[int]
    adc: frozenset[int]  # ADC1 only: ADC2 is lost while Wi-Fi is on
    rtc: frozenset[int]  # those that can wake it from deep sleep
    octal: frozenset[int] = frozenset()  # taken by PSRAM with eight lines, too


CHIPS = {
    "esp32": Chip(
        "ESP32",
        gpios=frozenset({*range(20), 21, 22, 23, 25, 26, 27, *range(32, 40)}),
        flash=frozenset(range(6, 12)),
        input_only=frozenset(range(34, 40)),
        strapping=frozenset({0, 2, 5, 12, 15}),
        adc=frozenset(range(32, 40)),
        rtc=frozenset({0, 2, 4, 12, 13, 14, 15, 25, 26, 27, *range(32, 40)}),
    ),
    "esp32s3": Chip(
        "ESP32-S3",
        gpios=frozenset({*range(22), *range(26, 49)}),
        flash=frozenset(range(26, 33)),
        input_only=frozenset(),
        strapping=frozenset({0, 3, 45, 46}),
        adc=frozenset(range(1, 11)),
        rtc=frozenset(range(22)),
        octal=frozenset(range(33, 38)),  # ESP32-S3 data sheet 2.2 and 2.3.5: SPIIO4 to SPIIO7 and SPIDQS
    ),
}
