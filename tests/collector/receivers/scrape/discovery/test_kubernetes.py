"""Kubernetes' objects to targets, and a watch that survives what servers do.

The API server is a stand-in (``tests.fixtures.kube``) that speaks HTTP and the watch protocol.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures import kube
from tests.fixtures.kube import CUT, Kube

from wattshed_collector.config import KubernetesSd, Role, Tls
from wattshed_collector.receivers.scrape.discovery.kubernetes import Kubernetes
from wattshed_collector.receivers.scrape.discovery.kubernetes_labels import endpointslice, pod

META = "__meta_kubernetes_"


def meter(uid: str, name: str, ip: str = "10.0.0.1", **metadata: Any) -> kube.Json:
    """Make a pod with an address and a port."""
    made = kube.pod(uid, name, **metadata)
    made["status"] |= {"podIP": ip, "hostIP": "10.1.1.1"}
    made["spec"]["containers"][0]["ports"] = [{"name": "metrics", "containerPort": 9741}]
    return made


class Follower:
    """What a discovery knows at the moment."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.failures: list[str] = []

    def put(self, source: str, found: Any) -> None:
        self.known[source] = [labels["__address__"] for labels in found]
        if not found:
            del self.known[source]

    def failing(self, reason: str, message: str) -> None:
        self.failures.append(reason)

    async def until(self, done: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not done():  # noqa: ASYNC110 (the server is in another thread)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def following(api: Kube, **how: Any) -> AsyncIterator[Follower]:
    follower = Follower()
    options = KubernetesSd(api_server=api.url, **how)
    discovery = Kubernetes(options, pause_seconds=0.02)
    task = asyncio.create_task(discovery.run(follower.put, follower.failing))
    try:
        yield follower
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_watch_follows_pods_through_whatever_servers_do() -> None:
    with kube.serving(Kube()) as api:
        api.put(meter("u1", "one"))
        async with following(api, field_selector="spec.nodeName=n1") as seen:
            await seen.until(lambda: seen.known == {"ml/one": ["10.0.0.1:9741"]})
            await seen.until(lambda: api.watches == 1)
            api.put(meter("u2", "two", "10.0.0.2"))
            await seen.until(lambda: len(seen.known) == 2)
            api.remove("u1")
            await seen.until(lambda: seen.known == {"ml/two": ["10.0.0.2:9741"]})
            # A watch that ends is taken up where the last bookmark was.
            version = str(api.bookmark())
            api.end_watches()
            await seen.until(lambda: api.watches == 2)
            assert api.asked[-1][1]["resourceVersion"] == version
            # One that breaks off in the middle of an event as well.
            api.say(CUT)
            await seen.until(lambda: api.watches == 3)
            # A version that is gone means a list, and what left meanwhile is let go.
            api.refuse = 503
            api.end_watches()
            await seen.until(lambda: "status" in seen.failures)
            api.remove("u2")
            api.put(meter("u3", "three", "10.0.0.3"))
            api.forget()
            api.refuse = 0
            await seen.until(lambda: seen.known == {"ml/three": ["10.0.0.3:9741"]})
            lists = [query for _, query in api.asked if "watch" not in query]
            assert len(lists) == 2
            assert lists[0]["fieldSelector"] == "spec.nodeName=n1"


async def test_events_that_make_no_sense_end_nothing() -> None:
    with kube.serving(Kube()) as api:
        api.put(meter("u1", "one"))
        async with following(api) as seen:
            await seen.until(lambda: api.watches == 1)
            api.say(b'{"type": "MODIFIED", "object": {"metadata": [1]}}\n')
            api.say(b'{"type": "BOOKMARK", "object": {"metadata": "x"}}\n')
            api.say(b"[" * 100_000 + b"\n")
            await seen.until(lambda: "malformed" in seen.failures)
            api.put(meter("u2", "two", "10.0.0.2"))
            await seen.until(lambda: len(seen.known) == 2)


async def test_the_token_is_read_anew_and_only_sent_over_tls(
    certificates: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    how = {"token_file": str(token), "tls": Tls(ca_file=str(certificates / "ca.pem"))}
    with kube.serving(Kube(certificates)) as api:
        api.token = "new"
        api.put(meter("u1", "one"))
        async with following(api, **how) as seen:
            await seen.until(lambda: seen.failures)
            assert (seen.failures[0], seen.known) == ("status", {})
            token.write_text("new")
            await seen.until(lambda: seen.known)
    with kube.serving(Kube()) as plain:
        async with following(plain, **how) as seen:
            await seen.until(lambda: plain.watches)
        assert set(plain.tokens) == {""}


async def test_the_usual_annotations_say_what_is_scraped() -> None:
    def annotated(uid: str, ip: str, **told: str) -> kube.Json:
        annotations = {f"prometheus.io/{name}": text for name, text in told.items()}
        return meter(uid, uid, ip, annotations=annotations)

    with kube.serving(Kube()) as api:
        api.put(annotated("u1", "10.0.0.1", scrape="true", port="8080"))
        api.put(annotated("u2", "10.0.0.2", scrape="false"))
        api.put(annotated("u3", "fd00::3", scrape="true", port="8080"))
        api.put(meter("u4", "u4"))
        api.put(annotated("u5", "10.0.0.5", scrape="true"))
        async with following(api, annotations=True) as seen:
            await seen.until(lambda: seen.known)
            assert seen.known == {
                "ml/u1": ["10.0.0.1:8080"],
                "ml/u3": ["[fd00::3]:8080"],
                "ml/u5": ["10.0.0.5:9741"],
            }


def test_a_pod_is_labelled_as_prometheus_does() -> None:
    owner = {"kind": "DaemonSet", "name": "meters", "controller": True}
    value = meter(
        "u1", "one", labels={"app.kubernetes.io/name": "m"}, annotations={"a/b": "c"},
        ownerReferences=[{"kind": "Other", "name": "x"}, owner],
    )  # fmt: skip
    value["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    value["spec"]["initContainers"] = [{"name": "init", "image": "y"}]
    main, init = pod(value)
    assert main == {
        "__address__": "10.0.0.1:9741",
        f"{META}namespace": "ml",
        f"{META}pod_name": "one",
        f"{META}pod_ip": "10.0.0.1",
        f"{META}pod_uid": "u1",
        f"{META}pod_ready": "true",
        f"{META}pod_phase": "Running",
        f"{META}pod_node_name": "n1",
        f"{META}pod_host_ip": "10.1.1.1",
        f"{META}pod_controller_kind": "DaemonSet",
        f"{META}pod_controller_name": "meters",
        f"{META}pod_label_app_kubernetes_io_name": "m",
        f"{META}pod_labelpresent_app_kubernetes_io_name": "true",
        f"{META}pod_annotation_a_b": "c",
        f"{META}pod_annotationpresent_a_b": "true",
        f"{META}pod_container_name": "main",
        f"{META}pod_container_id": f"containerd://{'1' * 64}",
        f"{META}pod_container_image": "x",
        f"{META}pod_container_init": "false",
        f"{META}pod_container_port_name": "metrics",
        f"{META}pod_container_port_number": "9741",
        f"{META}pod_container_port_protocol": "TCP",
    }
    assert (init["__address__"], init[f"{META}pod_container_init"]) == ("10.0.0.1", "true")
    del value["status"]["podIP"]
    assert pod(value) == []


def test_an_endpoint_slice_is_labelled_as_prometheus_does() -> None:
    value = {
        "metadata": {
            "name": "m-1", "namespace": "ml", "labels": {"kubernetes.io/service-name": "m"},
        },
        "addressType": "IPv6",
        "ports": [{"name": "metrics", "port": 9741, "protocol": "TCP", "appProtocol": None}],
        "endpoints": [
            {
                "addresses": ["fd00::1"],
                "conditions": {"ready": True, "serving": None, "terminating": False},
                "nodeName": "n1",
                "zone": "z",
                "targetRef": {"kind": "Pod", "name": "m-x", "uid": "u1"},
            },
            {"addresses": ["fd00::2"]},
            {"addresses": 1},
        ],
    }  # fmt: skip
    first, second = endpointslice(value)
    assert {name: text for name, text in first.items() if text} == {
        "__address__": "[fd00::1]:9741",
        f"{META}namespace": "ml",
        f"{META}service_name": "m",
        f"{META}endpointslice_name": "m-1",
        f"{META}endpointslice_address_type": "IPv6",
        f"{META}endpointslice_label_kubernetes_io_service_name": "m",
        f"{META}endpointslice_labelpresent_kubernetes_io_service_name": "true",
        f"{META}endpointslice_port": "9741",
        f"{META}endpointslice_port_name": "metrics",
        f"{META}endpointslice_port_protocol": "TCP",
        f"{META}endpointslice_endpoint_conditions_ready": "true",
        f"{META}endpointslice_endpoint_conditions_terminating": "false",
        f"{META}endpointslice_endpoint_node_name": "n1",
        f"{META}endpointslice_endpoint_zone": "z",
        f"{META}endpointslice_address_target_kind": "Pod",
        f"{META}endpointslice_address_target_name": "m-x",
        f"{META}pod_name": "m-x",
        f"{META}pod_uid": "u1",
    }
    assert second["__address__"] == "[fd00::2]:9741"


@pytest.mark.parametrize("read", [pod, endpointslice])
@pytest.mark.parametrize("odd", [None, 1, "x", [1], {"a": [1]}])
def test_an_odd_object_is_none(read: Callable[[kube.Json], object], odd: Any) -> None:
    keys = ("metadata", "spec", "status", "ports", "endpoints")
    assert read(dict.fromkeys(keys, odd)) == []


def test_where_the_api_server_is() -> None:
    async def asked(environ: dict[str, str], **how: Any) -> str:
        discovery = Kubernetes(KubernetesSd(**how), "ml", environ=environ)
        failures: list[str] = []
        task = asyncio.create_task(
            discovery.run(lambda *_: None, lambda _, message: failures.append(message))
        )
        async with asyncio.timeout(5):
            while not failures:  # noqa: ASYNC110 (no event tells it)
                await asyncio.sleep(0.01)
        task.cancel()
        return failures[0]

    where = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "6443"}
    said = asyncio.run(asked(where, role=Role.ENDPOINTSLICE, token_file="/absent"))
    path = "/apis/discovery.k8s.io/v1/namespaces/ml/endpointslices"
    assert said.startswith(f"https://[::1]:6443{path}: /absent: cannot be used")
    said = json.dumps(asyncio.run(asked(where, api_server="http://127.0.0.1:1")))
    assert "http://127.0.0.1:1/api/v1/namespaces/ml/pods" in said
