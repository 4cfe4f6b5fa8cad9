"""Targets that a Kubernetes API server knows: a list, then a watch that goes on from it.

The list comes from the server's cache, in portions; a watch asks for bookmarks, ends by itself
after some minutes and goes on from the last version. Where that version is gone (410) it begins
anew with a list. The token is read for every request, because it is replaced while this runs, and
sent over https alone. Source: "Kubernetes API Concepts" of Kubernetes' documentation.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from wattshed_collector.config import Action, KubernetesSd, Relabel, Role
from wattshed_collector.config.discovery import SERVICE_ACCOUNT
from wattshed_collector.receivers.scrape import credentials
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.reply import Failed

from . import Failing, Put
from .kubernetes_labels import META, Json, endpointslice, pod, source

PATHS = {
    Role.POD: ("/api/v1", "pods", pod),
    Role.ENDPOINTSLICE: ("/apis/discovery.k8s.io/v1", "endpointslices", endpointslice),
}
PORTION = "500"
WATCH_SECONDS = 300
LATE_SECONDS = 30
LARGEST_ANSWER_BYTES = 256 * 2**20
LONGEST_EVENT_BYTES = 8 * 2**20
LONGEST_PAUSE_SECONDS = 60.0
OUR_CA = f"{SERVICE_ACCOUNT}/ca.crt"
ENVIRONMENT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"

ANNOTATION = f"{META}pod_annotation_prometheus_io_"
ANNOTATED = (
    Relabel(source_labels=(f"{ANNOTATION}scrape",), regex="true", action=Action.KEEP),
    Relabel(source_labels=(f"{META}pod_phase",), regex="Succeeded|Failed", action=Action.DROP),
    Relabel(source_labels=(f"{ANNOTATION}scheme",), regex="(https?)", target_label="__scheme__"),
    Relabel(source_labels=(f"{ANNOTATION}path",), regex="(.+)", target_label="__metrics_path__"),
    Relabel(
        source_labels=("__address__", f"{ANNOTATION}port"),
        regex=r"(\[[^\]]+\]|[^:]+)(?::\d+)?;(\d+)",
        replacement="$1:$2",
        target_label="__address__",
    ),
    Relabel(source_labels=(f"{META}pod_node_name",), target_label="node"),
)
"""What people's configurations of Prometheus make of the usual annotations."""


class _Gone(Exception):
    """The version from which a watch should go on is too old."""


class Kubernetes:
    """Follows the objects of one role in one namespace, or in all with ""."""

    name = "kubernetes_sd"

    def __init__(
        self,
        options: KubernetesSd,
        namespace: str = "",
        *,
        environ: Mapping[str, str] = os.environ,
        pause_seconds: float = 1.0,
    ) -> None:
        self._options = options
        self._url = (options.api_server or _in_cluster(environ)).rstrip("/")
        group, resource, self._labels = PATHS[options.role]
        where = f"/namespaces/{namespace}" if namespace else ""
        self._path = f"{group}{where}/{resource}"
        self._first_pause = self._pause = pause_seconds
        self._version = ""
        self._told: dict[str, list[dict[str, str]]] = {}
        ca_file = options.tls.ca_file or ("" if options.api_server else OUR_CA)
        self._tls = credentials.context(replace(options.tls, ca_file=ca_file))
        self._rules = Rules(ANNOTATED if options.annotations else ())
        self._token = credentials.Fresh((options.token_file,), self._read_token)

    async def run(self, put: Put, failing: Failing) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(
            timeout=timeout, headers={"Accept-Encoding": "identity"}
        ) as session:
            while True:
                began = loop.time()
                try:
                    if not self._version:
                        await self._list(session, put)
                    await self._watch(session, put)
                    self._pause = self._first_pause
                    # A server that ends every watch at once is not asked without pause.
                    rest = self._first_pause - (loop.time() - began)
                except _Gone:
                    self._version, rest = "", self._longer()
                except Failed as error:
                    failing(error.reason, self._said(error))
                    rest = self._longer()
                except (RecursionError, ValueError) as error:
                    failing("malformed", self._said(error))
                    rest = self._longer()
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    failing("unreachable", self._said(error))
                    rest = self._longer()
                await asyncio.sleep(max(0.0, rest))

    def _longer(self) -> float:
        """Return how long to wait; the next time it is twice that."""
        rest, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return rest * random.uniform(0.5, 1.0)

    async def _list(self, session: aiohttp.ClientSession, put: Put) -> None:
        """Take all objects, and forget those that are no longer among them."""
        seen: dict[str, list[dict[str, str]]] = {}
        query = {"resourceVersion": "0", "limit": PORTION}
        while True:
            answer = await self._get(session, query)
            seen |= await asyncio.to_thread(self._all, answer.get("items") or [])
            metadata = _metadata(answer)
            more = metadata.get("continue")
            if not more:
                break
            query = {"limit": PORTION, "continue": str(more)}
        for name in self._told.keys() - seen.keys():
            self._tell(name, [], put)
        for name, found in seen.items():
            self._tell(name, found, put)
        self._version = str(metadata.get("resourceVersion") or "0")

    def _all(self, items: list[Any]) -> dict[str, list[dict[str, str]]]:
        named = ((source(item), item) for item in items)
        return {name: self._read(item) for name, item in named if name is not None}

    async def _watch(self, session: aiohttp.ClientSession, put: Put) -> None:
        """Apply what a watch says until the server ends it."""
        query = {
            "watch": "1",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        silence = aiohttp.ClientTimeout(
            total=None, sock_connect=10.0, sock_read=WATCH_SECONDS + LATE_SECONDS
        )
        async with session.get(**self._request(query), timeout=silence) as response:
            await self._check(response)
            async for line in _lines(response.content):
                self._apply(json.loads(line), put)
                self._pause = self._first_pause

    def _apply(self, event: Any, put: Put) -> None:
        kind = event.get("type") if isinstance(event, dict) else None
        value = event.get("object") if isinstance(event, dict) else None
        if not isinstance(value, dict) or kind == "ERROR":
            status = value if isinstance(value, dict) else {}
            if status.get("code") == 410:
                raise _Gone
            self._version = ""
            raise Failed(f"a watch ended: {str(status.get('message', ''))[:200]}", "watch")
        name = source(value)
        if kind in ("ADDED", "MODIFIED") and name is not None:
            self._tell(name, self._read(value), put)
        elif kind == "DELETED" and name is not None:
            self._tell(name, [], put)
        version = _metadata(value).get("resourceVersion")
        self._version = str(version or self._version)

    def _read(self, value: Json) -> list[dict[str, str]]:
        found = (self._rules.apply(labels) for labels in self._labels(value))
        return [labels for labels in found if labels is not None]

    def _tell(self, name: str, found: list[dict[str, str]], put: Put) -> None:
        """Hand on what is new: most events of a pod change none of its labels."""
        if self._told.get(name, []) == found:
            return
        if found:
            self._told[name] = found
        else:
            del self._told[name]
        put(name, found)

    async def _get(self, session: aiohttp.ClientSession, query: dict[str, str]) -> Json:
        async with session.get(**self._request(query)) as response:
            await self._check(response)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST_ANSWER_BYTES:
                    raise Failed(f"beyond {LARGEST_ANSWER_BYTES} bytes", "too_large")
        answer = await asyncio.to_thread(json.loads, bytes(body))
        if not isinstance(answer, dict) or not isinstance(answer.get("items"), list | None):
            raise Failed("is no list", "malformed")
        return answer

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 410:
            raise _Gone
        if response.status != 200:
            told = (await response.content.read(2048)).decode(errors="replace")
            raise Failed(f"answers {response.status}: {told[:200]}", "status")

    def _request(self, query: Mapping[str, str]) -> dict[str, Any]:
        told = {
            "labelSelector": self._options.label_selector,
            "fieldSelector": self._options.field_selector,
        }
        https = self._url.startswith("https:")
        return {
            "url": self._url + self._path,
            "params": {**{name: text for name, text in told.items() if text}, **query},
            "headers": {"Authorization": f"Bearer {self._token.get()}"} if https else {},
            "ssl": self._tls.get() if https else False,
            "server_hostname": self._options.tls.server_name or None if https else None,
            "allow_redirects": False,
        }

    def _read_token(self) -> str:
        return credentials.secret(self._options.token_file)

    def _said(self, error: Exception) -> str:
        return f"{self._url}{self._path}: {error or type(error).__name__}"


def _metadata(value: Json) -> Json:
    told = value.get("metadata")
    return told if isinstance(told, dict) else {}


def _in_cluster(environ: Mapping[str, str]) -> str:
    host, port = (environ.get(name, "") for name in ENVIRONMENT)
    host = f"[{host}]" if ":" in host else host
    return f"https://{host or 'kubernetes.default.svc'}:{port or 443}"


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length up to a limit; the reader's own limit is far lower."""
    held = bytearray()
    async for chunk in stream.iter_any():
        held += chunk
        while (at := held.find(b"\n")) >= 0:
            yield bytes(held[:at])
            del held[: at + 1]
        if len(held) > LONGEST_EVENT_BYTES:
            raise Failed(f"an event is beyond {LONGEST_EVENT_BYTES} bytes", "too_large")
    if held:
        raise Failed("an event is cut off", "cut_off")
