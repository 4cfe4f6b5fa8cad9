"""The pods of one node by list and watch, in a thread of its own.

The list comes from the API server's cache, so that many nodes cost the cluster's store nothing;
what the watch then says is applied to it. A watch that ends or breaks goes on from the last version
that it told; one whose version is gone (410) begins with a new list. Only what ``pod_facts`` takes
is kept of each pod. Source: "Efficient detection of changes" of Kubernetes' documentation.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing

from wattshed_exporter.errors import SourceError

from .kube_api import Json, KubeApi
from .pod import Pod
from .pod_facts import keep, parse

log = logging.getLogger(__name__)

PODS = "/api/v1/pods"
WATCH_SECONDS = 240
"""How long a watch is asked to last: a server's default is half an hour or more."""
LATE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 60.0
ENDED_ROUNDS = 6
"""Rounds in which a pod that was deleted is still told of: it is charged for its last energy."""
MOST_PODS = 5000
"""No node has that many; a server that says so must not fill the memory."""
CLOSE_TRIES, CLOSE_SECONDS = 10, 0.1


class PodWatch:
    """Keeps the pods of one node.

    Args:
        api: the API server.
        node: Kubernetes' name of this node.
        rules: a label or annotation, and the field of a workload that it sets, in order.
        pause_seconds: first pause after a failure; it doubles up to a minute, with jitter.
    """

    def __init__(
        self,
        api: KubeApi,
        node: str,
        rules: Sequence[tuple[str, str]],
        *,
        pause_seconds: float = 1.0,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.trouble: SourceError | None = None
        """Why the last try failed; None while the API answers."""
        self.synced = False
        """Whether the pods have been listed once."""
        self._api = api
        self._node = node
        self._rules = rules
        self._first_pause = self._pause = pause_seconds
        self._jitter = jitter
        self._pods: dict[str, Pod] = {}
        self._ended: dict[str, tuple[Pod, int]] = {}
        self._rejected: Counter[str] = Counter()
        self._version = ""
        self._lock = threading.Lock()
        self._settled, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where that has not been done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pods", daemon=True)
            self._thread.start()

    def settled(self, seconds: float) -> bool:
        """Wait until pods have been listed, or could not be, at most so long."""
        return self._settled.wait(seconds)

    def take(self) -> tuple[list[Pod], Counter[str]]:
        """Return the pods of a round, first those deleted, and how much was not understood."""
        with self._lock:
            gone = [pod for pod, _ in self._ended.values()]
            left = {uid: (pod, n - 1) for uid, (pod, n) in self._ended.items() if n > 1}
            self._ended = left
            rejected, self._rejected = self._rejected, Counter()
            return [*gone, *self._pods.values()], rejected

    def close(self) -> None:
        """End the thread, or leave it to end by itself where the network holds it up."""
        self._stop.set()
        for _ in range(CLOSE_TRIES):
            self._api.close()
            if self._thread is None or not self._thread.is_alive():
                break
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._version:
                    self._list()
                began = time.monotonic()
                self._follow()
                # A server that ends every watch at once is not asked without pause.
                rest = self._first_pause - (time.monotonic() - began)
            except SourceError as error:
                rest = self._fail(error)
            except Exception:
                log.exception("pods: failed unexpectedly")
                rest = self._fail(SourceError("failed unexpectedly", "exception"))
            self._stop.wait(max(0.0, rest))

    def _list(self) -> None:
        answer = self._api.get(PODS, {**self._selected(), "resourceVersion": "0"}, keep)
        version, items = _version(answer), answer.get("items")
        if not version or not isinstance(items, list | None):
            raise SourceError(f"{self._api.url}{PODS} is no list of pods", "malformed")
        with self._lock:
            before, self._pods = self._pods, {}
            for item in items or []:
                self._put(item)
            for uid in before.keys() - self._pods.keys():
                self._ended.setdefault(uid, (before[uid], ENDED_ROUNDS))
        self._version = version
        if not self._pods and not self.synced:
            # An exporter that runs in a pod would find itself.
            log.warning("pods: none is on a node %s; node has to be its name in Kubernetes",
                        self._node)  # fmt: skip
        self._well(f"pods: {len(self._pods)} on {self._node}")

    def _follow(self) -> None:
        """Apply what a watch says until it ends."""
        query = {
            **self._selected(),
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        events = self._api.watch(PODS, query, WATCH_SECONDS + LATE_SECONDS, keep)
        with closing(events):
            self._well("pods: watched again")
            for event in events:
                self._apply(event)
                if self._stop.is_set():
                    return

    def _apply(self, event: Json) -> None:
        kind, value = event.get("type"), event.get("object")
        if kind == "ERROR" or not isinstance(value, dict):
            raise self._ended_by(value if isinstance(value, dict) else {})
        with self._lock:
            if kind in ("ADDED", "MODIFIED"):
                self._put(value)
            elif kind == "DELETED":
                self._remove(value)
        self._version = _version(value) or self._version

    def _ended_by(self, status: Json) -> SourceError:
        """Return why a watch says that it cannot go on; it begins anew with a list."""
        self._version = ""
        reason = "http_error" if status else "malformed"
        reason = "gone" if status.get("code") == 410 else reason
        return SourceError(f"{self._api.url}{PODS}: {str(status.get('message', ''))[:200]}", reason)

    def _put(self, value: object) -> None:
        pod = parse(value, self._rules)
        if pod is None:
            self._rejected["malformed"] += 1
        elif len(self._pods) >= MOST_PODS and pod.uid not in self._pods:
            self._rejected["too_many"] += 1
        else:
            self._ended.pop(pod.uid, None)
            # Behind those that were there before: the last of one name has it now.
            self._pods[pod.uid] = pod

    def _remove(self, value: object) -> None:
        pod = parse(value, self._rules)
        if pod is None:
            self._rejected["malformed"] += 1
        elif known := self._pods.pop(pod.uid, None):
            self._ended[pod.uid] = known, ENDED_ROUNDS

    def _selected(self) -> dict[str, str]:
        return {"fieldSelector": f"spec.nodeName={self._node}"}

    def _well(self, message: str) -> None:
        if self.trouble is not None or not self.synced:
            log.info("%s", message)
        self.trouble, self.synced, self._pause = None, True, self._first_pause
        self._settled.set()

    def _fail(self, error: SourceError) -> float:
        """Take note of a failure; return the seconds until the next try."""
        if self._stop.is_set():
            return 0.0
        if error.reason == "gone":
            # Nothing is wrong: the version was too old, and a list has a new one.
            self._version = ""
            log.info("pods: %s", error)
        else:
            if self.trouble is None or self.trouble.reason != error.reason:
                log.warning("pods: %s", error)
            self.trouble = error
            self._settled.set()
        rest, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return rest * self._jitter(0.5, 1.0)


def _version(value: Json) -> str:
    metadata = value.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else ""
