"""What is remembered of a target from one page to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed_collector.config import Job
from wattshed_collector.normalise.dialect import Origin, Series

from .relabel import Rules

if TYPE_CHECKING:
    from .known_pages import KnownPage


@dataclass(slots=True)
class TargetState:
    """What a reader remembers of a target from one page to the next."""

    origin: Origin
    job: Job
    rules: Rules
    """Of series."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the target, which its samples carry that are not about energy."""
    known: dict[str, Series] = field(default_factory=dict)
    rewritten: dict[Series, Series | None] = field(default_factory=dict)
    samples: int = 0
    """Of the last page, after the rules."""
    mark: int = 0
    """Of the lines of the last page that was read sample by sample."""
    page: KnownPage | None = None

    @property
    def sees_series(self) -> bool:
        """Whether rules or limits look at each series."""
        return bool(self.rules) or _limits_labels(self.job)


def _limits_labels(job: Job) -> bool:
    return bool(job.label_limit or job.label_name_length_limit or job.label_value_length_limit)
