"""Tells who asks, by the rules in force, and takes changed files into force while it serves.

A file that is broken when it changes leaves in force what was, and is logged once: a certificate
that is being replaced must not end the service, and a file that is being written must not open it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from wattshed_exporter.errors import ConfigError

from . import rules, tls
from .rules import Identity, Role, Rules

log = logging.getLogger(__name__)

LOCAL = "local"
MOST_REMEMBERED = 100
LONGEST_PASSWORD = 72
"""Bytes of a password that bcrypt looks at."""
REFRESH_SECONDS = 2.0

Stamp = tuple[int, int, int, int] | None
"""Device, inode, size and time of change of a file; None where it is absent."""
Check = Callable[[bytes, bytes], bool]


class Guard:
    """Knows who is who.

    Args:
        file: the security file; None asks for nothing.
        files: those of TLS; None for http.
        local_token: with it anything may be done; it is for who owns the data folder.
        check: whether a password has a bcrypt hash; None loads bcrypt where users are named.

    Raises:
        ConfigError: where a file is wrong from the beginning.
    """

    def __init__(
        self,
        file: Path | None = None,
        files: tls.Files | None = None,
        local_token: str = "",
        check: Check | None = None,
    ) -> None:
        self._file, self._files, self._local_token = file, files, local_token
        self._passwords = Passwords(check)
        self._rules = self._load()
        self._seen = self._stamps(self._watched())
        self._changing: dict[Path, Stamp] | None = None
        self._context = tls.context(files) if files is not None else None
        self._first = self._context

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who they are."""
        return self._file is not None

    @property
    def bounded(self) -> bool:
        """Whether anybody may write only of some devices."""
        found = self._rules
        users = (who for _, who in found.users.values())
        entries = (entry.identity() for entry in found.certificates)
        return any(who.bounded for who in (*found.tokens.values(), *users, *entries))

    def listener(self) -> ssl.SSLContext | None:
        """Return the context to listen with; exchanged certificates count from then on."""
        return self._first and tls.exchangeable(self._first, lambda: self._context)

    def compares(self, authorization: str) -> bool:
        """Return whether ``identify`` will compare a password, which keeps a core busy."""
        shown = basic(authorization)
        return shown is not None and bool(self._rules.users) and not self._passwords.knows(shown)

    def knows_token(self, token: str) -> bool:
        """Return whether a text is a token that counts, wherever it was shown."""
        return self.asks and self._rules.token(token.encode(errors="replace")) is not None

    def unwrapped(self, authorization: str) -> str:
        """Return the header as it is, or as that of the token which somebody gave as a password.

        A browser can ask for a name and a password, and not for a token; the name is of no matter.
        """
        shown = basic(authorization)
        if shown is None:
            return authorization
        token = _credentials(shown)[1].decode(errors="replace")
        return f"Bearer {token}" if token and self.knows_token(token) else authorization

    async def identify(self, authorization: str, names: Iterable[str] = ()) -> Identity | None:
        """Return who asks, None where what they show is wrong.

        Args:
            authorization: the header, "" where there is none.
            names: of a verified client certificate, as ``tls.names`` gives them.
        """
        found = self._rules
        shown = basic(authorization)
        if self.asks and shown is not None and found.users:
            return await asyncio.to_thread(self._passwords.who, found.users, shown)
        return self.known(authorization, names)

    def known(self, authorization: str, names: Iterable[str] = ()) -> Identity | None:
        """Return the same at once; of passwords only those are right that are remembered."""
        found = self._rules
        if not self.asks:
            return found.anonymous
        if authorization:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                return found.token(token.strip().encode(errors="replace"))
            shown = basic(authorization)
            return self._passwords.remembered(shown) if shown and found.users else None
        return found.certificate(names) or found.anonymous

    async def keep_fresh(self, now: asyncio.Event, seconds: float = REFRESH_SECONDS) -> None:
        """Look for changed files until cancelled; read all anew when ``now`` is set."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(now.wait(), seconds)
            forced = now.is_set()
            now.clear()
            await asyncio.to_thread(self.refresh, forced=forced)

    def refresh(self, *, forced: bool = False) -> bool:
        """Take changed files into force; return whether any was. ``forced`` reads all anew.

        A change counts when it is the same at two looks: half of a file may lack what bounds
        somebody.
        """
        now = self._stamps(self._watched())
        settled = now == self._changing
        self._changing = None if now == self._seen else now
        if not forced and (now == self._seen or not settled):
            return False
        try:
            loaded = self._load()
            context = tls.context(self._files) if self._files is not None else None
        except ConfigError as error:
            self._seen = now
            log.error("who may do what stays as it was: %s", "; ".join(error.problems))
            return False
        self._rules, self._context = loaded, context
        self._passwords.forget()
        # Taken before it was read, so that what changes meanwhile is noticed the next time.
        self._seen = {file: now.get(file) for file in self._watched()}
        log.info("read again who may do what")
        return True

    def _load(self) -> Rules:
        if self._file is None:
            return rules.nothing_asked()
        loaded = rules.load(self._file)
        if loaded.users:
            self._passwords.ready()
        if self._local_token:
            return loaded.with_token(self._local_token, Identity(LOCAL, frozenset({Role.ADMIN})))
        return loaded

    def _watched(self) -> tuple[Path, ...]:
        named = (self._file,) if self._file is not None else ()
        known = getattr(self, "_rules", None)
        of_tls = self._files.paths if self._files is not None else ()
        return tuple(dict.fromkeys((*named, *(known.files if known else ()), *of_tls)))

    @staticmethod
    def _stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
        return {file: _stamp(file) for file in files}


class Passwords:
    """Checks passwords; a right one is remembered by a keyed digest, so bcrypt is paid once."""

    def __init__(self, check: Check | None = None) -> None:
        self._check = check
        self._secret = os.urandom(32)
        self._right: dict[bytes, Identity] = {}
        self._one_at_a_time = threading.Lock()

    def ready(self) -> None:
        """Load bcrypt. Raises ConfigError where it is not installed."""
        if self._check is not None:
            return
        try:
            import bcrypt
        except ImportError:
            raise ConfigError(
                ["users: need the package bcrypt: pip install 'wattshed[web]'"]
            ) from None
        self._check = bcrypt.checkpw

    def forget(self) -> None:
        """Have every password checked again: the hashes have changed."""
        self._right = {}

    def knows(self, shown: str) -> bool:
        """Return whether the user and password of a Basic header are remembered as right."""
        return self.remembered(shown) is not None

    def remembered(self, shown: str) -> Identity | None:
        """Return whose user and password are in a Basic header, where they were right before."""
        return self._right.get(self._digest(*_credentials(shown)))

    def who(self, users: Mapping[str, tuple[bytes, Identity]], shown: str) -> Identity | None:
        """Return who has the user and password of a Basic header; an unknown user takes as long."""
        # What is found out by the users of now is not remembered once they have changed.
        remembered = self._right
        user, password = _credentials(shown)
        digest = self._digest(user, password)
        if (known := remembered.get(digest)) is not None:
            return known
        hashed, identity = users.get(user.decode(errors="replace"), (_nobody(users), None))
        # bcrypt keeps a core busy; who tries passwords may have one of them, not all.
        with self._one_at_a_time:
            right = self._compare(password, hashed)
        if not right or identity is None:
            return None
        if len(remembered) >= MOST_REMEMBERED:
            remembered.clear()
        remembered[digest] = identity
        return identity

    def _digest(self, user: bytes, password: bytes) -> bytes:
        sizes = len(user).to_bytes(8, "big")
        return hashlib.blake2b(sizes + user + password, key=self._secret).digest()

    def _compare(self, password: bytes, hashed: bytes) -> bool:
        if self._check is None:
            return False
        try:
            return self._check(password[:LONGEST_PASSWORD], hashed)
        except ValueError:  # such as a zero byte
            return False


def basic(authorization: str) -> str | None:
    """Return what a header of the scheme Basic shows, None for another scheme."""
    scheme, _, shown = authorization.partition(" ")
    return shown if scheme.lower() == "basic" else None


def _nobody(users: Mapping[str, tuple[bytes, Identity]]) -> bytes:
    cost = max((int(hashed.split(b"$")[2]) for hashed, _ in users.values()), default=10)
    return f"$2b${cost:02d}${'.' * 53}".encode()


def _credentials(encoded: str) -> tuple[bytes, bytes]:
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return user, password


def _stamp(file: Path) -> Stamp:
    try:
        told = file.stat()
    except (OSError, ValueError):
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns
