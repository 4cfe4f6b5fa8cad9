"""Allocations and factors as JSON documents, sent to a running collector."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.cli import main
from wattshed_collector.config import Config, Ledger, Retention
from wattshed_collector.normalise import json_documents
from wattshed_collector.normalise.json_documents import Problems
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Running

START = "2026-01-15T10:00:00Z"
START_S = 1_768_471_200
README = Path(__file__).parents[3] / "collector" / "README.md"


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ledger=Ledger(interval_seconds=1),
        retention=Retention(raw_days=0, minute_days=0),
    )
    with collect(config) as running:
        yield running


def send(collector: Running, path: str, document: object, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return collector._ask("POST", path, body, {"Content-Type": "application/json", **headers})


def allocation(**said: Any) -> dict[str, Any]:
    return {"device": "d", "workload": "w", "start": START, "end": START_S + 60, **said}


class TestAllocations:
    def test_are_stored(self, collector: Running) -> None:
        workload = {"key": "job-7", "name": "train", "team": "blue", "queue": "long"}
        answer = send(
            collector,
            "/v1/allocations",
            [
                allocation(workload=workload, share=0.5, activity=0.25, revision=2),
                allocation(workload="bare", start="2026-01-15T12:00:00+02:00", method="mine"),
            ],
        )
        assert (answer.status, answer.json) == (
            200,
            {"accepted": 2, "quarantined": {}, "rejected": {}},
        )
        rows = collector.rows(
            "SELECT w.key, name, team, queue, toUnixTimestamp(start_ts), "
            "toUnixTimestamp(end_ts), share, activity, method, revision "
            "FROM allocation AS a FINAL JOIN workload AS w FINAL USING (workload_id) ORDER BY w.key"
        )
        assert rows == [
            ("bare", "bare", "", "", START_S, START_S + 60, 1.0, None, "mine", 0),
            ("job-7", "train", "blue", "long", START_S, START_S + 60, 0.5, 0.25, "api", 2),
        ]

    def test_what_cannot_be_true_is_kept_and_told(self, collector: Running) -> None:
        good, odd = allocation(), allocation(device="odd", share=2, end=START_S - 1)
        document = json.dumps([good, odd, {**odd, "share": float("nan")}]).encode()
        told = {"receiver": "json", "reason": "share_out_of_range"}
        before = collector.counter("quarantined_total", **told)
        answer = send(
            collector, "/v1/allocations", gzip.compress(document), **{"Content-Encoding": "gzip"}
        )
        assert answer.json == {
            "accepted": 1,
            "quarantined": {"share_out_of_range": 2},
            "rejected": {},
        }
        after = collector.counter("quarantined_total", **told)
        assert after == before + 2
        kept = [r for r in collector.get("/v1/quarantine").json["rows"] if r["device"] == "odd"]
        assert {str(row["share"]) for row in kept} == {"2.0", "nan"}
        assert {(r["reason"], r["start"], r["end"]) for r in kept} == {
            ("share_out_of_range", START_S, START_S - 1)
        }
        later = collector.get("/v1/quarantine?since=2026-01-01&until=2026-01-02").json
        assert later["rows"] == []

    def test_every_problem_of_a_document_is_told_and_nothing_is_taken(
        self, collector: Running
    ) -> None:
        bad = {"device": "", "workload": {"name": 5, "x": 1}, "start": "soon", "revision": -1}
        answer = send(
            collector, "/v1/allocations", [allocation(device="kept-out"), {**bad, "share": "a"}, 7]
        )
        assert answer.status == 400
        hint = "must be a time such as 2026-01-31T08:00:00Z, or Unix seconds, before 2106"
        assert [re.sub(r"; known are .*", "", p) for p in answer.json["problems"]] == [
            "[1]: workload: x is not known",
            "[1]: workload: key is missing",
            "[1]: workload: name must be a text",
            "[1]: device must be a text",
            f"[1]: start {hint}",
            "[1]: end is missing",
            "[1]: share must be a number",
            "[1]: revision must be a whole number from 0 to 1048575",
            "[2]: must be an object",
        ]
        assert collector.rows("SELECT count() FROM device WHERE key = 'kept-out'") == [(0,)]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b'"x"'])
    def test_what_is_no_document(self, collector: Running, body: bytes) -> None:
        answer = send(collector, "/v1/allocations", body)
        assert answer.status == 400
        assert answer.json["problems"]

    def test_an_unknown_encoding(self, collector: Running) -> None:
        answer = send(collector, "/v1/allocations", b"x", **{"Content-Encoding": "br"})
        assert answer.status == 415


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*json_documents.ALLOCATION_FIELDS, "key", "kind"]), inner
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_sent_is_read_or_refused(document: object) -> None:
    body = json.dumps(document).encode()
    for read in (json_documents.allocations, json_documents.factors):
        refused, batch = "", None
        try:
            batch = read(body)
        except Problems as problems:
            refused = str(problems)
        assert (batch is None) == bool(refused)


def test_what_ended_before_the_oldest_time_is_rejected() -> None:
    body = json.dumps([allocation(), allocation(end=START_S + 61)]).encode()
    batch = json_documents.allocations(body, (START_S + 61) * 1000)
    assert [a.end_ms for a in batch.allocations] == [(START_S + 61) * 1000]
    assert batch.rejected == {"too_old": 1}


class TestFactors:
    def test_mark_the_hours_until_the_next(self, collector: Running) -> None:
        def marked() -> Counter[int]:
            rows = collector.rows(
                "SELECT toUnixTimestamp(hour), count() FROM dirty WHERE hour < '2026-02-01' "
                "GROUP BY hour"
            )
            return Counter({(hour - START_S) // 3600: count for hour, count in rows})

        def factor(start_s: int, value: float | None, **said: str) -> dict[str, Any]:
            named = {"kind": "pue", "site": "oslo", "unit": "1", "source": "operator", **said}
            return {**named, "start": start_s, "value": value}

        times = [(START_S + hour * 3600) * 1000 for hour in range(-2, 30)]
        times.append(int(time.time() * 1000))
        ticks = tuple(Tick("d", at, 1000, Method.INTEGRAL, 1.0) for at in times)
        card = Device("d", Kind.GPU, "n", "nvml")
        assert collector.post(Encoder({}, "0").request(Batch((card,), ticks))).status == 200
        # Which hours have readings is known from the next run of the ledger on.
        known = "SELECT uniqExact(hour) FROM tick_hour WHERE hour < '2026-02-01'"
        deadline = time.monotonic() + 120
        while collector.rows(known) != [(32,)]:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        ends = factor(START_S + 20 * 3600, None)
        assert send(collector, "/v1/factors", ends).json["accepted"] == 1
        before = marked()
        answer = send(collector, "/v1/factors", [factor(START_S + 1800, 1.2)])
        assert answer.json == {"accepted": 1, "hours": 20}
        assert marked() - before == Counter([*range(20)] * 2)  # before it is known, and after
        answer = send(collector, "/v1/factors", [factor(START_S + 1800, 1.2)])
        assert answer.json == {"accepted": 1, "hours": 0}
        elsewhere = factor(int(time.time()) - 1, 1.3, site="rome")
        assert send(collector, "/v1/factors", elsewhere).json["hours"] in (1, 2)
        future = factor(int(time.time()) + 7200, 0.2, kind="price", unit="EUR/kWh")
        assert send(collector, "/v1/factors", future).json["hours"] == 0
        rows = collector.get("/v1/factors").json["rows"]
        found = [(r["kind"], r["site"], r["start"], r["value"]) for r in rows]
        assert found[1:3] == [
            ("pue", "oslo", START_S + 1800, 1.2),
            ("pue", "oslo", ends["start"], None),
        ]
        assert found[0][:2] == ("price", "oslo")

    def test_hours_of_which_nothing_is_known_are_not_marked(self, collector: Running) -> None:
        ancient = {"kind": "pue", "site": "rome", "start": 86_400, "value": 1.1}
        until = {**ancient, "start": START_S - 10 * 86_400, "value": 1.2}
        assert send(collector, "/v1/factors", until).status == 200
        assert send(collector, "/v1/factors", ancient).json["hours"] == 0

    def test_a_correction_replaces(self, collector: Running) -> None:
        said = {"kind": "carbon", "site": "", "start": START, "value": 400, "unit": "g/kWh"}
        for value in (400, 41.5):
            send(collector, "/v1/factors", {**said, "value": value})
        rows = [r for r in collector.get("/v1/factors").json["rows"] if r["kind"] == "carbon"]
        assert rows == [{**said, "start": START_S, "value": 41.5, "source": ""}]

    def test_problems(self, collector: Running) -> None:
        answer = send(
            collector,
            "/v1/factors",
            b'[{"kind": "pue", "start": 1, "value": 0.9}, {"start": 0, "colour": "red"},'
            b'{"kind": "half \\ud800", "start": 1, "value": 1%s}]' % (b"0" * 400),
        )
        assert answer.status == 400
        assert [re.sub(r"; known are .*", "", p) for p in answer.json["problems"]] == [
            "[0]: value must be at least 1.0 and finite",
            "[1]: colour is not known",
            "[1]: kind is missing",
            "[1]: value is missing; null ends what was said before",
            "[1]: start must be a time such as 2026-01-31T08:00:00Z, or Unix seconds, before 2106",
            "[2]: kind holds half of a character",
            "[2]: value has too many digits",
        ]


def test_the_examples_in_the_readme_work(collector: Running) -> None:
    examples = re.findall(r"curl -s (\S+) -d '(.*?)'\n(.*?)\n", README.read_text(), re.DOTALL)
    assert len(examples) == 2
    for url, body, told in examples:
        answer = send(collector, url.removeprefix("localhost:9740"), body.encode())
        assert answer.status == 200
        found, shown = answer.json, json.loads(told)
        assert {**found, "hours": 0} == {**shown, "hours": 0}


class TestScores:
    SAID = {  # noqa: RUF012
        "model": "llama",
        "precision": "fp8",
        "metric": "rouge-l",
        "score": 0.4,
        "better": "higher",
        "at": START,
        "kind": "calibration",
    }

    def test_are_stored_once_and_answered(self, collector: Running) -> None:
        later = {**self.SAID, "at": "2026-01-16T10:00:00Z", "score": 0.3, "kind": "score"}
        for _ in range(2):
            answer = send(collector, "/v1/quality", [self.SAID, later])
            assert (answer.status, answer.json) == (200, {"accepted": 2})
        (row,) = collector.get("/v1/quality?view=scores").json["rows"]
        assert (row["score"], row["measurements"]) == (0.3, 2)
        (row,) = collector.get("/v1/quality?view=drift&metric=rouge-l").json["rows"]
        assert (row["state"], row["drift_ratio"]) == ("drifted", pytest.approx(0.25))
        names, values = collector.get("/v1/quality?format=csv").body.decode().splitlines()
        assert dict(zip(names.split(","), values.split(","), strict=True))["score"] == "0.3"

    def test_problems(self, collector: Running) -> None:
        wrong = {"model": "", "metric": "m" * 201, "score": "good", "better": "up", "at": 4e9}
        answer = send(collector, "/v1/quality", [wrong])
        assert answer.status == 400
        assert answer.json["problems"] == [
            "[0]: score must be a number",
            "[0]: at is in the future",
            "[0]: model must be a text",
            "[0]: metric is longer than 200 characters",
            "[0]: better must be one of higher, lower",
        ]

    @pytest.mark.parametrize(
        "query", ["view=best", "format=xml", "view=drift&pod=x", "view=pareto&metric=m"]
    )
    def test_what_cannot_be_asked(self, collector: Running, query: str) -> None:
        answer = collector.get(f"/v1/quality?{query}")
        assert answer.status == 400
        assert answer.json["error"]

    @pytest.mark.parametrize(
        ("query", "first", "last"),
        [
            ("view=scores&metric=none", "ai_model", "measurements"),
            ("view=drift&metric=none", "ai_model", "state"),
            ("view=pareto&metric=none&outcome=none", "ai_model", "best_hardware"),
            ("view=cache&by=team,site,team", "team,site", "blended_joules"),
        ],
    )
    def test_without_rows_csv_has_its_names(
        self, collector: Running, query: str, first: str, last: str
    ) -> None:
        (names,) = collector.get(f"/v1/quality?format=csv&{query}").body.decode().splitlines()
        assert names.startswith(f"{first},")
        assert names.endswith(f",{last}")

    def test_the_command_line_says_what_drifted(
        self, collector: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = ("--url", collector.url, "--json")
        said = ("--model", "m", "--metric", "top1", "--score", "0.7", "--better", "higher")
        for arguments, status in (
            (("record", *said, "--calibration", *place), 0),
            (("drift", "--metric", "top1", *place), 0),
            (("record", *said[:-3], "0.5", *said[-2:], "--at", "2026-01-17T10:00Z", *place), 0),
            (("compare", "--outcome", "image", "--metric", "top1", *place), 0),
            (("cache", "--by", "pod", *place), 2),
        ):
            with pytest.raises(SystemExit) as ended:
                main(("quality", *arguments))
            assert ended.value.code == status, arguments
        assert '"state": "ok"' in capsys.readouterr().out
