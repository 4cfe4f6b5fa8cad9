"""One kept-alive HTTP connection to a collector, with TLS where the endpoint begins with https.

Sources: https://opentelemetry.io/docs/specs/otlp/#otlphttp, RFC 9110 (Retry-After).
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from wattshed_exporter import __version__
from wattshed_exporter.config import Otlp
from wattshed_exporter.errors import ConfigError

from .plain_http import Connection, Plain

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
        if self._secure == "https":
            from .secure_http import tls_problems

            if problems := tls_problems(config):
                raise ConfigError(problems)
        self._connection: Connection | None = None

    def post(self, body: bytes) -> tuple[int, bytes, float]:
        """Return status, body and the seconds of Retry-After; raise ``Retry`` without an answer."""
        stale = self._connection is not None
        try:
            return self._once(body)
        except OSError as error:
            self.close()
            if not stale or isinstance(error, TimeoutError):
                raise _unreachable(error) from error
        # The collector closed a connection that had been idle; a new one is worth a try at once.
        try:
            return self._once(body)
        except OSError as error:
            self.close()
            raise _unreachable(error) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, body: bytes) -> tuple[int, bytes, float]:
        if self._connection is None:
            self._connection = self._connect()
        answer = self._connection.post(self._path, body, self._headers, LARGEST_ANSWER_BYTES)
        if not answer.whole:
            self.close()  # the rest of an answer that nobody needs, or the end of the connection
        return answer.status, answer.body, retry_after(answer.retry_after)

    def _connect(self) -> Connection:
        seconds = self._config.timeout_seconds
        if self._secure != "https":
            return Plain(self._host, self._port or 80, seconds)
        # OpenSSL is 4 MB that a node which does not speak TLS need not give.
        from .secure_http import Secure

        return Secure(self._host, self._port, seconds, self._config)


def retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, 0 where it makes no sense."""
    if header.isdecimal():
        return min(float(header), LONGEST_RETRY_AFTER_SECONDS)
    if not header:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):  # of a date that no clock can show
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _unreachable(error: Exception) -> Retry:
    return Retry(f"the collector cannot be reached: {error or type(error).__name__}")
