"""A beat of its own for what is read less often than power."""

from __future__ import annotations


class Beat:
    """Comes round every so many seconds of the time of day, and at once when that is set back."""

    def __init__(self, seconds: float) -> None:
        self._every_ms = round(seconds * 1000)
        self._due_ms = 0

    def due(self, now_ms: int) -> bool:
        """Return whether it is time, which it then is not until the next beat."""
        if self._due_ms - self._every_ms <= now_ms < self._due_ms:
            return False
        self._due_ms = now_ms + self._every_ms
        return True
