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

from wattshed_collector.clickhouse import shown
from wattshed_collector.config import Requests
from wattshed_collector.config.security import is_loopback
from wattshed_collector.errors import INTERNAL
from wattshed_collector.security import tls
from wattshed_collector.security.asked import Asked
from wattshed_collector.security.guard import Guard
from wattshed_collector.security.keys import IDENTITY
from wattshed_collector.security.limits import Rates, Seats
from wattshed_collector.security.rules import Identity, Role
from wattshed_collector.telemetry import Telemetry

from .documents import answered

log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz", "/readyz", "/clickhouse/ping"})
"""For probes: they say that it lives, and nothing else."""
ASKED_BY_POST = frozenset({"/clickhouse"})
"""Where a question is the body of a request, which changes nothing."""
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
CHALLENGE = {"WWW-Authenticate": 'Basic realm="wattshed", charset="UTF-8", Bearer realm="wattshed"'}
"""A browser asks its user for a name and a password; a token may be the password."""
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
            text, told = self.told(refused), dict(refused.headers)
            if shown.is_ours(request.path):
                text, more = shown.refusal(refused.status, refused.said)
                told |= more
            kind = "text/plain" if shown.is_ours(request.path) else "application/json"
            response = web.Response(
                text=text, status=refused.status, headers=told, content_type=kind
            )
            if request.body_exists:
                response.force_close()  # nobody reads the rest of what was sent
        _protect(request, response)
        return response

    def told(self, refused: Refused) -> str:
        """Count a refusal, and return the JSON that says it."""
        self._telemetry.count("refused_total", reason=refused.reason)
        return json.dumps({"error": refused.said})

    def compares(self, asked: Asked) -> bool:
        """Return whether a password has to be compared, for which ``enter`` does not wait."""
        return bool(asked.authorization) and self._guard.compares(asked.authorization)

    def enter(self, asked: Asked, size: int) -> Identity:
        """Return who asks, with a seat for a body of ``size`` bytes until ``leave``.

        Raises Refused.
        """
        self._check_origin(asked)
        identity = self._guard.known(asked.authorization, asked.names)
        if identity is None:
            raise self._unknown(asked)
        self._seats.take(self._admitted(asked, identity, size), size)
        return identity

    def leave(self, asked: Asked, identity: Identity, size: int) -> None:
        """Give the seat back once it is answered, and count the request."""
        self._seats.give(identity.name or asked.address, size)
        self._telemetry.answered(identity.name, size)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = self._asked(request)
        self._check_origin(asked)
        if request.path in OPEN:
            return await handler(request)
        identity = await self._identity(asked)
        size = request.content_length
        if size is None:
            size = 2**20 if request.body_exists else 0
        sender = self._admitted(asked, identity, size)
        request[IDENTITY] = identity
        with self._seats.seat(sender, size):
            response = await handler(request)
        self._telemetry.answered(identity.name, request.content_length or 0)
        return response

    def _asked(self, request: web.Request) -> Asked:
        authorization = self._guard.unwrapped(request.headers.get("Authorization", ""))
        if shown.is_ours(request.path):
            authorization = shown.authorization(
                request.headers, request.query, self._guard.knows_token
            )
        return _asked(request, authorization)

    async def _identity(self, asked: Asked) -> Identity:
        compares = self._guard.compares(asked.authorization)
        if compares:
            _check_tries(self._passwords.wait_seconds(asked.address, PASSWORDS_PER_SECOND))
        found = await self._guard.identify(asked.authorization, asked.names)
        if found is not None:
            return found
        raise self._wrong_password() if compares else self._unknown(asked)

    def _unknown(self, asked: Asked) -> Refused:
        """Return the refusal of what somebody shows. Raises Refused where they try too often."""
        _check_tries(self._wrong.wait_seconds(asked.address, WRONG_PER_SECOND))
        return self._wrong_password()

    def _wrong_password(self) -> Refused:
        said = "this token or password is not known here"
        return Refused(401, "unauthenticated", said, CHALLENGE)

    def _admitted(self, asked: Asked, identity: Identity, size: int) -> str:
        """Return as whose request it counts. Raises Refused where they may not, or not now."""
        role = needed(asked.method, asked.path)
        if not identity.may(role):
            raise _lacking(identity, role)
        sender = identity.name or asked.address
        self._check_rate(asked, identity, sender)
        if reason := self._seats.refusal(sender, size):
            raise Refused(503, reason, f"too many requests at once: {reason}", {"Retry-After": "1"})
        return sender

    def _check_rate(self, asked: Asked, identity: Identity, sender: str) -> None:
        own = identity.requests_per_second
        wait = self._rates.wait_seconds(sender, self._limits.per_second if own is None else own)
        if wait:
            # Prometheus throws away what is answered with 429, unless it is told otherwise.
            status = 503 if asked.path == REMOTE_WRITE else 429
            raise Refused(status, "rate", "more requests per second than allowed", _in(wait))

    def _check_origin(self, asked: Asked) -> None:
        """Keep pages of other sites out, which a browser lets ask in its user's name."""
        if asked.url_length > LONGEST_URL:
            raise Refused(414, "long_url", f"the URL is longer than {LONGEST_URL} characters")
        host = asked.host
        if self._hosts is not None and host and not self._is_ours(host):
            raise Refused(
                421, "host", f"this collector is not {_bare(host)!r}: name it in security.hosts"
            )
        if asked.method in ("GET", "HEAD", "OPTIONS") and not shown.is_ours(asked.path):
            return
        origin = asked.origin
        if asked.site == "cross-site" or (origin and urlsplit(origin).netloc != host):
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


def needed(method: str, path: str) -> Role:
    """Return the role that a request needs."""
    if method in ("GET", "HEAD"):
        return Role.METRICS if path == "/metrics" else Role.READ
    if method == "POST" and path in INGEST:
        return Role.INGEST
    if method == "POST" and path in ASKED_BY_POST:
        return Role.READ
    return Role.ADMIN


def _asked(request: web.Request, authorization: str) -> Asked:
    transport, headers = request.transport, request.headers
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return Asked(
        request.method,
        request.path,
        request.remote or "",
        headers.get("Host", ""),
        authorization,
        tuple(tls.names(certificate)),
        headers.get("Origin", ""),
        headers.get("Sec-Fetch-Site", ""),
        len(request.raw_path),
    )


def _check_tries(wait_seconds: float) -> None:
    if wait_seconds:
        said = "too many wrong tokens or passwords"
        raise Refused(429, "wrong_too_often", said, _in(wait_seconds))


def _lacking(identity: Identity, role: Role) -> Refused:
    if identity.name:
        return Refused(403, "forbidden", f"{identity.name} lacks the role {role}")
    return Refused(
        401, "unauthenticated", f"this needs the role {role}: show who you are", CHALLENGE
    )


@web.middleware
async def unexpected(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn what nobody expected into an answer that says nothing of the inside; it is logged."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = answered({"error": error.reason}, error.status)
        answer.headers.update({n: error.headers[n] for n in ("Allow",) if n in error.headers})
        return answer
    except Exception:
        log.exception("cannot answer %s %s", request.method, request.path)
        return answered({"error": INTERNAL}, 500)


def protection(*, is_page: bool = False, secure: bool = False) -> dict[str, str]:
    """Return the headers of every answer that do not say otherwise themselves."""
    told = {**HEADERS, "Content-Security-Policy": PAGE_POLICY if is_page else POLICY}
    told |= {"Cache-Control": "no-store", "Server": "wattshed"}
    return {**told, "Strict-Transport-Security": HTTPS_ONLY} if secure else told


def _protect(request: web.Request, response: web.StreamResponse) -> None:
    if response.prepared:
        return
    is_page = response.content_type == "text/html"
    for name, value in protection(is_page=is_page, secure=request.secure).items():
        response.headers.setdefault(name, value)


def _in(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}


def _bare(host: str) -> str:
    """Return a Host header without its port, in lower case."""
    return (urlsplit(f"//{host}").hostname or "").lower()
