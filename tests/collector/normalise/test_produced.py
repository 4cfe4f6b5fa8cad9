"""Counters on their way to outcomes: whole pages, pieces of them, twice, under changing owners."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures import served
from tests.fixtures.pages import AT, STEP, line

from wattshed_collector.normalise import Point
from wattshed_collector.normalise.dialect import Origin, Sample, Series
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.produced import Produced
from wattshed_collector.normalise.samples import samples
from wattshed_collector.outcomes.book import named
from wattshed_collector.outcomes.owners import Owners, Pod, Whose
from wattshed_exporter.model import Allocation, Batch, Outcome, Workload

TARGET = {"job": "vllm", "instance": "10.0.0.7:8000", "namespace": "ml", "pod": "chat-0"}
WRITTEN = Origin(interval_ms=STEP, whole=False, rank=2)
SCRAPED = Origin(TARGET["instance"], interval_ms=STEP, whose=Whose(pod=Pod("ml", "chat-0")))
BY_NAME, BY_UID = "k8s/ml/chat-0", "k8s/c1/0f3c"


class Way:
    """One collector's reading, and all that came of it."""

    def __init__(self, produced: Produced | None = None) -> None:
        self.foreign = Foreign(produced=produced)
        self.normaliser = Normaliser(Limits(oldest_seconds=0), lambda: AT / 1000 + 86_400)
        self.rejected: Counter[str] = Counter()
        self.outcomes: list[Outcome] = []
        self.batches: list[Batch] = []

    def take(self, said: list[Sample], origin: Origin) -> list[Outcome]:
        points: list[Point] = self.foreign.points(said, origin, self.rejected)[0]
        batch = self.normaliser.batch(points, self.rejected)
        self.batches.append(batch)
        self.outcomes += batch.outcomes
        return list(batch.outcomes)

    def page(self, text: str, at_ms: int = AT, origin: Origin = SCRAPED) -> list[Outcome]:
        return self.take(samples(text, at_ms), origin)

    def stored(self) -> dict[tuple[str, str, str, int], float]:
        """What is in the store in the end: the last word on each reading."""
        return {(o.workload, o.kind, o.source, o.ts_ms): o.total for o in self.outcomes}

    def counted(self) -> dict[str, float]:
        """Sum of increments by kind, as the store counts them: a counter that falls began anew."""
        streams: dict[tuple[str, str, str], dict[int, float]] = {}
        for (workload, kind, source, ts_ms), total in self.stored().items():
            streams.setdefault((workload, kind, source), {})[ts_ms] = total
        found: Counter[str] = Counter()
        for (_, kind, _), readings in streams.items():
            for before, now in pairwise(readings[at] for at in sorted(readings)):
                found[kind] += now - before if now >= before else now  # type: ignore[assignment]
        return dict(found)

    def owns(self, key: str, until_ms: int = 1) -> None:
        workload = Workload(key, "chat", "pod", instance="chat-0", namespace="ml")
        held = Allocation("g", key, 0, until_ms)
        self.foreign.produced.owners.saw(Batch(workloads=(workload,), allocations=(held,)))


def written(text: str, at_ms: int = AT, **more: str) -> list[Sample]:
    """A page as a Prometheus forwards it, with the labels of its target."""
    return [
        Sample(Series(said.series.name, {**said.series.labels, **TARGET, **more}), *said[1:])
        for said in samples(text, at_ms)
    ]


def vllm(number: int, **how: object) -> str:
    page = {"prompt": 1000 + 100 * number, "cached": 400 + 30 * number, "out": 90 + 10 * number}
    return served.vllm(**{**page, **how})  # type: ignore[arg-type]


@cache
def forwarded(divided: bool, by_source: bool) -> list[list[Sample]]:
    """Eight scrapes of one server; ``divided`` has numbers that are made of several series."""
    return [
        written(served.sglang(1000 + 100 * n, {"device": 40 * n + 1, "host": 5}, 90 + n), at_ms)
        if divided
        else written(vllm(n, by_source=by_source), at_ms)
        for n, at_ms in enumerate(range(AT, AT + 8 * STEP, STEP))
    ]


class TestPages:
    def test_a_page_becomes_outcomes_of_its_pod(self) -> None:
        way = Way()
        way.owns(BY_UID)
        found = way.page(vllm(0, start=AT / 1000 - 60))
        assert {o.workload for o in found} == {BY_UID}
        assert {o.model for o in found} == {served.MODEL}
        assert {o.start_ms for o in found} == {AT - 60_000}
        assert {(o.kind, o.total) for o in found if o.kind != "request"} == {
            ("token_in", 600.0),
            ("token_in_cached", 400.0),
            ("token_out", 90.0),
        }
        assert not +way.rejected
        assert way.batches[-1].workloads[0].name == "chat"

    def test_a_job_may_read_by_other_rules_or_by_none(self) -> None:
        for names, expected in ((("none",), 0), (("triton",), 0), (("vllm",), 5)):
            origin = Origin("a:1", outcomes=named(names))
            assert len(Way().page(vllm(0), origin=origin)) == expected

    def test_other_metrics_of_a_known_server_are_no_error(self) -> None:
        way = Way()
        way.page(vllm(0) + "vllm:whatever 1\nsomebody_elses 1\n")
        assert +way.rejected == {"unknown_metric": 1}

    def test_a_value_that_is_none_is_counted_and_leaves_the_others_alone(self) -> None:
        way = Way()
        assert {o.kind for o in way.page(vllm(0, out=float("nan")))} == {
            "token_in",
            "token_in_cached",
            "request",
        }
        assert +way.rejected == {"not_finite": 1}

    def test_a_server_that_starts_anew_and_series_that_come_back(self) -> None:
        way = Way()
        for at, number in enumerate((0, 5, None, 7, -9, -8)):
            if number is not None:
                way.page(vllm(number), AT + at * STEP)
            else:
                way.page("vllm:kv_cache_usage_perc 0\n", AT + at * STEP)
        # 90 -> 140 -> 160, then from nothing to 10: a fall to 0 is a beginning.
        assert way.counted()["token_out"] == 70 + 0 + 10

    def test_what_is_not_quite_what_it_is_called_says_so(self) -> None:
        way = Way()
        found = way.page(served.vllm(cached=None))
        assert {o.kind for o in found if o.source.endswith(" cached_included")} == {"token_in"}
        produced = way.foreign.produced
        assert produced.caveats_by_server() == {("vllm", "cached_included"): 1.0}

    def test_a_difference_does_not_fall_where_neither_counter_fell(self) -> None:
        """The counter of cached tokens is read after that of prompts, and may be ahead of it."""
        way = Way()
        for at, (prompt, cached) in enumerate(((1000, 400), (1000, 480), (1200, 480), (100, 0))):
            way.page(served.vllm(prompt, cached, by_source=False), AT + at * STEP)
        told = [o.total for o in way.outcomes if o.kind == "token_in"]
        assert told == [600.0, 600.0, 720.0, 100.0]

    def test_two_servers_of_one_pod_are_two_counters(self) -> None:
        way = Way()
        for port in ("8000", "8001"):
            origin = Origin(f"10.0.0.7:{port}", whose=Whose(pod=Pod("ml", "chat-0")))
            way.page(vllm(0), origin=origin)
        assert len({o.source for o in way.outcomes if o.kind == "token_out"}) == 2

    def test_a_page_of_series_that_another_one_scraped(self) -> None:
        """As /federate of a Prometheus: each series says itself of which target it is."""
        way = Way()
        for n in range(2):
            text = "".join(
                vllm(n, instance=f"10.0.0.{pod}:8000", job="v", namespace="ml", pod=f"chat-{pod}")
                for pod in "12"
            )
            text += vllm(n, instance="gpu1:8000", job="v") + vllm(n, instance="gpu2:8000", job="v")
            way.page(text, AT + n * STEP)
        assert {o.workload for o in way.outcomes} == {
            "k8s/ml/chat-1",
            "k8s/ml/chat-2",
            "prometheus/v/gpu1:8000",
            "prometheus/v/gpu2:8000",
        }
        assert way.counted()["token_out"] == 40.0

    def test_labels_of_a_servers_own_tell_its_counters_apart(self) -> None:
        """Dynamo's frontend has a label that operators of Prometheus put on targets as well."""
        page = "".join(
            line("dynamo_frontend_requests_total", 5, endpoint=endpoint, status="success")
            for endpoint in ("completions", "chat_completions")
        )
        way = Way(Produced(named(("dynamo",))))
        assert len({o.source for o in way.page(page)}) == 2
        way.take(written(page), WRITTEN)
        long = "x" * 400
        way.page(served.vllm(lora=long + "a") + served.vllm(lora=long + "b"), AT + STEP)
        assert len(way.stored()) == len(way.outcomes)


class TestWritten:
    @settings(max_examples=12, deadline=None)
    @given(st.randoms(use_true_random=False), st.booleans(), st.booleans())
    def test_order_and_splits_change_nothing(
        self, rng: random.Random, by_source: bool, divided: bool
    ) -> None:
        """Requests of one Prometheus overtake each other by less than it takes to settle."""
        stamped = forwarded(divided, by_source)
        whole, split = Way(), Way()
        for page in stamped:
            whole.take(page, WRITTEN)
        queue = [said for page in stamped for said in page]
        queue.sort(key=lambda said: said.ts_ms + rng.uniform(0, 1.9 * STEP))
        while queue:
            size = rng.randint(1, 9)
            split.take(queue[:size], WRITTEN)
            queue = queue[size:]
        settled = AT + 4 * STEP
        assert {k: v for k, v in split.stored().items() if k[3] <= settled} == {
            k: v for k, v in whole.stored().items() if k[3] <= settled
        }
        assert {"token_in", "token_out", "request"} <= {kind for _, kind, *_ in split.stored()}

    def test_a_worse_number_waits_for_the_better_one(self) -> None:
        way = Way()
        for n in range(6):
            way.take(written(served.vllm(1000 + n, None), AT + n * STEP), WRITTEN)
        flagged = [o.ts_ms for o in way.outcomes if o.kind == "token_in"]
        assert flagged == [AT, AT + STEP, AT + 2 * STEP]
        # Once the better one was there, the worse is never said again.
        for n in range(6, 12):
            page = served.vllm(1000 + n, 400 if n == 6 else None)
            way.take(written(page, AT + n * STEP), WRITTEN)
        later = [o for o in way.outcomes if o.kind == "token_in" and o.ts_ms > AT + 3 * STEP]
        assert [o.total for o in later] == [606.0]

    def test_a_long_backlog_in_one_request(self) -> None:
        way = Way()
        said = [s for n in range(40) for s in written(vllm(n), AT + n * STEP)]
        way.take(sorted(said, key=lambda s: (s.series.name, s.series.key, s.ts_ms)), WRITTEN)
        assert way.counted() == {
            "token_in": 39 * 70.0,
            "token_in_cached": 39 * 30.0,
            "token_out": 39 * 10.0,
            "request": 0.0,
        }

    def test_who_is_nobody_is_counted(self) -> None:
        way = Way()
        way.take([Sample(s.series, s.value, AT) for s in samples(vllm(0), AT)], WRITTEN)
        assert not way.outcomes
        assert +way.rejected == {"no_workload": 5}

    def test_what_passed_through_another_exporter_is_its_servers(self) -> None:
        way = Way()
        for pod in "ab":
            own = {"exported_pod": pod, "exported_instance": f"{pod}:1"}
            way.take(written(vllm(0), AT, exported_namespace="ml", **own), WRITTEN)
        assert {o.workload for o in way.outcomes} == {"k8s/ml/a", "k8s/ml/b"}
        assert {o.source.split()[1] for o in way.outcomes} == {"a:1", "b:1"}

    def test_an_operator_says_whose_what_is_forwarded_is(self) -> None:
        way = Way(Produced(whose=Whose(template="slurm/c1/{slurm_job}")))
        way.take(written(vllm(0), slurm_job="7"), WRITTEN)
        way.take(written(vllm(0)), WRITTEN)
        assert {o.workload for o in way.outcomes} == {"slurm/c1/7", BY_NAME}


class TestTwice:
    def test_scraped_and_forwarded_is_once(self) -> None:
        way = Way()
        for n in range(4):
            way.page(vllm(n), AT + n * STEP)
            way.take(written(vllm(n), AT + n * STEP + 4000), WRITTEN)
        assert way.counted()["token_out"] == 30.0
        assert way.rejected["measured_already"] > 0

    def test_also_where_the_forwarder_calls_the_target_otherwise(self) -> None:
        way = Way()
        for n in range(4):
            way.page(vllm(n), AT + n * STEP)
            way.take(written(vllm(n), AT + n * STEP + 4000, instance="chat"), WRITTEN)
        assert way.counted()["token_out"] == 30.0

    def test_two_targets_of_one_workload_are_two(self) -> None:
        way = Way(Produced(whose=Whose(template="service/{job}")))
        way.page(vllm(0), origin=Origin("a:1", whose=Whose("", None, TARGET, "service/{job}")))
        way.take(written(vllm(0), instance="b:1"), WRITTEN)
        told = {(o.workload, o.source.split()[1]) for o in way.outcomes if o.kind != "token_in"}
        assert told == {("service/vllm", "a:1"), ("service/vllm", "b:1")}

    def test_when_scraping_ends_what_is_forwarded_counts(self) -> None:
        way = Way()
        way.page(vllm(0), AT)
        for n in range(5, 9):
            way.take(written(vllm(n), AT + n * STEP), WRITTEN)
        # It is the same counter, so that not even the time between is lost.
        assert way.counted()["token_out"] == 80.0

    def test_a_pair_of_servers_is_one(self) -> None:
        way = Way()
        for n in range(6):
            for replica, after in (("a", 0), ("b", 4000)):
                page = written(vllm(n), AT + n * STEP + after, prometheus_replica=replica)
                way.take(page, WRITTEN)
        assert way.counted() == {
            "token_in": 350.0,
            "token_in_cached": 150.0,
            "token_out": 50.0,
            "request": 0.0,
        }

    def test_otlp_goes_before_a_remote_write(self) -> None:
        way = Way()
        otlp = Origin(interval_ms=60_000, whole=False, rank=1)
        way.take(written(vllm(0)), otlp)
        way.take(written(vllm(0), AT + 1000), WRITTEN)
        assert {o.ts_ms for o in way.outcomes} == {AT}


class TestMoves:
    @pytest.mark.parametrize("origin", [SCRAPED, WRITTEN])
    def test_no_count_is_lost_or_taken_twice_when_the_owner_is_found(self, origin: Origin) -> None:
        way = Way()
        start = {"start": AT / 1000 - 5} if origin.whole else {}
        for n in range(6):
            if n == 3:
                way.owns(BY_UID)
            text, at_ms = vllm(n, **start), AT + n * STEP
            way.take(samples(text, at_ms) if origin.whole else written(text, at_ms), origin)
        assert way.counted()["token_out"] == 50.0
        moved = [o for o in way.outcomes if o.workload == BY_UID and o.kind == "token_out"]
        assert {o.start_ms for o in moved} == {None}
        assert [o.ts_ms for o in way.outcomes if o.workload == BY_NAME][-1] == AT + 3 * STEP
        # A beginning after the move is one.
        if origin.whole:
            began = AT / 1000 + 5.5 * STEP / 1000
            (last,) = (
                o for o in way.page(vllm(-9, start=began), AT + 6 * STEP) if o.kind == "token_out"
            )
            assert last.start_ms == round(began * 1000)

    def test_two_pods_under_one_name(self) -> None:
        way = Way()
        way.owns("k8s/c1/old", 1)
        way.page(vllm(0))
        way.owns("k8s/c1/new", 2)
        way.page(vllm(1), AT + STEP)
        assert {o.workload for o in way.outcomes if o.ts_ms == AT + STEP} == {
            "k8s/c1/old",
            "k8s/c1/new",
        }


def test_own_rules_of_what_is_forwarded_add_up_what_a_page_divides() -> None:
    from wattshed_collector.config import OutcomeRule
    from wattshed_collector.outcomes.own import servers

    rule = OutcomeRule(metric="steps", kind="step", source_labels=("rank",))
    way = Way(Produced(named((), servers((rule,))), Owners()))
    for n in range(5):
        text = "".join(line("steps", n + 1, rank=rank, phase=p) for rank in "01" for p in "ab")
        way.take(written(text, AT + n * STEP), WRITTEN)
    assert sorted({o.source for o in way.outcomes}) == [
        "steps 10.0.0.7:8000 rank=0",
        "steps 10.0.0.7:8000 rank=1",
    ]
    assert {o.total for o in way.outcomes if o.ts_ms == AT + STEP} == {4.0}
