"""JSON over HTTP, for the sources that ask another device: standard library only, synchronous.

What another device says is foreign: numbers are parsed as decimals, so that an energy counter keeps
its last digit, and whatever is not a number, not finite or out of all proportion counts as unsaid.
Certificates are always verified. Redirects are not followed and links to other hosts are not
opened, because the password would go along. Every failure is a ``SourceError`` that names the
device, but never the user or the password.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from wattshed_exporter.errors import SourceError

Json = dict[str, Any]

LONGEST_BODY = 4 << 20
LONGEST_TEXT = 200
LARGEST = 10**12
"""No power, voltage or energy of one device is larger than this in any unit that is in use."""
COUNTER_BITS = 63
RESTARTED = 0.5
"""A counter that falls to less than this share of its highest value has started anew."""


class HttpJson:
    """Asks one device. ``keep`` holds the connection open between requests.

    ``timeout_seconds`` bounds each wait for the device: to connect, and for the next bytes.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: Path | None = None,
        timeout_seconds: float = 5.0,
        keep: bool = False,
    ) -> None:
        self.host, self._port, self._tls, self._prefix = _split(url)
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.origin = f"{'https' if self._tls else 'http'}://{shown}:{self._port}"
        self._ca_file = ca_file
        self._timeout_seconds = timeout_seconds
        self._keep = keep
        self._connection: http.client.HTTPConnection | None = None
        self._headers = {"Accept": "application/json", "User-Agent": "wattshed"}
        if username:
            secret = base64.b64encode(
                f"{username}:{password}".encode(errors="surrogateescape")
            ).decode()
            self._headers["Authorization"] = f"Basic {secret}"

    def get(self, path: str) -> Json:
        """Return the JSON object at a path.

        Raises:
            SourceError: ``unauthorized``, ``vanished`` (404), ``http_error``, ``redirect``,
                ``malformed``, ``timeout``, ``unreachable``, ``tls`` or ``config``.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise SourceError(f"{self.origin}: {path[:80]!r} leads elsewhere", "malformed")
        target = quote(self._prefix + path.partition("#")[0], safe="/%?=&,:~+!$'()*;@")
        status, body = self._exchange(target)
        if status != 200:
            raise self._refused(status, target)
        return parse(body, f"{self.origin}{target}")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _exchange(self, target: str) -> tuple[int, bytes]:
        try:
            if self._connection is not None:
                # The other side closes an idle connection when it likes.
                with suppress(ConnectionError, http.client.HTTPException, ssl.SSLError):
                    return self._ask(self._connection, target)
                self.close()
            self._connection = self._connect()
            return self._ask(self._connection, target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            raise self._failed(error) from error

    def _ask(self, connection: http.client.HTTPConnection, target: str) -> tuple[int, bytes]:
        connection.request("GET", target, headers=self._headers)
        response = connection.getresponse()
        body = response.read(LONGEST_BODY + 1)
        if not self._keep or response.status != 200 or len(body) > LONGEST_BODY:
            self.close()
        if len(body) > LONGEST_BODY:
            raise http.client.HTTPException(f"more than {LONGEST_BODY} bytes")
        return response.status, body

    def _connect(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self.host, self._port, timeout=self._timeout_seconds)
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise SourceError(
                f"{self._ca_file} holds no certificates that can be read: {error}", "config"
            ) from error
        return http.client.HTTPSConnection(
            self.host, self._port, timeout=self._timeout_seconds, context=context
        )

    def _refused(self, status: int, target: str) -> SourceError:
        if status in (401, 403):
            if "Authorization" in self._headers:
                return SourceError(
                    f"{self.origin} refuses the user name or the password", "unauthorized"
                )
            return SourceError(f"{self.origin} asks for a password", "unauthorized")
        if status in (404, 410):
            return SourceError(f"{self.origin}{target} does not exist", "vanished")
        if 300 <= status < 400:
            return SourceError(f"{self.origin}{target} redirects: use the final URL", "redirect")
        return SourceError(f"{self.origin}{target}: HTTP status {status}", "http_error")

    def _failed(self, error: Exception) -> SourceError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return SourceError(self._untrusted(error), "tls")
        if isinstance(error, ssl.SSLError):
            return SourceError(f"{self.origin}: no TLS connection: {error}", "tls")
        if isinstance(error, TimeoutError):
            return SourceError(
                f"{self.origin}: no answer within {self._timeout_seconds:g} s", "timeout"
            )
        if isinstance(error, OSError):
            return SourceError(f"{self.origin} cannot be reached: {error}", "unreachable")
        if isinstance(error, UnicodeError):
            return SourceError(f"{self.origin}: the name of the host is malformed", "config")
        return SourceError(f"{self.origin} does not speak HTTP: {error!r:.120}", "malformed")

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        return (
            f"{self.origin}: its certificate is not trusted ({error.verify_message}): name the "
            "file of its issuer, or of the certificate itself if it is self-signed, in ca_file, "
            "and use the host's name as the certificate has it"
        )


@dataclass(slots=True)
class Counter:
    """An energy counter as read so far, to tell that it started anew from that it went back.

    What follows takes a counter that fell for one that began at zero, and all of its value for new
    energy. So a value a little below the highest (energy given back, or an old value restored) is
    left out until the counter has caught up.
    """

    _highest_uj: int = 0
    _start_ms: int | None = None

    def take(self, energy_uj: int | None, start_ms: int | None = None) -> int | None:
        """Return the value if it can be believed, else None."""
        if energy_uj is None:
            return None
        restarted = start_ms != self._start_ms or energy_uj < self._highest_uj * RESTARTED
        if energy_uj < self._highest_uj and not restarted:
            return None
        self._highest_uj, self._start_ms = energy_uj, start_ms
        return energy_uj


def parse(body: bytes, where: str) -> Json:
    """Return the JSON object in ``body``; ``SourceError`` (``malformed``) where there is none."""
    try:
        value = json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise SourceError(f"{where} is not JSON: {error!s:.120}", "malformed") from error
    if not isinstance(value, dict):
        raise SourceError(f"{where} is not a JSON object", "malformed")
    return value


def dig(value: object, *names: str) -> object:
    """Return what is nested under these names, None where one of them is missing."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def objects(value: object) -> list[Json]:
    """Return the objects of a list, {} for what is none, [] where it is not a list."""
    items = value if isinstance(value, list) else []
    return [item if isinstance(item, dict) else {} for item in items]


def number(value: object) -> Decimal | None:
    """Return a number that may be a measurement; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value) if -LARGEST <= value <= LARGEST else None


def microjoules(value: object, unit_uj: int) -> int | None:
    """Return an energy in microjoules, exactly; None where it is negative or no number."""
    amount = number(value)
    if amount is None or amount < 0:
        return None
    energy_uj = int(amount * unit_uj)
    return energy_uj if energy_uj.bit_length() <= COUNTER_BITS else None


def text(value: object) -> str:
    """Return a string that can be shown and encoded; "" for everything else."""
    if not isinstance(value, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in value[:LONGEST_TEXT])
    return printable.strip()


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _split(url: str) -> tuple[str, int, bool, str]:
    """Return host, port, whether it is https, and the path in front of every other."""
    if "@" in url:
        raise SourceError("a URL holds a user name or a password, which do not go there", "config")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{url!r} is malformed: {error}", "config") from error
    if parts.scheme not in ("http", "https") or not host:
        raise SourceError(f"{url!r} is not a URL such as https://192.0.2.1", "config")
    tls = parts.scheme == "https"
    return host, port or (443 if tls else 80), tls, parts.path.rstrip("/")
