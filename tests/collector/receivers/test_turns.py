"""Senders take turns, however many requests each of them has waiting."""

from __future__ import annotations

import asyncio

import pytest

from wattshed_collector.receivers.turns import Turns


async def taking(turns: Turns, sender: str, seen: list[str], hold: asyncio.Event) -> None:
    async with turns.turn(sender):
        seen.append(sender)
        await hold.wait()


async def test_one_that_asks_much_does_not_hold_up_the_others() -> None:
    turns, seen, hold = Turns(), list[str](), asyncio.Event()
    waiting = [asyncio.create_task(taking(turns, who, seen, hold)) for who in "aaaabcb"]
    await asyncio.sleep(0)
    assert seen == ["a"]  # one at a time
    hold.set()
    await asyncio.gather(*waiting)
    assert "".join(seen) == "aabcaba"


async def test_who_gives_up_waiting_keeps_nobody_from_a_turn() -> None:
    turns, seen, hold = Turns(), list[str](), asyncio.Event()
    first, gone, last = (
        asyncio.create_task(taking(turns, who, seen, hold)) for who in ("a", "b", "c")
    )
    await asyncio.sleep(0)
    gone.cancel()
    hold.set()
    await asyncio.gather(first, last)
    assert seen == ["a", "c"]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_turn_that_is_given_to_who_gives_up_in_that_moment_goes_on() -> None:
    turns, seen, hold = Turns(), list[str](), asyncio.Event()
    hold.set()
    async with turns.turn("a"):
        gone = asyncio.create_task(taking(turns, "b", seen, hold))
        last = asyncio.create_task(taking(turns, "c", seen, hold))
        await asyncio.sleep(0)
    gone.cancel()  # after its future was set, before it runs
    await last
    assert seen == ["c"]
    async with turns.turn("d"):  # and nobody holds it any more
        pass


async def test_a_failure_gives_the_turn_back() -> None:
    turns = Turns()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            async with turns.turn("a"):
                raise ValueError("no")


async def test_one_that_takes_all_seats_gives_the_next_to_others() -> None:
    turns, seen, hold = Turns(2), list[str](), asyncio.Event()
    waiting = [asyncio.create_task(taking(turns, who, seen, hold)) for who in "aaaabc"]
    await asyncio.sleep(0)
    assert seen == ["a", "a"]
    hold.set()
    await asyncio.gather(*waiting)
    assert "".join(seen) == "aaabca"
    async with turns.turn("d"), turns.turn("e"):  # both are free again
        late = asyncio.create_task(taking(turns, "f", seen, hold))
        await asyncio.sleep(0)
        assert seen[-1] != "f"
    await late
