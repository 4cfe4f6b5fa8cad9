"""Probes are open to anybody, so many of them cost as much as one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import make_mocked_request

from wattshed_collector.api.routes import Api
from wattshed_collector.errors import Retryable
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import Telemetry

if TYPE_CHECKING:
    from tests.collector.conftest import Bed


class Counting(Reader):
    """Counts what it is asked; the first question finds the store away."""

    asked = 0

    async def ask(self, question: Any, *arguments: Any) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise Retryable("the store is away")
        return await super().ask(question, *arguments)


async def test_many_probes_are_one_question(bed: Bed) -> None:
    writer, reader = bed.writer(), Counting(bed.store.client)
    api = Api(reader, writer, Telemetry())
    probe = make_mocked_request("GET", "/readyz")
    with pytest.raises(Retryable):
        await api.readyz(probe)
    answers = await asyncio.gather(*(api.readyz(probe) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert reader.asked == 2, "what failed is asked again"
    reader.close()
    writer.close()
