"""Files with nodes and their keys, for those who register by hand or have no way to a server's API.

The Things Stack takes CSV with semicolons and JSON, one object after the other (thethingsindustries.com/docs: CSV and
JSON File Reference). ChirpStack v4 has no import of its own (issues 403 and 990): its JSON has, for each node, the two
bodies that its REST API takes (POST /api/devices, then POST /api/devices/{devEui}/keys), and the CSV the fields of its
API by their names, for scripts. In ChirpStack `nwk_key` is the AppKey of a 1.0.x device.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from spatz.servers.nodes import Entry
from spatz.servers.tts import RADIO, device_id

SERVERS = ("chirpstack", "tts")
FORMATS = ("csv", "json")

# recognised by The Things Stack; others are ignored there
TTS_COLUMNS = (
    "id", "dev_eui", "join_eui", "name", "frequency_plan_id", "lorawan_version", "lorawan_phy_version", "app_key",
)  # fmt: skip
CHIRPSTACK_COLUMNS = ("dev_eui", "name", "description", "join_eui", "nwk_key")
_SIGNS = "=+-@\t\r"  # a spreadsheet takes what begins so for a formula


def render(server: str, form: str, entries: Sequence[Entry]) -> str:
    """The text of the file for "chirpstack" or "tts", as "csv" or "json". It holds keys."""
    if form == "json":
        return "".join(json.dumps(thing, ensure_ascii=False, indent=2) + "\n" for thing in _things(server, entries))
    out = io.StringIO()
    columns: tuple[str, ...] = TTS_COLUMNS if server == "tts" else CHIRPSTACK_COLUMNS
    writer: csv.DictWriter[str] = csv.DictWriter(
        out, columns, delimiter=";" if server == "tts" else ",", lineterminator="\n"
    )
    writer.writeheader()
    for entry in entries:
        row = _tts_row(entry) if server == "tts" else _chirpstack_row(entry)
        writer.writerow(row)
    return out.getvalue()


def _things(server: str, entries: Sequence[Entry]) -> list[object]:
    if server == "tts":
        return [_tts_thing(entry) for entry in entries]
    return [
        [
            {
                "device": {
                    "devEui": entry.dev_eui.hex(),
                    "joinEui": entry.join_eui.hex(),
                    "name": entry.slug,
                    "description": entry.name,
                },
                "deviceKeys": {"devEui": entry.dev_eui.hex(), "nwkKey": entry.app_key.hex()},
            }
            for entry in entries
        ]
    ]


def _tts_thing(entry: Entry) -> dict[str, object]:
    return {
        "ids": {
            "device_id": device_id(entry),
            "dev_eui": entry.dev_eui.hex().upper(),
            "join_eui": entry.join_eui.hex().upper(),
        },
        "name": entry.name,
        **RADIO,
        "root_keys": {"app_key": {"key": entry.app_key.hex().upper()}},
    }


def _tts_row(entry: Entry) -> dict[str, str]:
    return {
        "id": device_id(entry),
        "dev_eui": entry.dev_eui.hex().upper(),
        "join_eui": entry.join_eui.hex().upper(),
        "name": _plain(entry.name),
        **{name: str(value) for name, value in RADIO.items() if name in TTS_COLUMNS},
        "app_key": entry.app_key.hex().upper(),
    }


def _chirpstack_row(entry: Entry) -> dict[str, str]:
    return {
        "dev_eui": entry.dev_eui.hex(),
        "name": entry.slug,
        "description": _plain(entry.name),
        "join_eui": entry.join_eui.hex(),
        "nwk_key": entry.app_key.hex(),
    }


def _plain(text: str) -> str:
    return f"'{text}" if text[:1] in _SIGNS else text
