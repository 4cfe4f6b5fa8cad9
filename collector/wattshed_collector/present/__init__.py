"""How a report is shown to people: the words that the page and the terminal tables share.

The order of ``CLASSES`` and ``METHODS`` is the order in which they are listed everywhere.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """What a key is called, and one line that explains it."""

    key: str
    label: str
    meaning: str


CLASSES: tuple[Words, ...] = (
    Words("active", "Active", "A workload held the device and used it."),
    Words("idle_held", "Idle, held", "A workload held the device and left it idle."),
    Words("idle_unallocated", "Idle, unallocated", "Nobody held the device and it stood idle."),
    Words("overhead", "Overhead", "What runs the devices: losses, cooling, shared parts."),
    Words("unattributed", "Unattributed", "The device was busy; nobody said for whom."),
)

METHODS: tuple[Words, ...] = (
    Words("counter", "Counter", "The difference of a hardware energy counter."),
    Words("integral", "Integral", "Readings of power, added up over time."),
    Words("estimated", "Estimated", "No meter: computed from utilisation, ±50 %."),
    Words("simulated", "Simulated", "Made up for a demonstration; nothing was measured."),
)

IDLE_CLASSES = ("idle_held", "idle_unallocated")
"""What was burned for nothing."""

CONSERVED_RATIO = 1e-9
"""Charges that differ from the measurement by less than this count as equal to it."""


def clean(text: str) -> str:
    """Return text from outside without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
