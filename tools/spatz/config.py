"""A node's `config.json`, compiled from board, sensors and the town's wishes (contract 3).

No pin number stands in the firmware's code; all of them come from here. Nothing secret is in it: keys live in NVS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nest.errors import UserError
from nest.i18n import tr
from nest.town import SLUG

from spatz.boards import least_eirp_dbm, load_board
from spatz.catalogue import ANTENNA_GAIN_DBI, Board, Radio
from spatz.chips import CHIPS
from spatz.wiring import Wish, wire

CONFIG_FORMAT = 1
NODE_NAME = SLUG  # what the registry accepts; the firmware prints it, nothing else
INTERVAL_S = (5, 86_400)
SAFE_WINDOW_S = (0, 3_600)
JOIN_DR = (0, 5)
FAIR_USE_S = (0, 864)  # 1 % of a day, which the node keeps to in any case
PARITY = (0, 4)
CERTIFICATION = ("", "on", "lab")


def compile_config(
    board: Board | str,
    sensors: Sequence[Wish],
    name: str,
    *,
    interval_s: int = 600,
    safe_window_s: int = 60,
    confirmed: bool = False,
    region: str = "EU868",
    antenna_gain_dbi: float | None = None,
    fair_use_s: int = 0,
    join_dr: int | None = None,
    parity: int = 1,
    certification: str = "",
) -> dict[str, Any]:
    """What the node reads at every start, ready for `json.dump`.

    Args:
        board: an entry of the catalogue, or its name.
        sensors: entries of the catalogue, their names, or names with options (`spatz.wiring`); "auto" for those that
            the node shall look for on its I2C bus by itself. Of two that measure the same, the first one does.
        name: what the node is called, in small letters, digits and "-".
        interval_s: seconds between two readings, 5 to 86 400.
        safe_window_s: seconds after power-on in which the node stays awake and reachable, 0 to 3 600.
        confirmed: ask the nest to acknowledge every reading (costs downlinks).
        antenna_gain_dbi: of another antenna than the one in the box, -5 to 15 dBi, the cable's loss taken off.
        fair_use_s: seconds on air per day that a shared network asks its nodes to keep to (The Things Network: 30);
            0 for no more than the law asks. The node measures more rarely at slow data rates by itself.
        join_dr: the fastest data rate tried when joining, 0 (SF12) to 5 (SF7); for places known to be far from every
            gateway, where faster ones cost a battery tries in vain. None for the region's own order.
        parity: symbols in every frame by which the nest recovers lost readings, 0 to 4; the nest may set it by radio.
        certification: "" for none; "on": the node obeys a test tool on FPort 224; "lab": the tool may also put the
            regional duty cycle aside, in a shielded room.

    Raises:
        UserError: a value cannot be, or the board cannot carry the sensors.
    """
    board = load_board(board) if isinstance(board, str) else board
    _check_wishes(name, region, interval_s, safe_window_s)
    _check_seconds(fair_use_s, FAIR_USE_S, "The fair use is {value}, expected {low} to {high} seconds per day.")
    _check_join_dr(join_dr)
    _check_parity(parity)
    if certification not in CERTIFICATION:  # nobody wishes for it but a laboratory's own program
        raise ValueError(certification)
    _check_antenna(board, antenna_gain_dbi)
    config: dict[str, Any] = {
        "format": CONFIG_FORMAT,
        "name": name,
        "board": board.name,
        "region": region,
        "interval_s": interval_s,
        "safe_window_s": safe_window_s,
        "confirmed": confirmed,
        "radio": {
            **_radio(board.radio),
            "antenna_gain_dbi": board.antenna.gain_dbi if antenna_gain_dbi is None else antenna_gain_dbi,
            "max_eirp_dbm": board.antenna.max_eirp_dbm,
            "clock_error_ppm": board.timing.clock_error_ppm,
            "jitter_us": board.timing.jitter_us,
        },
        **wire(board, sensors),
    }
    if fair_use_s:
        config["fair_use_s"] = fair_use_s
    if join_dr is not None:
        config["lorawan"] = {"join_dr": join_dr}
    if parity != 1:  # what the firmware takes when config.json says nothing
        config["parity"] = parity
    if certification:
        config["certification"] = certification
    for part in ("i2c", "pmu", "battery", "vext", "led", "button", "usb"):
        table = getattr(board, part)
        if table is not None:
            config[part] = table.model_dump(exclude={"sources", "ids"}, exclude_none=True)
    if board.button and board.button.pin in CHIPS[board.module.chip].input_only:
        config["button"]["pull"] = False  # such a pin has no resistor of its own: the board must have one
    if board.battery and board.battery.pmu:
        config["battery"] = {"pmu": True}
    return config


def _radio(radio: Radio) -> dict[str, Any]:
    """The radio as the firmware reads it: small tables as lists of pairs."""
    result = radio.model_dump(exclude={"sources", "supply", "enable", "amplifier"}, exclude_none=True)
    if radio.supply:
        result["supply"] = [radio.supply.pin, radio.supply.level]
        if radio.supply.sensors:
            result["supply_sensors"] = True
    if radio.enable:
        result["enable"] = [[supply.pin, supply.level] for supply in radio.enable]
    if radio.amplifier:
        result["amplifier"] = [[row.up_to_dbm, row.gain_db] for row in radio.amplifier]
    return result


def _check_antenna(board: Board, gain_dbi: float | None) -> None:
    if gain_dbi is None:
        return
    low, high = ANTENNA_GAIN_DBI
    if isinstance(gain_dbi, bool) or not isinstance(gain_dbi, int | float) or not low <= gain_dbi <= high:
        raise UserError(
            tr("The gain of the antenna is {value} dBi, expected {low} to {high}.", value=gain_dbi, low=low, high=high),
            tr("The maker of the antenna says it; for the antenna in the box leave it out."),
        )
    if least_eirp_dbm(board, gain_dbi) > board.antenna.max_eirp_dbm:
        raise UserError(
            tr(
                "With an antenna of {gain} dBi the {board} would radiate more than the law allows, at any power.",
                gain=gain_dbi,
                board=board.title,
            ),
            tr("Choose an antenna with less gain."),
        )


def _check_wishes(name: str, region: str, interval_s: int, safe_window_s: int) -> None:
    if not NODE_NAME.fullmatch(name):
        raise UserError(
            tr('"{name}" cannot be the name of a node.', name=name),
            tr('Use small letters, digits and "-", at most 48 of them, for example amsel-2.'),
        )
    if region != "EU868":
        raise UserError(
            tr('The region "{region}" is not known.', region=region), tr("Known regions: {names}.", names="EU868")
        )
    _check_seconds(interval_s, INTERVAL_S, "The interval is {value}, expected {low} to {high} seconds.")
    _check_seconds(safe_window_s, SAFE_WINDOW_S, "The safe window is {value}, expected {low} to {high} seconds.")


def _check_parity(value: object) -> None:
    low, high = PARITY
    if not _is_whole(value, PARITY):
        raise UserError(
            tr("The parity is {value}, expected {low} to {high}.", value=value, low=low, high=high),
            tr("1 is the usual one; more brings back more of what is lost, and costs time on air."),
        )


def _is_whole(value: object, limits: tuple[int, int]) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and limits[0] <= value <= limits[1]


def _check_seconds(value: object, limits: tuple[int, int], message: str) -> None:
    low, high = limits
    if not _is_whole(value, limits):
        raise UserError(
            tr(message, value=value, low=low, high=high), tr("Choose a whole number of seconds in that range.")
        )


def _check_join_dr(value: object) -> None:
    low, high = JOIN_DR
    if value is not None and not _is_whole(value, JOIN_DR):
        raise UserError(
            tr(
                "The fastest data rate for joining is {value}, expected {low} to {high}.",
                value=value,
                low=low,
                high=high,
            ),
            tr("0 is SF12, which reaches farthest, 5 is SF7; leave it out where a gateway is near."),
        )
