"""All lanes of a collector: makes them, looks that none is slow, and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wattshed_collector.api.access import protection

from .answers import Answers
from .lane import Gate, Lane, Means, Receiver

Break = Callable[[asyncio.BaseTransport | None, str], object]
STEP_SECONDS = 0.02


class Door:
    """Makes the protocol of each new connection.

    Args:
        gate: says who may.
        receiver: takes the bodies of the lanes.
        other: makes the protocol that takes what is odd.
        most_bytes: of a body; a longer one is odd.
        head_seconds: in which a new connection must have said a whole head.
        read_seconds: in which a body must have come.
        idle_seconds: after which a connection that says nothing is closed.
        hang_up: breaks a connection off, for a reason that is counted.
    """

    def __init__(
        self,
        gate: Gate,
        receiver: Receiver,
        other: Callable[[], asyncio.Protocol],
        *,
        most_bytes: int,
        head_seconds: float,
        read_seconds: float,
        idle_seconds: float,
        hang_up: Break,
    ) -> None:
        self._lanes: set[Lane] = set()
        plain, secure = Answers(protection()), Answers(protection(secure=True))
        self._means = Means(gate, receiver, other, plain, secure, most_bytes, self._lanes)
        self._head_seconds, self._read_seconds = head_seconds, read_seconds
        self._idle_seconds = idle_seconds
        self._hang_up = hang_up

    def __call__(self) -> Lane:
        return Lane(self._means)

    @property
    def connections(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    def sweep(self) -> None:
        """Look at every lane once, and end those that are slow or silent."""
        now = asyncio.get_running_loop().time()
        for lane in list(self._lanes):
            self._look(lane, now - lane.since)

    def _look(self, lane: Lane, seconds: float) -> None:
        if lane.awaits_body:
            if seconds > self._read_seconds:
                self._hang_up(lane.transport, "slow_body")
        elif not lane.is_idle:
            return
        elif not lane.has_spoken:
            if seconds > self._head_seconds:
                self._hang_up(lane.transport, "slow_head")
        elif seconds > self._idle_seconds:
            # Of one whose answers are not read, closing would wait for that.
            (lane.transport.abort if lane.is_full else lane.transport.close)()

    async def close(self, seconds: float) -> None:
        """End all lanes: each once it has its answer, all of them after ``seconds``."""
        # Those that were accepted just now have to be there.
        await asyncio.sleep(0)
        for lane in list(self._lanes):
            lane.finish()
        until = asyncio.get_running_loop().time() + seconds
        while any(not lane.is_idle for lane in self._lanes):
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(STEP_SECONDS)
        for lane in list(self._lanes):
            lane.transport.close()
