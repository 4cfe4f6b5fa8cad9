"""The web configuration file that Prometheus' exporters share, read and checked.

Format: docs/web-configuration.md of prometheus/exporter-toolkit. Every problem is gathered. What
cannot be done here is a problem too, because a rule of security that is silently left out is worse
than none. Values of secrets are never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import NOT_YAML, printable

CLIENT_AUTH = (
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)
UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
TLS13_SUITES = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""Suites of TLS 1.3, which are always on: neither Go nor Python's ssl can choose among them."""
SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Names of Go's crypto/tls to those of OpenSSL, for TLS 1.2."""
HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""Headers that may be set, and their values where only some are allowed."""
BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LARGEST = 2**63 - 1
"""Go's int64: of requests, and of nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to speak TLS; names are those of the file, translated to OpenSSL's where they differ."""

    cert_file: Path
    key_file: Path
    client_auth_type: str = CLIENT_AUTH[0]
    client_ca_file: Path | None = None
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(f for f in (self.cert_file, self.key_file, self.client_ca_file) if f)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """What a web configuration file says."""

    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """bcrypt hash of each user's password."""
    interval_seconds: float = 0.0
    """Time in which one more request is allowed; 0 for no limit."""
    burst: int = 0


def read(file: Path) -> WebFile:
    """Read and check a file; paths in it are relative to its folder.

    Raises:
        ConfigError: with every problem, each one sentence that begins with the file.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, *NOT_YAML) as error:
        where = getattr(error, "problem_mark", None)  # the text beside it may be a secret
        raise ConfigError(
            [f"{file}: is not YAML{f', line {where.line + 1}' if where else ''}"]
        ) from None
    problems: list[str] = []
    top = _Section("", {} if content is None else content, problems)
    interval_seconds, burst = _rate_limit(top.section("rate_limit"))
    made = WebFile(
        tls=_tls(top.section("tls_server_config"), file.parent),
        headers=_http(top.section("http_server_config")),
        users=_users(top.section("basic_auth_users")),
        interval_seconds=interval_seconds,
        burst=burst,
    )
    top.close()
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    return made


class _Section:
    """One mapping of the file; each value is taken out once, and what is left is unknown."""

    def __init__(self, path: str, content: object, problems: list[str]) -> None:
        self._path = path
        self._problems = problems
        self.values: dict[object, object] = {}
        if isinstance(content, dict):
            self.values = dict(content)
        elif content is not None:
            self.problem("", "should be a mapping of keys to values")

    def problem(self, key: object, said: str) -> None:
        where = ".".join(printable(part, str) for part in (self._path, key) if part != "")
        self._problems.append(f"{where}: {said}" if where else said)

    def section(self, key: str) -> _Section:
        where = f"{self._path}.{key}" if self._path else key
        return _Section(where, self.values.pop(key, None), self._problems)

    def text(self, key: str, default: str = "") -> str:
        value = self.values.pop(key, None)
        if value is None:
            return default
        if not isinstance(value, str):
            self.problem(key, "is not text; put it in quotes")
            return default
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            self.problem(key, "holds a zero byte or half a character")
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.pop(key, default)
        if not isinstance(value, bool):
            self.problem(key, "is not true or false")
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self.values.pop(key, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.problem(key, "is not a list of texts")
            return ()
        return tuple(value)

    def one_of(self, key: str, known: Sequence[str], default: str) -> str:
        value = self.text(key, default) or default
        if value not in known:
            self.problem(key, f"{value!r} is none of {', '.join(known)}")
            return default
        return value

    def close(self) -> None:
        for key in self.values:
            self.problem(key, "is not a key of the web configuration file")


def _tls(section: _Section, folder: Path) -> Tls | None:
    if not section.values:
        return None
    for inline in ("cert", "key", "client_ca"):
        if section.values.pop(inline, None) is not None:
            section.problem(inline, f"cannot be given inline here; name a file in {inline}_file")
    paths = {name: section.text(name) for name in ("cert_file", "key_file", "client_ca_file")}
    for name in ("cert_file", "key_file"):
        if not paths[name]:
            section.problem(name, "is needed for TLS")
    lowest, highest, suites = _versions_and_suites(section)
    made = Tls(
        cert_file=folder / paths["cert_file"],
        key_file=folder / paths["key_file"],
        client_auth_type=section.text("client_auth_type") or CLIENT_AUTH[0],
        client_ca_file=folder / paths["client_ca_file"] if paths["client_ca_file"] else None,
        client_allowed_sans=section.words("client_allowed_sans"),
        min_version=lowest,
        max_version=highest,
        cipher_suites=suites,
        prefer_server_cipher_suites=section.flag("prefer_server_cipher_suites", True),
        curve=_curve(section),
    )
    _check_client_auth(section, made)
    section.close()
    return made


def _check_client_auth(section: _Section, tls: Tls) -> None:
    none, verified, chosen = CLIENT_AUTH[0], CLIENT_AUTH[-1], tls.client_auth_type
    if chosen in UNVERIFIED:
        section.problem(
            "client_auth_type",
            f"{chosen} cannot be done here: a client's certificate is always verified; "
            f"use {verified}",
        )
    elif chosen not in CLIENT_AUTH:
        section.problem("client_auth_type", f"{chosen!r} is none of {', '.join(CLIENT_AUTH)}")
    elif tls.client_ca_file is not None and chosen == none:
        section.problem("client_ca_file", "is of no use without a client_auth_type")
    elif tls.client_allowed_sans and chosen != verified:
        section.problem("client_allowed_sans", f"needs client_auth_type {verified}")


def _versions_and_suites(section: _Section) -> tuple[str, str, tuple[str, ...]]:
    lowest = _version(section, "min_version", "TLS12")
    highest = _version(section, "max_version", "TLS13")
    if lowest > highest:
        section.problem("min_version", "is above max_version")
    named = section.words("cipher_suites")
    for suite in named:
        if suite not in SUITES and suite not in TLS13_SUITES:
            section.problem("cipher_suites", f"{suite!r} is not a suite that Go offers as secure")
    suites = tuple(SUITES[s] for s in named if s in SUITES)
    if named and not suites:
        lowest = "TLS13"  # none is left for TLS 1.2
        if highest != "TLS13":
            section.problem("cipher_suites", f"holds none for {highest}, which is max_version")
    return lowest, highest, suites


def _version(section: _Section, key: str, default: str) -> str:
    version = section.one_of(key, VERSIONS, default)
    if version in ("TLS10", "TLS11"):
        section.problem(key, f"{version} is not offered here (RFC 8996); use TLS12 or TLS13")
    return version


def _curve(section: _Section) -> str:
    curves = section.words("curve_preferences")
    for curve in curves:
        if curve not in CURVES:
            section.problem("curve_preferences", f"{curve!r} is none of {', '.join(CURVES)}")
    if len(curves) > 1:
        section.problem("curve_preferences", "only one curve can be set here; leave one, or none")
    return CURVES.get(curves[0], "") if curves else ""


def _http(section: _Section) -> tuple[tuple[str, str], ...]:
    if section.values.pop("http2", False) is not False:
        section.problem("http2", "HTTP/2 is not spoken here; leave it out or say false")
    headers = section.section("headers")
    section.close()
    found = []
    for name in list(headers.values):
        value = headers.text(str(name)) if isinstance(name, str) else ""
        allowed = HEADERS.get(str(name))
        if allowed is None:
            headers.problem(name, f"cannot be set; there are {', '.join(HEADERS)}")
        elif value and allowed and value not in allowed:
            headers.problem(name, f"{value!r} is none of {', '.join(allowed)}")
        elif not (value.isascii() and (value.isprintable() or not value)):
            headers.problem(name, "holds a character that no header can carry")
        elif value:
            found.append((str(name), value))
    return tuple(found)


def _users(section: _Section) -> dict[str, str]:
    users: dict[str, str] = {}
    for name, secret in section.values.items():
        if not isinstance(name, str) or not name or ":" in name:
            section.problem(name, "is not a name of a user; put it in quotes, without a colon")
        elif not isinstance(secret, str) or not BCRYPT.fullmatch(secret):
            section.problem(
                name, "is not followed by a bcrypt hash, such as htpasswd -nBC 10 makes"
            )
        else:
            users[name] = secret
    return users


def _rate_limit(section: _Section) -> tuple[float, int]:
    interval = section.values.pop("interval", 0)
    burst = section.values.pop("burst", 0)
    section.close()
    seconds = _duration(interval)
    if seconds is None:
        said = printable(interval, repr)
        section.problem("interval", f"{said} is not a duration such as 1s or 500ms")
        seconds = 0.0
    if isinstance(burst, bool) or not isinstance(burst, int) or not 0 <= burst <= LARGEST:
        section.problem("burst", f"{printable(burst, repr)} is not a number of requests")
        burst = 0
    elif seconds and burst == 0:
        section.problem("burst", "0 would refuse every request")
    return seconds, burst


def _duration(value: object) -> float | None:
    """Return seconds of what Go writes as a duration; a bare number counts nanoseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value * 1e-9 if 0 <= value <= LARGEST else None
    parts = DURATION.findall(value) if isinstance(value, str) else []
    if value == "0":
        return 0.0
    if not parts or "".join(parts) != value:
        return None
    units = [re.sub(r"[\d.]", "", part) for part in parts]
    seconds = sum(float(p.removesuffix(u)) * SECONDS[u] for p, u in zip(parts, units, strict=True))
    return seconds if seconds <= LARGEST * 1e-9 else None
