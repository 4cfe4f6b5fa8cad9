"""One kept-alive HTTP connection to a collector, with TLS where the endpoint begins with https.

Sources: https://opentelemetry.io/docs/specs/otlp/#otlphttp, RFC 9110 (Retry-After).
"""

from __future__ import annotations

import http.client
import ssl
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from wattshed_exporter import __version__
from wattshed_exporter.config import Otlp
from wattshed_exporter.errors import ConfigError

PATH = "/v1/metrics"
LONGEST_RETRY_AFTER_SECONDS = 300.0
LARGEST_ANSWER_BYTES = 1 << 16


class Retry(Exception):
    """The collector did not take a request but may take it later; ``after_seconds`` is its wish."""

    def __init__(self, message: str, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Client:
    """Posts gzipped requests.

    Raises:
        ConfigError: where a certificate or key cannot be used.
    """

    def __init__(self, config: Otlp) -> None:
        parts = urlsplit(config.endpoint)
        path = parts.path.rstrip("/")
        self._config = config
        self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme
        self._path = path if path.endswith(PATH) else path + PATH
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"wattshed-exporter/{__version__}",
        }
        if config.token:
            self._headers["Authorization"] = f"Bearer {config.token}"
        if self._secure == "https" and (problems := tls_problems(config)):
            raise ConfigError(problems)
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> tuple[int, bytes, float]:
        """Return status, body and the seconds of Retry-After; raise ``Retry`` without an answer."""
        stale = self._connection is not None
        try:
            return self._once(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not stale or isinstance(error, TimeoutError):
                raise _unreachable(error) from error
        # The collector closed a connection that had been idle; a new one is worth a try at once.
        try:
            return self._once(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _unreachable(error) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, body: bytes) -> tuple[int, bytes, float]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        answer = response.read(LARGEST_ANSWER_BYTES)
        if not response.isclosed():
            self.close()  # the rest of an answer that nobody needs
        return response.status, answer, retry_after(response.getheader("Retry-After", ""))

    def _connect(self) -> http.client.HTTPConnection:
        seconds = self._config.timeout_seconds
        if self._secure != "https":
            return http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        # Read anew for every connection, because certificates are renewed while this runs.
        context = tls_context(self._config)
        return http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=context)


def tls_context(config: Otlp) -> ssl.SSLContext:
    """Return a context that verifies the collector; raises ``OSError`` where a file is no good."""
    context = ssl.create_default_context()
    if config.ca_file is not None:
        context.load_verify_locations(config.ca_file)
    if config.cert_file is not None:
        # Without a function for the passphrase the library would ask on the terminal.
        context.load_cert_chain(config.cert_file, config.key_file, password=lambda: "")
    return context


def tls_problems(config: Otlp) -> list[str]:
    """Return what is wrong with the files that TLS needs, each as one sentence."""
    problems = []
    for name in ("ca_file", "cert_file", "key_file"):
        file: Path | None = getattr(config, name)
        try:
            if file is not None:
                file.open("rb").close()
        except OSError as error:
            problems.append(f"otlp.{name}: {file} cannot be read: {error.strerror}")
    if problems:
        return problems
    context = ssl.create_default_context()
    try:
        if config.ca_file is not None:
            context.load_verify_locations(config.ca_file)
    except OSError:
        problems.append(f"otlp.ca_file: {config.ca_file} holds no certificate in PEM format")
    try:
        tls_context(_without_ca(config))
    except OSError as error:
        said = getattr(error, "reason", None) or "no certificate and key in PEM format"
        told = f"{config.cert_file} and {config.key_file or 'the key in it'}"
        problems.append(f"otlp.cert_file: {told} cannot be used: {said}")
    return problems


def _without_ca(config: Otlp) -> Otlp:
    return Otlp(cert_file=config.cert_file, key_file=config.key_file)


def retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, 0 where it makes no sense."""
    if header.isdecimal():
        return min(float(header), LONGEST_RETRY_AFTER_SECONDS)
    try:
        seconds = parsedate_to_datetime(header).timestamp() - time.time() if header else 0.0
    except (ValueError, OverflowError, OSError):  # of a date that no clock can show
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _unreachable(error: Exception) -> Retry:
    return Retry(f"the collector cannot be reached: {error or type(error).__name__}")
