"""What senders know: what they sent, what was acknowledged, and what they were told otherwise."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .machines import READING, Body, Readings

FOR_GOOD = frozenset((400, 413, 415))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered; ``rejected`` is OTLP's count of refused data points."""

    status: int
    retry_after_seconds: float | None = None
    rejected: int = 0


class Book:
    """Kept by all senders of a scenario at once. A body is known by the array of its readings."""

    def __init__(self) -> None:
        self.tries = 0
        self.acknowledged_tries = 0
        self.unanswered = 0
        """Deliveries whose connection ended before an answer."""
        self.refused: Counter[int] = Counter()
        self.without_retry_after = 0
        """Refusals for now (429, 503) that did not say when to come again."""
        self.rejected = 0
        """Data points that were refused beside others that were taken."""
        self._sent: dict[int, Readings] = {}
        self._acknowledged: dict[int, Readings] = {}
        self._lock = threading.Lock()

    @property
    def repeated(self) -> int:
        return self.tries - len(self._sent)

    def trying(self, body: Body) -> None:
        """Note that the body is about to be sent, whatever becomes of it."""
        with self._lock:
            self.tries += 1
            self._sent[id(body.readings)] = body.readings

    def broke_off(self) -> None:
        with self._lock:
            self.unanswered += 1

    def answered(self, body: Body, answer: Answer) -> None:
        with self._lock:
            if answer.status == 200:
                self.acknowledged_tries += 1
                self.rejected += answer.rejected
                self._acknowledged[id(body.readings)] = body.readings
                return
            self.refused[answer.status] += 1
            if answer.status in (429, 503) and answer.retry_after_seconds is None:
                self.without_retry_after += 1

    def settled_bodies(self) -> int:
        """How many bodies nobody sends again: they were taken, or refused for good."""
        with self._lock:
            refused = sum(self.refused[status] for status in self.refused if status in FOR_GOOD)
            return len(self._acknowledged) + refused

    def acknowledged_bodies(self) -> int:
        with self._lock:
            return len(self._acknowledged)

    def sent(self) -> Readings:
        """Every reading that ever left."""
        return _joined(self._sent)

    def acknowledged(self) -> Readings:
        """Every reading of the bodies that were answered with 200."""
        return _joined(self._acknowledged)


def _joined(parts: dict[int, Readings]) -> Readings:
    return np.concatenate([np.empty(0, READING), *parts.values()])
