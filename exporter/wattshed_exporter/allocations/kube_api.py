"""The Kubernetes API over HTTP: one object by GET, or a watch; standard library only.

The token is read anew for every request, because it is replaced while this runs, and it is sent
over https alone. Sources: "Kubernetes API Concepts" (watches, bookmarks, 410 Gone) and "Accessing
the API from a Pod" of Kubernetes' documentation.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from wattshed_exporter.errors import SourceError

Json = dict[str, Any]
Keep = Callable[[Json], Json]
"""Called for each object of an answer as soon as it is read; returns what is kept of it."""

FOREIGN = (OSError, ValueError, http.client.HTTPException)
"""What a server can make the library raise."""
LARGEST_ANSWER_BYTES = 64 << 20
LONGEST_EVENT_BYTES = 8 << 20
LONGEST_REFUSAL_BYTES = 1 << 16
KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""A watch is silent for minutes; a connection whose other end is gone is found within 30 s."""


class KubeApi:
    """Asks one API server, with a connection for each request.

    Args:
        url: such as ``https://10.0.0.1:443``.
        credentials: folder with ``token`` and ``ca.crt``, either of which may be absent.
        timeout_seconds: longest wait to connect, and for the next bytes of an answer.
    """

    def __init__(self, url: str, credentials: Path, timeout_seconds: float = 10.0) -> None:
        self.url = url
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise SourceError(f"{url!r} is malformed: {error}", "config") from error
        if parts.scheme not in ("http", "https") or not self._host:
            raise SourceError(f"{url!r} is not a URL such as https://192.0.2.1:6443", "config")
        self._tls = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")
        self._credentials = credentials
        self._timeout_seconds = timeout_seconds
        self._watched: socket.socket | None = None

    def get(self, path: str, query: Mapping[str, str], keep: Keep | None = None) -> Json:
        """Return the object at a path.

        Raises:
            SourceError: ``unauthorized``, ``forbidden``, ``vanished`` (404), ``gone`` (410),
                ``http_error``, ``malformed``, ``timeout``, ``unreachable``, ``tls``, ``config``.
        """
        try:
            with closing(self._connect()) as connection:
                body = self._ask(connection, path, query).read(LARGEST_ANSWER_BYTES + 1)
        except FOREIGN as error:
            raise self._failed(error) from error
        if len(body) > LARGEST_ANSWER_BYTES:
            told = f"{self.url}{path}: more than {LARGEST_ANSWER_BYTES} bytes"
            raise SourceError(told, "too_large")
        return self._parse(body, path, keep)

    def watch(
        self, path: str, query: Mapping[str, str], silence_seconds: float, keep: Keep | None = None
    ) -> Generator[Json, None, None]:
        """Return the events of a watch, which has begun; it may be silent for so many seconds.

        Raises as ``get``, also while the events are read; it ends when the server ends it.
        """
        with ExitStack() as opened:
            try:
                connection = opened.enter_context(closing(self._connect()))
                link = connection.sock
                response = self._ask(connection, path, {**query, "watch": "1"})
                link.settimeout(silence_seconds)
            except FOREIGN as error:
                raise self._failed(error) from error
            self._watched = link
            opened.pop_all()
        return self._events(connection, response, path, keep)

    def close(self) -> None:
        """End the watch that is under way; called from another thread."""
        watched, self._watched = self._watched, None
        if watched is not None:
            with suppress(OSError):
                # Not the method of the TLS socket, which would take its state away from the reader.
                socket.socket.shutdown(watched, socket.SHUT_RDWR)

    def _events(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        path: str,
        keep: Keep | None,
    ) -> Generator[Json, None, None]:
        try:
            while line := response.readline(LONGEST_EVENT_BYTES + 1):
                if not line.endswith(b"\n"):
                    told = "too long" if len(line) > LONGEST_EVENT_BYTES else "cut off"
                    raise SourceError(f"{self.url}{path}: an event is {told}", "malformed")
                yield self._parse(line, path, keep)
        except FOREIGN as error:
            raise self._failed(error) from error
        finally:
            self._watched = None
            response.close()
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._connection()
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return connection

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, self._timeout_seconds)
        file = self._credentials / "ca.crt"
        try:
            context = ssl.create_default_context(cafile=file if file.exists() else None)
        except OSError as error:
            raise SourceError(f"{file} holds no certificates: {error}", "config") from error
        # Authorities of clusters often lack the key identifiers that Python 3.13 began to ask for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_seconds, context=context
        )

    def _ask(
        self, connection: http.client.HTTPConnection, path: str, query: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        target = f"{self._prefix}{path}?{urlencode(query)}"
        connection.request("GET", target, headers=self._headers())
        response = connection.getresponse()
        if response.status != 200:
            body = response.read(LONGEST_REFUSAL_BYTES)
            raise self._refused(response.status, path, "watch" in query, body)
        return response

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "wattshed"}
        file = self._credentials / "token"
        if self._tls and file.exists():
            token = file.read_text(encoding="utf-8", errors="replace").strip()
            if not (token.isascii() and token.isprintable()):
                raise SourceError(f"{file} holds no token", "config")
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _parse(self, body: bytes, path: str, keep: Keep | None) -> Json:
        try:
            value = json.loads(body, object_hook=keep)
        except (ValueError, RecursionError) as error:
            told = f"{self.url}{path} is not JSON: {error!s:.120}"
            raise SourceError(told, "malformed") from error
        if not isinstance(value, dict):
            raise SourceError(f"{self.url}{path} is not a JSON object", "malformed")
        return value

    def _refused(self, status: int, path: str, watch: bool, body: bytes) -> SourceError:
        resource, where = path.rpartition("/")[2], f"{self.url}{path}"
        if status == 401:
            token = self._credentials / "token"
            return SourceError(f"{self.url} does not accept the token in {token}", "unauthorized")
        if status == 403:
            verb = "watch" if watch else "list"
            told = f"{where}: the service account may not {verb} {resource}: its role needs the "
            return SourceError(f"{told}verbs get, list and watch on {resource}", "forbidden")
        if status == 404:
            return SourceError(f"{where} does not exist", "vanished")
        if status == 410:
            return SourceError(f"{where}: that version is gone", "gone")
        said = body.decode(errors="replace")[:200]
        return SourceError(f"{where}: HTTP status {status}: {said}", "http_error")

    def _failed(self, error: Exception) -> SourceError:
        if isinstance(error, ssl.SSLCertVerificationError):
            told = f"its certificate is not trusted ({error.verify_message}): its authority"
            return SourceError(
                f"{self.url}: {told} belongs in {self._credentials / 'ca.crt'}", "tls"
            )
        if isinstance(error, ssl.SSLError):
            return SourceError(f"{self.url}: no TLS connection: {error}", "tls")
        if isinstance(error, TimeoutError):
            return SourceError(f"{self.url}: no answer in time", "timeout")
        if isinstance(error, OSError):
            return SourceError(f"{self.url} cannot be reached: {error}", "unreachable")
        return SourceError(f"{self.url} does not speak HTTP: {error!r:.120}", "malformed")
