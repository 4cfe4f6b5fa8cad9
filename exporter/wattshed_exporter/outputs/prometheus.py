"""The pull side: /metrics in the Prometheus text format, a landing page and /healthz.

prometheus-client serves and renders our own health. The bulk series are rendered by one template
over the whole body, which is built again only when labels change: that costs a small part of what
one object per series does, and gives the same bytes.
"""

from __future__ import annotations

import gzip
import html
import json
import logging
import math
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import ThreadingWSGIServer

from wattshed_exporter import __version__
from wattshed_exporter.config import parse_listen
from wattshed_exporter.model import Device
from wattshed_exporter.semconv import DEVICE_ATTRIBUTES, FLEET_METRICS, GAP, TICK_METRICS, Metric

from . import NO_VALUES, Snapshot, tick_values

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIELD_OF_LABEL = {a.label: a.name for a in DEVICE_ATTRIBUTES}
INFO, LIMIT = FLEET_METRICS
REQUEST_SECONDS = 10.0
POLL_SECONDS = 0.2

Series = tuple[Metric, Device, str]
"""A metric, its device and, for a gap, the reason."""


class Exposition:
    """Renders snapshots; keeps the template of the last one."""

    def __init__(self) -> None:
        self._cached: tuple[object, str] = (None, "")

    def render(self, snapshot: Snapshot) -> bytes:
        """Return the body for a snapshot; a value that is None or not finite has no series."""
        devices = {d.key: d for d in snapshot.devices}
        unknown = [key for key in snapshot.unknown_seconds if key[0] in devices]
        values = list(_values(snapshot, unknown))
        layout = (snapshot.devices, unknown, [v is None for v in values])
        known, template = self._cached
        if layout != known:
            series = _series(devices, unknown)
            template = _template(s for s, v in zip(series, values, strict=True) if v is not None)
            # One assignment, because two scrapes may render at once.
            self._cached = (layout, template)
        body = template % tuple(v for v in values if v is not None)
        return body.encode(errors="replace")


def _values(snapshot: Snapshot, unknown: Iterable[tuple[str, str]]) -> Iterator[float | str | None]:
    """Yield a value for each of ``_series``, in the same order."""
    ticks = [snapshot.ticks.get(d.key) for d in snapshot.devices]
    rows = [NO_VALUES if tick is None else tick_values(tick) for tick in ticks]
    for column in zip(*rows, strict=True):
        yield from map(go_float, column)
    yield from (go_float(snapshot.unknown_seconds[key]) for key in unknown)
    yield from (1.0 for _ in snapshot.devices)
    yield from (go_float(d.power_limit_watts) for d in snapshot.devices)


def _series(devices: Mapping[str, Device], unknown: Iterable[tuple[str, str]]) -> Iterator[Series]:
    for metric in TICK_METRICS if devices else ():
        yield from ((metric, device, "") for device in devices.values())
    yield from ((GAP, devices[key], reason) for key, reason in unknown)
    for metric in (INFO, LIMIT):
        yield from ((metric, device, "") for device in devices.values())


def _template(series: Iterable[Series]) -> str:
    lines: list[str] = []
    last = ""
    for metric, device, reason in series:
        name = metric.prometheus
        if name != last:
            lines += [f"# HELP {name} {_literal(metric.help)}", f"# TYPE {name} {metric.type}"]
            last = name
        labels = ",".join(
            f'{label}="{_escape(_label(label, device, reason))}"' for label in sorted(metric.labels)
        )
        lines.append(f"{name}{{{_literal(labels)}}} %s")
    return "".join(line + "\n" for line in lines)


def _label(label: str, device: Device, reason: str) -> str:
    return reason if label == "reason" else str(getattr(device, FIELD_OF_LABEL[label]))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def go_float(value: float | None) -> float | str | None:
    """Return a number as Go and prometheus-client write it, None where it is not finite.

    Up to a million that is what Python writes too, so the number itself is returned.
    """
    if value is None or not math.isfinite(value):
        return None
    number = float(value)
    if number < 1e6:
        return number
    text = repr(number)
    dot = text.find(".")
    if dot <= 6:
        return text
    mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
    return f"{mantissa}e+{dot - 1:02d}"


class Prometheus:
    """Serves one exporter over HTTP until closed.

    Args:
        listen: address and port; port 0 takes a free one, see ``address``.
        snapshot: the latest of every device.
        health: each source with devices and whether it reads in time.
        registry: the exporter's own health.
    """

    def __init__(
        self,
        listen: str,
        snapshot: Callable[[], Snapshot],
        health: Callable[[], Mapping[str, bool]],
        registry: CollectorRegistry,
    ) -> None:
        self._snapshot = snapshot
        self._health = health
        self._registry = registry
        self._exposition = Exposition()
        host, port = parse_listen(listen)
        self._server = _Server((host, port), _Handler, ":" in host)
        self._server.set_app(self.app)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="prometheus", daemon=True
        )

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        self._thread.start()
        log.info("serving /metrics on %s port %d", *self.address)

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def metrics(self) -> bytes:
        """Return the whole body of /metrics."""
        return generate_latest(self._registry) + self._exposition.render(self._snapshot())

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        status, kind, body = self._answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        headers = [("Content-Type", kind), ("Vary", "Accept-Encoding")]
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, compresslevel=1)
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(body))))
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, method: str, path: str) -> tuple[str, str, bytes]:
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", "text/plain", b"only GET and HEAD\n"
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE, self.metrics()
        if path == "/healthz":
            return self._healthz()
        if path == "/":
            return "200 OK", "text/html; charset=utf-8", _page(self._snapshot(), self._health())
        return "404 Not Found", "text/plain", b"there are /, /metrics and /healthz\n"

    def _healthz(self) -> tuple[str, str, bytes]:
        sources = dict(self._health())
        healthy = any(sources.values())
        said = {"status": "ok" if healthy else "no source reads in time", "sources": sources}
        status = "200 OK" if healthy else "503 Service Unavailable"
        return status, "application/json", json.dumps(said).encode() + b"\n"


class _Server(ThreadingWSGIServer):
    """prometheus-client's server, for both families of addresses and without asking the DNS."""

    def __init__(self, address: tuple[str, int], handler: Any, v6: bool) -> None:
        self.address_family = socket.AF_INET6 if v6 else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def _page(snapshot: Snapshot, health: Mapping[str, bool]) -> bytes:
    sources = "".join(
        f"<li>{html.escape(name)}: {'reads' if up else 'does not read'}</li>"
        for name, up in health.items()
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>wattshed exporter</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 40rem;
padding: 0 1rem; color-scheme: light dark }}</style>
<h1>wattshed exporter</h1>
<p>Version {__version__}, reading {len(snapshot.devices)} devices.</p>
<ul>{sources}</ul>
<p><a href="/metrics">/metrics</a> for Prometheus, <a href="/healthz">/healthz</a> for probes</p>
</html>
""".encode()
