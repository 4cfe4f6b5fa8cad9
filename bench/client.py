"""Measure what counting an outcome costs beside prometheus-client's counters.

``python bench/client.py`` prints nanoseconds of CPU per call, the least of many rounds, which the
machine's other work disturbs least. Sending is a thread that wakes every five seconds. Nothing
here is a test; nothing passes or fails.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from time import process_time

from prometheus_client import CollectorRegistry, Counter

import wattshed

CALLS, ROUNDS = 20_000, 40


def nanoseconds(call: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    rounds = timeit.repeat("call()", globals={"call": call}, timer=process_time, number=CALLS,
                           repeat=ROUNDS)  # fmt: skip
    return min(rounds) / CALLS * 1e9


def main() -> None:
    """Print a line for each way to count."""
    wattshed.configure(workload="bench")
    registry = CollectorRegistry()
    plain = Counter("plain", "Steps.", registry=registry)
    labelled = Counter("labelled", "Steps.", ["kind"], registry=registry)
    ways: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "wattshed.outcome(kind)": lambda: wattshed.outcome("step"),
        "wattshed.counter(kind).add()": wattshed.counter("step").add,
        "prometheus_client inc()": plain.inc,
        "prometheus_client labels(kind).inc()": lambda: labelled.labels("step").inc(),
    }
    for name, call in ways.items():
        print(f"{name:40} {nanoseconds(call):7.0f} ns")


if __name__ == "__main__":
    main()
