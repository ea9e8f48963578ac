"""Bosch BMP280: temperature and air pressure; a BME280 without humidity, with a chip id of its own.

Source: BST-BMP280-DS001 (rev. 1.26), 4.3.1 (id); everything else as sensors/bme280.py has it.
"""

from micropython import const

from sensors.bme280 import CHIP_ID, read

_BMP280 = const(0x58)


def probe(i2c, address):
    """Whether a BMP280 answers there. Raises OSError of the bus when nothing does."""
    return i2c.readfrom_mem(address, CHIP_ID, 1)[0] == _BMP280


__all__ = ("probe", "read")
