"""What one side writes as OTLP is the same batch on the other."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.normalise import otlp
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.otlp_request import Requests
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Overlap,
    Tick,
    Workload,
)

START = 1_764_126_245_000
DEVICES = (
    Device(
        "GPU-1",
        Kind.GPU,
        "n1",
        "nvidia-smi",
        name="gpu0",
        site="attic",
        power_limit_watts=300.0,
        uncertainty_ratio=0.05,
    ),
    Device("n1/ipmi/dcmi", Kind.HOST, "n1", "ipmi", method=Method.INTEGRAL, overlap=Overlap.OUTER),
)
WORKLOAD = Workload("run/1", "llama", "inference", model="llama2-70b", team="nlp")
# Joules are a double on the wire: beyond 2 GJ the last microjoule is lost, as of any exporter.
TICKS = st.builds(
    Tick,
    device=st.sampled_from([device.key for device in DEVICES]),
    ts_ms=st.integers(START, START + 100_000),
    interval_ms=st.just(1000),
    method=st.just(Method.COUNTER),
    power_watts=st.none() | st.floats(0, 1e6),
    energy_uj=st.none() | st.integers(0, 2**51),
    start_ms=st.none(),
    utilization_ratio=st.none() | st.floats(0, 1),
    memory_used_bytes=st.none() | st.integers(0, 2**40),
    temperature_celsius=st.none() | st.floats(-50, 100),
)


def read(*batches: Batch) -> list[Batch]:
    """Send batches and return what the receiver makes of each request."""
    requests, normaliser = Requests(), Normaliser(Limits(oldest_seconds=0))
    made = []
    for batch in batches:
        raw = requests.request(batch).SerializeToString()
        rejected: Counter[str] = Counter()
        request = type(requests.request(Batch())).FromString(raw)
        made.append(normaliser.batch(otlp.points(request, rejected), rejected))
    return made


@given(st.lists(TICKS, max_size=20, unique_by=lambda tick: (tick.device, tick.ts_ms)))
def test_ticks(ticks: list[Tick]) -> None:
    methods = {device.key: device.method for device in DEVICES}
    for tick in ticks:
        tick.method = methods[tick.device]
        tick.start_ms = START - 1 if tick.energy_uj is not None else None
        said = [tick.power_watts, tick.energy_uj, tick.utilization_ratio]
        said += [tick.memory_used_bytes, tick.temperature_celsius]
        tick.gap = "" if any(value is not None for value in said) else "timeout"
    (found,) = read(Batch(devices=DEVICES, ticks=tuple(ticks)))
    by_key = {(t.device, t.ts_ms): t for t in ticks}
    assert {(t.device, t.ts_ms): t for t in found.ticks} == by_key
    used = {tick.device for tick in ticks}
    assert set(found.devices) == {d for d in DEVICES if d.key in used}
    assert not found.rejected


def test_who_held_what_and_what_came_of_it() -> None:
    told = Batch(
        workloads=(WORKLOAD,),
        allocations=(
            Allocation("GPU-1", "run/1", START, START + 1000, 0.5, "mlperf"),
            Allocation("GPU-1", "run/1", START, START + 1000, 1.0, "mlperf", 0.25, 3),
        ),
        outcomes=(Outcome("run/1", "token_out", START + 1000, 1234.0, START, "mlperf"),),
    )
    assert read(told) == [told]


def test_a_later_batch_names_what_an_earlier_one_described() -> None:
    tick = Tick("GPU-1", START, 1000, Method.COUNTER, power_watts=1.0)
    first, second = read(Batch(devices=DEVICES, workloads=(WORKLOAD,)), Batch(ticks=(tick,)))
    assert not first
    assert (second.devices, second.ticks) == (DEVICES[:1], (tick,))
