"""Many futures that end on other threads wake the requests that wait for them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from wattshed_collector.errors import Permanent
from wattshed_collector.receivers.wake import Wake


async def test_all_that_end_on_several_threads_wake() -> None:
    wake = Wake()
    futures = [Future[None]() for _ in range(500)]
    waiting = [asyncio.create_task(wake.until(future)) for future in futures]
    with ThreadPoolExecutor(4) as threads:
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        for future in futures:
            threads.submit(future.set_result, None)
        await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert all(future.done() for future in futures)


async def test_one_that_has_ended_is_not_waited_for() -> None:
    future = Future[None]()
    future.set_result(None)
    await asyncio.wait_for(Wake().until(future), 30)


async def test_what_it_failed_with_is_raised() -> None:
    future = Future[None]()
    future.set_exception(Permanent("no"))
    with pytest.raises(Permanent, match="no"):
        await Wake().until(future)


async def test_who_goes_away_cancels_and_hinders_nobody() -> None:
    wake = Wake()
    gone, there = Future[None](), Future[None]()
    tasks = [asyncio.create_task(wake.until(future)) for future in (gone, there)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    there.set_result(None)
    assert isinstance((await asyncio.gather(*tasks, return_exceptions=True))[0], BaseException)
    assert (gone.cancelled(), tasks[1].done()) == (True, True)
