"""The gate before every route: who asks, whether they may, and whether there is room.

What is not named here needs the role of an administrator, so that a new route is closed until
somebody decides otherwise. Refusals come before a body is read.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from wattshed_collector.config import Requests
from wattshed_collector.config.security import is_loopback
from wattshed_collector.security import tls
from wattshed_collector.security.guard import Guard
from wattshed_collector.security.keys import IDENTITY
from wattshed_collector.security.limits import Rates, Seats
from wattshed_collector.security.rules import Identity, Role
from wattshed_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz", "/readyz"})
"""For probes: they say that it lives, and nothing else."""
INGEST = frozenset({"/v1/metrics", "/v1/outcomes", "/api/v1/write"})
REMOTE_WRITE = "/api/v1/write"
WRONG_PER_SECOND = 2.0
"""Wrong tokens that an address may show."""
PASSWORDS_PER_SECOND = 2.0
"""Passwords of an address that are compared, right or wrong: bcrypt costs a core. One that was
right is remembered."""
LONGEST_URL = 8000
KNOWN_HOSTS = 100
"""Host headers of which is remembered whether they name this collector."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
"""Beside the page's own, whose hashes say which scripts may run; this one a document cannot set."""
HTTPS_ONLY = "max-age=31536000"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """What is answered instead of what was asked."""

    def __init__(
        self, status: int, reason: str, said: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.reason, self.said = status, reason, said
        self.headers = dict(headers or {})
        super().__init__(said)


class Access:
    """``middleware`` sets ``request[IDENTITY]``.

    ``hosts`` are the names by which a collector that asks for nothing may be called; None: any.
    """

    def __init__(
        self,
        guard: Guard,
        limits: Requests,
        telemetry: Telemetry,
        hosts: Collection[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._limits = limits
        self._telemetry = telemetry
        self._hosts = hosts
        self._known_hosts: dict[str, bool] = {}
        self._rates, self._wrong, self._passwords = Rates(clock), Rates(clock), Rates(clock)
        seats = Seats(limits.concurrent, limits.concurrent_per_sender, limits.body_bytes)
        self._seats = seats
        telemetry.watch("requests_active", lambda: {(): seats.taken})
        telemetry.watch("requests_active_bytes", lambda: {(): seats.bytes})

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, or refuse."""
        try:
            response = await self._answer(request, handler)
        except Refused as refused:
            self._telemetry.count("refused_total", reason=refused.reason)
            response = web.json_response(
                {"error": refused.said}, status=refused.status, headers=refused.headers
            )
            if request.body_exists:
                response.force_close()  # nobody reads the rest of what was sent
        _protect(request, response)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._check_origin(request)
        if request.path in OPEN:
            return await handler(request)
        identity = await self._identity(request)
        _check_role(identity, needed(request), self._challenge())
        address = request.remote or ""
        sender = identity.name or address
        self._check_rate(request, identity, sender)
        size = request.content_length
        if size is None:
            size = 2**20 if request.body_exists else 0
        if reason := self._seats.refusal(sender, size):
            raise Refused(503, reason, f"too many requests at once: {reason}", {"Retry-After": "1"})
        request[IDENTITY] = identity
        with self._seats.seat(sender, size):
            response = await handler(request)
        self._telemetry.answered(identity.name, request.content_length or 0)
        return response

    async def _identity(self, request: web.Request) -> Identity:
        address = request.remote or ""
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        authorization = request.headers.get("Authorization", "")
        compares = self._guard.compares(authorization)
        if compares:
            _check_tries(self._passwords.wait_seconds(address, PASSWORDS_PER_SECOND))
        found = await self._guard.identify(authorization, tls.names(certificate))
        if found is not None:
            return found
        if not compares:
            _check_tries(self._wrong.wait_seconds(address, WRONG_PER_SECOND))
        raise Refused(
            401, "unauthenticated", "this token or password is not known here", self._challenge()
        )

    def _challenge(self) -> dict[str, str]:
        asked = ['Bearer realm="wattshed"']
        if self._guard.wants_password:
            asked.insert(0, 'Basic realm="wattshed", charset="UTF-8"')
        return {"WWW-Authenticate": ", ".join(asked)}

    def _check_rate(self, request: web.Request, identity: Identity, sender: str) -> None:
        own = identity.requests_per_second
        wait = self._rates.wait_seconds(sender, self._limits.per_second if own is None else own)
        if wait:
            # Prometheus throws away what is answered with 429, unless it is told otherwise.
            status = 503 if request.path == REMOTE_WRITE else 429
            raise Refused(status, "rate", "more requests per second than allowed", _in(wait))

    def _check_origin(self, request: web.Request) -> None:
        """Keep pages of other sites out, which a browser lets ask in its user's name."""
        if len(request.raw_path) > LONGEST_URL:
            raise Refused(414, "long_url", f"the URL is longer than {LONGEST_URL} characters")
        host = request.headers.get("Host", "")
        if self._hosts is not None and host and not self._is_ours(host):
            raise Refused(
                421, "host", f"this collector is not {_bare(host)!r}: name it in security.hosts"
            )
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        origin = request.headers.get("Origin", "")
        site = request.headers.get("Sec-Fetch-Site", "")
        if site == "cross-site" or (origin and urlsplit(origin).netloc != host):
            raise Refused(403, "cross_site", "a page of another site may not ask this")

    def _is_ours(self, host: str) -> bool:
        known = self._known_hosts.get(host)
        if known is None:
            bare = _bare(host)
            known = is_loopback(bare) or bare in (self._hosts or ())
            if len(self._known_hosts) >= KNOWN_HOSTS:
                self._known_hosts.clear()
            self._known_hosts[host] = known
        return known


def needed(request: web.Request) -> Role:
    """Return the role that a request needs."""
    if request.method in ("GET", "HEAD"):
        return Role.METRICS if request.path == "/metrics" else Role.READ
    if request.method == "POST" and request.path in INGEST:
        return Role.INGEST
    return Role.ADMIN


def _check_tries(wait_seconds: float) -> None:
    if wait_seconds:
        said = "too many wrong tokens or passwords"
        raise Refused(429, "wrong_too_often", said, _in(wait_seconds))


def _check_role(identity: Identity, role: Role, challenge: Mapping[str, str]) -> None:
    if identity.may(role):
        return
    if not identity.name:
        raise Refused(
            401, "unauthenticated", f"this needs the role {role}: show who you are", challenge
        )
    raise Refused(403, "forbidden", f"{identity.name} lacks the role {role}")


@web.middleware
async def unexpected(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn what nobody expected into an answer that says nothing of the inside; it is logged."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _json({"error": error.reason}, error.status, error.headers)
    except Exception:
        log.exception("cannot answer %s %s", request.method, request.path)
        return _json({"error": "internal error; the collector's log has more"}, 500, {})


def _json(document: object, status: int, headers: Mapping[str, str]) -> web.Response:
    kept = {name: headers[name] for name in ("Allow",) if name in headers}
    return web.Response(
        text=json.dumps(document), status=status, headers=kept, content_type="application/json"
    )


def _protect(request: web.Request, response: web.StreamResponse) -> None:
    if response.prepared:
        return
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    is_page = response.content_type == "text/html"
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else POLICY)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Server", "wattshed")
    if request.secure:
        response.headers.setdefault("Strict-Transport-Security", HTTPS_ONLY)


def _in(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}


def _bare(host: str) -> str:
    """Return a Host header without its port, in lower case."""
    return (urlsplit(f"//{host}").hostname or "").lower()
