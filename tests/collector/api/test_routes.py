"""The JSON API of a running collector."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wattshed_collector.config import Config, Ledger
from wattshed_collector.report import CLASSES
from wattshed_collector.store.energy_carbon import NO_PUE
from wattshed_collector.store.queries import GROUPS
from wattshed_collector.telemetry import COUNTERS, GAUGES
from wattshed_exporter import __version__
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running

LASTS_MS = 600_000


LLAMA = Workload(
    "w",
    "llama",
    "inference",
    namespace="chat",
    team="blue",
    owner="ada",
    model="m",
    precision="fp8",
    cost_center="4711",
    queue="gpu",
)


@pytest.fixture(scope="module")
def end_ms() -> int:
    """When the card was read last: just before these tests, however late they run."""
    return int(time.time() * 1000) - 2000


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
    end_ms: int,
) -> Iterator[Running]:
    """Ten minutes of one card at 100 W, the second half of it held by one workload.

    The last reading says that the next is an hour away, so that it stays the newest for as long as
    these tests may take.
    """
    half_ms = end_ms - LASTS_MS // 2
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ledger=Ledger(interval_seconds=0.2),
    )
    batch = Batch(
        devices=(Device("card", Kind.GPU, "n1", "nvml", site="here"),),
        ticks=tuple(
            Tick("card", ts, interval, Method.COUNTER, 100.0, temperature_celsius=41.5)
            for ts in range(end_ms - LASTS_MS, end_ms + 1, 1000)
            for interval in (3_600_000 if ts == end_ms else 1000,)
        ),
        workloads=(LLAMA,),
        allocations=(Allocation("card", "w", half_ms, end_ms),),
        outcomes=(
            Outcome("w", "token", half_ms, 0.0, half_ms),
            Outcome("w", "token", end_ms, 60_000.0, half_ms),
        ),
    )
    with collect(config) as running:
        empty = running.get("/v1/report")
        assert empty.status == 200
        assert empty.json["total_joules"] == 0
        assert running.post(Encoder({}, "0").request(batch)).status == 200
        deadline = time.monotonic() + 120
        while (running.get("/v1/ledger").json["settled"] or 0.0) < end_ms / 1000:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(2.1)  # until the empty report is no longer fresh
        yield running


def test_report(collector: Running) -> None:
    answer = collector.get("/v1/report?since=1h")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    report = answer.json
    assert report["total_joules"] == pytest.approx(60_000.0, rel=1e-9)
    assert set(report["classes"]) == set(CLASSES)
    assert report["classes"]["active"] == pytest.approx(30_000.0, rel=1e-9)
    assert report["classes"]["unattributed"] == pytest.approx(30_000.0, rel=1e-9)
    (workload,) = report["workloads"]
    assert (workload["workload"], workload["ai_model"]) == ("llama", "m")
    assert workload["outcomes"] == {"token": 60_000.0}
    told = workload["joules_per_outcome"]["token"]
    # The card says nothing of how good its meter is.
    assert told == {
        "active": pytest.approx(0.5),
        "loaded": pytest.approx(0.5),
        "low": None,
        "high": None,
    }
    assert report["live_power_watts"] == 100.0
    assert report["quality"]["known_seconds"] == pytest.approx(600.0)
    assert report["quality"]["unknown_seconds"] == {}
    assert report["quality"]["residual_worst_ratio"] <= 1e-9
    power = [sum(watts) for watts in zip(*report["power"].values(), strict=True)]
    assert power == pytest.approx([100.0] * len(power))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("workload", {("", "", ""): 30_000.0, ("llama", "inference", "blue"): 30_000.0}),
        ("team", {("",): 30_000.0, ("blue",): 30_000.0}),
        ("node", {("n1", "here"): 60_000.0}),
        ("device", {("card", "gpu", "n1"): 60_000.0}),
        ("class", {("active",): 30_000.0, ("unattributed",): 30_000.0}),
        ("site", {("here",): 60_000.0}),
        ("kind", {("gpu",): 60_000.0}),
        ("project", {("", ""): 30_000.0, ("", "blue"): 30_000.0}),
        ("cost_center", {("",): 30_000.0, ("4711",): 30_000.0}),
        ("namespace", {("",): 30_000.0, ("chat",): 30_000.0}),
        ("queue", {("",): 30_000.0, ("gpu",): 30_000.0}),
        ("owner", {("", ""): 30_000.0, ("ada", "blue"): 30_000.0}),
        ("model", {("", ""): 30_000.0, ("m", "fp8"): 30_000.0}),
    ],
)
def test_energy_by_everything(collector: Running, by: str, expected: dict[Any, float]) -> None:
    told = collector.get(f"/v1/energy?by={by}&since=2h").json
    assert told["by"] == by
    assert told["window"]["end"] - told["window"]["start"] == 7200
    found = {tuple(row[name] for name in GROUPS[by]): row["joules"] for row in told["rows"]}
    assert found == {key: pytest.approx(joules, rel=1e-9) for key, joules in expected.items()}
    for row in told["rows"]:
        assert (row.pop("facility_joules"), row["cost"], row["currency"]) == (None, None, "")
        classes = [v for k, v in row.items() if k.endswith("_joules")]
        assert sum(classes) == pytest.approx(row["joules"], rel=1e-9)


def test_carbon_is_told_where_it_is_asked_for(collector: Running) -> None:
    plain = collector.get("/v1/energy?by=team&since=1h").json
    told = collector.get("/v1/energy?by=team&since=1h&carbon=true").json
    assert told["carbon_scope"] == "location-based, average"
    assert "carbon_scope" not in plain
    for row, before in zip(told["rows"], plain["rows"], strict=True):
        assert (row.pop("carbon_g"), row.pop("carbon_reason")) == (None, NO_PUE)
        assert row.pop("carbon_unknown_joules") == row["joules"]
        assert [row.pop(f"carbon_{name}") for name in ("methods", "sources", "said")] == [
            [], [], None,
        ]  # fmt: skip
        assert row == before
    answer = collector.get("/v1/energy?carbon=perhaps")
    assert (answer.status, "choose one of true, false" in answer.json["error"]) == (400, True)


def test_hours_say_the_same_as_minutes(collector: Running) -> None:
    assert collector.get("/v1/energy?by=node&since=5d").json["rows"][0]["joules"] == pytest.approx(
        60_000.0, rel=1e-9
    )


def test_every_group_is_tested() -> None:
    (mark,) = test_energy_by_everything.pytestmark
    assert {case[0] for case in mark.args[1]} == set(GROUPS)


@pytest.mark.parametrize("path", ["/v1/report", "/v1/energy", "/"])
@pytest.mark.parametrize(
    "query", ["since=never", "since=0h", "since=1h&until=x", "since=" + "9" * 99 + "w"]
)
def test_a_bad_window_is_a_400_that_says_why(collector: Running, path: str, query: str) -> None:
    answer = collector.get(f"{path}?{query}")
    assert answer.status == 400
    assert set(answer.json) == {"error"}
    assert "is not a time" in answer.json["error"] or "window" in answer.json["error"]


def test_an_unknown_group_is_a_400_that_names_the_known(collector: Running) -> None:
    answer = collector.get("/v1/energy?by=workload;DROP")
    assert answer.status == 400
    assert answer.json["error"].endswith("choose one of " + ", ".join(GROUPS))


def test_details_of_a_device_that_has_none(collector: Running) -> None:
    assert collector.get("/v1/details?device=card").json == {"device": "card", "rows": []}


@pytest.mark.parametrize("query", ["", "?device="])
def test_details_of_no_device_is_a_400_that_says_why(collector: Running, query: str) -> None:
    answer = collector.get("/v1/details" + query)
    assert answer.status == 400
    assert answer.json["error"] == "device= is missing: name one, such as GPU-..."


def test_status(collector: Running, end_ms: int) -> None:
    told = collector.get("/v1/status").json
    assert told == {
        "version": __version__,
        "devices": 1,
        "power_watts": 100.0,
        "newest_tick": end_ms / 1000,
        "ticks_written": 601,
        "queued_rows": 0,
    }


def test_health(collector: Running) -> None:
    assert collector.get("/healthz").json == {"status": "ok"}
    assert collector.get("/readyz").json == {"status": "ready"}


def test_metrics(collector: Running) -> None:
    answer = collector.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {f.name: f for f in text_string_to_metric_families(answer.body.decode())}
    for declared in (*COUNTERS, *GAUGES):
        family = families["wattshed_collector_" + declared.name.removesuffix("_total")]
        assert family.documentation == declared.help
    assert collector.counter("ticks_total", receiver="otlp") == 601
    assert collector.counter("build_info", version=__version__) == 1
    assert collector.counter("ledger_runs_total", result="ok") > 0
    assert collector.counter("ledger_runs_total", result="failed") == 0


def test_the_page_and_its_library(collector: Running) -> None:
    page = collector.get("/?since=1h")
    assert page.headers["Content-Type"].startswith("text/html")
    library = collector.get("/static/plotly.min.js")
    assert library.status == 200
    assert len(library.body) > 2**20


def test_a_page_that_calls_itself_this_machine_is_kept_out(collector: Running) -> None:
    for host, status in (("evil.example", 421), ("evil.example:9740", 421), ("localhost", 200)):
        answer = collector._ask("GET", "/v1/status", None, {"Host": host})
        assert answer.status == status, host
    assert collector._ask("GET", "/v1/status", None, {"Host": "[::1]:9740"}).status == 200
    other = {"Origin": "http://evil.example"}
    assert collector._ask("POST", "/v1/ledger/recompute", b"{}", other).status == 403
    assert collector.counter("refused_total", reason="host") == 2
    assert collector.counter("refused_total", reason="cross_site") == 1


def test_the_page_says_which_scripts_may_run_and_cannot_be_framed(collector: Running) -> None:
    answer = collector.get("/?since=1h")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src 'sha256-" in answer.body.decode()


def test_what_does_not_exist_is_said_in_json(collector: Running) -> None:
    assert (collector.get("/v1/nothing").status, collector.get("/v1/nothing").json) == (
        404,
        {"error": "Not Found"},
    )
    answer = collector._ask("POST", "/v1/report", b"", {})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
