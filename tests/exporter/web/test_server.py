"""The server over real sockets: TLS, users, limits, and what must not hold up anybody."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import bcrypt
import pytest

from wattshed_exporter.web import server as module
from wattshed_exporter.web.policy import Policies
from wattshed_exporter.web.server import PLAIN, Answer, Server, accepts_gzip

Said = tuple[int, http.client.HTTPMessage, bytes]
HASH = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
ALICE = "Basic " + base64.b64encode(b"alice:sesame").decode()
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
VERIFIED = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"


class Site:
    """A server with a route that can be held up, and a folder with its files."""

    def __init__(self, folder: Path, rules: str = "", max_requests: int = 0) -> None:
        self.folder = folder
        self.let_go, self.asked = threading.Event(), threading.Semaphore(0)
        file = folder / "web.yml" if rules else None
        if file is not None:
            file.write_text(rules)
        self.server = Server(("127.0.0.1", 0), self.route, Policies(file), max_requests)
        self.server.start()

    def route(self, path: str, accept: str) -> Answer:
        if path == "/slow":
            self.asked.release()
            assert self.let_go.wait(120)
        if path == "/broken":
            raise KeyError(path)
        return Answer(200, PLAIN, f"{path} {accept}".encode())

    def connect(
        self, client: str = "", lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> http.client.HTTPConnection:
        if not self.server.policies.secure:
            return http.client.HTTPConnection(*self.server.address, timeout=120)
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if client:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        context.minimum_version = lowest
        return http.client.HTTPSConnection(*self.server.address, timeout=120, context=context)

    def get(self, path: str = "/", client: str = "", **headers: str) -> Said:
        with closing(self.connect(client)) as connection:
            return ask(connection, path, **headers)


def ask(connection: http.client.HTTPConnection, path: str = "/", **headers: str) -> Said:
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


@pytest.fixture
def folder(tmp_path: Path, certificates: Path) -> Path:
    return Path(shutil.copytree(certificates, tmp_path / "web"))


@pytest.fixture
def opened() -> Iterator[list[Site]]:
    sites: list[Site] = []
    yield sites
    for site in sites:
        site.let_go.set()
        site.server.close()


def test_one_connection_carries_many_requests(tmp_path: Path, opened: list[Site]) -> None:
    opened.append(site := Site(tmp_path))
    with closing(site.connect()) as connection:
        sockets = set()
        for path in ("/a", "/b?c=d"):
            status, headers, body = ask(connection, path, Accept="x")
            assert (status, body) == (200, f"{path.partition('?')[0]} x".encode())
            assert headers["Server"].startswith("wattshed-exporter/")
            assert "Python" not in headers["Server"]
            sockets.add(connection.sock)
    assert len(sockets) == 1


def test_who_speaks_http_1_0_is_answered_once(tmp_path: Path, opened: list[Site]) -> None:
    opened.append(site := Site(tmp_path))
    with socket.create_connection(site.server.address, timeout=120) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        said = b"".join(iter(lambda: plain.recv(1000), b""))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\n/ ")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"nonsense", b"400"), (b"BREW / HTTP/1.1", b"501"), (b"GET / HTTP/9.0", b"505"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"414"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000, b"431"),
        # More than clickhouse-connect allows, which raises the limit of a process that imports it.
        (b"GET / HTTP/1.1\r\n" + b"\r\n".join(b"A%d: b" % n for n in range(10_100)), b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"a" * 300_000, b"405"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(
    tmp_path: Path, opened: list[Site], request_line: bytes, status: bytes
) -> None:
    opened.append(site := Site(tmp_path))
    with socket.create_connection(site.server.address, timeout=120) as plain:
        plain.sendall(request_line + b"\r\n\r\n")
        said = plain.recv(1000)
    # Who does not even name a version is told so in the page alone.
    assert said.startswith(b"HTTP/1.1 " + status) or b"Error code: " + status in said
    assert site.get()[0] == 200


def test_what_fails_inside_is_logged_and_answered(
    tmp_path: Path, opened: list[Site], caplog: pytest.LogCaptureFixture
) -> None:
    opened.append(site := Site(tmp_path))
    with closing(site.connect()) as connection:
        assert ask(connection, "/broken")[0] == 500
        assert ask(connection)[0] == 200
    assert "/broken cannot be answered" in caplog.text


def test_too_many_requests_at_a_time_are_told_so(tmp_path: Path, opened: list[Site]) -> None:
    opened.append(site := Site(tmp_path, max_requests=2))
    waiting = [site.connect() for _ in range(2)]
    for connection in waiting:
        connection.request("GET", "/slow")
        assert site.asked.acquire(timeout=120)
    status, _, body = site.get()
    assert (status, body) == (503, b"2 requests are being answered, try again later\n")
    site.let_go.set()
    for connection in waiting:
        assert connection.getresponse().read() == b"/slow "
        connection.close()
    assert site.get()[0] == 200


def test_tls(folder: Path, opened: list[Site]) -> None:
    opened.append(site := Site(folder, TLS + "}"))
    with closing(site.connect()) as connection:
        assert ask(connection)[0] == 200
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.version() == "TLSv1.3"
    with socket.create_connection(site.server.address, timeout=120) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"200" not in plain.recv(1000)
    assert site.get()[0] == 200


def test_versions_suites_and_curves(folder: Path, opened: list[Site]) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    rules = f"{TLS}, max_version: TLS12, cipher_suites: [{suite}], curve_preferences: [CurveP384]}}"
    opened.append(site := Site(folder, rules))
    with closing(site.connect()) as connection:
        assert ask(connection)[0] == 200
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.cipher() == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256)
    newest = site.connect(lowest=ssl.TLSVersion.TLSv1_3)
    with closing(newest) as connection, pytest.raises(ssl.SSLError):
        ask(connection)


def test_clients_need_a_certificate_where_the_file_says_so(
    folder: Path, opened: list[Site]
) -> None:
    opened.append(site := Site(folder, f"{TLS}, {VERIFIED}}}"))
    assert site.get(client="client")[0] == 200
    assert site.get(client="stranger")[0] == 200
    with pytest.raises(OSError, match=r"(?i)required|reset|closed|EOF|broken pipe"):
        site.get()


@pytest.mark.parametrize("san", ["scraper.example", "10.0.0.7"])
def test_clients_need_an_allowed_name(folder: Path, opened: list[Site], san: str) -> None:
    opened.append(site := Site(folder, f"{TLS}, {VERIFIED}, client_allowed_sans: [{san}]}}"))
    assert site.get(client="client")[0] == 200
    with pytest.raises((OSError, http.client.HTTPException)):
        site.get(client="stranger")


def test_a_certificate_may_be_optional(folder: Path, opened: list[Site]) -> None:
    optional = VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    opened.append(site := Site(folder, f"{TLS}, {optional}}}"))
    assert site.get()[0] == 200
    assert site.get(client="client")[0] == 200


def test_a_renewed_certificate_is_used_without_a_restart(folder: Path, opened: list[Site]) -> None:
    opened.append(site := Site(folder, TLS + "}"))

    def served() -> bytes | None:
        with closing(site.connect()) as connection:
            ask(connection)
            assert isinstance(connection.sock, ssl.SSLSocket)
            return connection.sock.getpeercert(binary_form=True)

    def pem(name: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert((folder / name).read_text())

    first = pem("server.pem")
    assert served() == first
    os.replace(folder / "renewed.pem", folder / "server.pem")
    assert served() == first  # its key is not here yet
    os.replace(folder / "renewed.key", folder / "server.key")
    assert served() == pem("server.pem") != first


def test_a_handshake_that_hangs_holds_up_nobody(folder: Path, opened: list[Site]) -> None:
    opened.append(site := Site(folder, TLS + "}"))
    hanging = [socket.create_connection(site.server.address) for _ in range(5)]
    assert site.get()[0] == 200
    for each in hanging:
        each.close()


def test_who_is_idle_longest_makes_room(
    folder: Path, opened: list[Site], caplog: pytest.LogCaptureFixture
) -> None:
    opened.append(site := Site(folder, TLS + "}"))
    kept = site.connect()
    silent = [
        socket.create_connection(site.server.address, timeout=120)
        for _ in range(module.MOST_CONNECTIONS - 1)
    ]
    assert ask(kept)[0] == 200  # so that it is not idle longest
    for _ in range(3):
        assert site.get()[0] == 200
        assert ask(kept)[0] == 200
    assert silent[0].recv(1) == b""
    assert [m for m in caplog.messages if "there are 128 connections" in m] == caplog.messages
    assert len(caplog.messages) == 1
    kept.close()
    for each in silent:
        each.close()


def test_who_is_being_answered_does_not_make_room(
    tmp_path: Path, opened: list[Site], caplog: pytest.LogCaptureFixture
) -> None:
    opened.append(site := Site(tmp_path))
    waiting = [site.connect() for _ in range(module.MOST_CONNECTIONS)]
    for connection in waiting:
        connection.request("GET", "/slow")
        assert site.asked.acquire(timeout=120)
    with pytest.raises((OSError, http.client.HTTPException)):
        site.get()
    assert "refused" in caplog.text
    site.let_go.set()
    for connection in waiting:
        assert connection.getresponse().read() == b"/slow "
        connection.close()


def test_a_request_that_trickles_in_is_not_waited_for(tmp_path: Path) -> None:
    route = lambda path, accept: Answer(200, PLAIN, b"x")  # noqa: E731
    server = Server(("127.0.0.1", 0), route, Policies(None), request_seconds=0.3)
    server.start()
    stop = threading.Event()
    with closing(server), socket.create_connection(server.address, timeout=120) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n")

        def trickle() -> None:
            for _ in range(1000):  # 50 s
                plain.sendall(b"A: b\r\n")
                stop.wait(0.05)

        with pytest.raises(OSError, match=r"(?i)broken pipe|reset"):
            trickle()


def test_no_host_stands_for_both_families() -> None:
    route = lambda path, accept: Answer(200, PLAIN, b"x")  # noqa: E731
    with closing(Server(("", 0), route, Policies(None))) as server:
        server.start()
        for host in ("127.0.0.1", *(["::1"] if ":" in server.address[0] else [])):
            connection = http.client.HTTPConnection(host, server.address[1], timeout=120)
            with closing(connection):
                assert ask(connection)[0] == 200
        with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            assert server.address[0] == "::"


USERS = f"basic_auth_users: {{alice: {HASH}}}\n"


def test_only_users_are_answered(
    tmp_path: Path, opened: list[Site], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    opened.append(site := Site(tmp_path, USERS))
    status, headers, body = site.get()
    assert (status, body) == (401, b"who are you?\n")
    assert headers["WWW-Authenticate"].startswith("Basic ")
    assert site.get(Authorization=ALICE)[0] == 200
    wrong = "Basic " + base64.b64encode(b"alice:wrong").decode()
    assert site.get(Authorization=wrong)[0] == 401
    assert site.get("/broken")[0] == 401
    assert not [m for m in caplog.messages if "sesame" in m or ALICE[6:] in m or HASH in m]


def test_a_user_who_is_taken_out_is_not_remembered(tmp_path: Path, opened: list[Site]) -> None:
    opened.append(site := Site(tmp_path, USERS))
    with closing(site.connect()) as connection:
        assert ask(connection, Authorization=ALICE)[0] == 200
        new = tmp_path / "new.yml"
        new.write_text(USERS.replace("alice", "bob"))
        os.replace(new, tmp_path / "web.yml")
        assert ask(connection, Authorization=ALICE)[0] == 401


def test_requests_are_limited_and_carry_the_headers(tmp_path: Path, opened: list[Site]) -> None:
    rules = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    opened.append(site := Site(tmp_path, rules + "rate_limit: {interval: 1h, burst: 2}\n"))
    assert [site.get()[0] for _ in range(3)] == [200, 200, 429]
    assert site.get()[1]["X-Frame-Options"] == "deny"


def test_closing_cuts_off_who_is_connected(tmp_path: Path, opened: list[Site]) -> None:
    opened.append(site := Site(tmp_path))
    connection = site.connect()
    assert ask(connection)[0] == 200
    site.server.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(connection)
    connection.close()
    with pytest.raises(OSError, match="refused"):
        site.get()


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False), ("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip; q=0", False),
        ("gzip;q=0.0, br", False), ("GZIP", True), ("x-gzip", True), ("gzip;q=x", False),
        ("gzip;level=9", True), ("gzipped", False), ("identity", False),
    ],
)  # fmt: skip
def test_gzip_is_accepted_by_its_weight(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
