"""The chart as Helm's own library renders it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).parents[2] / "helm/wattshed"
Manifest = dict[str, Any]


def render(
    values: dict[str, Any] | None = None, name: str = "w", namespace: str = "energy"
) -> list[Manifest]:
    """Every object of the chart with ``values`` over its own; raises HelmError as Helm would."""
    with Chart.load(str(CHART)) as chart:
        made = chart.render(values or {}, name=name, namespace=namespace)
    texts = [text for path, text in made.items() if path.endswith((".yaml", ".yml"))]
    return [doc for text in texts for doc in yaml.safe_load_all(text) if doc]


def one(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    assert len(found) == 1, sorted((o["kind"], o["metadata"]["name"]) for o in objects)
    return found[0]
