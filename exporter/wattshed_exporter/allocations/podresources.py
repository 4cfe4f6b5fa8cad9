"""Who holds which GPU by the kubelet's word: device plugins, shared GPUs, MIG and DRA claims.

The kubelet knows pods by namespace and name alone, so that a holder is ``pod:<namespace>/<name>``
until another plug-in says its uid. What is held is a whole GPU or an instance of MIG, which is
claimed by its own UUID; of replicas (time slicing, MPS) each that is held is an equal part of what
it is a replica of. A device that is not metered here is counted as ``unknown_device`` and never
guessed. Source: kubelet's pod resources API, version 1.
"""

from __future__ import annotations

import fnmatch
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.sources.sysfs import printable

from . import Claim, Meters, Ref, Told
from .device_ids import Names, Part
from .kube_address import address
from .podresources_v1 import LIST, Dynamic, PodDevices, parse
from .unary_call import call

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

    from .resource_slices import ResourceSlices

log = logging.getLogger(__name__)

METHOD = "podresources"
DEADLINE_SECONDS = 5.0
LARGEST_BYTES = 16 << 20
"""As much as the kubelet's own clients take; a hundred pods are some 20 kB."""
DRIVERS = frozenset({"gpu.nvidia.com", "gpu.amd.com"})
"""DRA drivers whose devices may be metered; those of networks and the like are left out."""

Held = tuple[Ref, str, Part]
"""Holder, the id under which it holds, and what that is."""


class PodResources:
    """Asks the kubelet of this node.

    Args:
        config: for the socket, the names of resources, and the roots of procfs and sysfs.
        environ: says where the API server is, which is asked only where a pod has DRA claims.
        deadline_seconds: longest time for one answer of the kubelet.
    """

    name = METHOD

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._config = config
        self._options = config.allocations.kubernetes
        self._environ = environ
        self._deadline_seconds = deadline_seconds
        self._slices: ResourceSlices | None = None
        self._puzzled: set[str] = set()
        self._answered = False

    def read(self, meters: Meters) -> Told:
        """Return who holds what.

        Raises:
            NoData: there is no socket of a kubelet, and never was.
            SourceError: as ``unary_call.call``, and ``malformed``.
        """
        pods = parse(self._ask())
        self._answered = True
        names = Names(meters, self._config.roots.procfs, self._config.roots.sysfs)
        found: list[Held] = []
        rejected: Counter[str] = Counter()
        about: dict[Ref, Mapping[str, str]] = {}
        for pod in pods:
            holder = f"pod:{pod.namespace}/{pod.name}"
            held = [*self._devices(pod, names, rejected), *self._claims(pod, names, rejected)]
            if held:
                about[holder] = described(pod)
                found += [(holder, device_id, part) for device_id, part in held]
        return Told(claims(found), about, rejected=rejected)

    def close(self) -> None:
        """Forget what was learned; nothing is open between two rounds."""
        self._slices = None
        self._puzzled.clear()

    def _ask(self) -> bytes:
        try:
            return call(
                self._options.podresources_socket,
                LIST,
                b"",
                deadline_seconds=self._deadline_seconds,
                most_bytes=LARGEST_BYTES,
            )
        except NoData as error:
            if not self._answered:
                raise
            # A kubelet that starts anew takes its socket away for a moment, and no pod ends by it.
            raise SourceError(str(error), "unavailable") from error

    def _devices(
        self, pod: PodDevices, names: Names, rejected: Counter[str]
    ) -> Iterable[tuple[str, Part]]:
        """Yield what a pod holds through device plugins."""
        # A device of two containers of one pod is held once.
        for resource, device_id in sorted(set(pod.devices)):
            if not any(fnmatch.fnmatchcase(resource, p) for p in self._options.resources):
                continue
            parts = names.plugin(device_id)
            if not parts:
                self._unknown(f"{resource} {device_id}", rejected)
            yield from ((device_id, part) for part in parts)

    def _claims(
        self, pod: PodDevices, names: Names, rejected: Counter[str]
    ) -> Iterable[tuple[str, Part]]:
        """Yield what a pod holds through claims of DRA."""
        for held in dict.fromkeys(pod.dynamic):
            if held.driver not in DRIVERS:
                continue
            device_id = f"{held.driver}/{held.pool}/{held.device}"
            try:
                parts = self._claimed(held, names)
            except SourceError as error:
                if error.reason not in rejected:
                    log.log(self._level(error.reason), "resource slices: %s", error)
                rejected[error.reason] += 1
                continue
            if not parts:
                self._unknown(device_id, rejected)
            yield from ((device_id, part) for part in parts)

    def _claimed(self, held: Dynamic, names: Names) -> tuple[Part, ...]:
        slices = self._published()
        if slices is None:
            return ()
        for again in (False, True):
            attributes = slices.find(held, again=again)
            if parts := names.driver(attributes or {}):
                return parts
        return ()

    def _published(self) -> ResourceSlices | None:
        """Return where drivers publish devices, None where there is no API server to ask."""
        if self._slices is None:
            url = address(self._options.api, self._options.credentials, self._environ)
            if not url:
                return None
            # HTTP and TLS are 5 MB that a node without such claims need not give.
            from .kube_api import KubeApi
            from .resource_slices import ResourceSlices

            api = KubeApi(url, self._options.credentials, self._deadline_seconds)
            self._slices = ResourceSlices(api, self._config.node)
        return self._slices

    def _unknown(self, name: str, rejected: Counter[str]) -> None:
        rejected["unknown_device"] += 1
        name = printable(name)
        log.log(self._level(name), "%s is no device that is metered here", name)

    def _level(self, trouble: str) -> int:
        """Say a trouble aloud the first time."""
        if trouble in self._puzzled or len(self._puzzled) >= 1000:
            return logging.DEBUG
        self._puzzled.add(trouble)
        return logging.WARNING


def create(config: Config) -> PodResources:
    """Build the plug-in; nothing is opened before ``read``."""
    return PodResources(config, os.environ)


def described(pod: PodDevices) -> Mapping[str, str]:
    """Return what the kubelet knows of a pod, as fields of a workload."""
    return {
        "name": pod.name,
        "instance": pod.name,
        "namespace": pod.namespace,
        "kind": "pod",
    }


def claims(held: Iterable[Held]) -> list[Claim]:
    """Divide each board or instance equally among the ids under which it is held.

    The share is of what the claim names: of an instance, its activity and its part of the board are
    known to those who know instances. Where a part of unknown size is held, so is the share.
    """
    holders: dict[str, Counter[Ref]] = defaultdict(Counter)
    unknown: set[tuple[str, Ref]] = set()
    for holder, _, part in held:
        holders[part.device][holder] += 1
        if not part.whole:
            unknown.add((part.device, holder))
    return [
        Claim(
            device,
            holder,
            None if (device, holder) in unknown else own / counts.total(),
            method=METHOD,
        )
        for device, counts in holders.items()
        for holder, own in counts.items()
    ]
