"""How counters become outcomes: the servers that are recognised, rules of one's own, and whose."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wattshed_collector.outcomes.engines import AUTO, CHOICES
from wattshed_collector.outcomes.own import matcher
from wattshed_exporter.settings import option

from .relabel import LABEL

METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]{0,255}", re.ASCII)
KIND = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
PLACE = re.compile(r"\{([^{}]*)\}")
"""A label in a template of workloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRule:
    """A counter that is none of a known server's."""

    metric: str = option("", "Name of the counter, as it is written on the page.")
    kind: str = option("", "Kind of outcome: image, step, sample, request or any other word.")
    labels: dict[str, str] = option(
        dict, "Labels of the series that count: text, !=text, =~regex or !~regex of each."
    )
    model_label: str = option("", "Label that names the model.")
    source_labels: tuple[str, ...] = option(
        (),
        "Labels that tell its counters apart; series that differ in others alone are added up. "
        "None: each series is a counter of its own.",
    )
    scale: float = option(1.0, "What a count is multiplied by.")

    def problems(self) -> list[str]:
        """Return what is wrong with the rule, each as one sentence."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if not METRIC.fullmatch(self.metric):
            yield f"metric: {self.metric!r} is no name of a metric"
        if not KIND.fullmatch(self.kind):
            yield f"kind: {self.kind!r} is no lower case word"
        for name in (*self.labels, *self.source_labels, *filter(None, [self.model_label])):
            if not LABEL.fullmatch(name):
                yield f"labels: {name!r} is no name of a label"
        for name, text in self.labels.items():
            try:
                matcher(name, text)
            except re.error as error:
                yield f"labels: {text!r} is no regular expression: {error}"
        if not (math.isfinite(self.scale) and self.scale > 0):
            yield f"scale: {self.scale:g} is not above 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Outcomes by counters that others forward: remote write and OTLP."""

    forwarded: tuple[str, ...] = option(
        (AUTO,), f"Servers whose counters are read: {', '.join(CHOICES)}."
    )
    workload: str = option(
        "",
        "Key of the workload by labels, such as slurm/c1/{slurm_job}; where one of them is not "
        "there, and by default, the pod, else job and instance.",
    )
    rules: tuple[OutcomeRule, ...] = option((), "Rules for other counters.", file_only=True)

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        return [*unknown("forwarded", self.forwarded), *misplaced("workload", self.workload)]


def unknown(key: str, names: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with names of servers."""
    for name in names:
        if name not in CHOICES:
            yield f"{key}: {name!r} is none of {', '.join(CHOICES)}"


def misplaced(key: str, template: str) -> Iterator[str]:
    """Yield what is wrong with a template of a workload's key."""
    if "{" in PLACE.sub("", template) or "}" in PLACE.sub("", template):
        yield f"{key}: {template!r} has a brace that is none of a label's"
    for name in PLACE.findall(template):
        if not LABEL.fullmatch(name):
            yield f"{key}: {name!r} is no name of a label"
