"""Rules that rewrite labels, declared as Prometheus declares them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from wattshed_exporter.settings import option

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
TEMPLATE = re.compile(r"(?:[a-zA-Z_]|\$\w+|\$\{\w+\})(?:[a-zA-Z0-9_]|\$\w+|\$\{\w+\})*", re.ASCII)
ANYTHING = "(.*)"


class Action(StrEnum):
    """What a rule does; each as in Prometheus' ``relabel_config``."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    KEEPEQUAL = "keepequal"
    DROPEQUAL = "dropequal"
    HASHMOD = "hashmod"
    LABELMAP = "labelmap"
    LABELDROP = "labeldrop"
    LABELKEEP = "labelkeep"
    LOWERCASE = "lowercase"
    UPPERCASE = "uppercase"


TARGETED = frozenset(
    {
        Action.REPLACE,
        Action.HASHMOD,
        Action.LOWERCASE,
        Action.UPPERCASE,
        Action.KEEPEQUAL,
        Action.DROPEQUAL,
    }
)
"""Actions that need ``target_label``."""
BY_NAME = frozenset({Action.LABELDROP, Action.LABELKEEP})
"""Actions that look at the names of labels alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabel:
    """One rule. The regular expression has to match the whole text.

    It is Python's, which reads what Prometheus' RE2 reads and more, and may take long where it is
    written so: it comes from the operator, not from a target.
    """

    source_labels: tuple[str, ...] = option((), "Labels whose values are joined.")
    separator: str = option(";", "What stands between the joined values.")
    target_label: str = option("", "Label that is set or compared.")
    regex: str = option(ANYTHING, "What the joined values, or the names of labels, must match.")
    modulus: int = option(0, "What hashmod divides by.")
    replacement: str = option("$1", "What the label becomes; $1 is the first group.")
    action: Action = option(Action.REPLACE, "What the rule does.")

    def problems(self) -> list[str]:
        """Return what is wrong with the rule, each as one sentence."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        try:
            re.compile(self.regex)
        except re.error as error:
            yield f"regex: {self.regex!r} is no regular expression: {error}"
        for name in self.source_labels:
            if not LABEL.fullmatch(name):
                yield f"source_labels: {name!r} is no name of a label"
        if self.action in TARGETED and not self.target_label:
            yield f"target_label: {self.action} needs one"
        elif self.target_label and not self._is_target():
            yield f"target_label: {self.target_label!r} is no name of a label"
        if self.action is Action.HASHMOD and self.modulus < 1:
            yield "modulus: hashmod needs one above 0"
        if self.action is Action.LABELMAP and not TEMPLATE.fullmatch(self.replacement):
            yield f"replacement: {self.replacement!r} is no name of a label"
        if self.action in BY_NAME and (self.source_labels or self.target_label):
            yield f"action: {self.action} takes a regex alone"

    def _is_target(self) -> bool:
        pattern = TEMPLATE if self.action is Action.REPLACE else LABEL
        return pattern.fullmatch(self.target_label) is not None
