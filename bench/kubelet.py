"""What it costs a node to ask the kubelet and to watch its pods, beside grpcio and protobuf.

A real gRPC server and a real HTTP server, the tests' stand-ins, hold 110 pods, of which eight have
a GPU. Each client runs in a process of its own; memory is what is resident beyond a bare Python,
and CPU that of one round. Needs grpcio and protobuf: ``python -m bench.kubelet``.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

PODS, GPUS, ROUNDS = 110, 8, 100
METHOD = "/v1.PodResourcesLister/List"


def main() -> None:
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "held.json").write_text(json.dumps(held()))
        (folder / "pods.json").write_text(json.dumps({"pods": objects()}))
        socket = folder / "kubelet.sock"
        stack.enter_context(server("kubelet", str(socket), str(folder / "held.json")))
        kube = stack.enter_context(server("kube", str(folder / "pods.json")))
        assert kube.stdout is not None
        url = kube.stdout.readline().strip()
        while not socket.exists():
            time.sleep(0.01)
        for what in ("grpcio", "h2", "protobuf", "podresources", "pods"):
            subprocess.run(
                [sys.executable, "-m", "bench.kubelet", what, str(socket), url], check=True
            )


@contextmanager
def server(module: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of the tests' stand-ins as a process."""
    command = [sys.executable, "-m", f"tests.fixtures.{module}", *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def measure(what: str, socket: str, url: str) -> None:
    before, began = resident_kib(), time.process_time()
    do = CLIENTS[what](socket, url)
    do()
    first = time.process_time() - began
    began = time.process_time()
    for _ in range(ROUNDS):
        do()
    each = (time.process_time() - began) / ROUNDS
    took = (resident_kib() - before) / 1024
    threads = Path("/proc/self/status").read_text().partition("Threads:")[2].split()[0]
    print(
        f"{what:13} {took:6.1f} MiB {threads:>3} threads "
        f"{first * 1e3:6.1f} ms of CPU at first, then {each * 1e3:.2f} ms a round"
    )


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def grpcio(socket: str, url: str) -> Callable[[], object]:
    import grpc

    channel = grpc.insecure_channel(f"unix://{socket}")
    ask = channel.unary_unary(METHOD)
    return lambda: ask(b"", timeout=5)


def h2(socket: str, url: str) -> Callable[[], object]:
    from wattshed_exporter.allocations.unary_call import call

    return lambda: call(Path(socket), METHOD, b"", deadline_seconds=5, most_bytes=1 << 24)


def protobuf(socket: str, url: str) -> Callable[[], object]:
    """Import what generated code imports; nothing is read with it."""
    for module in ("descriptor_pool", "message_factory", "symbol_database"):
        importlib.import_module(f"google.protobuf.{module}")
    return lambda: None


def podresources(socket: str, url: str) -> Callable[[], object]:
    from wattshed_exporter.allocations import Meters
    from wattshed_exporter.allocations.podresources import PodResources
    from wattshed_exporter.model import Device, Kind

    devices = {f"GPU-{n}": Device(f"GPU-{n}", Kind.GPU, "n1", "nvml") for n in range(GPUS)}
    plugin = PodResources(configured(socket, url), {})
    assert len(plugin.read(Meters(0, devices)).claims) == GPUS
    return lambda: plugin.read(Meters(0, devices))


def pods(socket: str, url: str) -> Callable[[], object]:
    from wattshed_exporter.allocations import Meters
    from wattshed_exporter.allocations.pods import Pods

    plugin = Pods(configured(socket, url), {})
    assert len(plugin.read(Meters(0)).about) == PODS
    return lambda: plugin.read(Meters(0))


def configured(socket: str, url: str) -> Config:
    from wattshed_exporter.allocations.options import Allocations, Kubernetes
    from wattshed_exporter.config import Config

    kubernetes = Kubernetes(podresources_socket=Path(socket), api=url)
    return Config(node="n1", allocations=Allocations(kubernetes=kubernetes))


CLIENTS = {f.__name__: f for f in (grpcio, h2, protobuf, podresources, pods)}


def held() -> list[dict[str, object]]:
    """Make what the kubelet says: every pod with CPUs, eight of them with a GPU each."""
    resource = "nvidia.com/gpu"
    return [
        {
            "name": f"train-{n}-7d4b9c-x{n}",
            "namespace": "ml",
            "containers": [
                {
                    "name": "main",
                    "cpu_ids": list(range(16)),
                    "devices": [{"resource_name": resource, "device_ids": [f"GPU-{n}"]}]
                    if n < GPUS
                    else [],
                }
            ],
        }
        for n in range(PODS)
    ]


def objects() -> list[dict[str, object]]:
    """Make pods of some 12 kB each, as the API has them: mostly what nobody here needs."""
    from tests.fixtures.kube import pod

    made = []
    for n in range(PODS):
        labels = {"app": f"train-{n}", "team": "nlp", "pod-template-hash": "7d4b9c"}
        value = pod(f"0a1b2c3d-0000-1111-2222-{n:012}", f"train-{n}-7d4b9c-x{n}", labels=labels)
        value["metadata"]["managedFields"] = [{"fieldsV1": {f"f:{k}": {} for k in range(200)}}] * 2
        value["spec"]["volumes"] = [{"name": f"v{k}", "emptyDir": {}} for k in range(40)]
        value["spec"]["containers"] *= 3
        made.append(value)
    return made


if __name__ == "__main__":
    main()
