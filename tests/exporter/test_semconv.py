"""The contract holds: every name that the code uses is declared, and what is declared is sound."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import wattshed_exporter
from wattshed_exporter.semconv import (
    ALL_METRICS,
    DETAIL_ATTRIBUTES,
    DETAIL_LABELS,
    DETAIL_METRICS,
    DEVICE_ATTRIBUTES,
)

PACKAGE = Path(wattshed_exporter.__file__).parent
NOT_METRICS = {"wattshed_exporter"}


def names_used() -> Iterator[tuple[str, str]]:
    """Yield every text in the code that looks like one of our metrics, and where it stands."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                if text.startswith("wattshed_") and text.replace("_", "").isalnum():
                    yield text, f"{file.relative_to(PACKAGE)}:{node.lineno}"


def test_every_metric_that_the_code_names_is_declared() -> None:
    used = dict(names_used())
    declared = {metric.prometheus for metric in ALL_METRICS}
    assert len(used) > len(DETAIL_METRICS)
    assert {name: where for name, where in used.items() if name not in declared | NOT_METRICS} == {}


def test_no_metric_is_declared_twice() -> None:
    for names in (
        [metric.prometheus for metric in ALL_METRICS],
        [metric.otel for metric in ALL_METRICS if metric.otel],
    ):
        assert sorted(set(names)) == sorted(names)


def test_every_label_of_a_detail_is_explained_once() -> None:
    labels = [attribute.label for attribute in DETAIL_ATTRIBUTES]
    assert len(set(labels)) == len(labels)
    used = {label for metric in DETAIL_METRICS.values() for label in metric.labels}
    assert used == {*DETAIL_LABELS, *labels}
    assert all(m.labels == (*DETAIL_LABELS, *m.own) for m in DETAIL_METRICS.values())
    assert set(DETAIL_LABELS) <= {attribute.label for attribute in DEVICE_ATTRIBUTES}
