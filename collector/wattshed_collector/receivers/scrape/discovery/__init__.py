"""Where targets are found: each way tells what each of its sources has, whenever that changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Labels = Mapping[str, str]
Put = Callable[[str, Sequence[Labels]], None]
"""Takes the label sets that a source (a file, a URL, a pod) has now; none where it is gone."""
Failing = Callable[[str, str], None]
"""Told a word and a sentence, as often as it happens; what was known before goes on."""


class Discovery(Protocol):
    """Runs until it is cancelled; nothing that the other side does ends it."""

    name: str

    async def run(self, put: Put, failing: Failing) -> None:
        """Tell what there is, and again whenever it changes."""
        ...


def groups(content: Any, where: str, source: str) -> list[dict[str, str]]:
    """Return the label sets of a list of target groups, as file_sd and http_sd have it.

    Raises ValueError where it is no such list: nothing of it is taken.
    """
    if not isinstance(content, list):
        raise ValueError("is not a list of target groups")
    return [labels for group in content for labels in _group(group, {where: source})]


def _group(group: Any, meta: Labels) -> list[dict[str, str]]:
    if not isinstance(group, dict) or group.keys() - {"targets", "labels"}:
        raise ValueError("has a group that is not a mapping of targets and labels")
    targets, labels = group.get("targets") or [], group.get("labels") or {}
    if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
        raise ValueError("has targets that are not a list of host:port")
    if not isinstance(labels, dict) or not all(
        isinstance(text, str) for pair in labels.items() for text in pair
    ):
        raise ValueError("has labels that do not map names to texts")
    return [{**meta, **labels, "__address__": target} for target in targets]
