"""The chart as Helm's own library renders it."""

from __future__ import annotations

import json
from functools import cache
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
    texts = _rendered(json.dumps(values or {}), name, namespace)
    # In C, where there is such a loader: in Python it takes longer than Helm does.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [doc for text in texts for doc in yaml.load_all(text, loader) if doc]


@cache
def _rendered(values: str, name: str, namespace: str) -> tuple[str, ...]:
    with Chart.load(str(CHART)) as chart:
        made = chart.render(json.loads(values), name=name, namespace=namespace)
    return tuple(text for path, text in made.items() if path.endswith((".yaml", ".yml")))


def one(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    assert len(found) == 1, sorted((o["kind"], o["metadata"]["name"]) for o in objects)
    return found[0]
