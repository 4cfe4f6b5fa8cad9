"""What pods are called, and whose they are: labels, owner, queue, account, uid and containers.

By the API server where there is one to ask, watched for the pods of this node; else, or while it
does not answer, by the names of the folders of their logs, which say namespace, name and uid. The
node's name has to be Kubernetes' own. ``pod:<namespace>/<name>`` and ``container:<id>`` are said to
be ``pod:<uid>``, so that a pod that starts anew under the same name is another one. A pod that has
ended but was not deleted is said to have ended: a kubelet before 1.34 still lists its devices.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wattshed_exporter.errors import NoData, SourceError

from . import Meters, Told
from .kube_address import address
from .pod import Pod, told
from .pod_logs import PodLogs

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

    from .pod_watch import PodWatch

FIRST_SECONDS = 3.0
"""How long the first round waits for the API server, so that it need not go without labels."""


class Pods:
    """The pods of this node.

    Args:
        config: for the node's name, the rules of labels, and where to ask.
        environ: says where the API server is, where ``config`` does not.
        pause_seconds: between the first tries to reach it.
    """

    name = "pods"

    def __init__(
        self, config: Config, environ: Mapping[str, str], pause_seconds: float = 1.0
    ) -> None:
        self._config = config
        self._options = config.allocations.kubernetes
        self._environ = environ
        self._pause_seconds = pause_seconds
        self._logs = PodLogs(self._options.pod_logs)
        self._watch: PodWatch | None = None

    def read(self, meters: Meters) -> Told:
        """Return what pods are called.

        Raises:
            NoData: there is neither an API server to ask nor a folder of logs.
            SourceError: neither can be read; reasons as ``KubeApi.get`` and ``PodLogs.read``.
        """
        watch = self._watched()
        if watch is None:
            return told(self._logs.read(), {})
        watch.settled(FIRST_SECONDS)
        pods, rejected = watch.take()
        trouble = watch.trouble
        if not watch.synced and trouble is None:
            trouble = SourceError("the API server has not answered yet", "timeout")
        if trouble is not None:
            rejected[trouble.reason] += 1
            pods = self._beside(pods, rejected, watch.synced, trouble)
        return told(pods, rejected)

    def close(self) -> None:
        """End the watch; the next round begins one anew."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _beside(
        self, pods: list[Pod], rejected: Counter[str], synced: bool, trouble: SourceError
    ) -> list[Pod]:
        """Add what the folders of logs know of pods that the API server did not tell of."""
        known = {each for pod in pods for each in (pod.uid, pod.static)}
        try:
            return [*pods, *(pod for pod in self._logs.read() if pod.uid not in known)]
        except SourceError as error:
            if not synced:
                raise trouble from error
            if not isinstance(error, NoData):
                rejected[error.reason] += 1
            return pods

    def _watched(self) -> PodWatch | None:
        """Return the watch, begun if need be; None where there is no API server to ask."""
        if self._watch is None:
            options = self._options
            url = address(options.api, options.credentials, self._environ)
            if not url:
                return None
            # HTTP and TLS are 5 MB that a node without an API server need not give.
            from .kube_api import KubeApi
            from .pod_watch import PodWatch

            api = KubeApi(url, options.credentials)
            rules = self._config.allocations.label_rules()
            self._watch = PodWatch(api, self._config.node, rules, pause_seconds=self._pause_seconds)
            self._watch.start()
        return self._watch


def create(config: Config) -> Pods:
    """Build the plug-in; nothing is opened before ``read``."""
    return Pods(config, os.environ)
