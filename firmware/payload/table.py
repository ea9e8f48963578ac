"""The table of quantities, made from boards/quantities.toml by `python -m spatz.quantities`; edit it there.

One row per quantity in the order of the presence bits: bit, name, minimum (in the unit of the comment),
steps per unit (1 / resolution), bits of the code, bits of its residue (boards/payload.md, Parity).
"""

QUANTITIES = (
    (0, "temperature", -60, 10, 11, 5),  # °C
    (1, "humidity", 0, 2, 8, 6),  # %
    (2, "pressure", 680, 10, 12, 5),  # hPa
    (3, "battery", 2, 100, 8, 3),  # V
    (4, "pm2_5", 0, 10, 14, 8),  # µg/m³
    (5, "pm10", 0, 10, 14, 8),  # µg/m³
    (6, "co2", 0, 1, 13, 7),  # ppm
    (7, "illuminance", 0, 1, 17, 11),  # lx
    (8, "soil_moisture", 0, 1, 7, 4),  # %
    (9, "soil_temperature", -30, 10, 10, 4),  # °C
    (10, "rain", 0, 10, 16, 7),  # mm
    (11, "water_level", -100, 10, 14, 7),  # cm
)
