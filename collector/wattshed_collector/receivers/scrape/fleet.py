"""Which targets there are: what each source of discovery last said, and what changes by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from wattshed_collector.config import Job

from .relabel import Rules
from .targets import Target, Unusable, resolve

Failing = Callable[[str, str, str], None]
"""Told of job, reason and message."""


class Fleet:
    """The targets of one job by who found them; a target found twice is one.

    Beyond the job's ``target_limit`` it has none, as in Prometheus: half a fleet would look like
    the whole of it.
    """

    def __init__(self, job: Job, rules: Rules, failing: Failing) -> None:
        self.job = job
        self.dropped = 0
        """Label sets that a rule drops."""
        self._rules = rules
        self._failing = failing
        self._found: dict[str, frozenset[Target]] = {}
        self._dropped: Counter[str] = Counter()
        self._times: Counter[Target] = Counter()
        self._active: frozenset[Target] = frozenset()

    def put(
        self, source: str, found: Sequence[Mapping[str, str]]
    ) -> tuple[frozenset[Target], frozenset[Target]]:
        """Take what a source has now; return which targets came and which went."""
        return self.give(source, self._resolved(source, found))

    def give(
        self, source: str, targets: Iterable[Target]
    ) -> tuple[frozenset[Target], frozenset[Target]]:
        """Take targets of a source as they are."""
        before, now = self._found.pop(source, frozenset()), frozenset(targets)
        if now:
            self._found[source] = now
        self._times.update(now)
        self._times.subtract(before)
        for target in before - now:
            if not self._times[target]:
                del self._times[target]
        return self._changed()

    def _resolved(self, source: str, found: Sequence[Mapping[str, str]]) -> list[Target]:
        targets, dropped = [], 0
        for labels in found:
            try:
                target = resolve(labels, self.job, self._rules)
            except Unusable as error:
                self._failing(self.job.name, "target", str(error))
                continue
            if target is None:
                dropped += 1
            else:
                targets.append(target)
        self.dropped += dropped - self._dropped.pop(source, 0)
        if dropped:
            self._dropped[source] = dropped
        return targets

    def _changed(self) -> tuple[frozenset[Target], frozenset[Target]]:
        limit, now = self.job.target_limit, frozenset(self._times)
        if limit and len(now) > limit:
            told = f"{len(now)} targets, the limit is {limit}: none is scraped"
            self._failing(self.job.name, "target_limit", told)
            now = frozenset()
        before, self._active = self._active, now
        return now - before, before - now
