"""The payload decoder for other people's network servers: `spatz decoder`, in JavaScript.

It has the functions of the LoRa Alliance's TS013-1.0.0 (Payload Codec API), in ECMAScript 5.1, strict, and is made from
`decoder.template.js` and `boards/quantities.toml`. `boards/decoder.js` and its examples are what it gives: `python -m
spatz.decoder` rewrites them, a test fails when they are stale.

ChirpStack v4 (chirpstack/src/codec/js/mod.rs) and The Things Stack (pkg/messageprocessors/javascript) call the same
functions with the same input, each with a script of its own behind ours. ChirpStack never calls decodeDownlink and has
no warnings; The Things Stack takes at most 40 KB. So one file serves all, and only its first lines differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from nest import extras, payload
from nest.errors import UserError
from nest.i18n import tr
from nest.orders import MOST_RANGES
from nest.resources import boards_dir

from spatz.quantities import Quantity, load_quantities

SCRIPT = "decoder.js"
EXAMPLES = "decoder-examples.yaml"
FPORT_SETTINGS = 2
_TEMPLATE = Path(__file__).with_name("decoder.template.js")
_TAKEN = {"failed", "out_of_range", "age_s"}  # what the decoder calls other things

Output = Mapping[str, object]  # of a function of TS013: data or bytes, warnings, errors


_WHERE = {  # by what --for says
    "chirpstack": "For ChirpStack v4: Device profile, Codec, JavaScript functions; paste all of this file.",
    "tts": "For The Things Stack: Payload formatters, Uplink, Custom Javascript formatter; paste all of this file.\n"
    "// The same again under Downlink.",
    "ts013": "For every network server that follows the LoRa Alliance's TS013-1.0.0 (Payload Codec API): ChirpStack,\n"
    "// The Things Stack and others. ECMAScript 5.1, strict.",
}


def render_script(server: str = "ts013", quantities: Sequence[Quantity] | None = None) -> str:
    """The JavaScript file for "chirpstack", "tts" or, as "ts013", any other.

    Raises UserError: the table of quantities is broken, or a quantity has a name or a step that the decoder cannot say.
    """
    table = quantities or load_quantities()
    rows = [f"{_row(quantity)}{',' if quantity is not table[-1] else ''} // {quantity.ucum}" for quantity in table]
    header = (
        f"Payload decoder of Funkspatz nodes. Made by `spatz decoder` from boards/quantities.toml; edit that.\n"
        f"// {_WHERE[server]}"
    )
    script = _TEMPLATE.read_text(encoding="utf-8").replace("@HEADER@", header)
    return script.replace("// @QUANTITIES@", "\n  ".join(rows))


def render_examples() -> str:
    """The examples in the format of the LoRaWAN device repository (TheThingsNetwork/lorawan-devices, README,
    "Payload Codecs"): YAML, of which JSON is a part."""
    coders = {
        "uplinkDecoder": [
            (says, _bytes(fport, sent), uplink_output(fport, bytes.fromhex(sent))) for says, fport, sent in _UPLINKS
        ],
        "downlinkEncoder": [
            *((says, {"data": data}, {"fPort": FPORT_SETTINGS, "bytes": list(bytes.fromhex(sent))})
              for says, data, sent in _DOWNLINKS),
            *((says, {"data": data}, {"errors": [error]}) for says, data, error in _REFUSED),
        ],
        "downlinkDecoder": [(says, _bytes(FPORT_SETTINGS, sent), {"data": data}) for says, data, sent in _DOWNLINKS],
    }  # fmt: skip
    lines = [
        "# Examples for decoder.js in the format of the LoRaWAN device repository. Made by `spatz decoder --examples`.",
        "# yamllint disable rule:line-length",
    ]
    for coder, examples in coders.items():
        lines += [f"{coder}:", f"  fileName: {SCRIPT}", "  examples:"]
        for says, given, output in examples:
            lines += [f"    - description: {json.dumps(says)}", "      input:", *_yaml(given, 8)]
            lines += ["      output:", *_yaml(output, 8)]
    return "\n".join(lines) + "\n"


def uplink_output(fport: int, sent: bytes) -> Output:
    """What decodeUplink gives for these bytes, said by the nest's own decoder."""
    try:
        decoded = payload.decode(fport, sent)
    except payload.PayloadError as error:
        return {"errors": [str(error)]}
    names = list(decoded.codes)
    failed = [name for name in names if name in decoded.failed]
    out_of_range = [name for name in names if name in decoded.out_of_range]
    data: dict[str, object] = {**decoded.values}
    if failed:
        data["failed"] = failed
    if out_of_range:
        data["out_of_range"] = out_of_range
    if extras.has_extras(decoded.rest) and (age := extras.read_rest(decoded.rest).age_s):
        data["age_s"] = age
    warnings = [
        f"{name}: {'the sensor failed' if name in decoded.failed else 'out of range'}"
        for name in names
        if name not in decoded.values
    ]
    return {"data": data, "warnings": warnings} if warnings else {"data": data}


def write(text: str, path: Path) -> None:
    """Write a rendered file. Raises UserError: it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            tr("{path} cannot be written: {reason}.", path=path, reason=error.strerror),
            tr("Choose another place with --output."),
        ) from None


# description, fPort, FRMPayload: what stands in boards/payload.md, and every way a frame can be
_UPLINKS = (
    ("Temperature, humidity, air pressure and battery", 1, "0f65ce39a776"),
    ("The same with a parity symbol behind it, which only the nest needs", 1, "0f65ce39a7760a5bc1d0"),
    ("The same, measured 75.25 seconds before it was sent", 1, "0f65ce39a7764003" + "01012d"),
    ("The humidity sensor failed", 1, "0f65dff9a776"),
    ("Temperature out of range", 1, "01ffc0"),
    ("Zero degrees is a value", 1, "014b00"),
    ("Fine dust alone", 1, "3001ec0c80"),
    ("Twelve quantities", 1, "ff1f65ce39a77603d81902645465256e87ef48ba"),
    ("Nothing was measured", 1, "00"),
    ("A frame that was cut off", 1, "0f65ce39a7"),
    ("A quantity that this decoder does not know", 1, "80808001ffff"),
    ("Padding that is not zero is not ours", 1, "014b10"),
    ("Another fPort", 5, "0f65ce39a776"),
)
# description, settings, FRMPayload on fPort 2
_DOWNLINKS = (
    ("A reading every 15 minutes", {"ticket": 1, "interval_s": 900}, "01010384"),
    ("Two parity symbols, frames confirmed", {"ticket": 2, "parity": 2, "confirmed": True}, "0202020301"),
    (
        "Send 24 readings again from the node's log",
        {"ticket": 3, "log": [{"session": 9, "fcnt": 1200, "count": 24}]},
        "0304010904b018",
    ),
    (
        "Everything at once",
        {
            "ticket": 255,
            "interval_s": 3600,
            "parity": 1,
            "confirmed": False,
            "log": [{"session": 0, "fcnt": 65535, "count": 255}, {"session": 255, "fcnt": 0, "count": 1}],
            "restart": True,
        },
        "ff010e1002010300040200ffffffff00000105",
    ),
)
_REFUSED = (
    ("An order needs a ticket", {"interval_s": 900}, "ticket must be a whole number from 1 to 255"),
    ("Too often", {"ticket": 1, "interval_s": 1}, "interval_s must be a whole number from 5 to 65535"),
    (
        "More ranges of the log than a node takes",
        {"ticket": 1, "log": [{"session": 1, "fcnt": 2 * n, "count": 1} for n in range(MOST_RANGES + 1)]},
        f"log must be a list of at most {MOST_RANGES} ranges",
    ),
    ("No such setting", {"ticket": 1, "courage": 5}, "courage is not a setting"),
)


def _row(quantity: Quantity) -> str:
    """One row of the script's table: whole numbers, so that a value is one division and rounds as Python's does."""
    scale = 10**quantity.decimals
    lowest, step = (Fraction(str(number)) * scale for number in (quantity.minimum, quantity.resolution))
    if quantity.name in _TAKEN or lowest.denominator != 1 or step.denominator != 1:
        raise UserError(
            tr("The quantity {name} cannot be in the decoder.", name=quantity.name),
            tr("Its name must be its own, and its minimum and resolution must have no more digits than decimals says."),
        )
    numbers = f"{quantity.bits}, {lowest.numerator}, {step.numerator}, {scale}"
    return f'[{quantity.bit}, "{quantity.name}", {numbers}]'


def _bytes(fport: int, sent: str) -> Output:
    return {"fPort": fport, "bytes": list(bytes.fromhex(sent))}


def _yaml(mapping: Output, indent: int) -> list[str]:
    """A mapping as YAML lines; lists in one line, as JSON."""
    lines = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{' ' * indent}{key}:", *_yaml(value, indent + 2)]
        else:
            number = int(value) if isinstance(value, float) and value.is_integer() else value
            lines.append(f"{' ' * indent}{key}: {json.dumps(number)}")
    return lines


def main() -> None:
    """Rewrite the copies in boards/."""
    for name, text in ((SCRIPT, render_script()), (EXAMPLES, render_examples())):
        write(text, boards_dir() / name)
        print(boards_dir() / name)


if __name__ == "__main__":
    main()
