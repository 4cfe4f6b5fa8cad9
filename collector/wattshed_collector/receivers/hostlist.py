"""Slurm's hostlists: ``node[01-03,7],gpu-a[1-2]b[3-4]`` is a list of names.

Source: the manual of scontrol, "show hostnames", and src/common/hostlist.c of Slurm.
"""

from __future__ import annotations

import itertools
import re

from wattshed_collector.errors import InvalidInput

MOST = 100_000
"""Longer lists are taken for a mistake; the largest cluster has a tenth of that."""
NAME = re.compile(r"(?:[^\[\],\s]|\[[0-9,\-]+\])+")
RANGE = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12}))?")


def expand(text: str) -> list[str]:
    """Return the names that a hostlist stands for, in order, each once.

    Raises InvalidInput where it is none, or one of more than ``MOST`` names.
    """
    names: dict[str, None] = {}
    at = 0
    while at < len(text):
        found = NAME.match(text, at)
        if not found:
            raise _wrong(text)
        for name in _names(found[0], text):
            names[name] = None
            if len(names) > MOST:
                raise _wrong(text)
        at = found.end() + 1
        if found.end() < len(text) and (text[found.end()] != "," or at == len(text)):
            raise _wrong(text)
    return list(names)


def _names(pattern: str, text: str) -> itertools.chain[str]:
    pieces = re.split(r"\[([0-9,\-]+)\]", pattern)
    choices = [_numbers(p, text) if i % 2 else [p] for i, p in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST:
        raise _wrong(text)
    return itertools.chain("".join(parts) for parts in itertools.product(*choices))


def _numbers(ranges: str, text: str) -> list[str]:
    found: list[str] = []
    for each in ranges.split(","):
        match = RANGE.fullmatch(each)
        if not match:
            raise _wrong(text)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MOST or len(found) > MOST:
            raise _wrong(text)
        found.extend(f"{number:0{len(match[1])}d}" for number in range(first, last + 1))
    return found


def _wrong(text: str) -> InvalidInput:
    return InvalidInput(f"{text[:80]!r} is no list of nodes", "bad_node_list")
