"""A pod as it is known here, and what a list of them says to the other plug-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import Ref, Told


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod; of two with one namespace and name the uids differ.

    ``fields`` are those of a workload, ``containers`` the ids of its containers without the
    runtime's name, ``static`` the uid that a static pod has from the kubelet, not from the API.
    """

    uid: str
    namespace: str
    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()
    static: str = ""
    over: bool = False
    """Whether its containers have ended for good, though it has not been deleted."""


def told(pods: Sequence[Pod], rejected: Mapping[str, int]) -> Told:
    """Say what pods are called; of two with one name the last is the one that has it now."""
    about: dict[Ref, Mapping[str, str]] = {}
    same: dict[Ref, Ref] = {}
    for pod in pods:
        ref = f"pod:{pod.uid}"
        about[ref] = pod.fields
        same[f"pod:{pod.namespace}/{pod.name}"] = ref
        same.update((f"container:{each}", ref) for each in pod.containers)
        if pod.static:
            same[f"pod:{pod.static}"] = ref
    ended = frozenset(f"pod:{pod.uid}" for pod in pods if pod.over)
    return Told(about=about, same=same, ended=ended, rejected=rejected)
