"""A collector that runs: signals on /metrics are the rows of their views, and what is expected."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest

from wattshed_collector import alert_watch
from wattshed_collector.alert_watch import AlertWatch
from wattshed_collector.cli import main
from wattshed_collector.config import Config
from wattshed_collector.errors import Retryable
from wattshed_collector.normalise import json_documents
from wattshed_collector.normalise.json_documents import Problems
from wattshed_collector.self_record import SelfRecord
from wattshed_collector.store.read import Reader
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Tick,
    Workload,
)
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running

SIGNALS = {signal.name: signal for signal in alert_watch.signals()}
NOW = 1_800_000_000.0


class Rows:
    """Stands in for a client of the store; a view that is broken is."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.asked: list[str] = []

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        self.asked.append(sql)
        if self.broken and self.broken in sql:
            raise Retryable("the store is away")
        return [("c1", "s1", "dc", "n1", 130.0, 1)] if "node_silence" in sql else []


class Bench:
    """A watch over ``Rows`` with a clock of its own."""

    def __init__(self, most: int = 10) -> None:
        self.store, self.now, self.telemetry = Rows(), 0.0, Telemetry()
        client: Any = self.store
        client.close = lambda: None
        self.reader = Reader(lambda: client)
        told = [SIGNALS["node_silence"], SIGNALS["power_budget"]]
        self.watch = AlertWatch(self.reader, self.telemetry, told, most, lambda: self.now)

    def after(self, seconds: float) -> None:
        self.now += seconds
        asyncio.run(self.watch.once())

    def shown(self) -> dict[str, list[float]]:
        return {m.name: [sample.value for sample in m.samples] for m in self.watch.collect()}


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.reader.close()


def test_the_store_is_asked_while_somebody_scrapes(bench: Bench) -> None:
    bench.after(0)
    assert bench.store.asked == []
    assert bench.shown()["wattshed_node_silence_seconds"] == []
    bench.after(0)
    assert len(bench.store.asked) == 2
    assert bench.shown()["wattshed_node_silence_seconds"] == [130.0]
    bench.after(14)
    assert len(bench.store.asked) == 2
    bench.after(1)
    assert len(bench.store.asked) == 4
    bench.after(29)  # nobody scraped since, so that there is time
    assert len(bench.store.asked) == 4
    bench.after(1)
    assert len(bench.store.asked) == 6
    bench.after(300)
    assert len(bench.store.asked) == 6
    assert bench.shown()["wattshed_node_silence_seconds"] == []


def test_what_the_collector_keeps_of_itself_asks_for_no_signal(bench: Bench) -> None:
    bench.telemetry.signals.register(bench.watch)
    writer = Writer(lambda: pytest.fail("nothing is written"))
    assert list(SelfRecord(bench.telemetry, writer, "here:1", 60).samples())
    writer.close()
    bench.after(0)
    assert bench.store.asked == []
    generate_latest(bench.telemetry.signals)
    bench.after(0)
    assert len(bench.store.asked) == 2


def test_a_view_that_fails_takes_its_own_series_alone(bench: Bench) -> None:
    bench.shown()
    bench.after(0)
    assert bench.shown()["wattshed_node_silence_seconds"] == [130.0]
    bench.store.broken = "v_alert_node_silence"
    bench.after(15)
    assert bench.shown() == {"wattshed_node_silence_seconds": [], "wattshed_power_budget_ratio": []}
    failures = "wattshed_collector_signal_failures_total"
    registry = bench.telemetry.registry
    assert registry.get_sample_value(failures, {"signal": "node_silence"}) == 1
    assert registry.get_sample_value(failures, {"signal": "power_budget"}) is None
    bench.store.broken = ""
    bench.after(15)
    assert bench.shown()["wattshed_node_silence_seconds"] == [130.0]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"until": NOW + 60, "reason": "x"}, "workload is missing, and team and node"),
        ({"team": "a", "until": NOW - 1, "reason": "x"}, "until must be in the future"),
        ({"team": "a", "until": NOW + 4e7, "reason": "x"}, "until must be in the future"),
        ({"team": "a", "reason": "x"}, "until is missing"),
        ({"team": "a", "until": NOW + 60}, "reason is missing"),
        ({"team": "a", "since": NOW + 60, "until": NOW + 60, "reason": "x"}, "before until"),
        ({"team": "a", "until": NOW + 60, "reason": "x", "why": "y"}, "why is not known"),
        ({"until": None}, "id is missing"),
    ],
)
def test_an_entry_says_of_whom_why_and_until_when(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(Problems, match=problem):
        json_documents.expected(json.dumps(said).encode(), NOW)


def _body() -> bytes:
    """Return a GPU that worked a quarter of an hour ago and draws 110 W, 60 W of them bare."""
    now_ms = int(time.time() * 1000)
    device = Device("gpu", Kind.GPU, "n1", "nvml", site="s1", cluster="c1")
    ticks = tuple(
        Tick("gpu", now_ms - ago, 1000, Method.COUNTER, 110.0, None, None, used)
        for ago, used in ((900_000, 0.5), (0, 0.0))
    )
    bare = Detail("gpu", "wattshed_idle_baseline_watts", now_ms, 60.0, ("bare",))
    job = Workload("ns/job", "job", "inference", team="vision")
    held = (Allocation("gpu", "ns/job", now_ms - 60_000, now_ms),)
    return Encoder({"wattshed.node": "n1"}, "0").request(
        Batch(devices=(device,), ticks=ticks, details=(bare,), workloads=(job,), allocations=held)
    )


def _burn(running: Running) -> dict[tuple[str, ...], float]:
    """Return the series of idle burn, by labels in the order of its view."""
    labels = SIGNALS["idle_burn"].labels
    return {
        tuple(dict(told)[label] for label in labels): value
        for (name, told), value in running.health().items()
        if name == "wattshed_idle_burn_watts"
    }


def _shown(running: Running) -> dict[tuple[str, ...], float]:
    """Return the same as soon as there are any: the first scrape makes the collector look."""
    end = time.monotonic() + 60
    while not (found := _burn(running)):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def test_it_is_served(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    with collect(Config(listen="127.0.0.1:0", data=str(tmp_path / "data"))) as running:
        assert running.post(_body()).status == 200
        shown = _shown(running)
        rows = running.rows("SELECT * FROM v_alert_idle_burn")
        assert shown == {tuple(map(str, labels)): value for *labels, value in rows}
        assert list(shown.values()) == [50.0]
        url = ["--url", running.url]
        said = ["--team", "vision", "--for", "1h", "--reason", "warm-standby"]
        assert _status("expected-idle", "add", *said, *url, "--json") == 0
        made = json.loads(capsys.readouterr().out)["id"]
        (entry,) = running.get("/v1/expected-idle").json["entries"]
        assert (entry["id"], entry["said_by"], entry["idle_watts"]) == (made, "ada", 50.0)
        assert entry["until_s"] == pytest.approx(time.time() + 3600, abs=60)
        assert running.rows("SELECT value FROM v_alert_idle_burn") == [(0.0,)]
        assert _status("expected-idle", "list", *url) == 0
        assert "team vision" in capsys.readouterr().out
        assert _status("expected-idle", "end", made, *url) == 0
        assert running.get("/v1/expected-idle").json["entries"] == []
        assert running.get("/v1/expected-idle?all=1").json["entries"][0]["state"] == "ended"
        assert _status("expected-idle", "end", "nobody", *url) != 0
        assert _status("expected-idle", "add", *said[:2], "--for", "soon", *said[4:], *url) == 2
        capsys.readouterr()
        assert _status("expected-idle", "add", "--for", "1h", "--reason", "of nobody", *url) == 2
        assert "workload is missing, and team and node" in capsys.readouterr().err
        assert running.get("/v1/expected-idle?all=yes").status == 400
        body = json.dumps({"reason": "of nobody", "until": time.time() + 60}).encode()
        assert running.send("/v1/expected-idle", body).status == 400


def _status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code
