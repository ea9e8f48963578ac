"""What the chips print while they start. [esp-idf 5.5, "Fatal Errors" and "Boot Mode Selection"; ROM of both chips]"""

from __future__ import annotations

_ROM = {
    "esp32": "ets Jul 29 2019 12:21:46\r\n\r\n",
    "esp32s3": "ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021\r\n",
}
_CAUSES = {
    "esp32": {"power_on": "0x1 (POWERON_RESET)", "deepsleep": "0x5 (DEEPSLEEP_RESET)", "soft": "0xc (SW_CPU_RESET)",
              "wdt": "0x10 (RTCWDT_RTC_RESET)"},
    "esp32s3": {"power_on": "0x1 (POWERON)", "deepsleep": "0x5 (DSLEEP)", "soft": "0xc (RTC_SW_CPU_RST)",
                "wdt": "0x10 (RTCWDT_RTC_RST)"},
}  # fmt: skip
_FROM_FLASH = {"esp32": "0x13 (SPI_FAST_FLASH_BOOT)", "esp32s3": "0x8 (SPI_FAST_FLASH_BOOT)"}
_DOWNLOAD = {"esp32": "0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))", "esp32s3": "0x0 (DOWNLOAD(USB/UART0))"}
_MACHINES = {"esp32": "Generic ESP32 module with ESP32", "esp32s3": "Generic ESP32S3 module with ESP32S3"}

PSRAM_WRONG = "E (206) quad_psram: PSRAM chip is not connected, or wrong PSRAM line mode"
"""The usual words of a MicroPython that is not for this board."""


def reset(chip: str, cause: str) -> bytes:
    """The first lines of a start from flash; `cause`: power_on, deepsleep, soft, wdt."""
    return f"{_ROM[chip]}rst:{_CAUSES[chip][cause]},boot:{_FROM_FLASH[chip]}\r\n".encode()


def download(chip: str) -> bytes:
    """What the boot loader says while it waits."""
    return f"{_ROM[chip]}rst:{_CAUSES[chip]['power_on']},boot:{_DOWNLOAD[chip]}\r\nwaiting for download\r\n".encode()


def banner(chip: str) -> bytes:
    """What MicroPython says before its prompt."""
    return (
        f'MicroPython v1.29.0 on 2026-08-19; {_MACHINES[chip]}\r\nType "help()" for more information.\r\n>>> '
    ).encode()
