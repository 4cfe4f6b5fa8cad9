"""Who is served when, and how what nobody waits for any more ends, on the real engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from wattshed_collector.clickhouse.asked import Question, question
from wattshed_collector.clickhouse.desk import Desk, Line
from wattshed_collector.clickhouse.engine import Limits
from wattshed_collector.clickhouse.errors import Problem

T = TypeVar("T")
ENDLESS = (
    "SELECT count() FROM (SELECT arrayJoin(range(1000000)) AS a) AS x, "
    "(SELECT arrayJoin(range(1000000)) AS b) AS y WHERE cityHash64(a, b) = 1"
)


def asked(sql: str, **told: str) -> Question:
    return question([("query", sql), *told.items()], {}, b"")


def here() -> bool:
    return False


@pytest.fixture(scope="module")
def with_desk(shared_bed: Any) -> Iterator[Callable[[Callable[[Desk], Awaitable[T]]], T]]:
    limits = Limits(seconds=20.0, rows=1000, result_bytes=2**20, memory_bytes=50 * 2**20)
    desk = Desk(shared_bed.store.embedded, limits, seats=1, waiting=2)

    def run(work: Callable[[Desk], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            return await work(desk)

        return asyncio.run(main())

    yield run
    desk.close()


def test_senders_take_turns() -> None:
    async def served() -> list[str]:
        line, loop = Line(), asyncio.get_running_loop()
        waiters = {}
        for sender, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)):
            waiter = loop.create_future()
            waiters[waiter] = f"{sender}{number}"
            line.join(sender, waiter)
        gone = next(w for w, name in waiters.items() if name == "a2")
        line.leave("a", gone)
        found = []
        while (first := line.next()) is not None:
            found.append(waiters[first])
        assert line.length == 0
        return found

    assert asyncio.run(served()) == ["a1", "b1", "c1", "a3", "b2"]


def test_a_clients_time_ends_a_query(with_desk: Any) -> None:
    async def ask(desk: Desk) -> bytes:
        with pytest.raises(Problem) as error:
            await desk.ask("a", asked(ENDLESS, max_execution_time="0.3"), here)
        assert (error.value.code, error.value.name) == (159, "TIMEOUT_EXCEEDED")
        return (await desk.ask("a", asked("SELECT 1"), here)).body

    assert with_desk(ask) == b"1\n"


def test_a_query_ends_when_its_client_goes(with_desk: Any) -> None:
    async def ask(desk: Desk) -> int:
        with pytest.raises(Problem) as error:
            await desk.ask("a", asked(ENDLESS), lambda: True)
        assert error.value.code == 394
        # The only engine is free again long before the twenty seconds that it might take.
        return (await desk.ask("a", asked("SELECT 1", max_execution_time="15"), here)).rows

    assert with_desk(ask) == 1


def test_a_query_whose_client_went_before_it_began_ends_as_well(shared_bed: Any) -> None:
    limits, opened = Limits(seconds=20.0), 0

    def late() -> Any:
        nonlocal opened
        opened += 1
        if opened == 1:  # that of the only engine; who ends queries has another
            time.sleep(1.0)
        return shared_bed.store.embedded()

    async def ask() -> int:
        desk = Desk(late, limits, seats=1)
        try:
            with pytest.raises(Problem, match="nobody waits"):
                await desk.ask("a", asked(ENDLESS), lambda: True)
            return (await desk.ask("a", asked("SELECT 1", max_execution_time="10"), here)).rows
        finally:
            desk.close()

    assert asyncio.run(ask()) == 1


def test_what_waits_is_bounded_and_leaves_when_its_time_is_up(with_desk: Any) -> None:
    async def ask(desk: Desk) -> list[int]:
        left = asyncio.Event()
        first = asyncio.create_task(desk.ask("a", asked(ENDLESS), left.is_set))
        while not desk.running:  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(0)
        waits = [
            asyncio.create_task(desk.ask("b", asked("SELECT 1", max_execution_time=time), here))
            for time in ("0.2", "15")
        ]
        await asyncio.sleep(0)
        assert desk.waiting == 2
        with pytest.raises(Problem, match="wait already"):
            await desk.ask("c", asked("SELECT 1"), here)
        # The engine is taken until this one has gone.
        impatient = await asyncio.gather(waits[0], return_exceptions=True)
        assert (desk.waiting, desk.running) == (1, 1)
        left.set()
        others = await asyncio.gather(first, waits[1], return_exceptions=True)
        assert (desk.waiting, desk.running) == (0, 0)
        told = (*impatient, *others)
        return [one.code if isinstance(one, Problem) else 0 for one in told]

    assert with_desk(ask) == [159, 394, 0]


@pytest.mark.parametrize(
    ("sql", "codes"),
    [
        ("SELECT arrayJoin(range(1001))", {396}),
        ("SELECT leftPad('', 10000, 'a') FROM (SELECT arrayJoin(range(500)))", {396}),
        ("SELECT length(arrayMap(x -> toString(x), range(1900000)))", {241}),
        ("SELECT range(100000000)", {69}),
        ("SELECT groupArray(leftPad(toString(n), 9999, 'a')) FROM "
         "(SELECT arrayJoin(range(50000)) AS n)", {241}),
        ("WITH range(99999) AS r SELECT arrayMap(x -> countEqual(r, x), r)", {36}),
        ("SELECT leftPad('', 100000000, 'a')", {131}),
        ("WITH arrayMap(x -> leftPad('', 900000, 'a'), range(1000)) AS a SELECT length(a)", {241}),
        ("SELECT uniqExact(a, b) FROM (SELECT arrayJoin(range(9000)) AS a) AS x, "
         "(SELECT arrayJoin(range(9000)) AS b) AS y", {241}),
        ("SELECT a FROM (SELECT arrayJoin(range(1000)) AS a, arrayJoin(range(9000)) AS b) "
         "ORDER BY cityHash64(a, b)", {241}),
        ("SELECT " + "1 + " * 1001 + "1", {36, 167, 168, 306}),
        ("SELECT " + " || ".join(f"toString({i})" for i in range(1001)), {168}),
        ("SELECT arrayMap(x -> " + "-" + "-".join("abs(x)" for _ in range(40)) + ", [1])", {168}),
        ("SELECT " + "(" * 500 + "1" + ")" * 500, {36, 62, 167, 306}),
        ("SELECT " + "-(" * 400 + "1" + ")" * 400, {36, 167, 306}),
        ("SELECT " + "[" * 300 + "]" * 300, {36, 48, 167, 306}),
        ("SELECT " + "(SELECT " * 150 + "1" + ")" * 150, {36, 162, 167, 306}),
        ("SELECT " + ", ".join(["1"] * 60_000), {168}),
        ("WITH " + ", ".join(f"(SELECT a{i} + a{i}) AS a{i + 1}" for i in range(40))
         + ", 1 AS a0 SELECT a40", {36, 47, 160, 168, 306}),
    ],
)  # fmt: skip
def test_no_query_takes_all(with_desk: Any, sql: str, codes: set[int]) -> None:
    async def ask(desk: Desk) -> None:
        with pytest.raises(Problem) as error:
            await desk.ask("a", asked(sql), here)
        assert error.value.code in codes, error.value.text()
        assert (await desk.ask("a", asked("SELECT 1"), here)).rows == 1

    with_desk(ask)
