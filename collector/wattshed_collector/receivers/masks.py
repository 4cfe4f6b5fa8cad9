"""Bodies that differ in nothing but numbers: what stands between those, and where they stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]
Words = NDArray[np.uint64]
Key = tuple[int, bytes, bytes]
"""The length of a body, what stands before its first number and what behind its last."""
Ends = tuple[int, int]
"""Where the first number of a body begins and its last one ends."""
WIDTH = 8
OBJECT_BYTES = 1600
"""What a layout takes beside its bytes and numbers: it and its arrays, and its place on a shelf."""


class Mask:
    """A body without the eight bytes at each of ``places``, shape (numbers,)."""

    def __init__(self, body: bytes, places: Places) -> None:
        self._places = places
        self.ends: Ends = (int(places.min()), int(places.max()) + WIDTH)
        self.constant = bytearray(body)
        words_of(self.constant)[places] = 0
        self.key: Key = key(body, self.ends)
        known = sum(map(len, self.key[1:]))
        self.size = OBJECT_BYTES + len(body) + known + places.nbytes
        """Bytes that are kept, those of the key beside those of the body."""
        self.used_at = 0.0

    def match(self, body: bytes) -> Words | None:
        """Return the numbers of a body of the same length that differs in nothing else."""
        rest = bytearray(body)
        words = words_of(rest)
        found = words[self._places]
        words[self._places] = 0
        return found if rest == self.constant else None


def key(body: bytes, ends: Ends) -> Key:
    """Return what bodies of one layout have in common at least."""
    first, last = ends
    return len(body), body[:first], body[last:]


def words_of(body: bytes | bytearray) -> Words:
    """Return the eight bytes from each byte on as a number, shape (len(body) - 7,)."""
    return np.ndarray((len(body) - 7,), "<u8", body, 0, (1,))
