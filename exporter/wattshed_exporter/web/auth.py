"""Basic authentication against bcrypt hashes; imported only where a file names users."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Mapping
from typing import Protocol

from wattshed_exporter.errors import ConfigError

MOST_REMEMBERED = 100
LONGEST = 72
"""Bytes of a password that bcrypt looks at; the rest never counted."""


class Check(Protocol):
    def __call__(self, password: bytes, hashed_password: bytes) -> bool:
        """Return whether a password has that hash."""


class BasicAuth:
    """Knows users by the hash of their password.

    A right answer is remembered by a keyed digest, so that bcrypt is paid once and not at each
    scrape. An unknown user costs as much time as a wrong password.

    Args:
        users: bcrypt hash of each user's password.
        check: bcrypt's comparison, which takes the same time whatever the password.
    """

    def __init__(self, users: Mapping[str, str], check: Check) -> None:
        self._hashes = {name: told.encode() for name, told in users.items()}
        cost = max(int(told.split("$")[2]) for told in users.values())
        self._nobody = f"$2b${cost:02d}${'.' * 53}".encode()
        self._check = check
        self._secret = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._one_at_a_time = threading.Lock()

    def allows(self, header: str) -> bool:
        """Return whether the value of an ``Authorization`` header names a user and a password."""
        user, password = _credentials(header)
        digest = hashlib.blake2b(
            len(user).to_bytes(8, "big") + user + password, key=self._secret
        ).digest()
        if digest in self._right:
            return True
        hashed = self._hashes.get(user.decode(errors="replace"))
        # bcrypt keeps a core busy; who tries passwords may have one of them, not all.
        with self._one_at_a_time:
            right = self._compare(password, hashed or self._nobody)
        if not right or hashed is None:
            return False
        if len(self._right) >= MOST_REMEMBERED:
            self._right.clear()
        self._right[digest] = None
        return True

    def _compare(self, password: bytes, hashed: bytes) -> bool:
        try:
            return self._check(password[:LONGEST], hashed)
        except ValueError:  # such as a zero byte
            return False


def bcrypt_check() -> Check:
    """Return bcrypt's comparison; ``ConfigError`` where the package is not installed."""
    try:
        import bcrypt
    except ImportError:
        raise ConfigError(
            ["basic_auth_users: needs the package bcrypt: pip install 'wattshed[web]'"]
        ) from None
    return bcrypt.checkpw


def _credentials(header: str) -> tuple[bytes, bytes]:
    """Return user and password, both empty where the header has none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b"", b""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return user, password
