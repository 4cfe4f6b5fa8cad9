"""Energy per outcome asked of a running collector: a published run, and all that can be odd."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from wattshed_collector import served
from wattshed_collector.api.outcome_pages import VALUES
from wattshed_collector.cli import main
from wattshed_collector.config import Config, Ledger, Retention
from wattshed_collector.openapi import JSON, Operation
from wattshed_collector.receivers import mlperf
from wattshed_collector.receivers.mlperf import Result
from wattshed_collector.spreadsheet import plain
from wattshed_collector.store.outcome_queries import KEY
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

LLAMA = "mlperf-inference/h200x8_llama2-70b_server"
BASE = 1_721_253_600  # 2024-07-17T22:00:00Z, just after the published run
HOUR = 3600
SINCE = "since=2024-07-17T22:00Z&until=2024-07-17T23:00Z"
ODD = 'odd\t"name", it\\s=1\nNULL'


def steady(name: str, held_by: Workload, ratio: float | None) -> Batch:
    """An hour of a card at 100 W that one workload holds."""
    return Batch(
        devices=(Device(name, Kind.GPU, "n", "nvml", model="H100", uncertainty_ratio=ratio),),
        ticks=tuple(
            Tick(name, (BASE + at) * 1000, 60_000, Method.COUNTER, 100.0, utilization_ratio=1.0)
            for at in range(0, HOUR + 1, 60)
        ),
        workloads=(held_by,),
        allocations=(Allocation(name, held_by.key, BASE * 1000, (BASE + HOUR) * 1000),),
    )


def made(workload: str, kind: str, *readings: tuple[int, float]) -> tuple[Outcome, ...]:
    """Readings (seconds since the hour began, total) of a counter that began with the hour."""
    return tuple(
        Outcome(workload, kind, (BASE + at) * 1000, total, BASE * 1000) for at, total in readings
    )


CHAT = Workload("chat", "chat", "inference", team="blue", model="m1", precision="fp8")
STRANGE = Workload(ODD, ODD, "training", team="=1+1")
BATCHES = (
    steady("card1", CHAT, 0.02),
    steady("card2", Workload("idle", "idle", "notebook", team="blue", model="m2"), 0.02),
    steady("card3", STRANGE, None),
    Batch(
        workloads=(
            CHAT,
            Workload("free", "free", "inference", team="red", model="m1", precision="fp8"),
            STRANGE,
        ),
        outcomes=(
            # It loads its model for ten minutes, then makes 300,000 tokens in forty.
            *made("chat", "token_out", (0, 0.0), (600, 0.0), (3000, 300_000.0)),
            *made("chat", "request", (0, 0.0), (600, 0.0), (3000, 600.0)),
            *made("free", "token_out", (0, 0.0), (600, 5000.0)),
            *made("nobody-described-me", "step", (0, 0.0), (600, 7.0)),
            *made(ODD, "step", (HOUR, 1e-12)),
            *made("chat", "token_in", (700, -5.0)),
        ),
    ),
)

SCORES = [
    {
        "model": model,
        "precision": "fp8",
        "metric": "loss",
        "score": 2.5,
        "better": "lower",
        "at": BASE,
        "kind": "calibration",
    }
    for model in ("m1", "m2")
]


@pytest.fixture(scope="module")
def published(data: Path) -> Result:
    return mlperf.read(data / LLAMA)


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory,
    data: Path,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    folder = str(tmp_path_factory.mktemp("store"))
    kept = Retention(raw_days=0, minute_days=0)
    ledger = Ledger(interval_seconds=0.2)
    with collect(
        Config(listen="127.0.0.1:0", data=folder, ledger=ledger, retention=kept)
    ) as running:
        with pytest.raises(SystemExit) as ended:
            main(["import", "mlperf", str(data / LLAMA), "--data", folder])
        assert ended.value.code == 0
        for batch in BATCHES:
            assert running.post(Encoder({}, "0").request(batch)).status == 200
        assert running.send("/v1/quality", json.dumps(SCORES).encode()).status == 200
        deadline = time.monotonic() + 60
        while not _is_charged(running):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield running


def _is_charged(running: Running) -> bool:
    """Whether the last that was sent is set against all of the energy."""
    if (running.get("/v1/ledger").json["settled"] or 0) < BASE + HOUR:
        return False  # the other question is dear, and to ask it holds up what it is about
    told = running.get(f"/v1/outcomes?by=workload_key&outcome=step&{SINCE}").json["rows"]
    return len(told) == 2


def rows(collector: Running, query: str) -> list[dict[str, Any]]:
    answer = collector.get(f"/v1/outcomes?{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["rows"]
    return found


def test_joules_per_token_are_watts_by_tokens_per_second(
    collector: Running, published: Result
) -> None:
    (run,) = published.runs
    during = {"since": "2024-07-17T20:00Z", "until": "2024-07-17T22:00Z"}
    query = urlencode({"by": "ai_model,hardware", **during})
    found = {(row["outcome"], row["state"]): row for row in rows(collector, query)}
    token = found["token_out", "ok"]
    seconds = (run.window_end_ms - run.window_start_ms) / 1000
    watts, rate = published.official.value, run.outcomes["token_out"] / seconds
    assert token["joules_per_outcome_loaded"] == pytest.approx(watts / rate, rel=1e-3)
    assert token["count"] == pytest.approx(run.outcomes["token_out"], rel=1e-9)
    assert token["ai_model"] == "llama2-70b"
    assert token["hardware"] == "8 x NVIDIA H200-SXM-141GB"
    # What the analyser states of itself, 0.3175 % of what it measured.
    high = token["joules_per_outcome_loaded"] * 1.003175
    assert token["joules_per_outcome_loaded_high"] == pytest.approx(high, rel=1e-9)
    # Start-up and tail are workloads of their own, which made nothing: in no ratio, not lost.
    apart = found["", "no_outcome"]
    ticks = published.batch.ticks
    whole = sum(
        ((a.power_watts or 0) + (b.power_watts or 0)) / 2 * (b.ts_ms - a.ts_ms) / 1000
        for a, b in pairwise(ticks)
    )
    assert apart["loaded_joules"] + token["loaded_joules"] == pytest.approx(whole, rel=1e-9)
    assert apart["loaded_joules"] > 0
    assert apart["joules_per_outcome_loaded"] is None


def test_what_a_model_took_before_it_served_stands_apart(collector: Running) -> None:
    (row,) = rows(collector, f"by=workload&outcome=token_out&workload=chat&{SINCE}")
    assert row == {
        "workload": "chat",
        "outcome": "token_out",
        "state": "ok",
        "count": pytest.approx(300_000.0),
        "active_joules": pytest.approx(300_000.0),
        "loaded_joules": pytest.approx(300_000.0),
        "before_joules": pytest.approx(60_000.0),
        "uncertainty_joules": pytest.approx(6000.0),
        "joules_per_outcome_active": pytest.approx(1.0),
        "joules_per_outcome_active_low": pytest.approx(0.98),
        "joules_per_outcome_active_high": pytest.approx(1.02),
        "joules_per_outcome_loaded": pytest.approx(1.0),
        "joules_per_outcome_loaded_low": pytest.approx(0.98),
        "joules_per_outcome_loaded_high": pytest.approx(1.02),
    }


def test_everything_odd_has_a_row_of_its_own(collector: Running) -> None:
    found = {
        (row["workload"], row["outcome"]): row for row in rows(collector, f"by=workload&{SINCE}")
    }
    assert set(found) == {
        ("chat", "token_out"),
        ("chat", "request"),
        ("idle", ""),
        ("free", "token_out"),
        ("nobody-described-me", "step"),
        (ODD, "step"),
    }
    states = {key: row["state"] for key, row in found.items() if row["state"] != "ok"}
    assert states == {
        ("idle", ""): "no_outcome",
        ("free", "token_out"): "no_energy",
        ("nobody-described-me", "step"): "no_energy",
    }
    assert found["idle", ""]["loaded_joules"] == pytest.approx(360_000.0)
    assert found["idle", ""]["joules_per_outcome_loaded"] is None
    free = found["free", "token_out"]
    assert free["count"] == pytest.approx(5000.0)
    assert (free["loaded_joules"], free["joules_per_outcome_loaded"]) == (None, None)
    next_to_nothing = found[ODD, "step"]
    assert next_to_nothing["joules_per_outcome_loaded"] is None
    # Its meter says nothing of how good it is, so nobody does.
    assert next_to_nothing["uncertainty_joules"] is None
    # And what no counter can show was refused, with its reason.
    assert collector.counter("rejected_total", receiver="otlp", reason="negative") == 1


def test_outcomes_without_energy_make_no_model_look_cheap(collector: Running) -> None:
    query = f"by=ai_model,precision&outcome=token_out&{SINCE}"
    found = {row["state"]: row for row in rows(collector, query)}
    assert found["ok"]["joules_per_outcome_loaded"] == pytest.approx(1.0)
    assert found["no_energy"]["count"] == pytest.approx(5000.0)


def test_filters_and_several_columns(collector: Running) -> None:
    found = rows(collector, f"by=team&by=phase,hardware&team=blue&outcome=token_out,&{SINCE}")
    assert [(row["team"], row["phase"], row["hardware"], row["outcome"]) for row in found] == [
        ("blue", "", "H100", ""),
        ("blue", "", "H100", "token_out"),
    ]
    query = urlencode({"by": "team", "workload_key": ODD})
    assert [row["team"] for row in rows(collector, f"{query}&{SINCE}")] == ["=1+1"]
    assert rows(collector, f"team=green&{SINCE}") == []


@pytest.mark.parametrize(("step", "steps"), [("1m", 60), ("1h", 1), ("1d", 1)])
def test_a_series_adds_up_to_its_window(collector: Running, step: str, steps: int) -> None:
    asked = f"by=workload&workload=chat&outcome=token_out&{SINCE}"
    (whole,) = rows(collector, asked)
    series = rows(collector, f"{asked}&step={step}")
    seconds = {"1m": 60, "1h": HOUR, "1d": 24 * HOUR}[step]
    times = [row["t_s"] for row in series]
    assert times == [BASE // seconds * seconds + seconds * n for n in range(steps)]
    for name in ("count", "active_joules", "loaded_joules", "before_joules"):
        assert sum(row[name] for row in series) == pytest.approx(whole[name], rel=1e-9)


def paged(collector: Running, query: str, limit: int) -> list[dict[str, Any]]:
    """Follow ``next`` to the end; each page holds ``limit`` rows but for the last."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = collector.get(f"/v1/outcomes?{query}&limit={limit}&after={quote(after)}").json
        found += page["rows"]
        if page["next"] is None:
            assert len(page["rows"]) <= limit
            return found
        assert len(page["rows"]) == limit
        after = page["next"]


@settings(max_examples=4, database=None)
@given(
    limit=st.integers(1, 8),
    query=st.sampled_from(["by=workload", "by=team,workload_key", "by=hardware", "by=owner"]),
)
def test_pages_give_each_row_once(collector: Running, limit: int, query: str) -> None:
    query = f"{query}&{SINCE}&step=1d"
    assert paged(collector, query, limit) == rows(collector, query)


def test_the_window_of_the_first_page_is_that_of_all(collector: Running) -> None:
    first = collector.get("/v1/outcomes?since=520w&limit=1").json
    after = quote(first["next"])
    second = collector.get(f"/v1/outcomes?since=520w&limit=1000&after={after}").json
    assert second["window"] == first["window"]
    assert second["next"] is None


def test_csv_is_the_json(collector: Running) -> None:
    query = f"by=workload,team&{SINCE}&step=1h"
    page = collector.get(f"/v1/outcomes?{query}").json
    answer = collector.get(f"/v1/outcomes?{query}&format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    head, *lines = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert head == ["t_s", "workload", "team", *KEY, *VALUES]
    numbers = {"t_s", *VALUES}

    def read(name: str, cell: str) -> object:
        return (json.loads(cell) if cell else None) if name in numbers else plain(cell)

    assert [
        {name: read(name, cell) for name, cell in zip(head, line, strict=True)} for line in lines
    ] == page["rows"]
    # A team that calls itself a formula is none in a spreadsheet.
    teams = {line[head.index("team")] for line in lines}
    assert "'=1+1" in teams
    assert not any(team.startswith("=") for team in teams)


def typed(collector: Running, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what the command prints of the hour in which the batches are."""
    window = dict(parse_qsl(SINCE))
    times = ("--since", window["since"], "--until", window["until"])
    with pytest.raises(SystemExit) as ended:
        main(["energy-per-outcome", "--url", collector.url, *times, *words])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def test_the_command_says_what_the_api_says(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--by", "workload,team", "--outcome", "token_out", "--team", "blue")
    told = json.loads(typed(collector, capsys, *words, "--json"))
    query = f"by=workload,team&outcome=token_out&team=blue&{SINCE}"
    assert told == rows(collector, query)
    assert told
    lines = typed(collector, capsys, *words, "--csv").splitlines()
    assert len(lines) == len(told) + 1
    assert lines[0].startswith("workload,team,outcome,state,count,active_joules")


def test_the_table_shows_ratios_and_what_has_none(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed(collector, capsys, "--by", "workload")
    (chat,) = (line.split() for line in told.splitlines() if "token_out" in line and "chat" in line)
    assert chat[:6] == ["chat", "token_out", "300", "k", "1.00", "J"]
    assert chat[6:] == ["1.00", "J", "20.0", "mJ", "60.0", "kJ"]
    assert "free: token_out: no joules are known of it" in told
    assert "idle: never produced anything" in told
    assert max(map(len, told.splitlines())) <= 80


def test_the_command_refuses_what_the_api_refuses(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["energy-per-outcome", "--url", collector.url, "--by", "colour"])
    assert ended.value.code == 2
    assert "choose some of" in capsys.readouterr().err


def test_csv_names_its_next_page(collector: Running) -> None:
    query = f"by=workload&{SINCE}&format=csv"
    whole = collector.get(f"/v1/outcomes?{query}").body
    answer = collector.get(f"/v1/outcomes?{query}&limit=4")
    following = re.fullmatch(r'<(.*)>; rel="next"', answer.headers["Link"])
    assert following
    rest = collector.get(following[1])
    assert "Link" not in rest.headers
    assert answer.body + rest.body.split(b"\r\n", 1)[1] == whole


def test_scores_are_paged_as_outcomes_are(collector: Running) -> None:
    first = collector.get("/v1/quality?limit=1")
    assert [row["ai_model"] for row in first.json["rows"]] == ["m1"]
    following = re.fullmatch(r'<(.*)>; rel="next"', first.headers["Link"])
    assert following
    rest = collector.get(following[1])
    assert [row["ai_model"] for row in rest.json["rows"]] == ["m2"]
    assert (rest.json["next"], "Link" in rest.headers) == (None, False)
    table = collector.get("/v1/quality?limit=1&format=csv")
    assert len(table.body.splitlines()) == 2
    assert table.headers["Link"]
    assert collector.get("/v1/quality?after=garbage").status == 400


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("by=colour", "by='colour': choose some of workload_key, workload,"),
        ("by=team,", "by='': choose some of"),
        ("colour=red", "'colour' is not known: ask with by, since, until"),
        ("team=a&team=b", "team= is said twice"),
        ("step=7m", "step='7m': choose one of 1m, 1h, 1d"),
        ("since=52w&step=1m", "more than 11000 points"),
        ("limit=0", "limit='0': choose a whole number from 1 to 10000"),
        ("limit=10001", "limit='10001'"),
        ("limit=99999999999999999999", "limit='9"),
        ("format=xml", "format='xml': choose one of json, csv"),
        ("since=yesterday", "'yesterday' is not a time"),
        ("after=garbage", "after= is not what a page said"),
        ("after=W10=", "after= is not what a page said"),
    ],
)
def test_what_cannot_be_answered_says_what_can(collector: Running, query: str, says: str) -> None:
    answer = collector.get(f"/v1/outcomes?{query}")
    assert answer.status == 400
    assert says in answer.json["error"]


def test_a_token_of_another_question_is_refused(collector: Running) -> None:
    token = quote(collector.get(f"/v1/outcomes?{SINCE}&limit=1").json["next"])
    answer = collector.get(f"/v1/outcomes?{SINCE}&by=team&after={token}")
    assert answer.status == 400
    assert "belongs to another question" in answer.json["error"]


def strict(schema: Any) -> Any:
    """Return a schema that takes nothing beside what it names, so that no field goes unsaid."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        told["additionalProperties"] = False
    return told


def test_the_document_describes_this_collector(collector: Running) -> None:
    document = collector.get("/v1/openapi.json").json
    told = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert told == {(operation.method, operation.path) for operation in served.OPERATIONS}


QUESTIONS = [o for o in served.OPERATIONS if o.method == "GET" and JSON in o.answers]
BESIDE = {
    "/clickhouse": ["query=SELECT+1+AS+one&default_format=JSON"],
    "/v1/outcomes": [f"{SINCE}&step=1h&by=hardware,team", "by=site"],
    "/v1/quality": [
        "view=scores",
        "view=drift",
        f"view=pareto&outcome=token_out&metric=loss&{SINCE}",
        f"view=cache&by=hardware&{SINCE}",
    ],
    "/v1/report": [SINCE],
    "/v1/energy": [f"{SINCE}&by=workload", f"{SINCE}&by=node"],
    "/v1/power": [f"{SINCE}&by=team", f"{SINCE}&device=card1", "by=site"],
    "/v1/devices/least-used": [SINCE],
    "/v1/when": ["zone=IE&duration=4h&deadline=12h", "site=&duration=1h&deadline=2h"],
    "/v1/replace": [f"{SINCE}&model=H100&with=B200&ratio=2&embodied_kg=164&remaining_years=2"],
}
"""Questions that have rows in this store, beside the operation as it stands."""


@pytest.mark.parametrize("operation", QUESTIONS, ids=lambda operation: operation.path)
def test_answers_are_as_described(collector: Running, operation: Operation) -> None:
    path = operation.path
    for parameter in operation.parameters:
        if parameter.where == "path":
            path = path.replace(f"{{{parameter.name}}}", parameter.example)
    needed = urlencode({p.name: p.example for p in operation.parameters if p.is_required})
    validator = Draft202012Validator(strict(json.loads(json.dumps(operation.answers[JSON]))))
    for query in BESIDE.get(path, [needed]):
        answer = collector.get(f"{path}?{query}")
        assert answer.status == operation.status
        validator.validate(answer.json)
