"""The web configuration file: what is taken, what is refused, and that every problem is told."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.web.file import HEADERS, SUITES, Tls, WebFile, read

HASH = "$2y$10$" + "a" * 53
PEER = """
tls_server_config:
  cert_file: server.crt
  key_file: /etc/tls/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [scraper.example, 10.0.0.7]
  min_version: TLS13
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Content-Security-Policy: default-src 'self'
    X-XSS-Protection: ""
basic_auth_users:
  alice: $2y$10$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
rate_limit:
  interval: 1m1.5s
  burst: 20
"""


def web_file(folder: Path, text: str) -> WebFile:
    file = folder / "web.yml"
    file.write_text(text, encoding="utf-8")
    return read(file)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        web_file(folder, text)
    start = f"{folder / 'web.yml'}: "
    assert all(p.startswith(start) for p in caught.value.problems)
    return [p.removeprefix(start) for p in caught.value.problems]


def test_everything_that_the_format_has(tmp_path: Path) -> None:
    assert web_file(tmp_path, PEER) == WebFile(
        tls=Tls(
            cert_file=tmp_path / "server.crt",
            key_file=Path("/etc/tls/server.key"),
            client_auth_type="RequireAndVerifyClientCert",
            client_ca_file=tmp_path / "ca.crt",
            client_allowed_sans=("scraper.example", "10.0.0.7"),
            min_version="TLS13",
            cipher_suites=("ECDHE-RSA-AES128-GCM-SHA256",),
            prefer_server_cipher_suites=False,
            curve="X25519",
        ),
        headers=(
            ("X-Frame-Options", "deny"),
            ("Content-Security-Policy", "default-src 'self'"),
        ),
        users={"alice": HASH},
        interval_seconds=61.5,
        burst=20,
    )


@pytest.mark.parametrize("text", ["", "{}", "tls_server_config:\nbasic_auth_users: {}\n"])
def test_nothing(tmp_path: Path, text: str) -> None:
    assert web_file(tmp_path, text) == WebFile()


def test_only_suites_of_tls_13_leave_only_tls_13(tmp_path: Path) -> None:
    told = "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [TLS_AES_128_GCM_SHA256]}"
    tls = web_file(tmp_path, told).tls
    assert tls is not None
    assert (tls.min_version, tls.cipher_suites) == ("TLS13", ())


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = """
tls_server_config: {cert: PEM, key_file: k, min_version: TLS10, colour: red}
http_server_config: {http2: true, headers: {X-Frame-Options: always, Server: me}}
basic_auth_users: {alice: hunter2, "a:b": x}
rate_limit: {interval: soon, burst: -1}
users: []
"""
    assert problems(tmp_path, text) == [
        "rate_limit.interval: 'soon' is not a duration such as 1s or 500ms",
        "rate_limit.burst: -1 is not a number of requests",
        "tls_server_config.cert: cannot be given inline here; name a file in cert_file",
        "tls_server_config.cert_file: is needed for TLS",
        "tls_server_config.min_version: TLS10 is not offered here (RFC 8996); use TLS12 or TLS13",
        "tls_server_config.colour: is not a key of the web configuration file",
        "http_server_config.http2: HTTP/2 is not spoken here; leave it out or say false",
        "http_server_config.headers.X-Frame-Options: 'always' is none of deny, sameorigin",
        f"http_server_config.headers.Server: cannot be set; there are {', '.join(HEADERS)}",
        "basic_auth_users.alice: is not followed by a bcrypt hash, such as htpasswd -nBC 10 makes",
        "basic_auth_users.a:b: is not a name of a user; put it in quotes, without a colon",
        "users: is not a key of the web configuration file",
    ]


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (
            "client_auth_type: RequestClientCert",
            "client_auth_type: RequestClientCert cannot be done here: a client's certificate is "
            "always verified; use RequireAndVerifyClientCert",
        ),
        (
            "client_auth_type: RequireAnyClientCert",
            "client_auth_type: RequireAnyClientCert cannot be done here: a client's certificate "
            "is always verified; use RequireAndVerifyClientCert",
        ),
        (
            "client_auth_type: Maybe",
            "client_auth_type: 'Maybe' is none of NoClientCert, RequestClientCert, "
            "RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert",
        ),
        ("client_ca_file: ca", "client_ca_file: is of no use without a client_auth_type"),
        (
            "client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: [a]",
            "client_allowed_sans: needs client_auth_type RequireAndVerifyClientCert",
        ),
        ("min_version: TLS13, max_version: TLS12", "min_version: is above max_version"),
        ("max_version: SSL30", "max_version: 'SSL30' is none of TLS10, TLS11, TLS12, TLS13"),
        (
            "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]",
            "cipher_suites: 'TLS_RSA_WITH_RC4_128_SHA' is not a suite that Go offers as secure",
        ),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12",
            "cipher_suites: holds none for TLS12, which is max_version",
        ),
        (
            "curve_preferences: [CurveP256, X25519]",
            "curve_preferences: only one curve can be set here; leave one, or none",
        ),
        (
            "curve_preferences: [P-256]",
            "curve_preferences: 'P-256' is none of CurveP256, CurveP384, CurveP521, X25519",
        ),
        ("cert: x", "cert: cannot be given inline here; name a file in cert_file"),
        ("prefer_server_cipher_suites: 1", "prefer_server_cipher_suites: is not true or false"),
        ("client_ca_file: 5", "client_ca_file: is not text; put it in quotes"),
        ("cipher_suites: x", "cipher_suites: is not a list of texts"),
    ],
)
def test_what_tls_cannot_do_is_a_problem(tmp_path: Path, told: str, problem: str) -> None:
    text = f"tls_server_config: {{cert_file: c, key_file: k, {told}}}"
    assert problems(tmp_path, text) == [f"tls_server_config.{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate_limit: {interval: 1s}", "rate_limit.burst: 0 would refuse every request"),
        (
            "rate_limit: {interval: 1, burst: true}",
            "rate_limit.burst: True is not a number of requests",
        ),
        (
            "rate_limit: {interval: -1}",
            "rate_limit.interval: -1 is not a duration such as 1s or 500ms",
        ),
        ("- a", "should be a mapping of keys to values"),
        ("tls_server_config: yes", "tls_server_config: should be a mapping of keys to values"),
        (
            'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a"}}',
            "http_server_config.headers.X-XSS-Protection: holds a character that no header can "
            "carry",
        ),
        (
            "basic_auth_users: {1: x}",
            "basic_auth_users.1: is not a name of a user; put it in quotes, without a colon",
        ),
    ],
)
def test_other_problems(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "basic_auth_users:\n  alice: 'hunter2\n")
    assert "hunter2" not in told
    (told,) = problems(tmp_path, "basic_auth_users: {alice: hunter2}")
    assert "hunter2" not in told
    assert HASH not in repr(web_file(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "none.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not YAML"):
        read(tmp_path / "binary.yml")


@pytest.mark.parametrize(
    "text",
    ["basic_auth_users:\n  a: 2026-99-99\n", "rate_limit: {interval: " + "9" * 5000 + "}\n",
     "[" * 5000, "rate_limit: {interval: 1" + ":59" * 200 + ".0}\n"],
)  # fmt: skip
def test_what_the_parser_stumbles_over_is_told_as_no_yaml(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == ["is not YAML"]


@pytest.mark.parametrize("letter", ["\\0", "\\ud800"])
def test_a_path_that_no_system_takes_is_a_problem(tmp_path: Path, letter: str) -> None:
    told = f'tls_server_config: {{cert_file: "a{letter}", key_file: b}}'
    assert "tls_server_config.cert_file: holds a zero byte or half a character" in problems(
        tmp_path, told
    )


VAST = "0x" + "f" * 5000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"? {VAST}\n: 1", "a very long number: is not a key of the web configuration file"),
        (f"rate_limit: {{interval: {VAST}}}",
         "rate_limit.interval: a very long number is not a duration such as 1s or 500ms"),
        (f"rate_limit: {{burst: {VAST}}}",
         "rate_limit.burst: a very long number is not a number of requests"),
        ("rate_limit: {interval: 9999999999h, burst: 1}",
         "rate_limit.interval: '9999999999h' is not a duration such as 1s or 500ms"),
    ],
)  # fmt: skip
def test_numbers_beyond_all_measure_are_problems(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["cert_file", "burst", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")


@given(st.sampled_from(SECTIONS), odd)
def test_whatever_stands_there_is_a_problem_or_a_file(key: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            said = repr(web_file(Path(folder), yaml.safe_dump({key: value})))
        except ConfigError as error:
            said = str(error)
    assert said


def test_the_suites_are_those_of_openssl() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(":".join(SUITES.values()))
    assert set(SUITES.values()) <= {c["name"] for c in context.get_ciphers()}
