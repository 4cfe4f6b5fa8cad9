"""How long the writer rests between two groups: writing takes its share of time and no more."""

from __future__ import annotations

SAVED_SECONDS = 0.5
"""Time of writing that may be saved up: a few requests in a row are answered without a rest."""


class Pace:
    """Time for writing comes in at ``share`` of what passes; who has none left rests.

    A rest lasts at most ``longest_seconds``, whatever was spent: then volume itself needs more.
    """

    def __init__(self, share: float, longest_seconds: float) -> None:
        self._share = share
        self._longest_seconds = longest_seconds
        self._saved = SAVED_SECONDS
        self._at: float | None = None

    def rest_seconds(self, now: float, spent_seconds: float) -> float:
        """Return how long to rest at ``now`` (monotonic) after ``spent_seconds`` of writing."""
        passed = 0.0 if self._at is None else now - self._at
        self._at = now
        saved = min(SAVED_SECONDS, self._saved + self._share * passed) - spent_seconds
        self._saved = max(saved, -self._share * self._longest_seconds)
        return max(0.0, -self._saved / self._share)
