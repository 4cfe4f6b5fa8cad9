"""Who we are to a target, and whom we believe: files are read again when they change."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable
from typing import Generic, TypeVar

from wattshed_collector.config import Auth, Tls
from wattshed_collector.config.discovery import breaks

from .reply import Failed

T = TypeVar("T")
Stamp = tuple[int, int, int]


class Fresh(Generic[T]):
    """What was made of some files, made again where one of them changed."""

    def __init__(self, files: tuple[str, ...], make: Callable[[], T]) -> None:
        self._files = tuple(filter(None, files))
        self._make = make
        self._made: tuple[list[Stamp], T] | None = None

    def get(self) -> T:
        """Return it. Raises Failed where a file cannot be used and none could be before."""
        try:
            stamps = [_stamp(file) for file in self._files]
            if self._made is None or self._made[0] != stamps:
                self._made = stamps, self._make()
        except (OSError, ValueError) as error:
            name = getattr(error, "filename", None) or ", ".join(self._files)
            said = getattr(error, "strerror", None) or error
            raise Failed(f"{name}: cannot be used: {said}", "credentials") from error
        return self._made[1]


def authorization(auth: Auth) -> Fresh[str]:
    """Return the header that says who asks, with its line end; "" for nobody."""

    def make() -> str:
        if auth.username:
            password = secret(auth.password_file) if auth.password_file else ""
            said = base64.b64encode(f"{auth.username}:{password}".encode()).decode()
            return f"Authorization: Basic {said}\r\n"
        token = auth.token or (secret(auth.token_file) if auth.token_file else "")
        return f"Authorization: Bearer {token}\r\n" if token else ""

    return Fresh((auth.token_file, auth.password_file), make)


def context(tls: Tls) -> Fresh[ssl.SSLContext]:
    """Return the context for connections by TLS."""

    def make() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.insecure:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if tls.cert_file:
            # Without the function a key with a passphrase would ask the terminal for it.
            made.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
        return made

    return Fresh((tls.ca_file, tls.cert_file, tls.key_file), make)


def secret(file: str) -> str:
    """Return the one line of a file. Raises OSError and ValueError."""
    with open(file, encoding="utf-8") as stream:
        said = stream.read().strip()
    if not said or breaks(said) or not said.isascii():
        raise ValueError("it should hold one line of ASCII")
    return said


def _stamp(file: str) -> Stamp:
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size, found.st_ino
