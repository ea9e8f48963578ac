"""The Things Stack's HTTP API, as far as we use it, with its rules.

After api/ttn/lorawan/v3/*.proto and pkg/{identityserver,joinserver,networkserver,applicationserver}: every call needs a
key and its right; only fields of the mask are written and returned, each registry takes its own fields alone, and what
is zero or empty is not returned; ids are returned always, EUIs in upper case; an id has a pattern; DevEUI and JoinEUI
are there once, over all applications; a page has at most 1000. Stricter than the original in one thing: a registry
takes a node only when those before it have it, in the documented order. A join is played as its join server does it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ID = re.compile(r"^[a-z0-9](?:[-]?[a-z0-9]){2,}$")
IDS = {"ids.device_id", "ids.dev_eui", "ids.join_eui", "ids.application_ids"}
ORDER = ("is", "js", "ns", "as")
MAY_SET = {
    "is": {
        "ids.dev_eui", "ids.join_eui", "name", "description", "attributes", "join_server_address",
        "network_server_address", "application_server_address",
    },
    "js": IDS | {
        "network_server_address", "application_server_address", "root_keys", "root_keys.app_key",
        "root_keys.app_key.key", "last_dev_nonce", "last_join_nonce",
    },
    "ns": IDS | {"lorawan_version", "lorawan_phy_version", "frequency_plan_id", "supports_join", "mac_settings"},
    "as": IDS | {"formatters", "formatters.up_formatter", "formatters.up_formatter_parameter"},
}  # fmt: skip
VERSIONS = {"MAC_V1_0_4": {"RP002_V1_0_0", "RP002_V1_0_1", "RP002_V1_0_2", "RP002_V1_0_3", "RP002_V1_0_4"}}
PLANS = {"EU_863_870", "EU_863_870_TTN"}


class Refusal(Exception):  # noqa: N818  it is the server's word
    def __init__(self, status: int, code: int, name: str, said: str) -> None:
        super().__init__(said)
        self.status, self.code, self.name = status, code, name

    def body(self) -> dict[str, Any]:
        return {"code": self.code, "message": f"error:pkg/somewhere:{self.name} ({self})", "details": []}


class TheThingsStack:
    """A server on a free port of the loopback; ends with the `with` block."""

    def __init__(self) -> None:
        self.key = "NNSXS.THE-KEY"
        self.applications: dict[str, dict[str, Any]] = {"brandis": {"ids": {"application_id": "brandis"}}}
        self.links: dict[str, dict[str, Any]] = {}
        self.registries: dict[str, dict[tuple[str, str], dict[str, Any]]] = {name: {} for name in ORDER}
        self.calls: list[str] = []  # METHOD registry
        self.fails: dict[str, Refusal] = {}  # what a call with that in its path or body is answered
        self.may_read_keys = True
        self.too_fast = 0  # so many calls are told to wait
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> TheThingsStack:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("GET")]

    def join(self, application: str, device: str, app_key: bytes, dev_nonce: int) -> int | None:
        """A node asks to join with this key: the JoinNonce it is given; None when it is refused."""
        node = self.registries["js"][application, device]
        last_dev, last_join = node.get("last_dev_nonce", 0), node.get("last_join_nonce", 0)
        if (dev_nonce or last_dev or last_join) and dev_nonce <= last_dev:
            return None
        if node["root_keys"]["app_key"]["key"].lower() != app_key.hex():
            return None
        node["last_dev_nonce"], node["last_join_nonce"] = dev_nonce, last_join + 1
        return last_join + 1

    def answer(self, method: str, url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises Refusal."""
        with self._lock:
            parts = urlsplit(url)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            found = re.fullmatch(
                r"/api/v3/(?:(js|ns|as)/)?applications/([^/]+)(?:/(devices|link)(?:/([^/]+))?)?", parts.path
            )
            if found is None:
                raise Refusal(404, 5, "route_not_found", "route not found")
            registry, application, what, device = found[1] or "is", found[2], found[3], found[4]
            self.calls.append(f"{method} {'application' if what is None else what if what == 'link' else registry}")
            if key != f"Bearer {self.key}":
                raise Refusal(401, 16, "unauthenticated", "api key not found")
            for marker, refusal in self.fails.items():
                if marker.lower() in f"{url} {json.dumps(body)}".lower() and method != "GET":
                    raise refusal
            if self.too_fast:
                self.too_fast -= 1
                raise Refusal(429, 8, "rate_limit_exceeded", "slow down")
            if application not in self.applications:
                raise Refusal(404, 5, "application_not_found", f"application `{application}` not found")
            if what is None:
                return self.applications[application]
            if what == "link":
                return self._link(method, application, query, body)
            if device is None and method == "GET":
                return self._list(application, query)
            if method == "GET" and device is not None:
                return self._get(registry, application, device, query)
            return self._set(method, registry, application, device, body)

    def _link(self, method: str, application: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if method == "GET":
            if application not in self.links:
                raise Refusal(404, 5, "link_not_found", "link not found")
            return masked(self.links[application], query.get("field_mask", "").split(","))
        for path in body["field_mask"]["paths"]:
            if not path.startswith("default_formatters"):
                raise Refusal(400, 3, "invalid_field_mask", "forbidden path(s) in field mask")
        merge(self.links.setdefault(application, {}), body["link"], body["field_mask"]["paths"])
        return {}

    def _list(self, application: str, query: dict[str, str]) -> dict[str, Any]:
        limit, page = int(query.get("limit", "100")), int(query.get("page", "1"))
        if limit > 1000:
            raise Refusal(400, 3, "validation", "limit: value must be less than or equal to 1000")
        every = [node for (of, _), node in sorted(self.registries["is"].items()) if of == application]
        shown = every[(page - 1) * limit : page * limit]
        return {"end_devices": [masked(node, query["field_mask"].split(",")) for node in shown]} if shown else {}

    def _get(self, registry: str, application: str, device: str, query: dict[str, str]) -> dict[str, Any]:
        node = self.registries[registry].get((application, device))
        if node is None:
            raise Refusal(404, 5, "end_device_not_found", f"end device `{application}:{device}` not found")
        paths = query.get("field_mask", "").split(",")
        if any(path.startswith("root_keys") for path in paths) and not self.may_read_keys:
            raise Refusal(403, 7, "insufficient_application_rights", "insufficient rights")
        return masked(node, paths)

    def _set(
        self, method: str, registry: str, application: str, device: str | None, body: dict[str, Any]
    ) -> dict[str, Any]:
        said, paths = body["end_device"], body["field_mask"]["paths"]
        name = said["ids"]["device_id"]
        if device is not None and name != device:
            raise Refusal(400, 3, "validation", "ids.device_id does not match the path")
        if not ID.fullmatch(name) or len(name) > 36:
            raise Refusal(400, 3, "validation", "invalid end_device: embedded message failed validation")
        forbidden = [path for path in paths if path not in MAY_SET[registry]]
        if forbidden:
            raise Refusal(400, 3, "forbidden_path", f"forbidden path(s) in field mask: {', '.join(forbidden)}")
        nodes, key = self.registries[registry], (application, name)
        creates = (registry == "is" and method == "POST") or (registry != "is" and key not in nodes)
        if registry == "is" and method == "PUT" and key not in nodes:
            raise Refusal(404, 5, "end_device_not_found", f"end device `{application}:{name}` not found")
        for before in ORDER[: ORDER.index(registry)]:
            if key not in self.registries[before]:
                raise Refusal(404, 5, "end_device_not_found", f"end device `{application}:{name}` not found")
        if creates:
            if key in nodes:
                raise Refusal(409, 6, "id_taken", "ID already taken")
            euis = said["ids"]["dev_eui"].upper(), said["ids"]["join_eui"].upper()
            for (of, other), node in nodes.items():
                if (node["ids"]["dev_eui"], node["ids"]["join_eui"]) == euis:
                    raise Refusal(
                        409, 6, "end_device_euis_taken", f"an end device is registered as `{other}` in `{of}`"
                    )
            if not {"ids.dev_eui", "ids.join_eui"} <= {*paths}:
                raise Refusal(400, 3, "no_dev_eui", "no DevEUI specified")
            ids = {"device_id": name, "dev_eui": euis[0], "join_eui": euis[1]}
            nodes[key] = {"ids": {**ids, "application_ids": {"application_id": application}}}
        wanted = dict(nodes[key])
        merge(wanted, said, [path for path in paths if not path.startswith("ids.")])
        try:
            self._check(registry, wanted)
        except Refusal:
            if creates:
                del nodes[key]
            raise
        nodes[key] = wanted
        return masked(wanted, paths)

    @staticmethod
    def _check(registry: str, node: dict[str, Any]) -> None:
        if registry == "ns" and node.get("supports_join"):
            if node.get("frequency_plan_id") not in PLANS:
                raise Refusal(400, 3, "invalid_field_value", "invalid value of field `frequency_plan_id`")
            if node.get("lorawan_phy_version") not in VERSIONS.get(node.get("lorawan_version", ""), ()):
                raise Refusal(400, 3, "invalid_field_value", "invalid value of field `lorawan_phy_version`")
        if registry == "js":
            key = node.get("root_keys", {}).get("app_key", {}).get("key", "")
            if not re.fullmatch("[0-9A-Fa-f]{32}", key):
                raise Refusal(400, 3, "validation", "root_keys.app_key.key: invalid length")


def masked(thing: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """Only what the mask names, and of that only what is not empty; ids always."""
    found: dict[str, Any] = {"ids": thing["ids"]} if "ids" in thing else {}
    for path in paths:
        for value, names in _at(thing, path):
            place = found
            for name in names[:-1]:
                place = place.setdefault(name, {})
            if value not in (0, "", False, None, {}):
                place[names[-1]] = value
    return found


def merge(thing: dict[str, Any], said: dict[str, Any], paths: list[str]) -> None:
    """Write what the mask names; what it names and nobody said becomes empty."""
    for path in paths:
        *before, last = path.split(".")
        place, given = thing, said
        for name in before:
            place, given = place.setdefault(name, {}), given.get(name, {})
        place[last] = given.get(last)


def _at(thing: dict[str, Any], path: str) -> Iterator[tuple[Any, list[str]]]:
    names = path.split(".")
    for name in names:
        if not isinstance(thing, dict) or name not in thing:
            return
        thing = thing[name]
    yield thing, names


def _handler(stack: TheThingsStack) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet; else each answer waits 40 ms for an acknowledgement

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            status, retry = 200, None
            try:
                answer = stack.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            except Refusal as refusal:
                status, answer = refusal.status, refusal.body()
                retry = "0.01" if status == 429 else None
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if retry:
                self.send_header("X-Rate-Limit-Retry", retry)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _do  # noqa: N815

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    return Handler
