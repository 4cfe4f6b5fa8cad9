"""The layouts of bodies that are kept, within bounds: those that came back, and a few that are new.

A layout whose numbers are read by it once more is of use. Of new ones only the last are kept, and
of those before them a mark, so that one that never comes back pushes nothing out.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from .masks import Ends, Key, Mask, Words, key

M = TypeVar("M", bound=Mask)

MOST_BYTES = 256 * 2**20
"""Of layouts that came back."""
NEW_SHARE = 4
"""New ones take one part in so many beside them."""
STALE_SECONDS = 120.0
"""A layout that was of use since then does not make room for another: of a circle of senders that
is a little too large, else none would find its own."""
MOST_ALIKE = 8
"""Layouts of one length, beginning and end."""
MOST_ENDS = 128
"""Places where the numbers of bodies of one length begin and end: each of them is looked at for
each body of that length. Of one that writes the same many metrics there is one."""
SEEN = 50_000


class Shelf(Generic[M]):
    """Layouts by their key, in the order in which they were of use last."""

    def __init__(self) -> None:
        self.size = 0
        self._groups: OrderedDict[Key, list[M]] = OrderedDict()
        self._ends: dict[int, Counter[Ends]] = {}
        """By length of a body between where its numbers stand, with so many groups."""

    def find(self, body: bytes) -> tuple[M, Words] | None:
        """Return the layout of a body and its numbers."""
        for ends in self._ends.get(len(body), ()):
            known = key(body, ends)
            for layout in self._groups.get(known, ()):
                if (words := layout.match(body)) is not None:
                    self._groups.move_to_end(known)
                    return layout, words
        return None

    def alike(self, layout: M) -> Sequence[M]:
        """Return the layouts of the same key."""
        return self._groups.get(layout.key, ())

    def is_crowded(self, layout: M) -> bool:
        """Return whether there are too many of its length already that are made otherwise."""
        ends = self._ends.get(layout.key[0], ())
        return len(ends) >= MOST_ENDS and layout.ends not in ends

    def add(self, layout: M) -> None:
        alike = self._groups.setdefault(layout.key, [])
        if not alike:
            self._ends.setdefault(layout.key[0], Counter())[layout.ends] += 1
        alike.append(layout)
        self.size += layout.size

    def drop(self, layout: M) -> None:
        alike = self._groups.get(layout.key, [])
        if layout not in alike:
            return
        alike.remove(layout)
        self.size -= layout.size
        if not alike:
            del self._groups[layout.key]
            ends = self._ends[layout.key[0]]
            ends[layout.ends] -= 1
            if not ends[layout.ends]:
                del ends[layout.ends]
            if not ends:
                del self._ends[layout.key[0]]

    def oldest(self) -> Iterator[list[M]]:
        """Give those of the key that was of use least lately, again and again while there are."""
        while self._groups:
            yield list(next(iter(self._groups.values())))


class Layouts(Generic[M]):
    """The layouts that come back; for one thread at a time.

    Args:
        most_bytes: of those that came back; new ones take a quarter beside it.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        most_bytes: int = MOST_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_bytes = most_bytes
        self._monotonic = monotonic
        self._known: Shelf[M] = Shelf()
        self._new: Shelf[M] = Shelf()
        self._seen: OrderedDict[int, None] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._known.size + self._new.size

    def find(self, body: bytes) -> tuple[M, Words] | None:
        """Return the layout of a body and its numbers, where it is known."""
        found = self._known.find(body)
        if found is None and (found := self._new.find(body)) is not None:
            self._new.drop(found[0])
            self._keep(found[0])
        if found is not None:
            found[0].used_at = self._monotonic()
        return found

    def keep(self, layout: M) -> None:
        """Keep a layout that was scanned."""
        mark = hash(bytes(layout.constant))
        if self._seen.pop(mark, mark) is None:
            self._keep(layout)
            return
        self._seen[mark] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        self._keep_new(layout)

    def drop(self, layout: M) -> None:
        """Forget a layout."""
        self._known.drop(layout)
        self._new.drop(layout)

    def _keep(self, layout: M) -> None:
        """Keep one that came back, where there is room."""
        if self._make_room(layout):
            layout.used_at = self._monotonic()
            self._known.add(layout)

    def _keep_new(self, layout: M) -> None:
        alike = self._new.alike(layout)
        if len(alike) >= MOST_ALIKE:
            self._new.drop(alike[0])
        most = self._most_bytes // NEW_SHARE
        if layout.size > most:
            return
        if self._new.is_crowded(layout):
            return
        for group in self._new.oldest():
            if self._new.size + layout.size <= most:
                break
            self._new.drop(group[0])
        self._new.add(layout)

    def _make_room(self, layout: M) -> bool:
        if self._known.is_crowded(layout):
            return False
        stale = self._monotonic() - STALE_SECONDS
        alike = self._known.alike(layout)
        if len(alike) >= MOST_ALIKE:
            oldest = min(alike, key=lambda other: other.used_at)
            if oldest.used_at > stale:
                return False
            self._known.drop(oldest)
        for group in self._known.oldest():
            if self._known.size + layout.size <= self._most_bytes:
                break
            if any(other.used_at > stale for other in group):
                return False
            for other in group:
                self._known.drop(other)
        return self._known.size + layout.size <= self._most_bytes
