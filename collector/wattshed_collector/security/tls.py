"""TLS of the listener, with certificates that can be exchanged while it serves."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wattshed_exporter.errors import ConfigError


class Version(StrEnum):
    """Oldest version of TLS that is spoken; older ones are withdrawn (RFC 8996)."""

    TLS12 = "TLS12"
    TLS13 = "TLS13"


VERSIONS = {Version.TLS12: ssl.TLSVersion.TLSv1_2, Version.TLS13: ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Files:
    """What the listener's TLS is made of."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    certificate_required: bool = False
    oldest: Version = Version.TLS12

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(file for file in (self.cert_file, self.key_file, self.client_ca_file) if file)


def context(files: Files) -> ssl.SSLContext:
    """Return what a server needs to speak TLS.

    Raises:
        ConfigError: where a file is absent, is no certificate or key, or two do not fit.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = VERSIONS[files.oldest]
    # Nobody comes back on a ticket: it would let in whose authority was taken away since.
    made.options |= ssl.OP_NO_TICKET
    made.num_tickets = 0
    for file in files.paths:
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    try:
        # A key that is encrypted would be asked for on the terminal.
        made.load_cert_chain(files.cert_file, files.key_file, password=_no_password)
        if files.client_ca_file is not None:
            made.load_verify_locations(files.client_ca_file)
            made.verify_mode = _mode(files)
    except ssl.SSLError as error:
        said = error.reason or "is no certificate or key"
        shown = ", ".join(map(str, files.paths))
        raise ConfigError([f"{shown}: {said}"]) from None
    except ValueError as error:
        raise ConfigError([f"{files.key_file}: {error}"]) from None
    return made


def exchangeable(first: ssl.SSLContext, current: Any) -> ssl.SSLContext:
    """Have connections that ``first`` accepts use ``current()``'s certificate and authorities.

    Whether a client needs a certificate stays as it is in ``first``.
    """

    def exchange(connection: ssl.SSLObject, name: str | None, asked: ssl.SSLContext) -> None:
        connection.context = current()

    first.sni_callback = exchange  # called at each handshake, whether a name is asked for or not
    return first


def names(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the names of a verified certificate (``getpeercert``) as ``kind:name``."""
    told = certificate or {}
    for kind, value in told.get("subjectAltName", ()):
        yield f"{kind}:{value.lower() if kind == 'DNS' else value}"
    for part in told.get("subject", ()):
        for kind, value in part:
            if kind == "commonName":
                yield f"CN:{value}"


def _mode(files: Files) -> ssl.VerifyMode:
    return ssl.CERT_REQUIRED if files.certificate_required else ssl.CERT_OPTIONAL


def _no_password() -> str:
    raise ValueError("the key is encrypted")
