"""``/clickhouse`` of a running collector, asked by clickhouse-connect, by hand, and as Go would."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import bcrypt
import clickhouse_connect
import pytest
import zstandard
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.collector.clickhouse.go_client import HELLO, PROTOCOL, Block, blocks

from wattshed_collector.api.clickhouse import ClickHouseApi
from wattshed_collector.config import ClickHouse, Config, Security
from wattshed_collector.receivers import body

if TYPE_CHECKING:
    from tests.collector.conftest import Running

READ, INGEST = "wsd_" + "r" * 40, "wsd_" + "i" * 40
PASSWORD = "correct horse battery staple"
ENDLESS = (
    "SELECT count() FROM (SELECT arrayJoin(range(1000000)) AS a) AS x, "
    "(SELECT arrayJoin(range(1000000)) AS b) AS y WHERE cityHash64(a, b) = 1"
)


def security() -> str:
    def entry(name: str, token: str, role: str) -> str:
        digest = hashlib.sha256(token.encode()).hexdigest()
        return f'  - {{name: {name}, sha256: ["{digest}"], roles: [{role}]}}\n'

    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users = f'users:\n  - {{name: ada, bcrypt: "{hashed}", roles: [read, metrics]}}\n'
    return "tokens:\n" + entry("grafana", READ, "read") + entry("pool", INGEST, "ingest") + users


@dataclass(frozen=True)
class Said:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Asker:
    """Asks over HTTP with a token, where no other headers are given."""

    running: Running
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {READ}"})

    def ask(
        self, sql: str = "", headers: dict[str, str] | None = None, method: str = "POST",
        path: str = "/clickhouse", sent: bytes | None = None, **told: Any,
    ) -> Said:  # fmt: skip
        told_of = self.headers if headers is None else headers
        url = f"{path}?{urlencode(told)}" if told else path
        with closing(
            http.client.HTTPConnection(self.running.host, self.running.port, timeout=60)
        ) as to:
            content = sql.encode() if sent is None else sent
            to.request(method, url, content if method == "POST" else None, told_of)
            answer = to.getresponse()
            return Said(answer.status, dict(answer.getheaders()), answer.read())


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("clickhouse")
    file = folder / "security.yaml"
    file.touch(0o600)
    file.write_text(security(), encoding="utf-8")
    config = Config(
        listen="127.0.0.1:0",
        data=str(folder / "data"),
        security=Security(file=file),
        clickhouse=ClickHouse(query_seconds=20.0),
    )
    with collect(config) as running:
        yield Asker(running)


@pytest.fixture(scope="module")
def client(served: Asker) -> Iterator[Client]:
    """The real HTTP client of clickhouse-connect."""
    to = served.running
    client = clickhouse_connect.get_client(
        host=to.host, port=to.port, proxy_path="/clickhouse", username="grafana", password=READ
    )
    yield client
    client.close()


def go(served: Asker, sql: str, revision: int, **told: Any) -> list[Block]:
    """Ask as clickhouse-go does, and read what it would."""
    pair = base64.b64encode(f"grafana:{READ}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}", "Accept-Encoding": "gzip", "User-Agent": "go"}
    told |= {"database": "default", "default_format": "Native", "max_execution_time": "65"}
    said = served.ask(sql, headers, client_protocol_version=str(PROTOCOL), **told)
    assert said.status == 200, said.body
    packed = said.headers.get("Content-Encoding") == "gzip"
    return list(blocks(gzip.decompress(said.body) if packed else said.body, revision))


def test_a_data_source_connects_and_asks(served: Asker) -> None:
    (hello,) = go(served, HELLO, PROTOCOL)
    revision = hello.columns[2][0]
    assert [block.columns for block in go(served, "SELECT 1", revision)] == [[[1]]]
    (many,) = go(served, "SELECT name FROM system.columns ORDER BY name", revision)
    assert many.rows > 100
    (none,) = go(served, "SELECT toStartOfHour(t) AS time, class, sum(joules) AS j FROM "
                 "v_energy_1h WHERE t >= toDateTime(1) GROUP BY time, class", revision)  # fmt: skip
    assert (none.names, none.rows) == (["time", "class", "j"], 0)
    (limited,) = go(served, "SELECT arrayJoin([1, 2, 3])", revision, limit="2")
    assert limited.rows == 2


def test_a_real_client_reads_every_type(client: Client) -> None:
    found = client.query(
        "SELECT {s:String} AS s, {a:Array(String)} AS a, {n:Nullable(UInt8)} AS n, "
        "map('k', 1) AS m, toLowCardinality('l') AS l, {d:DateTime64(3)} AS d, "
        "toDateTime('2026-01-02 03:04:05') AS t, (1, 'x') AS p, "
        "CAST(1.5, 'Nullable(Float64)') AS f",
        parameters={
            "s": "it's \\ \n\t",
            "a": ["q'", "r"],
            "n": None,
            "d": datetime(2026, 1, 2, 3, 4, 5, 6000),
        },
    )
    assert found.result_rows == [
        ("it's \\ \n\t", ["q'", "r"], None, {"k": 1}, "l", datetime(2026, 1, 2, 3, 4, 5, 6000),
         datetime(2026, 1, 2, 3, 4, 5), (1, "x"), 1.5)
    ]  # fmt: skip
    assert found.summary["read_rows"]


def test_a_real_client_reads_no_rows_frames_and_long_parameters(client: Client) -> None:
    empty = client.query("SELECT t, joules, team FROM v_energy_1m")
    assert (empty.column_names, empty.result_rows) == (("t", "joules", "team"), [])
    frame = client.query_df("SELECT arrayJoin([1, 2]) AS n, 'a' AS s")
    assert frame.to_dict("list") == {"n": [1, 2], "s": ["a", "a"]}
    told = {"s": "x" * 100_000}
    assert client.query("SELECT length({s:String})", parameters=told).result_rows == [(100_000,)]
    assert client.command("SELECT count() FROM system.tables WHERE name = 'v_live'") == 1
    assert client.query("SELECT x FROM (SELECT arrayJoin([3, 4]) AS x) LIMIT 0").column_names


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT nope FROM v_live", 47),
        ("SELECT * FROM v_nope", 60),
        ("SELEC 1", 62),
        ("SELECT file('/etc/passwd')", 497),
        ("INSERT INTO tick (power_mw) VALUES (1)", 36),
        ("DROP TABLE tick", 164),
        ("SELECT 1 / throwIf(1)", 497),
        ("SELECT toInt8('x')", 6),
    ],
)
def test_a_real_client_raises_what_is_wrong(client: Client, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError, match=f"code: {code}"):
        client.query(sql)


def test_errors_are_clickhouses(served: Asker) -> None:
    said = served.ask("SELECT * FROM v_nope")
    assert said.status == 404
    assert said.headers["X-ClickHouse-Exception-Code"] == "60"
    assert said.body == (
        b"Code: 60. DB::Exception: there is no view default.v_nope (UNKNOWN_TABLE)\n"
    )


def test_headers_of_an_answer(served: Asker) -> None:
    said = served.ask("SELECT 1 FORMAT JSON", query_id="panel-7")
    assert json.loads(said.body)["data"] == [{"1": 1}]
    told = {name: said.headers[f"X-ClickHouse-{name}"] for name in (
        "Query-Id", "Format", "Timezone", "Server-Display-Name")}  # fmt: skip
    assert list(told.values()) == ["panel-7", "JSON", "UTC", "wattshed"]
    assert json.loads(said.headers["X-ClickHouse-Summary"])["result_rows"] == "1"
    assert said.headers["Content-Type"].startswith("application/json")
    assert served.ask("SELECT 1").headers["X-ClickHouse-Query-Id"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("TabSeparatedWithNames", b"a\n"),
        ("CSVWithNames", b'"a"\n'),
        ("RowBinaryWithNamesAndTypes", b"\x01\x01a\x05UInt8"),
        ("JSONEachRow", b""),
    ],
)
def test_no_rows_have_what_the_format_says_of_columns(
    served: Asker, form: str, text: bytes
) -> None:
    assert served.ask("SELECT 1 AS a WHERE 0", default_format=form).body == text


def test_get_and_packed_bodies_and_answers(served: Asker) -> None:
    assert served.ask(method="GET", query="SELECT 2").body == b"2\n"
    packed = {**served.headers, "Content-Encoding": "gzip"}
    assert served.ask(headers=packed, sent=gzip.compress(b"SELECT 3")).body == b"3\n"
    long = "SELECT arrayStringConcat(range(3000))"
    plain = served.ask(long).body
    for accepted, unpack in (("gzip", gzip.decompress), ("lz4, zstd", _unzstd)):
        said = served.ask(long, {**served.headers, "Accept-Encoding": accepted})
        assert said.headers["Content-Encoding"] in accepted
        assert unpack(said.body) == plain
    said = served.ask(long, {**served.headers, "Accept-Encoding": "br, gzip;q=0"})
    assert "Content-Encoding" not in said.headers
    assert served.ask("x" * 3_000_000).status == 400


def _unzstd(sent: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(sent, max_output_size=2**20)


def test_who_may_ask(served: Asker) -> None:
    def basic(user: str, password: str) -> dict[str, str]:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def status(headers: dict[str, str], **told: Any) -> tuple[int, str]:
        said = served.ask("SELECT 1", headers, **told)
        return said.status, said.headers.get("X-ClickHouse-Exception-Code", "")

    assert status(basic("anything", READ)) == (200, "")
    assert status(basic("ada", PASSWORD)) == (200, "")
    assert status({"X-ClickHouse-User": "x", "X-ClickHouse-Key": READ}) == (200, "")
    assert status({}, user="x", password=READ) == (200, "")
    assert status({}) == (401, "516")
    assert status(basic("grafana", INGEST)) == (403, "497")
    assert status(basic("grafana", "wrong")) == (401, "516")
    assert status({"X-ClickHouse-User": "x", "X-ClickHouse-Key": "wrong"})[0] in (401, 429)
    foreign = {**served.headers, "Sec-Fetch-Site": "cross-site"}
    assert served.ask(method="GET", headers=foreign, query="SELECT 1").status == 403
    said = served.ask("SELECT 1", {})
    assert said.body.endswith(b"(AUTHENTICATION_FAILED)\n")
    assert served.ask(method="GET", path="/clickhouse/ping", headers={}).body == b"Ok.\n"


def test_a_dashboard_asks_all_at_once(served: Asker) -> None:
    def panel(number: int) -> bytes:
        return served.ask(f"SELECT {number}, count() FROM v_energy_1m").body

    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(panel, range(20)))
    assert found == [f"{number}\t0\n".encode() for number in range(20)]


def test_a_query_of_a_client_that_left_ends(served: Asker) -> None:
    def count(result: str) -> float:
        text = served.ask(method="GET", path="/metrics", headers=_metrics()).body.decode()
        name = f'wattshed_collector_clickhouse_queries_total{{result="{result}"}} '
        return float(text.partition(name)[2].split("\n")[0])

    before = count("ended")
    to = socket.create_connection((served.running.host, served.running.port))
    sql = ENDLESS.encode()
    to.sendall(
        b"POST /clickhouse HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        + READ.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(sql) + sql
    )  # fmt: skip
    time.sleep(0.5)
    to.close()
    deadline = time.monotonic() + 120
    while count("ended") == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count("ended") == before + 1


def _metrics() -> dict[str, str]:
    pair = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def test_a_store_on_a_server_is_asked_itself() -> None:
    async def ask() -> tuple[int, str, int]:
        app = web.Application()
        app.add_routes(ClickHouseApi(None, body.unpacked).routes())
        async with TestClient(TestServer(app)) as to:
            said = await to.post("/clickhouse", data="SELECT 1")
            return said.status, await said.text(), (await to.get("/clickhouse/ping")).status

    status, text, ping = asyncio.run(ask())
    assert (status, ping) == (501, 501)
    assert "wattshed sql users" in text
