"""Which container has which GPU and whose it is, by Docker's or Podman's API.

A container that was given a GPU holds all of it; several of them share it in equal parts. Each is
inspected once, because what it was given and its labels never change; the list tells names. One of
a Kubernetes pod is that pod, and what it holds is for the kubelet to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.sysfs import printable

from . import Claim, Meters, Ref, Told
from .docker_api import DockerApi
from .gpu_requests import Asked, Finder, asked

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

ID = re.compile("[0-9a-f]{64}")
POD, UID = "io.kubernetes.pod.uid", re.compile(r"[0-9A-Za-z-]{1,63}")
KNOWN = {
    "com.docker.compose.service": "name",
    "com.docker.compose.project": "project",
    "com.docker.swarm.service.name": "name",
    "com.docker.stack.namespace": "project",
}
"""Fields by the labels that Compose and Swarm set."""
METHOD = "docker"


@dataclass(frozen=True, slots=True)
class Listed:
    """A running container as the list tells it."""

    id: str
    name: str
    labels: Mapping[str, str]

    @property
    def pod(self) -> str:
        """The uid of its pod, "" where it is of none."""
        uid = self.labels.get(POD, "")
        return uid if UID.fullmatch(uid) else ""


class Docker:
    """Implements ``Allocator``."""

    name = "docker"

    def __init__(self, config: Config, api: DockerApi | None = None) -> None:
        self._roots = config.roots
        self._rules = config.allocations.label_rules()
        self._api = api or DockerApi(config.allocations.docker.socket)
        self._asked: dict[str, tuple[Asked, ...]] = {}

    def read(self, meters: Meters) -> Told:
        """List what runs.

        Raises:
            NoData: there is no engine.
            SourceError: it cannot be asked; the reasons are those of ``DockerApi.get``.
        """
        running = listed(self._api.get("/containers/json"))
        rejected: Counter[str] = Counter()
        self._inspect(running, rejected)
        finder = Finder(meters, self._roots.procfs, self._roots.sysfs)
        claims: list[Claim] = []
        about: dict[Ref, Mapping[str, str]] = {}
        same: dict[Ref, Ref] = {}
        for container in running:
            ref = f"container:{container.id}"
            if pod := container.pod:
                same[ref] = f"pod:{pod}"
                continue
            about[ref] = fields(container, self._rules)
            keys: dict[str, None] = {}
            for wanted in self._asked.get(container.id, ()):
                found = finder.find(wanted)
                rejected["unknown_device"] += not found
                keys.update(dict.fromkeys(found))
            claims += [Claim(key, ref, 1.0, None, METHOD) for key in keys]
        return Told(claims, about, same, rejected=+rejected)

    def close(self) -> None:
        self._asked = {}

    def _inspect(self, running: list[Listed], rejected: Counter[str]) -> None:
        """Ask for those that are new; one that ends meanwhile is none."""
        known, self._asked = self._asked, {}
        for container in running:
            if container.pod:
                continue
            try:
                self._asked[container.id] = (
                    known[container.id]
                    if container.id in known
                    else asked(self._api.get(f"/containers/{container.id}/json"))
                )
            except SourceError as error:
                if error.reason != "vanished":
                    rejected[error.reason] += 1


def create(config: Config) -> Docker:
    """Build the plug-in; nothing is asked before ``read``."""
    return Docker(config)


def listed(answer: object) -> list[Listed]:
    """Return the containers of ``/containers/json``; ``SourceError`` where it is no list.

    What is no container is left out.
    """
    if not isinstance(answer, list):
        raise SourceError("the list of containers is none", "malformed")
    found = []
    for item in answer:
        told = item if isinstance(item, dict) else {}
        key, names, labels = (told.get(name) for name in ("Id", "Names", "Labels"))
        if isinstance(key, str) and ID.fullmatch(key):
            first = names[0] if isinstance(names, list) and names else ""
            texts = labels.items() if isinstance(labels, dict) else ()
            found.append(
                Listed(key, str(first).lstrip("/"), {k: v for k, v in texts if isinstance(v, str)})
            )
    return found


def fields(container: Listed, rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return what a container is called: by its service, where it is one of Compose or Swarm.

    ``rules`` are labels with the field that each sets; of several for a field the first counts.
    """
    labels = container.labels
    told = {"name": container.name or container.id[:12], "kind": "container"}
    told["instance"] = told["name"]
    told |= {KNOWN[key]: value for key, value in labels.items() if key in KNOWN}
    told |= {name: labels[key] for key, name in reversed(rules) if labels.get(key)}
    return {field_name: printable(value) for field_name, value in told.items()}
