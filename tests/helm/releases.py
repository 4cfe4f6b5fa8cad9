"""The releases that the tests look at: the chart with each file of ``ci/``, rendered once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from tests.helm.chart import CHART, Manifest, render

NAMES = tuple(
    path.name.removesuffix("-values.yaml") for path in sorted((CHART / "ci").glob("*-values.yaml"))
)


def values(name: str) -> dict[str, Any]:
    """Return the values of ``ci/{name}-values.yaml``."""
    told: dict[str, Any] = yaml.safe_load((CHART / f"ci/{name}-values.yaml").read_text())
    return told


@cache
def release(name: str) -> tuple[Manifest, ...]:
    """Return what the chart makes of a file of ``ci/``; do not change it."""
    return tuple(render(values(name)))


def made(told: dict[str, Any]) -> list[Manifest]:
    """Return what the chart makes of values, read once; do not change it."""
    return list(_made(json.dumps(told)))


@cache
def _made(told: str) -> tuple[Manifest, ...]:
    return tuple(render(json.loads(told)))


def pods(objects: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each workload (or lone pod), and its pod as ``metadata`` and ``spec``."""
    for each in objects:
        if each["kind"] in ("DaemonSet", "StatefulSet", "Deployment", "Job"):
            yield each, each["spec"]["template"]
        elif each["kind"] == "Pod":
            yield each, each


def component(manifest: Manifest) -> str:
    """Return which part of wattshed an object belongs to."""
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])


def containers(pod: Manifest) -> list[Manifest]:
    """Return the containers of a pod, init containers first."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
