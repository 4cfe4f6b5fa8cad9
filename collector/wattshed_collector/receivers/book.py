"""Texts that come again and again, by number: what many rows say is told and compared once."""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.store.texts import encoded

Codes = NDArray[np.int32]

ENTRY_BYTES = 150
"""What a text takes in the list and the dictionary, beside itself and its bytes."""


class Book:
    """Numbers texts; for one thread at a time, though ``texts`` may be read by others meanwhile."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        """As they are written into a column."""
        self.size = 0
        """Bytes that it takes in memory."""
        self._places: dict[str, int] = {}

    def places(self, texts: Iterable[str]) -> Codes:
        """Return where texts stand among ``texts``; new ones are added."""
        return np.array([self.place(text) for text in texts], np.int32)

    def place(self, text: str) -> int:
        found = self._places.get(text)
        if found is None:
            found = self._places[text] = len(self.texts)
            said = encoded(text)
            self.texts.append(said)
            self.size += ENTRY_BYTES + getsizeof(text) + getsizeof(said)
        return found
