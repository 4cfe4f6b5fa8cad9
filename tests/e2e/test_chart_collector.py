"""A collector process with exactly what the chart renders, its volumes laid as a kubelet would."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.fixtures.programs import program, until
from tests.helm.chart import one, render
from tests.helm.mounts import IMAGE, laid, secret_texts

from wattshed_collector.address import find
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

pytestmark = pytest.mark.e2e


def pushed() -> bytes:
    device = Device("d", Kind.GPU, "n", "nvml")
    tick = Tick("d", int(time.time() * 1000) - 1000, 1000, Method.INTEGRAL, power_watts=10.0)
    return Encoder({"wattshed.node": "n"}, "0").request(Batch(devices=(device,), ticks=(tick,)))


def status(url: str, token: str = "", body: bytes | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers["Content-Type"] = "application/x-protobuf"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=body, headers=headers), timeout=20
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_starts_is_ready_and_knows_its_tokens(tmp_path: Path) -> None:
    objects = render({"exporter": {"enabled": False}})
    pod = one(objects, "StatefulSet", "w-wattshed-collector")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    laid(pod, container, objects, {}, tmp_path)
    tokens = secret_texts(one(objects, "Secret", "w-wattshed-tokens"))
    flag, file = container["args"]
    log, data = tmp_path / "log", tmp_path / "var/lib/wattshed"
    flags = (flag, f"{tmp_path}{file}", "--listen=127.0.0.1:0")
    environ = {**IMAGE, **{entry["name"]: entry["value"] for entry in container["env"]}}
    assert environ["WATTSHED_COLLECTOR_DATA"] == "/var/lib/wattshed"
    environ["WATTSHED_COLLECTOR_DATA"] = str(data)
    with program(log, "wattshed_collector", *flags, **environ) as process:
        until(lambda: find(data) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        url = find(data)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert status(f"{url}{container[probe]['httpGet']['path']}") == 200
        push = f"{url}/v1/metrics"
        assert status(push, "", pushed()) == 401
        assert status(push, "another word", pushed()) == 401
        assert status(push, tokens["read"], pushed()) == 403
        assert status(push, tokens["ingest"], pushed()) == 200
        assert status(f"{url}/metrics", tokens["ingest"]) == 403
        assert status(f"{url}/metrics", tokens["metrics"]) == 200
        assert status(f"{url}/v1/status", tokens["read"]) == 200
