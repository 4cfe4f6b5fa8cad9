"""RAPL domains by name: what each measures and which are inside another.

A package contains its core and uncore, psys contains the packages; memory is measured beside them.
Source: Documentation/power/powercap/powercap.rst of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Collection

KINDS = {"package": "cpu", "core": "cpu", "uncore": "cpu", "dram": "memory", "psys": "host"}
INSIDE = frozenset({"core", "uncore"})


def overlap(domain: str, domains: Collection[str]) -> str:
    """Return "", ``inner`` or ``outer`` of a domain among those that are measured."""
    if domain in INSIDE and "package" in domains:
        return "inner"
    return "outer" if domain == "psys" and "package" in domains else ""
