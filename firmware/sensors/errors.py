"""What a driver raises."""


class SensorError(Exception):
    """The sensor is not there, is another one, does not finish, or says what is no reading; the text says which."""
