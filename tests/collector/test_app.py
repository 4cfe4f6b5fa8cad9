"""The collector as a whole: it starts, it is full, it stops, it starts again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector import address
from wattshed_collector.config import Config, Ingest, Ledger
from wattshed_collector.errors import StoreLocked
from wattshed_collector.store.client import Store
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Running

Collect = Callable[[Config], AbstractContextManager["Running"]]


def request(ticks: int, first_ms: int = 0) -> bytes:
    first_ms = first_ms or int(time.time() * 1000) - 60_000
    return Encoder({"wattshed.node": "n"}, "0").request(
        Batch(
            devices=(Device("d", Kind.GPU, "n", "s"),),
            ticks=tuple(
                Tick("d", first_ms + i * 100, 100, Method.COUNTER, 10.0) for i in range(ticks)
            ),
        )
    )


def test_a_full_queue_answers_503_and_nothing_is_lost(tmp_path: Path, collect: Collect) -> None:
    ingest = Ingest(queue_rows=10, group_seconds=0.5)
    config = Config(listen="127.0.0.1:0", data=str(tmp_path), ingest=ingest)
    answers: list[Answer] = []
    with collect(config) as collector:
        body = request(8)
        first = threading.Thread(target=lambda: answers.append(collector.post(body)))
        first.start()
        while not collector.counter("queued_rows"):
            time.sleep(0.01)
        refused = collector.post(request(8, int(time.time() * 1000)))
        first.join()
        assert [a.status for a in answers] == [200]
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        assert b"9 rows wait to be written" in refused.body
        assert collector.counter("requests_total", receiver="otlp", code="503") == 1
        assert collector.counter("ticks_total", receiver="otlp") == 8
        assert collector.rows("SELECT count() FROM tick FINAL") == [(8,)]


def test_what_was_answered_is_there_after_a_restart(tmp_path: Path, collect: Collect) -> None:
    config = Config(listen="127.0.0.1:0", data=str(tmp_path), ledger=Ledger(interval_seconds=0.2))
    start = int(time.time() * 1000) - 120_000
    for n in range(2):
        with collect(config) as collector:
            assert address.find(tmp_path) == collector.url
            assert collector.post(request(10, start + n * 1000)).status == 200
            deadline = time.monotonic() + 120
            expected = 10.0 * (0.9 + n)  # ten watts between the first tick and the last
            while (told := collector.get("/v1/energy?by=node").json)["rows"] == [] or told["rows"][
                0
            ]["joules"] < expected - 1e-6:
                assert time.monotonic() < deadline, told
                time.sleep(0.1)
            assert told["rows"][0]["joules"] == pytest.approx(expected, rel=1e-9)
        assert address.find(tmp_path) == ""


def test_a_folder_in_use_is_refused(tmp_path: Path, collect: Collect) -> None:
    other = Store(tmp_path)
    config = Config(listen="127.0.0.1:0", data=str(tmp_path))
    with pytest.raises(StoreLocked, match="is in use"), collect(config):
        pass
    other.close()


def test_an_address_in_use_is_refused_and_the_folder_is_free_again(
    tmp_path: Path, collect: Collect
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(listen=f"127.0.0.1:{taken.getsockname()[1]}", data=str(tmp_path))
        with pytest.raises(OSError, match="address already in use"), collect(config):
            pass
    Store(tmp_path).close()


def test_it_serves_on_ipv6(tmp_path: Path, collect: Collect) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with collect(Config(listen="[::1]:0", data=str(tmp_path))) as collector:
        assert collector.url.startswith("http://[::1]:")
        assert collector.get("/healthz").status == 200
