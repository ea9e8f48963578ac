"""The radio side of a node: drivers (one per chip) and the runner that carries out a MAC exchange on one.

Here is what every driver shares.
"""


class RadioError(Exception):
    """The radio does not do what it should: not connected, stuck, or it reports an error of its own.

    The message says in plain words what was seen; the caller may start the radio again and try once more.
    """


def conducted_dbm(eirp_dbm, max_eirp_dbm, antenna_gain_dbi):
    """What the chip may put out, in whole dBm, so that with this antenna neither limit is passed."""
    return int((min(eirp_dbm, max_eirp_dbm) - antenna_gain_dbi) // 1)
