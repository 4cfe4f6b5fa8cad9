"""A factor: what a site adds to its joules, such as its PUE or the price of a kilowatt hour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Factor:
    """``value`` holds from ``start_s`` (Unix seconds) until the next of its kind and site.

    A site of "" is every site that has none of its own; a value of None ends it.
    """

    kind: str
    site: str
    start_s: int
    value: float | None
    unit: str = ""
    source: str = ""
