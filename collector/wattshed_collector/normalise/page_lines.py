"""A page in the Prometheus text format whose lines were there before: only numbers are read.

A target says the same names and labels at every scrape. What stands before the last space of each
line is compared with the last page, all lines at once; what comes after is a number. ``Odd`` is
raised where anything else changed, and ``samples`` reads the page.
"""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import compress, repeat

from . import samples
from .dialect import Series
from .slots import Odd

PLAIN = {ord(letter): None for letter in "0123456789+-.eE\n"}
"""What numbers are written with, unless one is infinite or none."""
NUMBER = re.compile(samples.NUMBER)
MOST_LINES = 100_000

Lines = tuple[tuple[str, ...], tuple[str, ...]]
"""Of each line what stands before its last space, and what stands after it."""


def split(page: bytes) -> Lines:
    """Cut a page into lines and those in two. Raises Odd where it is no text."""
    try:
        lines = page.decode().split("\n")
    except UnicodeDecodeError as error:
        raise Odd(str(error)) from error
    heads, _, tails = zip(*map(str.rpartition, lines, repeat(" ")), strict=True)
    return heads, tails


class PageLines:
    """The lines of one page.

    Args:
        lines: the page that is learned, which ``samples`` has read.
        known: the series that it was read with, by name and labels as they were written.
        wanted: metrics whose labels were read, where not those of all were.

    Raises Odd where a line is written in a way of its own, or the page is very long.
    """

    def __init__(
        self, lines: Lines, known: dict[str, Series], wanted: Container[str] | None
    ) -> None:
        self._heads, tails = lines
        if len(tails) > MOST_LINES:
            raise Odd("more lines than are remembered")
        self.series: list[Series] = []
        """In the order of their lines."""
        self._is_number: list[bool] = []
        for head, tail in zip(*lines, strict=True):
            line = f"{head} {tail}" if head else tail
            found = None if _says_nothing(line) else _series(head, tail, line, known, wanted)
            self._is_number.append(found is not None)
            if found is not None:
                self.series.append(found)
        self._is_text = [not number for number in self._is_number]
        self._texts = list(compress(tails, self._is_text))

    def values(self, lines: Lines) -> list[float]:
        """Return the numbers of a page with the same lines. Raises Odd where it has others."""
        heads, tails = lines
        if heads != self._heads or list(compress(tails, self._is_text)) != self._texts:
            raise Odd("other lines")
        numbers = list(compress(tails, self._is_number))
        if "\n".join(numbers).translate(PLAIN) and not all(map(NUMBER.fullmatch, numbers)):
            raise Odd("no number")
        try:
            return list(map(float, numbers))
        except ValueError as error:
            raise Odd(str(error)) from error


def _says_nothing(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _series(
    head: str, tail: str, line: str, known: dict[str, Series], wanted: Container[str] | None
) -> Series:
    matched = samples.LINE.fullmatch(line)
    if matched is None or matched.group(3) != tail or matched.start(3) != len(head) + 1:
        raise Odd("a line of its own kind")
    name, labels, _ = matched.groups("")
    if wanted is not None and name not in wanted:
        return Series(name, {})
    found = known.get(name + labels)
    if found is None:
        raise Odd("a series that was not read")
    return found
