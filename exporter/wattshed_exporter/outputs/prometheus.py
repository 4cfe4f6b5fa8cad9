"""The pull side: /metrics in the text formats of Prometheus and OpenMetrics, a page and /healthz.

A scrape shows what was read last; it never reads a meter. The bytes are those that
prometheus-client would write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from wattshed_exporter.config import Web, parse_listen
from wattshed_exporter.web.policy import Policies
from wattshed_exporter.web.server import NOTHING_TAKEN, PLAIN, Answer, Server, Take

from . import Charged, Snapshot
from .exposition import Exposition
from .families import Families, Registry

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
TEXT = "text/plain"
VERSIONS = {OPENMETRICS: ("", "1.0.0"), TEXT: ("1.0.0",)}
"""What may be asked for by name; version 0.0.4 of the text is what everybody else gets."""
ESCAPINGS = ("allow-utf-8", "underscores")
"""Ways of writing names that leave ours as they are."""


class Prometheus:
    """Serves one exporter over HTTP until closed.

    Args:
        web: where to listen, and with which rules; port 0 takes a free one, see ``address``.
        node: name of this machine, for the page.
        snapshot: the latest of every device.
        health: each source with devices and whether it reads in time.
        registry: the exporter's own health.
        charged: the counters of workloads, asked once for each scrape.
        takes: what is posted to other paths.

    Raises:
        ConfigError: where the web configuration file is wrong.
        OSError: where the address cannot be listened on.
    """

    def __init__(
        self,
        web: Web,
        node: str,
        snapshot: Callable[[], Snapshot],
        health: Callable[[], Mapping[str, bool]],
        registry: Registry,
        charged: Callable[[], Charged] = Charged,
        takes: Mapping[str, Take] = NOTHING_TAKEN,
    ) -> None:
        self._node = node
        self._snapshot = snapshot
        self._health = health
        self._registry = registry
        self._charged = charged
        self._formats: dict[bool, tuple[Families, Exposition]] = {}
        self._policies = Policies(web.config.file)
        self._server = Server(
            parse_listen(web.listen_address), self._answer, self._policies, web.max_requests,
            takes=takes,
        )  # fmt: skip

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    def start(self) -> None:
        self._server.start()
        scheme = "https" if self._policies.secure else "http"
        log.info("serving /metrics by %s on %s port %d", scheme, *self.address)

    def close(self) -> None:
        self._server.close()

    def metrics(self, openmetrics: bool = False) -> bytes:
        """Return the whole body of /metrics in one of the two formats."""
        # The second format costs memory only once somebody has asked for it.
        if openmetrics not in self._formats:
            made = Families(self._registry, openmetrics), Exposition(openmetrics)
            self._formats[openmetrics] = made
        families, exposition = self._formats[openmetrics]
        return exposition.render(self._snapshot(), families.render(), self._charged())

    def _answer(self, path: str, accept: str) -> Answer:
        if path == "/metrics":
            kind = content_type(accept)
            return Answer(200, kind, self.metrics(kind.startswith(OPENMETRICS)))
        if path == "/healthz":
            return self._healthz()
        if path == "/":
            from .page import page

            shown = page(self._node, self._snapshot(), self._health())
            return Answer(200, "text/html; charset=utf-8", shown)
        return Answer(404, PLAIN, b"there are /, /metrics and /healthz\n")

    def _healthz(self) -> Answer:
        import json

        sources = dict(self._health())
        healthy = any(sources.values())
        said = {"status": "ok" if healthy else "no source reads in time", "sources": sources}
        body = json.dumps(said).encode() + b"\n"
        return Answer(200 if healthy else 503, "application/json", body)


def content_type(accept: str) -> str:
    """Return the type of /metrics for an ``Accept`` header: the first format that we speak.

    It is what prometheus-client's ``choose_encoder`` answers to Prometheus and to browsers; a
    version that we do not know is passed over, because it would be promised and not kept.
    """
    for offer in accept.split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        told = {name: value for name, _, value in (p.partition("=") for p in parameters)}
        version, escaping = told.get("version", ""), told.get("escaping", "")
        if kind not in VERSIONS or version not in VERSIONS[kind]:
            continue
        if not version:
            return f"{kind}; version=1.0.0; charset=utf-8"
        escaping = escaping if escaping in ESCAPINGS else ESCAPINGS[-1]
        return f"{kind}; version={version}; charset=utf-8; escaping={escaping}"
    return CONTENT_TYPE
