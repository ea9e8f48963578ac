"""The Things Stack v3 (The Things Network): the nodes, in four registries each, and the application's formatter.

Over HTTP, in the order that its documentation recommends (thethingsindustries.com/docs/api/reference/grpc/end_device):
identity server (names), join server (keys), network server (radio), application server (payload). Each is read first,
so a node that was left half done is mended by the next run, and one that is all there costs no write. Sources:
api/ttn/lorawan/v3/end_device.proto and end_device_services.proto for paths and field masks, concepts/fieldmasks, and

- for LoRaWAN 1.0.4 a DevNonce must be above `last_dev_nonce`, or both counts must be 0 (pkg/joinserver/joinserver.go,
  HandleJoin). A change of the key alone leaves it; we set it with the key. `last_join_nonce` can be set too, so a node
  may move here from our nest with its key, and finds higher JoinNonces;
- the formatter is that of the application (`default_formatters` of its link): once, not 40 KB for each node;
- a device's id has 3 to 36 letters a-z, digits and single hyphens; DevEUI and JoinEUI together are there once.
"""

from __future__ import annotations

import hmac
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.decoder import render_script
from spatz.servers.access import Access, clean
from spatz.servers.nodes import Entry
from spatz.servers.report import CREATED, FAILED, NODE, Item, Report, outcome_of

if TYPE_CHECKING:
    import httpx

KEY = "FUNKSPATZ_TTS_KEY"
"""Environment variable: an API key of the application."""

COMMUNITY = "https://eu1.cloud.thethings.network"
"""The Things Network's own server in Europe."""

RADIO = {  # as in the documentation's example of a 1.0.4 device in Europe
    "lorawan_version": "MAC_V1_0_4",
    "lorawan_phy_version": "RP002_V1_0_3",
    "frequency_plan_id": "EU_863_870_TTN",
    "supports_join": True,
}
RIGHTS = "devices: read, write, read keys, write keys; application settings; link"
_ADDRESSES = ("join_server_address", "network_server_address", "application_server_address")
_IDS = ["ids.device_id", "ids.dev_eui", "ids.join_eui"]
_OURS = "Made by `spatz decoder`"
_ID = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,35}")
_LONGEST_ID = 36
_PAGE = 1000
_AT_ONCE = 4  # the community's server lets a few requests a second through
_PATIENCE_S = 30.0
_TRIES, _LONGEST_WAIT_S = 6, 60.0  # when it says that we are too fast


class _Refused(Exception):  # noqa: N818  it is the server's word
    """One call was answered with an error; 0: with nothing at all."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


def register(at: Access, application: str, entries: Sequence[Entry], *, dry_run: bool = False) -> Report:
    """Put the nodes into that application, or see what would be done (`dry_run`). Nothing is ever deleted.

    A node that the server refuses is an item of outcome "failed" and keeps no other waiting. Raises UserError: the
    server cannot be reached or does not take the key, there is no such application, or it has a formatter of its own.
    """
    if len(application) > _LONGEST_ID or not _ID.fullmatch(application):
        raise UserError(
            tr("{name} cannot be an application of The Things Stack.", name=application),
            tr("Its id has 3 to 36 letters a-z, digits and single hyphens: --application ID"),
        )
    client = _Client(at, [at.key, *(entry.app_key.hex() for entry in entries)])
    try:
        return _Run(client, application, dry_run).all(entries)
    except _Refused as error:
        raise _sentence(error, at, application) from None
    finally:
        client.close()


def device_id(entry: Entry) -> str:
    """The node's slug where that can be an id there, else one made of its DevEUI, as the console does."""
    fits = len(entry.slug) <= _LONGEST_ID and _ID.fullmatch(entry.slug)
    return entry.slug if fits else f"eui-{entry.dev_eui.hex()}"


class _Client:
    """The calls; errors come without keys, and whoever is too fast waits."""

    def __init__(self, at: Access, hidden: Sequence[str]) -> None:
        import httpx

        cadata = at.ca.decode("ascii", "replace") if at.ca else None
        context = ssl.create_default_context(cadata=cadata) if at.tls else False
        self._client = httpx.Client(
            base_url=f"{at.url}/api/v3",
            headers={"Authorization": f"Bearer {at.key}", "User-Agent": "funkspatz"},
            timeout=_PATIENCE_S,
            verify=context,
            trust_env=not at.is_here,  # a proxy of the environment knows nothing of this computer
        )
        self._error = httpx.HTTPError
        self._hidden = hidden
        self.address = at.host if at.port in (80, 443) else f"{at.host}:{at.port}"

    def __call__(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """The answer. Raises _Refused."""
        answer = self._ask(method, path, body, query)
        for _ in range(_TRIES):
            if answer.status_code != 429:
                break
            time.sleep(_pause_s(answer.headers))
            answer = self._ask(method, path, body, query)
        if answer.is_success:
            try:
                found = answer.json()
            except ValueError:
                found = None
            if isinstance(found, dict):
                return found
            raise _Refused(0, tr("it does not speak its API"))
        raise _Refused(answer.status_code, clean(_said(answer), self._hidden))

    def found(self, path: str, **query: object) -> dict[str, Any] | None:
        """What is there, None where nothing is. Raises _Refused: anything else."""
        try:
            return self("GET", path, **query)
        except _Refused as error:
            if error.status == 404:
                return None
            raise

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, body: object, query: Mapping[str, object]) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body, params={k: str(v) for k, v in query.items()})
        except self._error as error:
            said = clean(error, self._hidden)
        raise _Refused(0, said)


class _Run:
    """One registration."""

    def __init__(self, client: _Client, application: str, dry_run: bool) -> None:
        self._call, self._application, self._dry = client, application, dry_run
        self._report = Report()

    def all(self, entries: Sequence[Entry]) -> Report:
        if self._call.found(f"/applications/{self._application}", field_mask="name") is None:
            raise UserError(
                tr("The Things Stack has no application {name}.", name=self._application),
                tr("Make it in its console, or say which one: --application ID"),
            )
        self._report.add("application", self._application, outcome_of(()))
        self._formatter()
        known = self._devices()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            self._report.items += pool.map(lambda entry: self._node(entry, known), entries)
        return self._report

    def _formatter(self) -> None:
        """The application's formatter is our decoder; somebody else's is left alone."""
        script = render_script("tts")
        wanted = {
            "up_formatter": "FORMATTER_JAVASCRIPT",
            "up_formatter_parameter": script,
            "down_formatter": "FORMATTER_JAVASCRIPT",
            "down_formatter_parameter": script,
        }
        path = f"/as/applications/{self._application}/link"
        link = self._call.found(path, field_mask="default_formatters") or {}
        there = link.get("default_formatters") or {}
        if any(_is_of_another(there, way) for way in ("up", "down")):
            raise UserError(
                tr("The application {name} has a payload formatter of its own.", name=self._application),
                tr("Take an application for these nodes alone, or delete that formatter in the console."),
            )
        different = tuple(name for name, value in wanted.items() if there.get(name) != value)
        if different and not self._dry:
            paths = [f"default_formatters.{name}" for name in wanted]
            self._call("PUT", path, {"link": {"default_formatters": wanted}, "field_mask": {"paths": paths}})
        self._report.add("formatter", self._application, outcome_of(different) if there else CREATED, different)

    def _devices(self) -> dict[str, dict[str, Any]]:
        """What the identity server has, by DevEUI (16 hex, lower case)."""
        found: dict[str, dict[str, Any]] = {}
        page = 1
        while True:
            answer = self._call(
                "GET",
                f"/applications/{self._application}/devices",
                field_mask=",".join(("name", *_ADDRESSES)),
                limit=_PAGE,
                page=page,
            )
            devices = answer.get("end_devices", [])
            found |= {device["ids"].get("dev_eui", "").lower(): device for device in devices}
            if len(devices) < _PAGE:
                return found
            page += 1

    def _node(self, entry: Entry, known: Mapping[str, dict[str, Any]]) -> Item:
        there = known.get(entry.dev_eui.hex())
        name = there["ids"]["device_id"] if there else device_id(entry)
        try:
            if there and there["ids"].get("join_eui", "").lower() != entry.join_eui.hex():
                why = tr("Its JoinEUI there is another one, and cannot be changed: delete it there first.")
                return Item(NODE, entry.slug, FAILED, why=why)
            fields = (
                *self._identity(entry, name, there),
                *self._keys(entry, name),
                *self._radio(entry, name),
                *self._payload(entry, name),
            )
        except _Refused as error:
            return Item(NODE, entry.slug, FAILED, why=str(error) or f"HTTP {error.status}")
        if there is None:
            return Item(NODE, entry.slug, CREATED)
        return Item(NODE, entry.slug, outcome_of(fields), fields)

    def _identity(self, entry: Entry, name: str, there: Mapping[str, Any] | None) -> tuple[str, ...]:
        """1. Identity server: who it is, and who looks after the rest of it."""
        wanted = dict.fromkeys(_ADDRESSES, self._call.address)
        path = f"/applications/{self._application}/devices"
        if there is None:
            said = {"name": entry.name, **wanted}
            if not self._dry:
                self._call("POST", path, self._body(entry, name, said, [*_IDS[1:], *said]))
            return ("identity",)
        different = {key: value for key, value in wanted.items() if there.get(key) != value}
        if different and not self._dry:
            self._call("PUT", f"{path}/{name}", self._body(entry, name, different, [*different]))
        return tuple(different)

    def _keys(self, entry: Entry, name: str) -> tuple[str, ...]:
        """2. Join server: the AppKey, and where its counts go on."""
        path = f"/js/applications/{self._application}/devices/{name}"
        there = self._call.found(path, field_mask="root_keys")
        if there is not None and hmac.compare_digest(_app_key(there), entry.app_key.hex()):
            return ()
        said: dict[str, Any] = {
            "root_keys": {"app_key": {"key": entry.app_key.hex().upper()}},
            "last_dev_nonce": max(entry.dev_nonce - 1, 0),
            # of a key that was never used nothing is to be gone on with: 0 and 0 let DevNonce 0 in
            "last_join_nonce": entry.join_nonce if entry.dev_nonce else 0,
        }
        paths = ["root_keys.app_key.key", "last_dev_nonce", "last_join_nonce"]
        if there is None:
            said |= dict.fromkeys(_ADDRESSES[1:], self._call.address)
            paths = [*_IDS, *_ADDRESSES[1:], *paths]
        if not self._dry:
            self._call("PUT", path, self._body(entry, name, said, paths))
        return ("keys",)

    def _radio(self, entry: Entry, name: str) -> tuple[str, ...]:
        """3. Network server: which LoRaWAN, where."""
        path = f"/ns/applications/{self._application}/devices/{name}"
        there = self._call.found(path, field_mask=",".join(RADIO))
        different = tuple(key for key, value in RADIO.items() if (there or {}).get(key) != value)
        if there is not None and not different:
            return ()
        if not self._dry:
            paths = [*RADIO] if there is not None else [*_IDS, *RADIO]
            self._call("PUT", path, self._body(entry, name, RADIO, paths))
        return different

    def _payload(self, entry: Entry, name: str) -> tuple[str, ...]:
        """4. Application server: it must know the node; the formatter is the application's."""
        path = f"/as/applications/{self._application}/devices/{name}"
        if self._call.found(path, field_mask="formatters") is not None:
            return ()
        if not self._dry:
            self._call("PUT", path, self._body(entry, name, {}, _IDS))
        return ("application server",)

    def _body(self, entry: Entry, name: str, said: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
        ids = {
            "device_id": name,
            "dev_eui": entry.dev_eui.hex().upper(),
            "join_eui": entry.join_eui.hex().upper(),
            "application_ids": {"application_id": self._application},
        }
        return {"end_device": {"ids": ids, **said}, "field_mask": {"paths": [*paths]}}


def _is_of_another(formatters: Mapping[str, Any], way: str) -> bool:
    """Whether somebody else has put in a formatter, "up" or "down"."""
    there = formatters.get(f"{way}_formatter", "FORMATTER_NONE") != "FORMATTER_NONE"
    return there and _OURS not in formatters.get(f"{way}_formatter_parameter", "")


def _app_key(device: Mapping[str, Any]) -> str:
    """32 hex digits, lower case; "" where there is none."""
    return str(((device.get("root_keys") or {}).get("app_key") or {}).get("key", "")).lower()


def _pause_s(headers: Mapping[str, str]) -> float:
    """How long it wants us to wait (thethingsindustries.com/docs, rate limiting: X-Rate-Limit-Retry, in s)."""
    said = headers.get("x-rate-limit-retry") or headers.get("retry-after") or "1"
    try:
        return min(max(float(said), 0.0), _LONGEST_WAIT_S)
    except ValueError:
        return 1.0


def _said(answer: httpx.Response) -> str:
    """What the server says of an error, as a person reads it: `error:pkg/…:name (sentence)` -> sentence."""
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
    sentence = re.fullmatch(r"error:[^ ]+ \((.*)\)", message, re.DOTALL)
    return sentence[1] if sentence else message


def _sentence(error: _Refused, at: Access, application: str) -> UserError:
    """What a person can do about it."""
    if error.status == 401:
        return UserError(
            tr("The Things Stack does not take this key."),
            tr("Make a new one in its console, under API keys of the application, and put it into the file."),
        )
    if error.status == 403:
        return UserError(
            tr("This key may not do that in the application {name}: {said}", name=application, said=error),
            tr("Make one with these rights: {rights}.", rights=RIGHTS),
        )
    if error.status == 0:
        return UserError(
            tr("The Things Stack does not answer at {url}: {said}.", url=at.url, said=error),
            tr("Check the address and the internet, then start again; what is done stays done."),
        )
    return UserError(
        tr("The Things Stack refuses: {said}", said=f"{error} (HTTP {error.status})"),
        tr("Correct that there, then start again."),
    )
