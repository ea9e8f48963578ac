"""The radio side of a node: drivers (one per chip) and the runner that carries out a MAC exchange on one.

Here is what every driver shares.
"""

from micropython import const

_LAWFUL_EIRP_DBM = const(16)  # EN 300 220 and RP002-1.0.4 2.4.3: 14 dBm ERP; the one place that knows it
_DIPOLE_DBI = 2.15  # of an antenna that nobody has said anything about


class RadioError(Exception):
    """The radio does not do what it should: not connected, stuck, or it reports an error of its own.

    The message says in plain words what was seen; the caller may start the radio again and try once more.
    """


def conducted_dbm(eirp_dbm, config, lowest_dbm, highest_dbm):
    """What the chip may put out, in whole dBm, of `lowest_dbm` to `highest_dbm`, so that at most `eirp_dbm` is
    radiated; the lowest where that is still more than asked for.

    `config` is the part "radio" of config.json: max_eirp_dbm (counts only where it is below the law's limit),
    antenna_gain_dbi, amplifier: ((up to which dBm of the chip, gain in dB), ...); powers above all rows are never
    used. Raises RadioError when even the lowest power would be unlawful, whoever asks for what.
    """
    limit_dbm = min(config.get("max_eirp_dbm", _LAWFUL_EIRP_DBM), _LAWFUL_EIRP_DBM)
    antenna_dbi = config.get("antenna_gain_dbi", _DIPOLE_DBI)
    amplifier = sorted(config.get("amplifier") or ((highest_dbm, 0),))
    for dbm in range(highest_dbm, lowest_dbm - 1, -1):
        for up_to_dbm, gain_db in amplifier:
            if dbm <= up_to_dbm:
                radiated_dbm = dbm + gain_db + antenna_dbi
                if radiated_dbm <= limit_dbm and (radiated_dbm <= eirp_dbm or dbm == lowest_dbm):
                    return dbm
                break
    raise RadioError("the radio cannot send as weakly as the law asks for with this antenna")
