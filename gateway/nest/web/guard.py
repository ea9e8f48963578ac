"""Who may act as the operator: whoever brings the admin token, as `Authorization: Bearer …`.

The guard stands before everything below `/api/v1/admin`, before a body is read and before it is known whether there is
such an address: without the token every request gets the same 401. There are no cookies, so no website can make a
browser act for the operator. Whoever errs too often has to wait; guessing 256 bits would be hopeless even so. But the
right token is let in even then: a whole school may share one address, and one pupil must not lock the operator out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from nest.archive import meta
from nest.tokens import matches
from nest.web.security import address_of, is_admin

MOST_FAILURES = 10  # of one address …
PERIOD_S = 60.0  # … in so long
_MOST_ADDRESSES = 10_000
PASSED = "nest.operator"  # in the scope of a request that has shown the token


class Failures:
    """How often each address has brought no good token of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, tuple[float, int]] = OrderedDict()  # address -> (since when, how many)

    def wait_s(self, address: str) -> int:
        """How many seconds this address has to wait; 0: none."""
        since, count = self._of.get(address, (0.0, 0))
        left = since + PERIOD_S - self._clock()
        return max(1, round(left)) if count >= MOST_FAILURES and left > 0 else 0

    def note(self, address: str) -> None:
        """One more failure."""
        now = self._clock()
        since, count = self._of.pop(address, (now, 0))
        if now - since >= PERIOD_S:
            since, count = now, 0
        self._of[address] = (since, count + 1)
        if len(self._of) > _MOST_ADDRESSES:
            self._of.popitem(last=False)


class Guard:
    """ASGI middleware, see above."""

    def __init__(self, app: ASGIApp, *, engine: Engine, failures: Failures | None = None) -> None:
        self.app = app
        self._engine = engine
        self._failures = Failures() if failures is None else failures
        self._kept: str | None = None  # the fingerprint when it was last read: whoever has to wait costs no reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_admin(scope["path"]):
            await self.app(scope, receive, send)
            return
        answer = await self._refusal(scope)
        if answer is None:
            scope[PASSED] = True
            await self.app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _refusal(self, scope: Scope) -> JSONResponse | None:
        address = address_of(scope)
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if (wait := self._failures.wait_s(address)) and not matches(token.strip(), self._kept):
            return JSONResponse({"detail": "too many attempts"}, 429, {"Retry-After": str(wait)})
        try:
            kept = self._kept = await run_in_threadpool(meta.get, self._engine, meta.ADMIN_TOKEN)
        except SQLAlchemyError:
            return JSONResponse({"detail": "the database does not answer now"}, 503, {"Retry-After": "5"})
        if scheme.lower() == "bearer" and matches(token.strip(), kept):
            return None
        self._failures.note(address)
        return JSONResponse({"detail": "unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})
