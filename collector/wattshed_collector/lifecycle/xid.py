"""Whose fault an XID is: numbers of the NVIDIA driver's errors that are not the device's own.

Classed by what NVIDIA says of each number: *program* where the program is to be restarted and the
device stays in use, and neither memory nor bus are named as the cause; *notice* where nothing is to
be done to the device, or the number only goes with another one. Every other number is the
device's, those that nobody lists too. A faulty device may bring about any number, so that what a
program is blamed for is counted as well, apart.

Sources: "Analyzing Xid Errors with the Xid Catalog", docs.nvidia.com/deploy/xid-errors (columns
Resolution Bucket and Trigger Conditions), read 2026-11; NVIDIA/NVSentinel, xiderrorsmapping.csv
(which numbers are fatal).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

FILE = Path(__file__).with_name("xid.csv")
PROGRAM, NOTICE, DEVICE = CLASSES = ("program", "notice", "device")


@cache
def table() -> Mapping[int, str]:
    """Return the class of each number that is not the device's."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return MappingProxyType(
            {
                number: row["class"]
                for row in csv.DictReader(file)
                for number in _numbers(row["numbers"])
            }
        )


def class_of(number: int) -> str:
    """Return one of ``CLASSES``."""
    return table().get(number, DEVICE)


def of_class(name: str) -> tuple[int, ...]:
    """Return the listed numbers of a class, ascending."""
    return tuple(sorted(number for number, own in table().items() if own == name))


def _numbers(said: str) -> Iterator[int]:
    for part in said.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
