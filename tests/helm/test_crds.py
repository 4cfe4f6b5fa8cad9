"""The schemas of custom resources find a field that there is not, and a value that is none."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from tests.helm import crds

METADATA = {"name": "a", "namespace": "b", "labels": {"c": "d"}}
MONITOR = {
    "selector": {"matchLabels": {"a": "b"}},
    "sampleLimit": 1,
    "bodySizeLimit": "32MiB",
    "endpoints": [
        {
            "port": "http",
            "interval": "1m30s",
            "tlsConfig": {"ca": {"secret": {"name": "a", "key": "b"}}},
            "relabelings": [{"action": "labeldrop", "regex": "x"}],
        }
    ],
}
RULES = {
    "groups": [
        {
            "name": "a",
            "interval": "1m",
            "rules": [{"alert": "A", "expr": "up", "for": "0s", "keep_firing_for": "1d"}],
        }
    ]
}
BOARD = {
    "instanceSelector": {"matchLabels": {"a": "b"}},
    "resyncPeriod": "1.5h",
    "configMapRef": {"name": "a", "key": "b"},
}
SOURCE = {
    "instanceSelector": {},
    "datasource": {"name": "a", "jsonData": {"any": 1}},
    "valuesFrom": [{"targetPath": "a", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
}


def manifest(version: str, kind: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": METADATA, "spec": copy.deepcopy(spec)}


GOOD = {
    "ServiceMonitor": manifest(crds.PROMETHEUS, "ServiceMonitor", MONITOR),
    "PrometheusRule": manifest(crds.PROMETHEUS, "PrometheusRule", RULES),
    "GrafanaDashboard": manifest(crds.GRAFANA, "GrafanaDashboard", BOARD),
    "GrafanaDatasource": manifest(crds.GRAFANA, "GrafanaDatasource", SOURCE),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_the_operators_take_is_taken(kind: str) -> None:
    crds.check(GOOD[kind])


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ServiceMonitor", "spec.sampleLimits", 1),
        ("ServiceMonitor", "spec.sampleLimit", -1),
        ("ServiceMonitor", "spec.sampleLimit", 1.5),
        ("ServiceMonitor", "spec.bodySizeLimit", "32 MiB"),
        ("ServiceMonitor", "spec.endpoints", []),
        ("ServiceMonitor", "spec.endpoints.0.intervall", "1m"),
        ("ServiceMonitor", "spec.endpoints.0.interval", "1 minute"),
        ("ServiceMonitor", "spec.endpoints.0.interval", 30),
        ("ServiceMonitor", "spec.endpoints.0.scheme", "ftp"),
        ("ServiceMonitor", "spec.endpoints.0.tlsConfig.ca.secret", {"name": "a"}),
        ("ServiceMonitor", "spec.endpoints.0.tlsConfig.insecureSkipVerify", "true"),
        ("ServiceMonitor", "spec.endpoints.0.relabelings.0.action", "erase"),
        ("ServiceMonitor", "spec.podMetricsEndpoints", [{}]),
        ("ServiceMonitor", "metadata.label", {}),
        ("ServiceMonitor", "metadata.labels.c", 1),
        ("PrometheusRule", "spec.groups.0.interval", "60"),
        ("PrometheusRule", "spec.groups.0.rules.0.for", "1h30"),
        ("PrometheusRule", "spec.groups.0.rules.0.keep_firing_for", ""),
        ("PrometheusRule", "spec.groups.0.rules.0.keepFiringFor", "1m"),
        ("PrometheusRule", "spec.groups.0.rules.0.labels", {"a": 1}),
        ("GrafanaDashboard", "spec.resyncPeriod", "1d"),
        ("GrafanaDashboard", "spec.configMapRef", {"name": "a"}),
        ("GrafanaDashboard", "spec.instanceSelector", None),
        ("GrafanaDatasource", "spec.datasource.jsondata", {}),
        ("GrafanaDatasource", "spec.valuesFrom.0.valueFrom", {"configMapKeyRef": {}}),
    ],
)
def test_what_the_operators_refuse_is_found(kind: str, path: str, value: Any) -> None:
    broken = copy.deepcopy(GOOD[kind])
    *above, last = path.split(".")
    place: Any = broken
    for step in above:
        place = place[int(step)] if step.isdigit() else place.setdefault(step, {})
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        crds.check(broken)


def test_a_kind_that_is_not_ours_is_no_kind() -> None:
    with pytest.raises(KeyError):
        crds.check(manifest("monitoring.coreos.com/v1alpha1", "ServiceMonitor", MONITOR))
