"""Metrics that are not about energy end in the same rows, whether parsed or known from before."""

from __future__ import annotations

import ast
import math
import weakref
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.fixtures.facts import facts, rows
from tests.fixtures.otlp_bodies import (
    BASE_MS,
    CUMULATIVE,
    DELTA,
    NOW_S,
    as_collectors_write,
    told,
)

from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.known_others import KnownOthers
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.otlp_decoding import ProtobufDecoder
from wattshed_collector.store.frames import joined
from wattshed_collector.store.insert import Frame
from wattshed_collector.store.native import encode
from wattshed_collector.store.stacks import spread
from wattshed_collector.telemetry import Telemetry

NAMES = ("app.requests", "app.heat", "app.threads")
Values = Sequence[float]


class Reader:
    """A decoder that knows what came before, and one that parses everything."""

    def __init__(
        self, most_series: int = 1000, most_book_bytes: int = 10**6, keep: str = "app.*"
    ) -> None:
        self.now_s = float(NOW_S)
        self.telemetry = telemetry = Telemetry()
        foreign = Foreign()
        normaliser = Normaliser(Limits(), lambda: self.now_s)
        self.others = others = Others((keep,), most_series, Limits(), lambda: self.now_s)
        parser = ProtobufDecoder(normaliser, foreign, others, telemetry)
        counters = foreign.produced.counters
        self.known = KnownOthers(parser, others, counters, telemetry, most_book_bytes)
        self.parser = ProtobufDecoder(
            normaliser, foreign, Others(("app.*",), 1000, Limits(), lambda: self.now_s), telemetry
        )

    def knows(self, raw: bytes, sender: str = "") -> bool:
        """Return whether a body is read without the parser; either way it says the same."""
        found = self.known.at_once(raw, sender)
        decoded = found or self.known.decode(raw, sender)
        assert facts(*decoded) == facts(*self.parser.decode(raw, sender))
        return found is not None


def body(
    at: int,
    values: Values = (1.5, 2.5, 7.0),
    host: str = "n1",
    *,
    whole: bool = False,
    begun: bool = True,
    label: str = "a",
) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(told({"host.name": host, "service.name": "app"}))
    scope = resource.scope_metrics.add()
    for name, value in zip(NAMES, values, strict=False):
        metric = scope.metrics.add(name=name, unit="1")
        data = metric.gauge
        if name == "app.requests":
            metric.sum.aggregation_temporality, metric.sum.is_monotonic = CUMULATIVE, True
            data = metric.sum  # type: ignore[assignment]
        for number in range(2):
            point = data.data_points.add(time_unix_nano=(BASE_MS + 1000 * at) * 1_000_000)
            point.attributes.extend(told({"shard": number, "label": label}))
            if begun and name == "app.requests":
                point.start_time_unix_nano = (BASE_MS - 1000) * 1_000_000
            if whole:
                point.as_int = int(value) + number
            else:
                point.as_double = value + number
    return request


def raw(*requests: ExportMetricsServiceRequest) -> bytes:
    return b"".join(request.SerializeToString() for request in requests)


@pytest.mark.parametrize(("whole", "begun"), [(False, True), (True, False), (True, True)])
def test_what_came_twice_is_known(whole: bool, begun: bool) -> None:
    reader = Reader()
    said = [raw(body(n, (n, 10.0 * n, 2.0**40 + n), whole=whole, begun=begun)) for n in range(1, 6)]
    assert [reader.knows(one) for one in said] == [False, False, True, True, True]
    assert not reader.knows(raw(body(9, label="b", whole=whole, begun=begun)))


def test_each_resource_is_known_by_itself() -> None:
    reader = Reader()
    hosts = [f"n{number}" for number in range(1, 5)]
    for at in range(2):
        reader.knows(raw(*(body(at, host=host) for host in hosts)))
    assert reader.knows(raw(*(body(5, host=host) for host in reversed(hosts))))
    assert not reader.knows(raw(body(6, host="n1"), body(6, host="new"), body(6, host="n3")))


def test_a_sender_has_its_own_series() -> None:
    reader = Reader()
    for at in range(3):
        reader.knows(raw(body(at)), "one")
    assert not reader.knows(raw(body(4)), "two")
    assert reader.knows(raw(body(5)), "two")
    found = reader.known.at_once(raw(body(6)), "two")
    assert found is not None
    (frame,) = spread(found[1])
    assert {row[1] for row in map(ast.literal_eval, rows("metric_sample", [frame]))} == {"two"}


def test_the_hours_bound_on_series_holds() -> None:
    reader = Reader(most_series=6)
    for at in range(3):
        reader.knows(raw(body(at)))
    reader.now_s += 3600.0
    other = [raw(replace_label(body(4), name)) for name in ("x", "y")]
    decoded = [reader.known.decode(one, "") for one in other]
    assert [batch.rejected for batch, _ in decoded] == [{}, {"too_many_series": 6}]
    assert reader.known.at_once(raw(body(5)), "") is None
    assert reader.known.decode(raw(body(5)), "")[0].rejected == {"too_many_series": 6}


def replace_label(request: ExportMetricsServiceRequest, label: str) -> ExportMetricsServiceRequest:
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        for point in (*metric.gauge.data_points, *metric.sum.data_points):
            point.attributes[1].value.string_value = label
    return request


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_goes_the_long_way(value: float) -> None:
    reader = Reader()
    for at in range(3):
        reader.knows(raw(body(at)))
    assert not reader.knows(raw(body(4, (1.0, value, 2.0))))
    assert not reader.knows(raw(body(10**9)))  # ahead of any clock
    assert reader.knows(raw(body(5)))


def test_a_delta_and_what_is_not_kept_are_never_known() -> None:
    odd = body(1)
    odd.resource_metrics[0].scope_metrics[0].metrics[0].sum.aggregation_temporality = DELTA
    stranger = body(1)
    stranger.resource_metrics[0].scope_metrics[0].metrics[1].name = "else"
    for request in (odd, stranger):
        reader = Reader()
        assert [reader.knows(raw(request)) for _ in range(4)] == [False] * 4


def distributions(at: int, *, bounds: int = 2, total: bool = True) -> ExportMetricsServiceRequest:
    """A histogram and a summary of two points each, beside a gauge."""
    request = body(at, (1.0,))
    scope = request.resource_metrics[0].scope_metrics[0]
    data = scope.metrics.add(name="app.took", unit="s").histogram
    data.aggregation_temporality = CUMULATIVE
    quantiles = scope.metrics.add(name="app.size", unit="By").summary
    for number in range(1, 3):
        when = {"time_unix_nano": (BASE_MS + at) * 1_000_000, "start_time_unix_nano": BASE_MS}
        point = data.data_points.add(**when, count=at + number, min=0.5 * at, max=9.0 + at)
        if total:
            point.sum = 2.5 * at - 9.0
        point.explicit_bounds.extend(range(bounds))
        point.bucket_counts.extend([at] * (bounds + 1))
        point.attributes.extend(told({"shard": number}))
        other = quantiles.data_points.add(**when, count=at + number, sum=0.5 + at)
        other.quantile_values.add(quantile=0.5, value=1.0 * at)
        other.attributes.extend(told({"shard": number}))
    return request


@pytest.mark.parametrize("total", [True, False])
def test_distributions_are_known_as_well(total: bool) -> None:
    reader = Reader()
    said = [raw(distributions(at, total=total)) for at in range(1, 6)]
    assert [reader.knows(one) for one in said] == [False, False, True, True, True]
    assert not reader.knows(raw(distributions(7, bounds=3, total=total)))
    # Four points of each body, whichever of the two decoders read it.
    asked = reader.telemetry.registry.get_sample_value
    assert asked("wattshed_collector_simplified_total", {"receiver": "otlp"}) == 2 * 6 * 4


def test_exemplars_and_exponential_histograms_are_never_known() -> None:
    example, wide = distributions(3), distributions(3)
    metrics = example.resource_metrics[0].scope_metrics[0].metrics
    metrics[-2].histogram.data_points[0].exemplars.add(as_double=1.0)
    data = wide.resource_metrics[0].scope_metrics[0].metrics.add(name="app.exp")
    data.exponential_histogram.aggregation_temporality = CUMULATIVE
    data.exponential_histogram.data_points.add(
        time_unix_nano=BASE_MS * 1_000_000, count=3, sum=4.0, scale=2
    )
    for request in (example, wide):
        reader = Reader()
        assert [reader.knows(raw(request)) for _ in range(4)] == [False] * 4


@pytest.mark.parametrize("make", [body, distributions])
def test_the_order_of_fields_does_not_matter(
    make: Callable[[int], ExportMetricsServiceRequest],
) -> None:
    reader = Reader()
    said = [as_collectors_write(make(at)) for at in range(1, 6)]
    assert said[0] != raw(make(1))
    assert ExportMetricsServiceRequest.FromString(said[0]) == make(1)
    assert [reader.knows(one) for one in said] == [False, False, True, True, True]


def test_resources_of_one_length_that_stand_last_are_told_apart() -> None:
    reader = Reader()
    hosts = [f"n{number}" for number in range(10, 40)]
    for at in range(3):
        for host in hosts:
            reader.knows(as_collectors_write(body(at, host=host)))
    assert all(reader.knows(as_collectors_write(body(5, host=host))) for host in hosts)


def test_one_resource_in_doubt_costs_the_others_nothing() -> None:
    reader = Reader()
    for at in range(3):
        reader.knows(raw(body(at), body(at, host="n2")))
    bad = raw(body(4, (1.0, math.nan, 2.0)), body(4, host="n2"))
    batch, frames = reader.known.decode(bad, "")
    assert batch.rejected == {"not_finite": 2}
    assert sorted(map(len, spread(frames))) == [4, 6]
    assert reader.knows(raw(body(5), body(5, host="n2")))


def test_texts_are_shared_until_there_are_too_many() -> None:
    reader = Reader(most_book_bytes=2000)
    for at in range(3):
        reader.knows(raw(body(at)), "one")
    others = [raw(body(at, label=f"b{n}")) for n in range(4) for at in range(3)]
    for one in others:
        reader.knows(one, "one")
    assert not reader.knows(raw(body(5)), "one")  # its texts were let go
    assert reader.knows(raw(body(7)), "one")
    found = reader.known.at_once(raw(body(8)), "one")
    assert found is not None
    (frame,) = found[1]
    assert isinstance(frame, Frame)
    assert encode(joined([frame, *spread(reader.parser.decode(others[-1], "one")[1])])).rows == 12


def test_a_number_that_is_said_twice_in_a_point_is_never_known() -> None:
    said = raw(body(1, begun=False))
    value = b"\x21" + bytes(8)
    point = b"\x19" + (BASE_MS * 1_000_000).to_bytes(8, "little") + value + value
    metric = b"\x0a\x05app.x" + b"\x2a" + bytes([2 + len(point)]) + b"\x0a" + bytes([len(point)])
    metric += point
    scope = b"\x12" + bytes([len(metric)]) + metric
    inner = b"\x0a\x00" + b"\x12" + bytes([len(scope)]) + scope
    twice = b"\x0a" + bytes([len(inner)]) + inner
    reader = Reader()
    assert [reader.knows(twice) for _ in range(4)] == [False] * 4
    assert [reader.knows(said) for _ in range(3)] == [False, False, True]


def counted(at: int) -> ExportMetricsServiceRequest:
    """Prompt tokens of a vLLM, which may yet be told better by what comes beside them."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    names = {"k8s.namespace.name": "chat", "k8s.pod.name": "llm-0", "service.name": "vllm"}
    resource.resource.attributes.extend(told(names))
    metric = resource.scope_metrics.add().metrics.add(name="vllm:prompt_tokens_total", unit="1")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = CUMULATIVE, True
    when = (BASE_MS + 1000 * at) * 1_000_000
    point = metric.sum.data_points.add(time_unix_nano=when, as_double=float(at))
    point.attributes.extend(told({"model_name": "llama", "engine": "0"}))
    return request


def test_a_counter_of_outcomes_is_parsed_however_often_it_comes() -> None:
    reader = Reader(keep="*")
    outcomes: set[tuple[int, float]] = set()
    for at in range(1, 11):
        batch, frames = reader.known.decode(raw(counted(at)), "one")
        assert sum(map(len, frames)) == 1
        outcomes |= {(outcome.ts_ms - BASE_MS, outcome.total) for outcome in batch.outcomes}
    # The last few wait for whether something better comes.
    assert outcomes == {(1000 * at, float(at)) for at in range(1, 8)}


def test_a_count_beyond_the_signed_numbers_is_one_all_the_same() -> None:
    reader = Reader()
    for at in range(1, 4):
        reader.knows(raw(distributions(at)))
    large = distributions(5)
    metrics = large.resource_metrics[0].scope_metrics[0].metrics
    metrics[-1].summary.data_points[0].count = 2**63 + 2**11
    metrics[-2].histogram.data_points[0].count = 2**64 - 1
    assert reader.knows(raw(large))


@pytest.mark.parametrize("value", [b"\x10\x05", b"\x12\x09ccccccccc", b"\x15aaaa"])
def test_a_quantile_whose_value_is_no_float_is_no_place_of_one(value: bytes) -> None:
    reader = Reader()
    request = distributions(3)
    del request.resource_metrics[0].scope_metrics[0].metrics[:-1]
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    del metric.summary.data_points[1:]
    quantile = metric.summary.data_points[0].quantile_values[0]
    quantile.ClearField("value")
    quantile.MergeFromString(value)
    said = raw(request)
    assert value in said
    assert [reader.knows(said) for _ in range(4)] == [False, False, True, True]
    other = said.replace(value, value[:-1] + b"z")
    assert not reader.knows(other)


def test_what_is_remembered_keeps_no_hour_that_is_over() -> None:
    reader = Reader()
    for at in range(3):
        reader.knows(raw(body(at)), "one")
    now_ms = NOW_S * 1000
    written = reader.others.written((now_ms, now_ms), "one")
    assert written
    watched = weakref.ref(written)
    del written
    reader.now_s += 3600.0
    assert reader.others.written((now_ms, now_ms), "one") == set()
    assert watched() is None
