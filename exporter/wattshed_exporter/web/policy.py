"""What the web configuration file asks for, in force, and loaded anew when a file changes.

A file that is broken when it changes leaves in force what was, and is logged once: a certificate
that is being replaced must not end the service, and must not open it either. Nor must a file that
is being written: one that is rewritten in place is empty for a moment, or ends before its users.
What keeps others out is therefore taken away by a restart only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    from .auth import BasicAuth

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int, int] | None
"""Device, inode, size and time of change of a file; None where it is absent."""


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
    empty: bool = False
    """Whether the file says nothing at all."""

    @property
    def guards(self) -> Mapping[str, bool]:
        """What keeps others out, and whether it does."""
        return {
            "TLS": self.context is not None,
            "basic_auth_users": self.auth is not None,
            "the certificate of each client": (
                # 2 is ssl.CERT_REQUIRED, without the megabytes of the module.
                self.context is not None and self.context.verify_mode == 2
            ),
            "client_allowed_sans": bool(self.allowed_sans),
        }


def load(file: Path, seen: dict[Path, Stamp] | None = None) -> Policy:
    """Read a web configuration file and everything that it names.

    ``seen`` is given the stamp of each file as it was before it was read, so that a change that
    comes while it is being read is noticed afterwards.

    Raises:
        ConfigError: with every problem, each one sentence.
    """
    from .file import WebFile, read

    seen = {} if seen is None else seen
    seen[file] = _stamp(file)
    told = read(file)
    seen.update((named, _stamp(named)) for named in (told.tls.files if told.tls else ()))
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
        empty=told == WebFile(),
    )


Load = Callable[[Path, dict[Path, Stamp]], Policy]


class Policies:
    """The policy of a file as it is now.

    Args:
        file: the web configuration file; None for no rules.
        loaded: how it is loaded, as ``load`` does.

    Raises:
        ConfigError: where the file is wrong from the beginning.
    """

    def __init__(self, file: Path | None, loaded: Load = load) -> None:
        self._file = file
        self._loaded = loaded
        self._lock = threading.Lock()
        self._policy = Policy(RateLimit(0, 0))
        self._seen: dict[Path, Stamp] = {}
        if file is not None:
            self._policy = loaded(file, self._seen)

    @property
    def secure(self) -> bool:
        return self._policy.context is not None

    def now(self) -> Policy:
        """Return the policy, loaded anew if a file of it has changed."""
        if self._file is None:
            return self._policy
        with self._lock:
            now = {file: _stamp(file) for file in self._seen}
            if now != self._seen:
                self._load_anew(self._file, now)
            return self._policy

    def _load_anew(self, file: Path, before: Mapping[Path, Stamp]) -> None:
        seen: dict[Path, Stamp] = {}
        try:
            policy = self._loaded(file, seen)
            self._refuse_to_open(policy)
        except ConfigError as error:
            # What it was loaded from is watched still, and so is what it could not be loaded from.
            self._seen = {**before, **seen}
            log.error("the web configuration stays as it was: %s", "; ".join(error.problems))
            return
        self._policy, self._seen = policy, seen
        log.info("web configuration loaded anew")

    def _refuse_to_open(self, policy: Policy) -> None:
        """Raise ``ConfigError`` where a policy keeps out fewer than the one in force."""
        if policy.empty and not self._policy.empty:
            raise ConfigError([f"{self._file}: is empty"])
        if policy.guards["TLS"] and not self._policy.guards["TLS"]:
            raise ConfigError(["TLS is turned on by a restart only"])
        for name, there in self._policy.guards.items():
            if there and not policy.guards[name]:
                raise ConfigError([f"{name} can be given up by a restart only"])


def _stamp(file: Path) -> Stamp:
    try:
        told = file.stat()
    except (OSError, ValueError):  # a path may hold what no file's name can
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns
