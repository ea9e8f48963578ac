"""A town's folder: `town.toml` (settings, written by people) and `nest.db` (everything the nest remembers)."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.functional_validators import AfterValidator
from pydantic_core import ErrorDetails, PydanticCustomError

from nest.database_url import DatabaseServer, database_url_is_good
from nest.errors import UserError
from nest.given import unreadable
from nest.i18n import tr

SETTINGS_FILE = "town.toml"
DATABASE_FILE = "nest.db"
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


def _slug(text: str) -> str:
    if not SLUG.fullmatch(text):
        raise PydanticCustomError("slug", "slug")
    return text


def _mqtt_url(text: str) -> str:
    if text and not mqtt_url_is_good(text):
        raise PydanticCustomError("mqtt_url", "mqtt_url")
    return text


def _topic(text: str) -> str:
    if not re.fullmatch(r"[^+#\s\x00/]+(?:/[^+#\s\x00/]+)*", text):
        raise PydanticCustomError("mqtt_topic", "mqtt_topic")
    return text


def _database_url(text: str) -> str:
    if text and not database_url_is_good(text):
        raise PydanticCustomError("database_url", "database_url")
    return text


def mqtt_url_is_good(url: str) -> bool:
    """mqtt://[user[:password]@]host[:port] or mqtts://…, and nothing behind it."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("mqtt", "mqtts")
            and bool(parts.hostname)
            and parts.port != 0
            and parts.path in ("", "/")
            and not parts.query
            and not parts.fragment
        )
    except ValueError:
        return False


Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free one
Slug = Annotated[str, AfterValidator(_slug)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TownSection(_Section):
    """`[town]`: what it is called and where it lies."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    slug: Slug
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    language: Literal["de", "en"] = "de"
    join_eui: Annotated[str, Field(pattern="^([0-9a-fA-F]{16})?$")] = ""  # of its nodes; empty: made from the slug


class DatabaseSection(_Section):
    """`[database]`: a PostgreSQL server by URL; without one the nest keeps everything in `nest.db`."""

    url: Annotated[str, AfterValidator(_database_url)] = ""
    password_file: str = ""  # in the town's folder, its first line; empty: PGPASSWORD, ~/.pgpass or none


class SemtechUdpSection(_Section):
    """`[semtech_udp]`: where gateways send to."""

    host: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104  gateways are other machines
    port: Port = 1700


class BasicsStationSection(_Section):
    """`[basics_station]`: gateways that speak LoRa Basics Station, each with its token."""

    host: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104  gateways are other machines
    port: Port = 8887
    certificate: str = ""  # PEM files in the town's folder; both empty: no TLS
    key: str = ""


class WebSection(_Section):
    """`[web]`: the page and the API."""

    host: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104  citizens are on other machines
    port: Port = 8080
    metrics: bool = True  # /metrics for Prometheus: counters, and the gateways' EUIs


class MqttSection(_Section):
    """`[mqtt]`: a broker by URL, or the nest's own one."""

    url: Annotated[str, AfterValidator(_mqtt_url)] = ""
    ca_file: str = ""  # PEM in the town's folder, for mqtts:// with a certificate of your own; empty: the system's
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Port = 1883
    prefix: Annotated[str, AfterValidator(_topic)] = "funkspatz"


class LorawanSection(_Section):
    """`[lorawan]`: the network's side of the air."""

    region: Literal["EU868"] = "EU868"
    net_id: Annotated[int, Field(ge=0, le=0xFFFFFF)] = 0
    rx1_delay_s: Annotated[int, Field(ge=1, le=15)] = 1
    rx2_dr: Annotated[int, Field(ge=0, le=5)] = 3
    adr: bool = True
    adr_margin_db: Annotated[float, Field(ge=0, le=40)] = 10.0


class MapSection(_Section):
    """`[map]`: what nodes are drawn on."""

    tiles: bool = False  # off: no citizen's address reaches a third party
    tiles_url: str = "https://tile.openstreetmap.org/{z}/{x}/{y}.png"
    outlines: str = "outlines.geojson"  # in the town's folder


class Settings(_Section):
    """The whole of `town.toml`."""

    town: TownSection
    semtech_udp: SemtechUdpSection = SemtechUdpSection()
    basics_station: BasicsStationSection = BasicsStationSection()
    web: WebSection = WebSection()
    mqtt: MqttSection = MqttSection()
    lorawan: LorawanSection = LorawanSection()
    map: MapSection = MapSection()
    database: DatabaseSection = DatabaseSection()


@dataclasses.dataclass(frozen=True)
class Town:
    """One operator's deployment: its folder and its settings."""

    path: Path
    settings: Settings

    @property
    def database(self) -> Path | DatabaseServer:
        """The file of an SQLite database, or where the server is."""
        settings = self.settings.database
        if not settings.url:
            return self.path / DATABASE_FILE
        return DatabaseServer(settings.url, self.path / settings.password_file if settings.password_file else None)

    @property
    def name(self) -> str:
        return self.settings.town.name

    @property
    def slug(self) -> str:
        return self.settings.town.slug

    @property
    def latitude(self) -> float | None:
        return self.settings.town.latitude

    @property
    def longitude(self) -> float | None:
        return self.settings.town.longitude

    @property
    def language(self) -> str:
        return self.settings.town.language

    @property
    def join_eui(self) -> bytes:
        """The JoinEUI that nodes of this town get (8 bytes). A town that was made before it had one gets it from its
        slug, the same each time."""
        said = self.settings.town.join_eui
        return bytes.fromhex(said) if said else _local_eui(hashlib.sha256(self.slug.encode()).digest()[:8])

    @property
    def outlines(self) -> Path | None:
        """The GeoJSON file under the map, or None where the operator has not put one there."""
        path = self.path / self.settings.map.outlines
        return path if path.is_file() else None


def slugify(name: str) -> str:
    """A name as part of an address: `Bad Königs-Wusterhausen` -> `bad-koenigs-wusterhausen`; may be ""."""
    text = name.lower()
    for letter, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        text = text.replace(letter, written)
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:48].strip("-")


def _local_eui(random: bytes) -> bytes:
    """An EUI-64 that no maker gives (IEEE 802c: bit U/L 1 says locally administered, bit I/G 0 one device)."""
    return bytes([random[0] & 0xFC | 0x02]) + random[1:]


def create(
    path: Path,
    name: str,
    *,
    slug: str | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    language: str = "de",
    udp_port: int = 1700,
    web_port: int = 8080,
    mqtt_port: int = 1883,
    mqtt_url: str = "",
    udp_host: str | None = None,
    web_host: str | None = None,
    station_port: int = 0,
    station_host: str | None = None,
    database_url: str = "",
    password_file: str = "",
) -> Town:
    """Make a town's folder with its `town.toml` and an empty database. Ports may be 0: any free one at each start.

    Raises UserError: there is a town already, the folder cannot be written, or a setting is not allowed.
    """
    from nest.archive.database import open_database  # here, because reading settings needs no database

    file = path / SETTINGS_FILE
    text = _settings_text(
        {
            "town": {
                "name": name,
                "slug": slug or slugify(name) or "stadt",
                "latitude": latitude,
                "longitude": longitude,
                "language": language,
                "join_eui": _local_eui(secrets.token_bytes(8)).hex(),
            },
            "semtech_udp": {"host": udp_host, "port": udp_port},
            "basics_station": {"host": station_host, "port": station_port},
            "web": {"host": web_host, "port": web_port},
            "mqtt": {"url": mqtt_url, "port": mqtt_port},
            "lorawan": {},
            "map": {},
            "database": {"url": database_url, "password_file": password_file},
        }
    )
    try:
        Settings.model_validate(tomllib.loads(text))  # before anything is written
    except ValidationError as error:  # there is no file yet whose line could be named
        what = _what_is_wrong(error.errors()[0])
        raise UserError(f"{what}.", tr("See how it is written: {command} --help", command="nest init")) from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            # town.toml may hold a broker's password
            if hasattr(os, "fchmod"):  # Windows has no such thing: there a folder's rights count
                os.fchmod(out.fileno(), 0o600)
            out.write(text)
    except FileExistsError as error:
        raise UserError(
            tr("There is a town already: {path}", path=file if path.is_dir() else path),
            tr("Choose another folder, or start the town with: nest run {folder}", folder=path),
        ) from error
    except OSError as error:
        raise UserError(
            tr("{path} cannot be written: {reason}.", path=file, reason=error.strerror),
            tr("Choose a folder that belongs to you."),
        ) from error
    made = load(path)
    try:
        open_database(made.database).dispose()
    except UserError:
        file.unlink()  # there is no town, and the same command may be given again
        raise
    return made


def load(path: Path) -> Town:
    """The town in folder `path`.

    Raises UserError: no town there, or a `town.toml` that says something that is not allowed (file, line, expected).
    """
    file = path / SETTINGS_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            tr("There is no town in {folder}: {file} is missing.", folder=path, file=SETTINGS_FILE),
            tr('Make one: nest init {folder} --name "Name of the town"', folder=path),
        ) from error
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _broken(file, line, tr("text in UTF-8 was expected")) from error
    return Town(path, _parse(text, file))


_COMMENTS = {
    "semtech_udp": "gateways send here (Semtech UDP packet forwarder)",
    "basics_station": "gateways that speak LoRa Basics Station send here; certificate and key: PEM files here",
    "web": "the page and the API; host 127.0.0.1 shows them on this computer only; metrics = false closes /metrics",
    "mqtt": 'your broker: mqtt://user:password@host:1883 or mqtts://…; with url = "" the nest runs its own: '
    "everybody who reaches its host may write to it",
    "lorawan": "the network's side of the air",
    "database": "a PostgreSQL server: postgresql://user@host/name, its password in ~/.pgpass or in password_file (in "
    'this folder, mode 600); with url = "" everything is in nest.db, here',
    "map": "tiles = true lets browsers fetch the map from tiles_url; outlines is a GeoJSON file in this folder",
}


def _settings_text(values: dict[str, dict[str, object]]) -> str:
    """`town.toml` with every setting in it, so that nobody has to look up what can be set."""
    import tomlkit  # here: only `create` writes, and every command loads this module

    document = tomlkit.document()
    document.add(tomlkit.comment("Settings of this town. After a change: stop `nest run` and start it again."))
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)  # noqa: S101  for the type checker
        assert issubclass(model, BaseModel)  # noqa: S101
        table = tomlkit.table()
        if section in _COMMENTS:
            table.comment(_COMMENTS[section])
        for key, setting in model.model_fields.items():
            given = values[section].get(key)
            value = setting.default if given is None else given
            if value is not None:
                table.add(key, value)
        document.add(tomlkit.nl())
        document.add(section, table)
    return tomlkit.dumps(document)


def _parse(text: str, file: Path) -> Settings:
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        what = re.sub(r" \(at [^)]*\)$", "", str(error))
        raise _broken(file, line, tr("this is not TOML ({reason})", reason=what)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        raise _broken(file, _line_of(text, place), _what_is_wrong(first)) from error


def _what_is_wrong(error: ErrorDetails) -> str:
    return f"{'.'.join(str(part) for part in error['loc'])}: {_expected(error)}"


def _broken(file: Path, line: int, what: str) -> UserError:
    return UserError(
        tr("{file}, line {line}: {what}.", file=file, line=line, what=what),
        tr("Correct that line and start again."),
    )


_SECTION = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_\"'-]+(?:\s*\.\s*[A-Za-z0-9_\"'-]+)*)\s*=")


def _line_of(text: str, place: list[str]) -> int:
    """The line (from 1) of `place` (section, key); the section's line where the key is missing, else 1."""
    section, found = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _SECTION.match(line):
            section = heading[1]
            if section == place[0]:
                found = number
        elif key := _KEY.match(line):
            names = [name.strip(" \t\"'") for name in key[1].split(".")]
            where = [section, *names] if section else names
            if where == place[: len(where)]:
                return number
    return found


def _expected(error: ErrorDetails) -> str:
    """What was expected instead, in the user's words."""
    context = {key: value for key, value in error.get("ctx", {}).items() if isinstance(value, str | int | float)}
    if error["type"] == "literal_error":
        context["expected"] = str(context["expected"]).replace(" or ", ", ")
    message = _expectations().get(error["type"])
    if error["type"] == "extra_forbidden":
        section = error["loc"][0] if len(error["loc"]) > 1 else None
        field = Settings.model_fields[str(section)].annotation if section else Settings
        known = sorted(field.model_fields) if isinstance(field, type) and issubclass(field, BaseModel) else []
        return tr("no such setting; known are {known}", known=", ".join(known))
    return message.format(**context) if message else error["msg"]


def _expectations() -> dict[str, str]:
    """pydantic's error type -> what was expected; {fields} from pydantic's context."""
    return {
        "missing": tr("is missing"),
        "int_type": tr("a whole number was expected"),
        "float_type": tr("a number was expected"),
        "bool_type": tr("true or false was expected"),
        "string_type": tr('a text in "quotes" was expected'),
        "model_type": tr("a section like [town] was expected"),
        "model_attributes_type": tr("a section like [town] was expected"),
        "greater_than_equal": tr("at least {ge} was expected"),
        "less_than_equal": tr("at most {le} was expected"),
        "finite_number": tr("a number was expected"),
        "string_too_short": tr("a text that is not empty was expected"),
        "string_too_long": tr("a text of at most {max_length} characters was expected"),
        "literal_error": tr("one of {expected} was expected"),
        "string_pattern_mismatch": tr("16 hex digits were expected"),
        "slug": tr("lower-case letters a-z, digits and hyphens were expected"),
        "mqtt_url": tr("mqtt://host:port or mqtts://host:port was expected, or an empty text"),
        "database_url": tr("postgresql://user@host/database without a password was expected, or an empty text"),
        "mqtt_topic": tr("a topic without spaces, + and # was expected"),
    }
