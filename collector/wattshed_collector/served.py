"""Everything that a collector answers over HTTP: each module with routes describes its own."""

from __future__ import annotations

from .api import (
    advice,
    backup,
    board_pages,
    boards,
    clickhouse,
    decide,
    described,
    devices,
    expected_idle,
    facts,
    fleet,
    ledger,
    outcomes,
    procurement,
    quality,
    routes,
    samples,
    sci,
    showback,
    slo,
    targets,
    when,
)
from .openapi import Operation
from .receivers import documents, history, otlp, remote_write
from .receivers import outcomes as produced

OPERATIONS: tuple[Operation, ...] = (
    *routes.OPERATIONS,
    *outcomes.OPERATIONS,
    *slo.OPERATIONS,
    *quality.OPERATIONS,
    *expected_idle.OPERATIONS,
    *advice.OPERATIONS,
    *showback.OPERATIONS,
    *when.OPERATIONS,
    *decide.OPERATIONS,
    *devices.OPERATIONS,
    *sci.OPERATIONS,
    *procurement.OPERATIONS,
    *fleet.OPERATIONS,
    *facts.OPERATIONS,
    *samples.OPERATIONS,
    *clickhouse.OPERATIONS,
    *targets.OPERATIONS,
    *ledger.OPERATIONS,
    *backup.OPERATIONS,
    *boards.OPERATIONS,
    *board_pages.OPERATIONS,
    *otlp.OPERATIONS,
    *remote_write.OPERATIONS,
    *documents.OPERATIONS,
    *produced.OPERATIONS,
    *history.OPERATIONS,
    *described.OPERATIONS,
)
