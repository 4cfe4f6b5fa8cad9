"""A running collector that asks who you are: over http, https, with tokens and certificates."""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest
from tests.fixtures.authority import Authority, Pair

from wattshed_collector import address
from wattshed_collector.cli import main
from wattshed_collector.cli.access import Key
from wattshed_collector.cli.answers import Remote
from wattshed_collector.config import Config, Requests, Security
from wattshed_collector.errors import InvalidInput, StoreError
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running

INGEST, READ, ADMIN, METRICS, SLOW = (f"wsd_{c * 40}" for c in "irams")
PASSWORD = "correct horse battery staple"
PROTOBUF = "application/x-protobuf"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def security_file(more: str = "") -> str:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    return f"""
tokens:
  - {{name: pool, sha256: ["{digest(INGEST)}"], roles: [ingest], clusters: [alpha]}}
  - {{name: viewer, sha256: ["{digest(READ)}"], roles: [read]}}
  - {{name: ops, sha256: ["{digest(ADMIN)}"], roles: [admin]}}
  - {{name: prometheus, sha256: ["{digest(METRICS)}"], roles: [metrics]}}
  - {{name: slow, sha256: ["{digest(SLOW)}"], roles: [read], requests_per_second: 0.001}}
users:
  - {{name: ada, bcrypt: "{hashed}", roles: [read]}}
certificates:
  - {{name: edge, names: ["DNS:*.edge.example"], roles: [ingest]}}
{more}"""


@dataclass(frozen=True)
class Guarded:
    """The collector, its files, and how to ask it."""

    running: Running
    folder: Path
    authority: Authority

    def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        body: bytes | None = None,
        pair: Pair | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            told["Authorization"] = f"Bearer {token}"
        context = ssl.create_default_context(cafile=str(self.authority.pair.cert))
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        host, port = self.running.host, self.running.port
        with closing(http.client.HTTPSConnection(host, port, timeout=120, context=context)) as to:
            to.request(method, path, body, told)
            answer = to.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def status(self, method: str, path: str, token: str = "", **how: str) -> int:
        return self.ask(method, path, token, None, None, **how)[0]

    def health(self, name: str) -> float:
        _, _, text = self.ask("GET", "/metrics", METRICS)
        lines = [line for line in text.decode().splitlines() if line.startswith(name + " ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    server = authority.sign("server", "IP:127.0.0.1")
    file = folder / "security.yaml"
    file.touch(0o600)
    file.write_text(security_file(), encoding="utf-8")
    config = Config(
        listen="127.0.0.1:0",
        data=str(folder / "data"),
        security=Security(
            file=file,
            cert_file=server.cert,
            key_file=server.key,
            client_ca_file=authority.pair.cert,
        ),
        requests=Requests(head_seconds=0.4, read_seconds=0.6, window_days=30),
    )
    with collect(config) as running:
        yield Guarded(running, folder, authority)


def request(cluster: str, device: str = "d") -> bytes:
    at_ms = int(time.time() * 1000)
    return Encoder({"wattshed.node": "n"}, "0").request(
        Batch(
            devices=(Device(device, Kind.GPU, "n", "s", cluster=cluster),),
            ticks=(Tick(device, at_ms, 1000, Method.COUNTER, 10.0),),
        )
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/report", {READ, ADMIN}),
        ("GET", "/", {READ, ADMIN}),
        ("GET", "/v1/no-such-route", {READ, ADMIN}),
        ("GET", "/metrics", {METRICS, ADMIN}),
        ("POST", "/v1/metrics", {INGEST, ADMIN}),
        ("POST", "/api/v1/write", {INGEST, ADMIN}),
        ("POST", "/v1/outcomes", {INGEST, ADMIN}),
        ("POST", "/v1/ledger/recompute", {ADMIN}),
        ("POST", "/v1/factors", {ADMIN}),
        ("POST", "/v1/quality", {ADMIN}),
        ("POST", "/v1/backup", {ADMIN}),
        ("POST", "/v1/allocations", {ADMIN}),
        ("POST", "/v1/history/slurm", {ADMIN}),
        ("DELETE", "/v1/whatever-comes", {ADMIN}),
        ("GET", "/healthz", {"", INGEST, READ, ADMIN, METRICS}),
        ("GET", "/readyz", {"", INGEST, READ, ADMIN, METRICS}),
    ],
)
def test_each_role_may_do_what_it_is_for(
    guarded: Guarded, method: str, path: str, allowed: set[str]
) -> None:
    for token in ("", INGEST, READ, ADMIN, METRICS):
        status = guarded.status(method, path, token)
        refused = 403 if token else 401
        assert (status != refused) == (token in allowed), (token, status)


def test_a_wrong_token_is_refused_and_not_repeated(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "wsd_" + "x" * 40
    with caplog.at_level(logging.DEBUG):
        status, headers, body = guarded.ask("GET", "/v1/report?token=" + wrong, wrong)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith('Basic realm="wattshed"')
    assert wrong.encode() not in body
    assert wrong not in caplog.text
    # Even a right certificate, or what anybody may do, does not make up for a wrong token.
    assert guarded.ask("GET", "/v1/report", wrong)[0] in (401, 429)


def test_who_tries_wrong_tokens_is_slowed_down(guarded: Guarded) -> None:
    answers = [guarded.ask("GET", "/v1/report", f"wsd_{n}") for n in range(8)]
    assert answers[-1][0] == 429
    assert int(answers[-1][1]["Retry-After"]) >= 1
    assert guarded.status("GET", "/v1/status", READ) == 200, "who has a token is not kept out"


def test_a_user_has_a_password(guarded: Guarded) -> None:
    def as_user(told: str) -> int:
        encoded = base64.b64encode(told.encode()).decode()
        return guarded.status("GET", "/v1/status", Authorization=f"Basic {encoded}")

    assert [as_user(f"ada:{PASSWORD}") for _ in range(2)] == [200, 200]
    for wrong in (f"bob:{PASSWORD}", "ada:", "ada", "", "ada:\0"):
        assert as_user(wrong) in (401, 429)


def test_a_browser_may_show_a_token_as_a_password(guarded: Guarded) -> None:
    def shown(token: str, path: str = "/v1/status") -> int:
        encoded = base64.b64encode(f"anybody:{token}".encode()).decode()
        return guarded.status("GET", path, Authorization=f"Basic {encoded}")

    assert [shown(READ), shown(ADMIN), shown(METRICS, "/metrics")] == [200, 200, 200]
    assert shown(METRICS) == 403, "it may no more than it may as a token"


def test_a_certificate_says_who_it_is(guarded: Guarded) -> None:
    edge = guarded.authority.sign("edge", "DNS:gw-1.edge.example")
    other = guarded.authority.sign("other", "DNS:gw-1.else.example")
    (guarded.folder / "strange").mkdir(exist_ok=True)
    stranger = Authority(guarded.folder / "strange", "stranger").sign("s", "DNS:x.edge.example")
    ask = partial(guarded.ask, "POST", "/v1/metrics", "", request(""), Content_Type=PROTOBUF)
    assert ask(pair=edge)[0] == 200
    assert ask(pair=other)[0] == 401
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(pair=stranger)


def test_a_tenant_writes_only_of_its_cluster(guarded: Guarded) -> None:
    for cluster, said in (("alpha", b""), ("beta", b"1 not_yours"), ("", b"")):
        device = f"of-{cluster}"
        status, _, body = guarded.ask(
            "POST", "/v1/metrics", INGEST, request(cluster, device), Content_Type=PROTOBUF
        )
        assert status == 200
        assert said in body
        assert bool(body) == bool(said)
    rows = guarded.running.rows("SELECT key, cluster FROM device FINAL WHERE key LIKE 'of-%'")
    assert sorted(rows) == [("of-", "alpha"), ("of-alpha", "alpha")]
    assert guarded.health('wattshed_collector_sender_requests_total{sender="pool"}') >= 3


def test_a_sender_has_a_limit_of_its_own(guarded: Guarded) -> None:
    assert guarded.status("GET", "/v1/status", SLOW) == 200
    status, headers, _ = guarded.ask("GET", "/v1/status", SLOW)
    assert status == 429
    assert int(headers["Retry-After"]) > 100
    assert guarded.status("GET", "/v1/status", READ) == 200


def test_a_page_of_another_site_may_not_ask(guarded: Guarded) -> None:
    how = {"Origin": "https://evil.example"}
    assert guarded.status("POST", "/v1/ledger/recompute", ADMIN, **how) == 403
    how = {"Sec_Fetch_Site": "cross-site"}
    assert guarded.status("POST", "/v1/ledger/recompute", ADMIN, **how) == 403
    how = {"Origin": f"https://{guarded.running.host}:{guarded.running.port}"}
    assert guarded.status("POST", "/v1/ledger/recompute", ADMIN, **how) == 400


def test_questions_have_limits(guarded: Guarded) -> None:
    status, _, body = guarded.ask("GET", "/v1/report?since=31d", READ)
    assert (status, b"longer than 30 days" in body) == (400, True)
    assert guarded.status("GET", "/v1/report?since=" + "9" * 9000, READ) in (400, 414)


def test_every_answer_protects_who_reads_it(guarded: Guarded) -> None:
    for path, token in (("/v1/status", READ), ("/v1/status", ""), ("/healthz", "")):
        _, headers, _ = guarded.ask("GET", path, token)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Server"] == "wattshed"


def test_slow_heads_and_bodies_are_hung_up(guarded: Guarded) -> None:
    context = ssl.create_default_context(cafile=str(guarded.authority.pair.cert))

    def says(raw: bytes) -> bytes:
        where = guarded.running.host, guarded.running.port
        with (
            socket.create_connection(where, timeout=120) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as to,
        ):
            to.sendall(raw)
            try:
                return to.recv(10)
            except (ConnectionError, ssl.SSLError):
                return b""

    head = f"POST /v1/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {INGEST}\r\n"
    head += f"Content-Type: {PROTOBUF}\r\nContent-Length: 99\r\n"
    assert says(head.encode()) == b""
    assert says(head.encode() + b"\r\nhalf") == b""
    for reason in ("slow_head", "slow_body"):
        assert guarded.health(f'wattshed_collector_refused_total{{reason="{reason}"}}') == 1


def test_old_tls_is_not_spoken(guarded: Guarded) -> None:
    context = ssl.create_default_context(cafile=str(guarded.authority.pair.cert))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    where = guarded.running.host, guarded.running.port
    with (
        socket.create_connection(where, timeout=120) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nobody_comes_back_on_an_old_session(guarded: Guarded, newest: ssl.TLSVersion) -> None:
    """It would let in whose authority was taken away since."""
    context = ssl.create_default_context(cafile=str(guarded.authority.pair.cert))
    context.maximum_version = newest
    session: ssl.SSLSession | None = None
    where = guarded.running.host, guarded.running.port
    for _ in range(2):
        with (
            socket.create_connection(where, timeout=120) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as told,
        ):
            told.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert told.recv(12) == b"HTTP/1.1 200"
            assert not told.session_reused
            session = told.session


def test_the_command_line_of_the_owner_needs_no_token(guarded: Guarded) -> None:
    data, url = guarded.folder / "data", guarded.running.url
    assert stat.S_IMODE((data / address.FILE).stat().st_mode) == 0o600
    token, certificate = address.key(data, url)
    assert Remote(url, Key(token, certificate=certificate)).get("/v1/status")["version"]
    assert address.key(data, "https://127.0.0.1:1") == ("", "")
    with pytest.raises(StoreError, match=r"refuses.*--token-file"):
        Remote(url, Key(certificate=certificate)).get("/v1/status")
    with pytest.raises(InvalidInput, match="certificates cannot be used"):
        Remote(url, Key(ca_file=str(guarded.folder / "absent")))


def test_every_command_shows_who_asks(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data", str(guarded.folder / "data")]
    assert guarded.ask("POST", "/v1/factors", ADMIN, b"{")[0] == 400
    table = tmp_path / "table.csv"
    table.write_text(f"t,p\n{time.time()},5\n")
    other = tmp_path / "other.token"
    other.write_text("wsd_other\n")
    how = ["--map", "time=t", "--map", "power_watts=p", "--set", "device=d", "--set", "node=n"]
    for words, status, said in (
        (["targets"], 0, "nothing is scraped"),
        (["dead-letters", "retry", "--all"], 1, "refused: "),
        (["import", "csv", *how, str(table)], 0, "written: 1 ticks"),
        (["backup", str(tmp_path / "backup")], 2, "durability.backup_folder"),
        (["dead-letters", "retry", "--all", "--token-file", str(other)], 1, "wattshed: "),
        (["targets", "--token-file", str(table)], 2, "holds no token: it is one word"),
        (["targets", "--token-file", str(tmp_path)], 2, "holds no token: Is a directory"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, *place])
        told = capsys.readouterr()
        assert (ended.value.code, said in told.out + told.err) == (status, True), words


def test_files_that_change_count_without_a_restart(guarded: Guarded) -> None:
    """Last, because afterwards another authority counts."""
    new = "wsd_" + "n" * 40
    entry = f'  - {{name: new, sha256: ["{digest(new)}"], roles: [read]}}'
    file = guarded.folder / "security.yaml"
    good = file.read_text(encoding="utf-8")
    file.write_text(good + "\nrubbish: [", encoding="utf-8")
    assert guarded.status("GET", "/v1/status", READ) == 200
    file.write_text(good.replace("users:", f"{entry}\nusers:"), encoding="utf-8")
    again = Authority(guarded.folder, "again")
    renewed = again.sign("renewed", "IP:127.0.0.1")
    for name, fresh in (
        ("server.pem", renewed.cert),
        ("server.key", renewed.key),
        ("authority.pem", again.pair.cert),
    ):
        os.replace(fresh, guarded.folder / name)
    deadline = time.monotonic() + 120
    while True:
        try:
            # The client trusts the file that was replaced as well, so only the new one will do.
            if guarded.status("GET", "/v1/status", new) == 200:
                break
        except ssl.SSLError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert guarded.status("GET", "/v1/status", READ) == 200
