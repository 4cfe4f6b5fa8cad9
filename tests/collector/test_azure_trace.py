"""An hour of a real chat service replayed: its tokens set against the joules of a simulated card.

The trace is Azure's LLM inference trace of 2023 (Microsoft, CC-BY-4.0): when each request came, and
how many tokens it had in and out. Here a server counts them as they come, as vLLM does, and is
scraped every ten seconds; its card draws an idle power, and so many joules for each token. What the
stack says of any minute and of the hour then has a closed form, in integers.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
    stable_id,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

TRACE = "azure-llm/AzureLLMInferenceTrace_conv.csv"
REQUESTS = 19_366
"""Of the trace, by the README of its extract."""
BASE = 1_768_471_200_000  # 2026-01-15T10:00:00Z
STEP, MINUTE, HOUR = 10_000, 60_000, 3_600_000
IDLE_UW = 75_000_000
IN_UJ, OUT_UJ = 20_700, 246_000
"""Microjoules of a token of a prompt and of an answer, near those of docs/GPU.md."""


@dataclass(frozen=True, slots=True)
class Request:
    """``at_ms`` after the beginning of the hour in which the trace begins to count."""

    at_ms: int
    tokens_in: int
    tokens_out: int


@pytest.fixture(scope="module")
def requests(data: Path) -> Sequence[Request]:
    file = data / TRACE
    if not file.is_file():
        pytest.skip(f"the trace is not here: {file}")
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [
            (datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC), row)
            for row in csv.DictReader(stream)
        ]
    first = min(at for at, _ in rows)
    return [
        Request(
            int((at - first).total_seconds() * 1000),
            int(row["ContextTokens"]),
            int(row["GeneratedTokens"]),
        )
        for at, row in rows
    ]


@dataclass(frozen=True, slots=True)
class Replay:
    """Tokens in and out by the step in which they came, and what both counters say at its end."""

    tokens: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, requests: Sequence[Request]) -> Replay:
        sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for request in requests:
            if request.at_ms < HOUR:
                step = request.at_ms // STEP
                came, went = sums[step]
                sums[step] = came + request.tokens_in, went + request.tokens_out
        return cls(dict(sums))

    def between(self, from_ms: int, to_ms: int) -> tuple[int, int]:
        """Return the tokens of whole steps, milliseconds after the beginning."""
        steps = [self.tokens.get(n, (0, 0)) for n in range(from_ms // STEP, to_ms // STEP)]
        return sum(came for came, _ in steps), sum(went for _, went in steps)

    def energy_uj(self, from_ms: int, to_ms: int) -> int:
        came, went = self.between(from_ms, to_ms)
        return IDLE_UW * (to_ms - from_ms) // 1000 + IN_UJ * came + OUT_UJ * went

    def batch(self) -> Batch:
        """What the exporter and a scrape of the server say of the hour."""
        outcomes, ticks = [], []
        for at in range(0, HOUR + 1, STEP):
            ts = BASE + at
            uj = self.energy_uj(0, at)
            ticks.append(Tick("g", ts, STEP, Method.COUNTER, None, uj, BASE, utilization_ratio=0.5))
            for kind, total in zip(("token_in", "token_out"), self.between(0, at), strict=True):
                outcomes.append(Outcome("chat", kind, ts, float(total), BASE, "vllm"))
        return Batch(
            devices=(Device("g", Kind.GPU, "n", "s", model="H100", uncertainty_ratio=0.05),),
            ticks=tuple(ticks),
            workloads=(Workload("chat", "chat", model="llama-2-70b"),),
            outcomes=tuple(outcomes),
            allocations=(Allocation("g", "chat", BASE, BASE + HOUR),),
        )


def test_every_token_of_the_trace_is_replayed(requests: Sequence[Request]) -> None:
    assert len(requests) == REQUESTS
    came = sum(request.tokens_in for request in requests)
    went = sum(request.tokens_out for request in requests)
    assert Replay.of(requests).between(0, HOUR) == (came, went)


def test_joules_per_token_of_a_real_hour_are_the_closed_form(
    bed: Bed, requests: Sequence[Request]
) -> None:
    replay = Replay.of(requests)
    bed.write(replay.batch())
    bed.ledger().run()
    since = BASE // 1000
    charged = {
        (int(t), str(kind)): (count, joules)
        for t, kind, count, joules in bed.client.rows(
            "SELECT toUnixTimestamp(t), outcome, count, loaded_joules + before_joules "
            f"FROM v_outcome_1m WHERE workload_id = {stable_id('chat')}"
        )
    }
    for at in range(0, HOUR, MINUTE):
        joules = replay.energy_uj(at, at + MINUTE) / 1e6
        made = zip(("token_in", "token_out"), replay.between(at, at + MINUTE), strict=True)
        for kind, tokens in made:
            assert charged[since + at // 1000, kind] == pytest.approx((tokens, joules), rel=1e-9)
    totals = dict(zip(("token_in", "token_out"), replay.between(0, HOUR), strict=True))
    joules = replay.energy_uj(0, HOUR) / 1e6
    for windows in ([(0, 3600)], [(0, 1140), (1140, 3600)]):
        found = [
            record
            for first, last in windows
            for record in per_outcome(bed.client, Asked(("ai_model",), since + first, since + last))
        ]
        for kind, count in totals.items():
            mine = [record for record in found if record["outcome"] == kind]
            assert sum(record["count"] for record in mine) == count
            energy = sum(record["loaded_joules"] + record["before_joules"] for record in mine)
            assert energy == pytest.approx(joules, rel=1e-9)
            assert energy / count == pytest.approx(joules / count, rel=1e-9)
    for record in per_outcome(bed.client, Asked(("ai_model",), since, since + 3600)):
        assert record["ai_model"] == "llama-2-70b"
        ratio = record["loaded_joules"] / totals[record["outcome"]]
        assert record["joules_per_outcome_loaded"] == pytest.approx(ratio, rel=1e-12)
        assert record["high"] == pytest.approx(1.05 * ratio, rel=1e-9)
