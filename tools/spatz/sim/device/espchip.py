"""The processors that a board may have, as tables: pads, ADC, sleep. World key "module".

Sources: data sheets (pin overview, ADC), ESP-IDF (`ESP_SLEEP_GPIO_RESET_WORKAROUND`: light sleep isolates the pads of
the S3 and other newer chips by default, not those of the first ESP32), MicroPython's ports/esp32 (what raises).
"""

_ESP32_RTC = (0, 2, 4, 12, 13, 14, 15, 25, 26, 27) + tuple(range(32, 40))

CHIPS = {
    "esp32s3": {
        "title": "ESP32-S3",
        "gpios": tuple(range(22)) + tuple(range(26, 49)),
        "flash": range(26, 33),
        "input_only": (),
        "rtc": range(22),  # pads that keep a hold in deep sleep by themselves, and that can wake the chip
        "adc": range(1, 21),
        "adc_uv": {0: 950000, 1: 1250000, 2: 1750000, 3: 3100000},  # end of the range, by attenuation
        "isolates": True,
    },
    "esp32": {
        "title": "ESP32",
        "gpios": tuple(range(20)) + (21, 22, 23, 25, 26, 27) + tuple(range(32, 40)),
        "flash": range(6, 12),
        "input_only": range(34, 40),
        "rtc": _ESP32_RTC,
        "adc": _ESP32_RTC,
        "adc_uv": {0: 950000, 1: 1250000, 2: 1750000, 3: 2450000},
        "isolates": False,
    },
}
