"""Whom the store knows to have held devices lately."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wattshed_collector.outcomes.owners import Owners, Whose
from wattshed_collector.store.holders import recent_holders
from wattshed_exporter.model import Allocation, Batch, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000
CHAT = Workload(
    "k8s/c1/u-1", "chat", "pod", "chat-0", "ml", "nlp", "eve", "p", "cc", "q", "llama", "fp8",
    "8-16", "decode", "c1",
)  # fmt: skip


def test_those_of_the_last_hours_as_they_were_described(bed: Bed) -> None:
    old, bare = Workload("job/old", "old", "job"), "job/bare"
    held = (
        Allocation("g", CHAT.key, NOW_MS - HOUR_MS, NOW_MS - 5),
        Allocation("h", CHAT.key, NOW_MS - HOUR_MS, NOW_MS - 9),
        Allocation("g", old.key, NOW_MS - 9 * HOUR_MS, NOW_MS - 8 * HOUR_MS),
        Allocation("i", bare, NOW_MS - HOUR_MS, NOW_MS),
    )
    bed.write(Batch(workloads=(CHAT, old), allocations=held))
    assert recent_holders(bed.client) == [(CHAT, NOW_MS - 5)]
    owners = Owners()
    owners.learn((CHAT,), {CHAT.key: NOW_MS})
    assert owners.of(Whose("c1"), {"namespace": "ml", "pod": "chat-0"}) == CHAT
