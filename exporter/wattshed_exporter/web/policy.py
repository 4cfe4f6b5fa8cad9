"""What the web configuration file asks for, in force, and loaded anew when a file changes.

A file that is broken when it changes leaves in force what was, and is logged once: a certificate
that is being replaced must not end the service, and must not open it either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    from .auth import BasicAuth

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Device, inode and time of change of each file; None where it is absent."""


class RateLimit:
    """A bucket of ``burst`` requests into which one more drops every ``interval_seconds``."""

    def __init__(
        self, interval_seconds: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_seconds = interval_seconds
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = float(burst), clock()

    def allows(self) -> bool:
        """Take one request out of the bucket; return whether there was one."""
        if not self._interval_seconds:
            return True
        with self._lock:
            now = self._clock()
            dropped_in = (now - self._at) / self._interval_seconds
            self._left, self._at = min(self._burst, self._left + dropped_in), now
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules for every connection and request; by default there are none."""

    limit: RateLimit
    context: ssl.SSLContext | None = None
    allowed_sans: tuple[str, ...] = ()
    auth: BasicAuth | None = None
    headers: Sequence[tuple[str, str]] = ()
    files: tuple[Path, ...] = ()
    """What it was loaded from beside the web configuration file."""


def load(file: Path) -> Policy:
    """Read a web configuration file and everything that it names.

    Raises:
        ConfigError: with every problem, each one sentence.
    """
    from .file import read

    told = read(file)
    problems: list[str] = []
    context, auth = None, None
    try:
        if told.tls is not None:
            from . import tls

            context = tls.build(told.tls)
    except ConfigError as error:
        problems += error.problems
    try:
        if told.users:
            from .auth import BasicAuth, bcrypt_check

            auth = BasicAuth(told.users, bcrypt_check())
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    return Policy(
        RateLimit(told.interval_seconds, told.burst),
        context,
        told.tls.client_allowed_sans if told.tls is not None else (),
        auth,
        told.headers,
        told.tls.files if told.tls is not None else (),
    )


class Policies:
    """The policy of a file as it is now.

    Raises:
        ConfigError: where the file is wrong from the beginning.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._policy = Policy(RateLimit(0, 0))
        self._stamp: Stamp = ()
        if file is not None:
            self._policy = load(file)
            self._stamp = self._stamp_now()

    @property
    def secure(self) -> bool:
        return self._policy.context is not None

    def now(self) -> Policy:
        """Return the policy, loaded anew if a file of it has changed."""
        if self._file is None:
            return self._policy
        with self._lock:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._stamp = stamp
                self._load_anew(self._file)
            return self._policy

    def _load_anew(self, file: Path) -> None:
        try:
            policy = load(file)
        except ConfigError as error:
            log.error("the web configuration stays as it was: %s", "; ".join(error.problems))
            return
        if (policy.context is None) != (self._policy.context is None):
            log.error("the web configuration stays as it was: TLS changes with a restart only")
            return
        self._policy = policy
        self._stamp = self._stamp_now()
        log.info("web configuration loaded anew")

    def _stamp_now(self) -> Stamp:
        files = (self._file, *self._policy.files)
        return tuple(_stamp(file) for file in files if file is not None)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_dev, told.st_ino, told.st_mtime_ns
