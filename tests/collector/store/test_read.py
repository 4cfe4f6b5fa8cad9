"""Questions have limits, where the reader is told some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import InvalidInput, StoreError
from wattshed_collector.store.client import Client
from wattshed_collector.store.read import QueryLimits, Reader

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

MANY = "SELECT number FROM numbers(10)"
LONG = "SELECT sum(sleepEachRow(0.1)) FROM numbers(1200) SETTINGS max_block_size = 1"


async def test_an_answer_beyond_a_limit_is_refused_with_what_to_do(bed: Bed) -> None:
    reader = Reader(bed.store.client, QueryLimits(seconds=0, rows=5))

    def asked(client: Client, sql: str) -> int:
        return len(client.rows(sql))

    assert await reader.ask(asked, "SELECT number FROM numbers(5)") == 5
    with pytest.raises(InvalidInput, match="too many rows; ask for less"):
        await reader.ask(asked, MANY)
    with pytest.raises(StoreError, match="UNKNOWN_TABLE"):
        await reader.ask(asked, "SELECT * FROM nowhere")
    reader.close()
    hurried = Reader(bed.store.client, QueryLimits(seconds=0.1, rows=5))
    with pytest.raises(InvalidInput, match="takes too long; ask for less"):
        await hurried.ask(asked, LONG)
    hurried.close()


async def test_a_reader_without_limits_reads_everything(bed: Bed) -> None:
    reader = Reader(bed.store.client)
    assert await reader.ask(lambda client: len(client.rows(MANY))) == 10
    reader.close()
