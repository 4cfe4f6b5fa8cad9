"""What a Grafana has beside what it is to have.

Only what is wanted is looked at: a Grafana adds numbers, versions and defaults of its own, and a
newer one raises the schema's version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .wanted import seconds

MOST_PATHS = 20
Equal = Callable[[Any, Any], bool]


def _is_at_least(ours: Any, theirs: Any) -> bool:
    return isinstance(theirs, int) and bool(theirs >= ours)


def _lasts_as_long(ours: Any, theirs: Any) -> bool:
    return seconds(ours) == seconds(theirs)


SAME: Mapping[str, Equal] = {
    "schemaVersion": _is_at_least,
    "for": _lasts_as_long,
    "keep_firing_for": _lasts_as_long,
    "interval": _lasts_as_long,
}
"""How values of these keys are compared, where not by being equal."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing and how it is: ``same``, ``missing`` or ``differs``, with the paths that differ."""

    kind: str
    name: str
    state: str
    paths: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        return self.state != "same"


def change(kind: str, name: str, ours: Any, theirs: Any) -> Change:
    """Return how ``theirs`` is, None where there is nothing."""
    if theirs is None:
        return Change(kind, name, "missing")
    paths = tuple(differences(ours, theirs))
    shown = paths[:MOST_PATHS]
    return Change(kind, name, "differs" if paths else "same", shown)


def differences(ours: Any, theirs: Any, path: str = "", key: str = "") -> Iterator[str]:
    """Yield the path of each part of ``ours`` that ``theirs`` does not have like that."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name, value in ours.items():
            inner = f"{path}.{name}" if path else str(name)
            if name in theirs or value not in (None, "", [], {}, False):
                yield from differences(value, theirs.get(name), inner, str(name))
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{path} ({len(theirs)} for {len(ours)})"
        for at, (left, right) in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(left, right, f"{path}[{at}]")
    elif not SAME.get(key, _equal)(ours, theirs):
        yield path


def _equal(ours: Any, theirs: Any) -> bool:
    return bool(ours == theirs)
