"""What goes over OTLP as details: of devices, and of the exporter as if it were one."""

from __future__ import annotations

from dataclasses import replace

from .details import DETAIL_ATTRIBUTES, DETAIL_LABELS, DETAIL_METRICS
from .health import HEALTH_METRICS, PROCESS_METRICS, SELF_ATTRIBUTES
from .terms import Metric

PUSHED_DETAILS: dict[str, Metric] = {
    **DETAIL_METRICS,
    **{
        m.prometheus: replace(m, labels=(*DETAIL_LABELS, *m.labels), own=m.labels)
        for m in (*HEALTH_METRICS, *PROCESS_METRICS)
        if m.otel
    },
}
PUSHED_ATTRIBUTES = (*DETAIL_ATTRIBUTES, *SELF_ATTRIBUTES)
