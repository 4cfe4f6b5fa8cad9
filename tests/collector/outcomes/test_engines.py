"""What each server's counters are, trap by trap; tests/fixtures/served.py has the pages."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.fixtures import served
from tests.fixtures.pages import line

from wattshed_collector.normalise.samples import samples, unquoted
from wattshed_collector.outcomes.book import AUTOMATIC, Book, named
from wattshed_collector.outcomes.engines import AUTO, BY_NAME, SERVERS
from wattshed_collector.outcomes.readings import Reading, readings
from wattshed_collector.outcomes.rules import CACHED_INCLUDED


def read(page: str, book: Book = AUTOMATIC) -> list[Reading]:
    text = unquoted(page.encode()).decode()
    return list(readings(book, {said.series: said.value for said in samples(text, 0)}))


def totals(page: str, book: Book = AUTOMATIC) -> dict[str, float]:
    """Sums over all counters of a kind, as they are asked for in the end."""
    found: dict[str, float] = {}
    for reading in read(page, book):
        found[reading.rule.kind] = found.get(reading.rule.kind, 0.0) + reading.value
    return found


def caveats(page: str) -> dict[str, str]:
    return {r.rule.kind: r.choice.caveat for r in read(page) if r.choice.caveat}


COMPUTED = {"token_in": 600.0, "token_in_cached": 400.0, "token_out": 90.0, "request": 7.0}


class TestVllm:
    def test_what_was_computed_and_what_was_cached_are_apart(self) -> None:
        assert totals(served.vllm()) == COMPUTED
        assert totals(served.vllm(by_source=False)) == COMPUTED
        assert not caveats(served.vllm(by_source=False))

    def test_a_version_that_does_not_know_says_so(self) -> None:
        page = served.vllm(cached=None)
        assert totals(page) == {"token_in": 1000.0, "token_out": 90.0, "request": 7.0}
        assert caveats(page) == {"token_in": CACHED_INCLUDED}

    @pytest.mark.parametrize("prefix", ["vllm:", "vllm_", "ray_vllm_"])
    @pytest.mark.parametrize("end", ["_total", ""])
    def test_names_that_differ_between_versions(self, prefix: str, end: str) -> None:
        assert totals(served.vllm(prefix=prefix, end=end)) == COMPUTED

    def test_a_counter_that_is_there_a_second_time_as_a_gauge(self) -> None:
        both = served.vllm(prefix="ray_vllm_") + served.vllm(prefix="ray_vllm_", end="", out=1)
        assert totals(both) == COMPUTED

    def test_engines_are_added_up_and_are_counters_of_their_own(self) -> None:
        pages = served.vllm() + served.vllm(engine="1")
        assert totals(pages) == {kind: 2 * count for kind, count in COMPUTED.items()}
        assert {r.labels["engine"] for r in read(pages) if r.rule.kind == "token_in"} == {"0", "1"}

    def test_aborted_and_failed_requests_are_no_outcomes(self) -> None:
        requests = [r for r in read(served.vllm()) if r.rule.kind == "request"]
        assert sorted(r.labels["finished_reason"] for r in requests) == ["length", "stop"]

    def test_since_when_it_counts(self) -> None:
        started = read(served.vllm(start=1_700_000_000.25))
        assert {reading.start_ms for reading in started} == {1_700_000_000_250}
        # Ray's agent is another process than the one that counts.
        passed_on = read(served.vllm(start=1_700_000_000.25, prefix="ray_vllm_"))
        assert {reading.start_ms for reading in passed_on} == {None}
        created = served.vllm() + line(
            "vllm:generation_tokens_created", 1.8e9, engine="0", model_name=served.MODEL
        )
        told = {r.rule.kind: r.start_ms for r in read(created)}
        assert (told["token_out"], told["token_in"]) == (1_800_000_000_000, None)

    def test_the_recorded_page(self, data: Path) -> None:
        page = (data / "recordings/vllm/v0-and-v1_mixed_datadog/vllm_metrics.txt").read_text()
        assert totals(page) == {
            "token_in": 53.0,
            "token_in_cached": 64.0,
            "token_out": 7.0,
            "request": 1.0,
        }
        assert {r.server.model_of(r.labels) for r in read(page)} == {"facebook/opt-125m"}

    def test_no_number_is_made_of_one_that_is_none(self) -> None:
        page = served.vllm(by_source=False, cached=math.nan)
        assert math.isnan(totals(page)["token_in"])


class TestSglang:
    def test_cached_tokens_are_divided_by_where_they_were(self) -> None:
        cached = {"device": 250.0, "host": 100.0, "storage_file": 30.0, "total": 20.0}
        assert totals(served.sglang(cached=cached)) == COMPUTED

    def test_before_the_first_hit_nothing_was_cached(self) -> None:
        page = served.sglang()
        assert totals(page) == {"token_in": 1000.0, "token_out": 90.0, "request": 7.0}
        assert not caveats(page)

    def test_an_older_version_says_that_it_does_not_know(self) -> None:
        page = served.sglang(knows_cached=False)
        assert totals(page) == {"token_in": 1000.0, "token_out": 90.0, "request": 7.0}
        assert caveats(page) == {"token_in": CACHED_INCLUDED}

    def test_prefill_and_decode_apart_count_each_request_once(self) -> None:
        prefill = served.sglang(cached={"device": 400}, out=7, engine_type="prefill")
        decode = served.sglang(cached={"device": 1}, engine_type="decode")
        assert totals(prefill) == {"token_in": 600.0, "token_in_cached": 400.0}
        assert totals(decode) == {"token_out": 90.0, "request": 7.0}

    def test_streamed_or_not_is_one_server(self) -> None:
        one = served.sglang(600, {"device": 400}, is_streaming="true")
        two = served.sglang(400, is_streaming="false")
        assert totals(one + two)["token_in"] == 600.0

    def test_ranks_repeat_the_same_tokens(self) -> None:
        ranks = "".join(
            served.sglang(cached={"device": 400}, tp_rank=str(tp), pp_rank=str(pp))
            for tp in range(4)
            for pp in range(2)
        )
        assert totals(ranks) == COMPUTED

    def test_another_nodes_ranks_alone_are_nothing(self) -> None:
        assert totals(served.sglang(tp_rank="8")) == {}

    def test_ranks_of_engines_are_each_engines_own(self) -> None:
        engines = "".join(
            served.sglang(cached={"device": 400}, tp_rank=str(tp), dp_rank=str(tp // 2))
            for tp in (3, 2, 1, 0)
        )
        assert totals(engines) == {kind: 2 * count for kind, count in COMPUTED.items()}
        assert all("tp_rank" not in reading.labels for reading in read(engines))

    def test_the_recorded_page(self, data: Path) -> None:
        page = (data / "recordings/sglang/v0.4_llama-3.1-8b_docs/metrics.txt").read_text()
        assert totals(page) == {"token_in": 8128902.0, "token_out": 7557572.0, "request": 11228.0}
        assert caveats(page) == {"token_in": CACHED_INCLUDED}


def test_tgi_counts_by_the_sums_of_histograms() -> None:
    page = served.tgi()
    assert totals(page) == {"token_in": 1000.0, "token_out": 90.0, "request": 7.0}
    assert caveats(page) == {"token_in": CACHED_INCLUDED}


class TestTriton:
    def test_items_of_batches_are_inferences_and_requests_are_requests(self) -> None:
        assert totals(served.triton()) == {"inference": 16.0, "request": 3.0}

    def test_the_recorded_page(self, data: Path) -> None:
        page = (data / "recordings/triton/tesla-t4_datadog/metrics.txt").read_text()
        assert totals(page) == {"inference": 3.0, "request": 3.0}
        models = {r.server.model_of(r.labels) for r in read(page) if r.value}
        assert models == {"densenet_onnx"}
        assert len(read(page)) == 16

    def test_the_backend_of_vllm_is_read_by_its_rules(self) -> None:
        page = served.triton() + line("vllm:generation_tokens_total", 9, model="m", version="1")
        (token_out,) = [r for r in read(page) if r.rule.kind == "token_out"]
        assert (token_out.value, token_out.server.model_of(token_out.labels)) == (9.0, "m")


@pytest.mark.parametrize("prefix", ["llamacpp:", "llama_"])
@pytest.mark.parametrize("quoted", [False, True])
def test_llama_cpp(prefix: str, quoted: bool) -> None:
    page = served.llama_cpp(prefix=prefix, quoted=quoted)
    assert totals(page) == {"token_in": 1.23457e6, "token_out": 987.0}


def test_tensorrt_llm() -> None:
    assert totals(served.trtllm()) == COMPUTED
    assert caveats(served.trtllm(cached=None)) == {"token_in": CACHED_INCLUDED}


@pytest.mark.parametrize(
    ("name", "page", "expected"),
    [
        ("dynamo", served.dynamo(), COMPUTED),
        ("ray_serve", served.ray_serve(), {"request": 7.0}),
        ("ray_serve", served.ray_serve(gauge=True), {"request": 7.0}),
    ],
)
def test_what_stands_before_engines_is_read_where_it_is_named(
    name: str, page: str, expected: dict[str, float]
) -> None:
    assert totals(page) == {}
    assert totals(page, named((AUTO, name))) == expected
    workers = {reading.labels.get("WorkerId") for reading in read(page, named((name,)))}
    assert len(workers) == (2 if name == "ray_serve" else 1)


def test_no_name_is_of_two_servers() -> None:
    everything = Book(SERVERS)
    for name in everything.counters:
        assert len({use.server.name for use in everything.uses(name)}) == 1, name
    assert {server.name for server in SERVERS} == BY_NAME.keys()
