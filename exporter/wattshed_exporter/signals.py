"""What the operator says by signals: stop, give back the drivers, take them up again."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable

STOP = frozenset({signal.SIGINT, signal.SIGTERM})
ORDERS = frozenset({signal.SIGUSR1, signal.SIGUSR2})
WAKE = 0


class Signals:
    """Waits in the main thread, and acts there on SIGINT, SIGTERM, SIGUSR1 and SIGUSR2."""

    def __init__(self) -> None:
        # A SimpleQueue may be filled from a signal handler; an Event may deadlock there.
        self._caught: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._actions: dict[int, Callable[[], None]] = {}
        # The latter two as well, because by default they kill a process that is still starting.
        for number in STOP | ORDERS:
            signal.signal(number, lambda caught, _frame: self._caught.put(caught))

    def on(self, number: signal.Signals, action: Callable[[], None]) -> None:
        """Call ``action``, from ``wait``, whenever a signal of ``ORDERS`` was caught."""
        self._actions[number] = action

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until a signal or ``wake``; return whether it is time to stop."""
        try:
            number = self._caught.get(timeout=seconds)
        except queue.Empty:
            return False
        if number in STOP:
            self._caught.put(number)
            return True
        if number in self._actions:
            self._actions[number]()
        return False

    def wake(self) -> None:
        """End the present wait, or the next one, early; from any thread."""
        self._caught.put(WAKE)
