"""Connections, passwords and certificates of the Redfish source, over real HTTP and TLS."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures.redfish import (
    ENV,
    energy,
    hold_environment,
    watts,
)
from tests.fixtures.web import Web, serving

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.http_json import HttpJson
from wattshed_exporter.sources.redfish import Redfish

SECRET = "s3cret-Pa55word"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for 127.0.0.1, with its key beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl binary to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "bmc.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    command += f" -subj /CN=bmc -addext subjectAltName=IP:127.0.0.1 -out {path}"
    subprocess.run(
        [*command.split(), "-keyout", str(path.with_suffix(".key"))],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def tls_bmc(certificate: Path) -> Iterator[Web]:
    server = Web()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


Make = Callable[..., Redfish]


def test_one_connection_for_everything(web: Web, make: Make) -> None:
    hold_environment(web, energy(1))
    source = make(web.url())
    source.discover()
    for _ in range(3):
        assert watts(source) == [500.0]
    assert len(web.peers) == 1
    assert len(web.asked) == 4 + 3


def test_a_connection_that_was_closed_is_opened_again(web: Web, make: Make) -> None:
    hold_environment(web, energy(1))
    web.close_idle = True
    source = make(web.url())
    source.discover()
    assert watts(source) == [500.0]
    assert len(web.peers) == 5


def test_a_connection_is_kept_only_where_asked(web: Web) -> None:
    web.resources["/x"] = {"a": 1.5}
    reader = HttpJson(web.url())
    assert [reader.get("/x"), reader.get("/x#fragment")] == [{"a": 1.5}] * 2
    assert len(web.peers) == 2


def test_answers_are_cached(web: Web, make: Make) -> None:
    hold_environment(web, energy(1))
    source = make(web.url(), cache_seconds=60.0)
    assert source.interval_seconds == 60.0
    source.discover()
    assert source.read() is source.read()
    assert web.asked.count(ENV) == 2
    source.discover()
    assert web.asked.count(ENV) == 3
    source.read()
    assert web.asked.count(ENV) == 4


def test_password(web: Web, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    hold_environment(web, energy(1))
    web.authorization = "Basic " + base64.b64encode(f"root:{SECRET}".encode()).decode()
    right = make(web.url(), username="root", password=SECRET)
    right.discover()
    assert watts(right) == [500.0]
    said = []
    for options in ({}, {"username": "root", "password": f"not-{SECRET}"}):
        with pytest.raises(SourceError) as caught:
            make(web.url(), **options).discover()
        assert caught.value.reason == "unauthorized"
        said.append(str(caught.value))
    assert said == [
        f"{web.url()} asks for a password",
        f"{web.url()} refuses the user name or the password",
    ]
    web.authorization = "Basic changed"
    with pytest.raises(SourceError, match="refuses"):
        right.read()
    assert "redfish.url is not https" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["https://root:s3cret@bmc", "root:s3cret@bmc", "bmc", "ftp://bmc", "http://[::1", "http://b:x"],
)
def test_malformed_url(make: Make, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        make(url).discover()
    assert caught.value.reason == "config"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "a b", "x" * 300])
def test_impossible_host(make: Make, host: str) -> None:
    with pytest.raises(SourceError) as caught:
        make(f"http://{host}").discover()
    assert caught.value.reason in ("config", "malformed", "unreachable")


def test_tls(tls_bmc: Web, make: Make, certificate: Path) -> None:
    hold_environment(tls_bmc, energy(1))
    source = make(tls_bmc.url("https"), ca_file=certificate)
    source.discover()
    assert watts(source) == [500.0]


def test_self_signed_certificate(tls_bmc: Web, make: Make, certificate: Path) -> None:
    hold_environment(tls_bmc, energy(1))
    for host, ca_file in (("127.0.0.1", None), ("localhost", certificate)):
        with pytest.raises(SourceError, match="its certificate is not trusted") as caught:
            make(tls_bmc.url("https", host), ca_file=ca_file).discover()
        assert caught.value.reason == "tls"
        assert "ca_file" in str(caught.value)
    assert not tls_bmc.asked, "no request before the certificate is verified"


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_ca_file_that_cannot_be_read(
    web: Web, make: Make, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceError, match=r"ca\.pem") as caught:
        make(web.url("https"), ca_file=file).discover()
    assert caught.value.reason == "config"


def test_https_to_a_port_that_speaks_http(web: Web, make: Make) -> None:
    with pytest.raises(SourceError) as caught:
        make(web.url("https")).discover()
    assert caught.value.reason in ("tls", "unreachable", "timeout")
