"""What the emulated I2C chips find around them."""


def around(board, quantity):
    """A value of the board's weather (weather.py) at this moment: "co2" in ppm, "lux", "pm2_5", "pm10" in µg/m³."""
    return getattr(board.weather(), quantity)(board.unix_now())
