"""What is radiated stays within the law, whoever asks for what: a sweep over chips, antennas, amplifiers and wishes.

The limit and the chips' ranges are written here anew: 16 dBm EIRP (RP002-1.0.4 2.4.3), SX1262 -9 to 22 dBm (data sheet
13.4.4), SX1276 2 to 20 dBm at PA_BOOST and -4 to 14 dBm at RFO (data sheet 3.4.2)."""

from expect import equal, raises
from radio import RadioError, conducted_dbm

LIMIT_DBM = 16
CHIPS = ((-9, 22), (2, 20), (-4, 14))
HELTEC_V4 = ((15, 11), (17, 10), (19, 9), (21, 7))
AMPLIFIERS = (None, (), HELTEC_V4, ((13, 13),), ((22, -1),), ((0, 30), (10, 20)), ((3, 12.5),))
NONSENSE = (float("nan"), float("inf"), -float("inf"), 1e9, -1e9, 10**20, True, 3.999, 16.5)


def radiated(dbm, antenna_dbi, amplifier):
    """By the amplifier's row of the smallest reach that holds this power."""
    rows = [row for row in amplifier or () if dbm <= row[0]]
    assert rows or not amplifier, "used where its gain is not known"
    return dbm + (rows[0][1] if rows else 0) + antenna_dbi


def check_sweep():
    asked = 0
    for lowest, highest in CHIPS:
        for antenna_dbi in (-10, -1.5, 0, 2, 2.15, 5, 8.3, 13.9, 14, 20):
            for amplifier in AMPLIFIERS:
                for limit in (16, 14, 2.5, 27, 1000):
                    config = {"antenna_gain_dbi": antenna_dbi, "max_eirp_dbm": limit, "amplifier": amplifier}
                    for eirp_dbm in tuple(range(-50, 41, 3)) + NONSENSE:
                        try:
                            dbm = conducted_dbm(eirp_dbm, config, lowest, highest)
                        except RadioError:
                            least = radiated(lowest, antenna_dbi, amplifier)
                            assert least > min(limit, LIMIT_DBM), "refused what is lawful"
                            continue
                        asked += 1
                        out = radiated(dbm, antenna_dbi, amplifier)
                        assert out <= min(limit, LIMIT_DBM), (eirp_dbm, config, dbm)
                        assert lowest <= dbm <= highest, (eirp_dbm, config, dbm)
                        assert isinstance(dbm, int), dbm
                        assert out <= eirp_dbm or dbm == lowest or eirp_dbm != eirp_dbm, (eirp_dbm, config, dbm)
    assert asked > 10000, asked


def check_as_much_as_is_lawful():
    """Not so little that nobody hears it: the next decibel would be too much."""
    for eirp_dbm, antenna_dbi, want in ((16, 2.0, 14), (16, 2.15, 13), (27, 2.0, 14), (2, 5, -3), (14, -1.5, 15)):
        equal(conducted_dbm(eirp_dbm, {"antenna_gain_dbi": antenna_dbi}, -9, 22), want, (eirp_dbm, antenna_dbi))
    equal(conducted_dbm(16, {"antenna_gain_dbi": 2.0, "amplifier": HELTEC_V4}, -9, 22), 3)
    equal(conducted_dbm(2, {"antenna_gain_dbi": 2.0, "amplifier": HELTEC_V4}, -9, 22), -9, "4 dBm EIRP: the least")
    equal(conducted_dbm(16, {}, -9, 22), 13, "an antenna that nobody has named is taken as a dipole")


def check_config_that_is_no_config_sends_nothing():
    nan = float("nan")
    for config in ({"antenna_gain_dbi": nan}, {"max_eirp_dbm": nan}, {"amplifier": ((22, nan),)}):
        raises(RadioError, conducted_dbm, 14, config, -9, 22)
    for config in ({"antenna_gain_dbi": "2"}, {"max_eirp_dbm": "16"}, {"amplifier": ((22, "1"),)}):
        raises(TypeError, conducted_dbm, 14, config, -9, 22)
    for eirp_dbm in (None, "14", b"\x0e"):
        raises(TypeError, conducted_dbm, eirp_dbm, {}, -9, 22)


def check_rows_in_the_wrong_order():
    """A hand-written config.json: a row of wide reach first does not hide the one with more gain."""
    for rows in (((22, 0), (5, 13)), HELTEC_V4, ((10, 20), (0, 30), (22, -3))):
        in_order = sorted(rows)
        for eirp_dbm in range(-20, 31):
            for given in (rows, in_order, in_order[::-1], [list(row) for row in rows]):
                config = {"antenna_gain_dbi": 2, "amplifier": given}
                dbm = conducted_dbm(eirp_dbm, config, -20, 22)
                assert radiated(dbm, 2, in_order) <= LIMIT_DBM, (given, eirp_dbm, dbm)


def check_radio_that_is_too_strong():
    error = raises(RadioError, conducted_dbm, 2, {"antenna_gain_dbi": 14.5}, 2, 20)
    assert "as weakly as the law asks" in str(error)
