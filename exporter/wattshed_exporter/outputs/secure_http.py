"""Requests over one kept-alive connection with TLS; imported only where an endpoint asks for it."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path

from wattshed_exporter.config import Otlp

from .plain_http import Answer


class Secure:
    """A connection with TLS, opened by the first request."""

    def __init__(self, host: str, port: int | None, seconds: float, config: Otlp) -> None:
        # Read anew for every connection, because certificates are renewed while this runs.
        context = tls_context(config)
        self._connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)

    def post(self, path: str, body: bytes, headers: Mapping[str, str], most: int) -> Answer:
        try:
            self._connection.request("POST", path, body, dict(headers))
            response = self._connection.getresponse()
            told = response.read(most)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        wish = response.getheader("Retry-After", "")
        return Answer(response.status, wish, told, response.isclosed())

    def close(self) -> None:
        self._connection.close()


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
