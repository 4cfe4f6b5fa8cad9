"""One connection to a collector: TLS both ways, and what is wrong with its files at the start."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wattshed_exporter.config import Otlp
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.outputs.otlp_client import Client, Retry, retry_after


@dataclass(frozen=True)
class Papers:
    """A certificate authority, what it signed, and a stranger's certificate."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    locked_key: Path


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("papers")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    openssl(
        *("req", "-x509", *new, "-subj", "/CN=test authority", "-keyout", str(ca_key)),
        *("-out", str(ca), "-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    for name in ("server", "client"):
        key, request = folder / f"{name}.key", folder / f"{name}.csr"
        openssl(
            *("req", *new, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)),
            *("-addext", "subjectAltName=DNS:localhost"),
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key)),
            *("-CAcreateserial", "-days", "2", "-copy_extensions", "copyall"),
            *("-out", str(folder / f"{name}.pem")),
        )
    client_key, locked = folder / "client.key", folder / "locked.key"
    openssl("ec", "-aes256", "-passout", "pass:x", "-in", str(client_key), "-out", str(locked))
    return Papers(
        ca,
        folder / "server.pem",
        folder / "server.key",
        folder / "client.pem",
        client_key,
        locked,
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """A server that says nothing of clients which leave in the middle of a handshake."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


def serve(papers: Papers | None, *, asks_client: bool = False) -> tuple[Quiet, str]:
    server = Quiet(("127.0.0.1", 0), Handler)
    if papers is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(papers.server, papers.server_key)
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(papers.ca)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    kind = "https" if papers else "http"
    return server, f"{kind}://localhost:{server.server_address[1]}"


@pytest.fixture
def secure(papers: Papers) -> Iterator[str]:
    server, url = serve(papers)
    yield url
    server.shutdown()
    server.server_close()


@pytest.fixture
def strict(papers: Papers) -> Iterator[str]:
    server, url = serve(papers, asks_client=True)
    yield url
    server.shutdown()
    server.server_close()


def told(url: str, **files: Path) -> Otlp:
    return Otlp(endpoint=url, timeout_seconds=5.0, **files)  # type: ignore[arg-type]


def test_a_collector_whose_authority_is_named_is_trusted(papers: Papers, secure: str) -> None:
    client = Client(told(secure, ca_file=papers.ca))
    assert client.post(b"hello") == (200, b"hello", 0.0)
    client.close()


def test_a_collector_that_nobody_vouches_for_gets_nothing(secure: str) -> None:
    with pytest.raises(Retry, match="certificate verify failed"):
        Client(told(secure)).post(b"hello")


def test_a_collector_under_another_name_gets_nothing(papers: Papers, secure: str) -> None:
    client = Client(told(secure.replace("localhost", "127.0.0.1"), ca_file=papers.ca))
    with pytest.raises(Retry, match="certificate is not valid for"):
        client.post(b"hello")


def test_a_collector_may_ask_who_pushes(papers: Papers, strict: str) -> None:
    files = {"ca_file": papers.ca, "cert_file": papers.client, "key_file": papers.client_key}
    client = Client(told(strict, **files))
    assert client.post(b"hello")[:2] == (200, b"hello")
    client.close()
    with pytest.raises(Retry, match="cannot be reached"):
        Client(told(strict, ca_file=papers.ca)).post(b"hello")


def test_a_renewed_certificate_is_used_without_a_restart(
    papers: Papers, strict: str, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(papers.client.read_bytes() + papers.client_key.read_bytes())
    client = Client(told(strict, ca_file=papers.ca, cert_file=both))
    good = both.read_bytes()
    both.write_text("being written")
    with pytest.raises(Retry, match="cannot be reached"):
        client.post(b"hello")
    both.write_bytes(good)
    assert client.post(b"hello")[0] == 200
    client.close()


def problems(**files: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Client(told("https://c.example", **files))
    return caught.value.problems


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert problems(ca_file=none, cert_file=tmp_path, key_file=none) == (
        f"otlp.ca_file: {none} cannot be read: No such file or directory",
        f"otlp.cert_file: {tmp_path} cannot be read: Is a directory",
        f"otlp.key_file: {none} cannot be read: No such file or directory",
    )


def test_files_that_hold_something_else_are_named(papers: Papers, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("no certificate")
    assert problems(ca_file=other, cert_file=other) == (
        f"otlp.ca_file: {other} holds no certificate in PEM format",
        f"otlp.cert_file: {other} and the key in it cannot be used: "
        "no certificate and key in PEM format",
    )
    (mismatch,) = problems(cert_file=papers.client, key_file=papers.server_key)
    assert mismatch.endswith("cannot be used: KEY_VALUES_MISMATCH")


def test_a_key_with_a_passphrase_is_refused_without_asking(papers: Papers) -> None:
    (locked,) = problems(cert_file=papers.client, key_file=papers.locked_key)
    assert locked.startswith(f"otlp.cert_file: {papers.client} and {papers.locked_key} cannot")


def test_a_long_answer_is_not_read_to_its_end() -> None:
    server, url = serve(None)
    client = Client(told(url))
    status, answer, _ = client.post(bytes(1 << 20))
    assert (status, len(answer)) == (200, 1 << 16)
    assert client.post(b"next")[:2] == (200, b"next")
    client.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0.0), ("5", 5.0), ("99999", 300.0), ("soon", 0.0), ("nan", 0.0), ("-3", 0.0)],
)
def test_retry_after_values(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert 50 < retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after(formatdate(time.time() - 60, usegmt=True)) == 0.0
