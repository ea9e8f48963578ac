"""Headers that every answer carries: what the browser may load, who may read it, what it may tell others. And how much
a request may bring.

The page needs nothing from elsewhere, so the Content-Security-Policy is `'self'` and no exception: Leaflet and uPlot
set styles through the object model, which a policy without `unsafe-inline` allows. The one host that may be added is
the tile server an operator switched on.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/api/v1"
ADMIN = f"{API}/admin"
MOST_BODY = 64 * 1024  # bytes; the longest request there is has a few hundred

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_PRIVATE = {"Cache-Control": "no-store"}
_OPEN_DATA = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT = {**_OPEN_DATA, "Access-Control-Allow-Methods": "GET", "Access-Control-Max-Age": "86400"}


def tile_source(tiles_url: str) -> str:
    """The CSP source of a tile address: `https://{s}.tile.example/{z}/{x}/{y}.png` -> `https://*.tile.example`.

    Raises ValueError when it is no http(s) address with a host.
    """
    parts = urlsplit(tiles_url.replace("{s}", "*"))
    if parts.scheme not in ("http", "https") or not parts.netloc or set(parts.netloc) & set(" ;,'\""):
        raise ValueError(f"not the address of a tile server: {tiles_url!r}")
    return f"{parts.scheme}://{parts.netloc}"


def content_security_policy(tiles_url: str | None) -> str:
    """The policy of every page; with tiles, their host and Leaflet's one-pixel `data:` image are let in."""
    policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    return f"{policy}; img-src 'self' data: {tile_source(tiles_url)}" if tiles_url else policy


def is_admin(path: str) -> bool:
    """Whether an address belongs to the operator."""
    return path == ADMIN or path.startswith(f"{ADMIN}/")


def address_of(scope: Scope) -> str:
    """Whose requests are counted together: an IPv4 address, or the /64 that one IPv6 customer has."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a Unix socket has none
        return host
    if address.version == 6:
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False).network_address)
    return host


class BodyLimit:
    """ASGI middleware: a request whose body is longer than `MOST_BODY` gets 413, and is not read to its end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = MOST_BODY

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"at most {MOST_BODY // 1024} KiB were expected")
            return message

        await self.app(scope, receive_some if scope["type"] == "http" else receive, send)


class SecurityHeaders:
    """ASGI middleware (not starlette's BaseHTTPMiddleware, which would stand between a client and its event stream)."""

    def __init__(self, app: ASGIApp, *, policy: str) -> None:
        self.app = app
        self.headers = {**_ALWAYS, "Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        admin = is_admin(scope["path"])
        open_data = scope["path"].startswith(f"{API}/") and not admin

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({**self.headers, **(_OPEN_DATA if open_data else _PRIVATE if admin else {})})
            await send(message)

        if open_data and scope["method"] == "OPTIONS":
            raw = [(name.lower().encode(), value.encode()) for name, value in {**_ALWAYS, **_PREFLIGHT}.items()]
            await send({"type": "http.response.start", "status": 204, "headers": raw})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send_with_headers)
