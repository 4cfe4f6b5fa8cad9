"""The security file: tokens, users and client certificates, and what each of them may do.

A token is 32 random bytes, so its plain SHA-256 cannot be guessed from: bcrypt would make each
request of a fleet cost what it must cost to guess a password, and protect nothing more. Passwords
of users are chosen by people and are kept as bcrypt hashes. What is compared is never the secret
but a digest of it, and in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import NOT_YAML, from_yaml, option

SHA256 = re.compile(r"[0-9a-f]{64}")
BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
CERTIFICATE = re.compile(r"(CN|DNS|URI|IP Address|email):.+")
FORBIDDEN_MODE = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
"""0600 is best; 0640 is what Kubernetes gives a Secret whose reader is not root."""
LEAST_TOKEN = 20


class Role(StrEnum):
    """What somebody may do."""

    INGEST = "ingest"
    """Send measurements."""
    READ = "read"
    """See the page, the report and the API."""
    METRICS = "metrics"
    """Scrape the collector's own /metrics."""
    ADMIN = "admin"
    """Everything: corrections, prices, recomputing, backup."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. ``clusters`` and ``nodes`` are globs of what they may write of; () is everything.

    ``requests_per_second`` None is as the settings say.
    """

    name: str
    roles: frozenset[Role]
    clusters: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    requests_per_second: float | None = None

    def may(self, role: Role) -> bool:
        return role in self.roles or Role.ADMIN in self.roles

    @property
    def bounded(self) -> bool:
        """Whether some devices are not theirs."""
        return bool(self.clusters or self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What tokens, users and certificates have in common."""

    name: str = option("", "Who it is.")
    roles: tuple[Role, ...] = option((), "What they may do.")
    clusters: tuple[str, ...] = option((), "Clusters that they may write of.")
    nodes: tuple[str, ...] = option((), "Nodes that they may write of.")
    requests_per_second: float | None = option(None, "Their own limit.")

    def problems(self) -> list[str]:
        """Return what is wrong, each as one sentence."""
        found = []
        if not NAME.fullmatch(self.name):
            found.append(f"{self.name!r} is no name of letters, digits and ._@- up to 64")
        if not self.roles:
            found.append(f"{self.name} has no roles; there are {', '.join(Role)}")
        if self.requests_per_second is not None and self.requests_per_second <= 0:
            found.append(f"{self.name}: requests_per_second must be above 0")
        return found

    def identity(self) -> Identity:
        limit = self.requests_per_second
        return Identity(self.name, frozenset(self.roles), self.clusters, self.nodes, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Entry):
    """A bearer token, by its hash or by the file that holds it. Two hashes are for changing it."""

    sha256: tuple[str, ...] = option((), "Hashes in hex.", secret=True)
    file: Path | None = option(None, "File that holds the token itself.")

    def problems(self) -> list[str]:
        """Return what is wrong, each as one sentence."""
        found = Entry.problems(self)
        if not self.sha256 and self.file is None:
            found.append(f"{self.name} has neither sha256 nor file")
        if not all(SHA256.fullmatch(text) for text in self.sha256):
            found.append(f"{self.name}: sha256 is not 64 lower-case hex digits")
        return found

    def digests(self, folder: Path) -> list[bytes]:
        """Return the hashes; a file is relative to ``folder``. Raises ConfigError."""
        found = [bytes.fromhex(text) for text in self.sha256]
        if self.file is not None:
            token = read_private(folder / self.file).strip()
            if len(token) < LEAST_TOKEN:
                raise ConfigError([f"{folder / self.file}: holds no token of {LEAST_TOKEN} bytes"])
            found.append(hashlib.sha256(token).digest())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Entry):
    """A person with a browser."""

    bcrypt: str = option("", "Hash of the password.", secret=True)

    def problems(self) -> list[str]:
        """Return what is wrong, each as one sentence."""
        found = Entry.problems(self)
        if not BCRYPT.fullmatch(self.bcrypt):
            found.append(f"{self.name} has no bcrypt hash, such as htpasswd -nBC 10 makes")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(Entry):
    """Client certificates, by globs such as ``DNS:*.edge.example`` or ``CN:gpu-1``."""

    names: tuple[str, ...] = option((), "Kind and glob of alternative names, or the common name.")

    def problems(self) -> list[str]:
        """Return what is wrong, each as one sentence."""
        found = Entry.problems(self)
        if not self.names:
            found.append(f"{self.name} has no names of certificates")
        found += [
            f"{self.name}: {text!r} is not CN:, DNS:, URI:, email: or IP Address: and a name"
            for text in self.names
            if not CERTIFICATE.fullmatch(text)
        ]
        return found

    def matches(self, names: Iterable[str]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The whole file."""

    anonymous: tuple[Role, ...] = option((), "What anybody may do.")
    tokens: tuple[Token, ...] = option((), "Bearer tokens.", secret=True)
    users: tuple[User, ...] = option((), "Users with passwords.", secret=True)
    certificates: tuple[Certificate, ...] = option((), "Client certificates.", secret=True)

    def problems(self) -> list[str]:
        """Return what is wrong, each as one sentence."""
        names = [entry.name for entry in (*self.tokens, *self.users, *self.certificates)]
        twice = sorted({name for name in names if names.count(name) > 1})
        return [f"{name} is there twice; one token may have two hashes" for name in twice]

    @property
    def empty(self) -> bool:
        """Whether nobody could do anything."""
        return not (self.tokens or self.users or self.certificates or self.anonymous)


@dataclass(frozen=True)
class Rules:
    """The file in force. ``files`` are those that it was read from."""

    anonymous: Identity
    users: Mapping[str, tuple[bytes, Identity]] = field(default_factory=dict, repr=False)
    certificates: tuple[Certificate, ...] = ()
    files: tuple[Path, ...] = ()
    tokens: Mapping[bytes, Identity] = field(default_factory=dict, repr=False)
    """By SHA-256 of the token."""
    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    def __post_init__(self) -> None:
        # Found by a digest whose key nobody knows, so that the time of a look-up tells nothing.
        found = {self._mark(digest): (digest, who) for digest, who in self.tokens.items()}
        object.__setattr__(self, "_by_mark", found)

    def token(self, token: bytes) -> Identity | None:
        """Return whose token it is, None where it is nobody's."""
        digest = hashlib.sha256(token).digest()
        found: tuple[bytes, Identity] | None = getattr(self, "_by_mark").get(self._mark(digest))  # noqa: B009
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def certificate(self, names: Iterable[str]) -> Identity | None:
        """Return whose a verified certificate with these names is, None where it is nobody's."""
        told = tuple(names)
        return next((c.identity() for c in self.certificates if c.matches(told)), None)

    def with_token(self, token: str, who: Identity) -> Rules:
        """Return rules in which ``token`` counts as well."""
        tokens = {**self.tokens, hashlib.sha256(token.encode()).digest(): who}
        return Rules(self.anonymous, self.users, self.certificates, self.files, tokens)

    def _mark(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self.key, digest_size=16).digest()


def nothing_asked() -> Rules:
    """Return rules by which anybody may do anything."""
    return Rules(Identity("", frozenset(Role)))


def load(file: Path) -> Rules:
    """Read a security file; paths in it are relative to its folder.

    Raises:
        ConfigError: with every problem, each one sentence that begins with the file.
    """
    import yaml

    raw = read_private(file)
    try:
        content, twice = yaml.safe_load(raw), _twice(raw)
    except (yaml.YAMLError, *NOT_YAML) as error:
        where = getattr(error, "problem_mark", None)  # the text beside it may be a secret
        line = f", line {where.line + 1}" if where else ""
        raise ConfigError([f"{file}: is not YAML{line}"]) from None
    try:
        (said,) = _files([{} if content is None else content])
    except ValueError as error:
        raise ConfigError([f"{file}: {part}" for part in str(error).split("; ")]) from None
    tokens: dict[bytes, Identity] = {}
    problems = [f"{file}: {key} is there twice: put all entries under one" for key in twice]
    problems += [f"{file}: it is empty: nobody could do anything"] if said.empty else []
    for token in said.tokens:
        try:
            tokens.update(dict.fromkeys(token.digests(file.parent), token.identity()))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return Rules(
        Identity("", frozenset(said.anonymous)),
        {user.name: (user.bcrypt.encode(), user.identity()) for user in said.users},
        said.certificates,
        (file, *(file.parent / t.file for t in said.tokens if t.file is not None)),
        tokens,
    )


def _twice(raw: bytes) -> list[str]:
    """Return the sections that stand twice: YAML would take the last one and say nothing."""
    import yaml

    root = yaml.compose(raw, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    counted = Counter(str(key.value) for key, _ in pairs)
    return [key for key, count in counted.items() if count > 1]


def _files(content: list[object]) -> tuple[File, ...]:
    read = from_yaml(content, tuple[File, ...])
    assert isinstance(read, tuple)
    return read


def read_private(file: Path) -> bytes:
    """Return what a file holds that only its owner, or his group, may read; else ConfigError."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if mode & FORBIDDEN_MODE:
                told = f"has mode {stat.S_IMODE(mode):04o}, so that others may use it"
                raise ConfigError([f"{file}: {told}; chmod 600 {file}"])
            return opened.read()
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
