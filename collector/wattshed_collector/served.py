"""Everything that a collector answers over HTTP: each module with routes describes its own."""

from __future__ import annotations

from .api import backup, described, facts, fleet, ledger, outcomes, routes, samples, targets
from .openapi import Operation
from .receivers import documents, history, otlp, remote_write

OPERATIONS: tuple[Operation, ...] = (
    *routes.OPERATIONS,
    *outcomes.OPERATIONS,
    *fleet.OPERATIONS,
    *facts.OPERATIONS,
    *samples.OPERATIONS,
    *targets.OPERATIONS,
    *ledger.OPERATIONS,
    *backup.OPERATIONS,
    *otlp.OPERATIONS,
    *remote_write.OPERATIONS,
    *documents.OPERATIONS,
    *history.OPERATIONS,
    *described.OPERATIONS,
)
