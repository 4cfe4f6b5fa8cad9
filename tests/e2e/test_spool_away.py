"""kill -9 while a server is away and while its spool is drained: what was acknowledged arrives.

The server is a stand-in at the wire: it takes ``INSERT ... FORMAT Native`` over HTTP as ClickHouse
does, remembers the bytes, and answers, refuses or hangs up as the dice say.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = pytest.mark.e2e

ROUNDS = 8
BODY = 8

COLLECTOR = """
import sys, time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote
from wattshed_collector.errors import Retryable
from wattshed_collector.store.client import Client
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.spool import Spool
from wattshed_collector.store.spooling import Spooling

port, folder, first = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

class Line(Client):
    def __init__(self):
        super().__init__(HTTPConnection("127.0.0.1", port, timeout=120))

    def insert_native(self, insert):
        sql = f"INSERT INTO {insert.table} ({', '.join(insert.columns)}) FORMAT Native"
        try:
            self._connection.request("POST", "/?query=" + quote(sql), insert.body)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            raise Retryable(str(error)) from error
        if answer.status != 200:
            raise Retryable(str(answer.status))

sink = Spooling(Line, Spool(folder, 1 << 24), first_retry_seconds=0.02)
number = first
while first >= 0:
    print("sent", number, flush=True)
    body = b"%08d" % number
    sink.write([Insert("dirty", ("hour",), 1, body), Insert("tick", ("ts", "device_id"), 1, body)])
    print("acknowledged", number, flush=True)
    number += 1
    time.sleep(0.001)
while not sink.spool.empty:
    time.sleep(0.01)
sink.close()
print("empty", sink.spool.level().damaged, flush=True)
"""


class Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients are killed here."""


class Server:
    """Remembers what it was given, in order; ``mood`` says how it answers."""

    def __init__(self) -> None:
        self.mood = "well"
        self.given: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sql = parse_qs(urlsplit(self.path).query)["query"][0]
                mood = server.mood
                if mood != "away":
                    server.take(sql.split()[2], body)
                if mood == "hangs up":
                    self.close_connection = True
                    return
                self.send_response(200 if mood == "well" else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *said: object) -> None:
                pass

        self._http = Http(("127.0.0.1", 0), Handler)
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def take(self, table: str, body: bytes) -> None:
        with self._lock:
            for at in range(0, len(body), BODY):
                self.given.append((table, int(body[at : at + BODY])))

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


class Run:
    """One life of the collector, and what it said."""

    def __init__(self, server: Server, folder: Path, first: int) -> None:
        command = [sys.executable, "-c", COLLECTOR, str(server.port), str(folder), str(first)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.sent: list[int] = []
        self.acknowledged: list[int] = []
        self.last = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith("\n"):  # it was killed while it said so
                return
            word, _, number = line.strip().partition(" ")
            {"sent": self.sent, "acknowledged": self.acknowledged}.get(word, []).append(int(number))
            self.last = line.strip()

    def wait_for(self, acknowledged: int) -> None:
        end = time.monotonic() + 120
        while len(self.acknowledged) < acknowledged:
            assert self.process.poll() is None
            assert time.monotonic() < end, "nothing is acknowledged"
            time.sleep(0.002)

    def end(self, seconds: float = 30.0) -> int:
        code = self.process.wait(seconds)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def test_kill_while_the_server_is_away_and_while_the_spool_is_drained(
    tmp_path: Path, server: Server
) -> None:
    dice = random.Random(5)
    acknowledged, first, spooled = set[int](), 0, 0
    for number in range(ROUNDS):
        server.mood = ("away", "well", "hangs up")[number % 3]
        run = Run(server, tmp_path / "spool", first)
        run.wait_for(20)
        for _ in range(3):
            server.mood = dice.choice(("away", "well", "hangs up"))
            time.sleep(dice.uniform(0.0, 0.06))
        run.process.kill()
        assert run.end() == -9
        acknowledged |= set(run.acknowledged)
        first = run.sent[-1] + 1
        spooled += any((tmp_path / "spool").glob("*.spool"))
    server.mood = "well"
    last = Run(server, tmp_path / "spool", -1)
    assert last.end() == 0
    assert last.last == "empty 0"

    assert spooled > 1
    assert not list((tmp_path / "spool").glob("*.spool"))
    assert len(acknowledged) >= 20 * ROUNDS
    ticks = [n for table, n in server.given if table == "tick"]
    assert acknowledged <= set(ticks)
    # In the order in which they were taken, each with its mark before it, but for repetitions.
    arrived = list(dict.fromkeys(ticks))
    assert arrived == sorted(arrived)
    marked = {n: at for at, (table, n) in reversed([*enumerate(server.given)]) if table == "dirty"}
    seen = {n: at for at, (table, n) in reversed([*enumerate(server.given)]) if table == "tick"}
    assert all(marked[n] < at for n, at in seen.items())
