"""CPU time per sample of dcgm-exporter's pages: scraped, and by remote write.

``python bench/foreign.py --scrapes 6`` makes up ``--nodes`` machines of 8 GPUs that say what
dcgm-exporter's ``default-counters.csv`` lists, a pod on each GPU, and reads every instant once as
pages and once as requests of 2,000 samples, in the same order as Prometheus has them: parsing,
dialects and normaliser, without the store. It prints microseconds of this process's CPU time per
sample, of the best instant and of the first, in which whatever is remembered is learned, and what
the memory grew by.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import cramjam

from wattshed_collector.normalise.dialect import Origin, Sample, Series
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import BY_METRIC, Foreign
from wattshed_collector.normalise.samples import samples
from wattshed_collector.receivers import remote_write_pb as pb
from wattshed_collector.receivers.remote_write import RequestReader, decompress

START_MS = 1_768_471_200_000
STEP_MS = 15_000
PORTION = 2000
MOST_BYTES = 64 * 2**20
WRITTEN = Origin(interval_ms=STEP_MS, whole=False)
Step = Callable[[], int]
Known = tuple[Origin, dict[str, Series]]
GPUS = 8
FIELDS = (
    *("SM_CLOCK", "MEM_CLOCK", "MEMORY_TEMP", "GPU_TEMP", "POWER_USAGE"),
    *("TOTAL_ENERGY_CONSUMPTION", "PCIE_REPLAY_COUNTER", "GPU_UTIL", "MEM_COPY_UTIL"),
    *("ENC_UTIL", "DEC_UTIL", "XID_ERRORS", "FB_FREE", "FB_USED", "NVLINK_BANDWIDTH_TOTAL"),
    *("VGPU_LICENSE_STATUS", "UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS"),
    "ROW_REMAP_FAILURE",
)
"""The fields of the device in default-counters.csv."""


def labels(node: int, gpu: int) -> dict[str, str]:
    number = node * GPUS + gpu
    return {
        "gpu": str(gpu),
        "UUID": f"GPU-{number:08x}-1234-4c1e-9f00-{number:012x}",
        "pci_bus_id": f"00000000:{gpu:02X}:00.0",
        "device": f"nvidia{gpu}",
        "modelName": "NVIDIA H100 80GB HBM3",
        "Hostname": f"gpu-node-{node:04d}",
        "DCGM_FI_DRIVER_VERSION": "550.54.15",
        "container": "trainer",
        "namespace": "research",
        "pod": f"llm-train-{number:05d}",
    }


def value(field: str, number: int, at: int) -> float:
    if field == "TOTAL_ENERGY_CONSUMPTION":
        return 10**9 + at * (number % 700) * STEP_MS
    return float(at % 7 + number % 50)


def page(node: int, at: int) -> str:
    lines = []
    for field in FIELDS:
        lines.append(f"# TYPE DCGM_FI_DEV_{field} gauge")
        for gpu in range(GPUS):
            told = ",".join(f'{name}="{text}"' for name, text in labels(node, gpu).items())
            said = value(field, node * GPUS + gpu, at)
            lines.append(f"DCGM_FI_DEV_{field}{{{told}}} {said:.6f}")
    return "\n".join(lines) + "\n"


def varint(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def requests(nodes: int, at: int, at_ms: int) -> list[bytes]:
    """Return what Prometheus sends of one instant."""
    found: list[bytes] = []
    for node, field, gpu in itertools.product(range(nodes), FIELDS, range(GPUS)):
        series = pb.TimeSeries()
        target = {"job": "dcgm", "instance": f"10.0.{node}.7:9400", "cluster": "green"}
        named = {"__name__": f"DCGM_FI_DEV_{field}", **target, **labels(node, gpu)}
        for name, text in sorted(named.items()):
            series.labels.append(pb.Label(name=name, value=text).SerializeToString())
        series.samples.add(value=value(field, node * GPUS + gpu, at), timestamp=at_ms)
        raw = series.SerializeToString()
        found.append(b"\x0a" + varint(len(raw)) + raw)
    parts = [found[first : first + PORTION] for first in range(0, len(found), PORTION)]
    return [bytes(cramjam.snappy.compress_raw(b"".join(part))) for part in parts]


def measured(what: str, instants: Iterator[Step]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent, count = list[float](), 0
    for read in instants:
        begun = time.process_time()
        count = read()
        spent.append((time.process_time() - begun) / count * 1e6)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{what}: {min(spent[1:]):.1f} us per sample ({spent[0]:.1f} of the first instant), "
        f"{count} samples an instant, memory {grown:+.0f} MiB"
    )


class Reading:
    """What both receivers do with samples, up to the batch that would be written."""

    def __init__(self) -> None:
        self._foreign = Foreign()
        self._normaliser = Normaliser(Limits(oldest_seconds=0))
        self.rejected: Counter[str] = Counter()

    def take(self, said: Iterable[Sample], origin: Origin) -> None:
        found, _ = self._foreign.points(said, origin, self.rejected)
        self._normaliser.batch(found, self.rejected)


def scraped(nodes: int, at: int, at_ms: int, reading: Reading, known: list[Known]) -> Step:
    pages = [page(node, at) for node in range(nodes)]

    def read() -> int:
        count = 0
        for text, (origin, remembered) in zip(pages, known, strict=True):
            said = samples(text, at_ms, remembered, BY_METRIC)
            count += len(said)
            reading.take(said, origin)
        return count

    return read


def written(nodes: int, at: int, at_ms: int, reading: Reading, reader: RequestReader) -> Step:
    bodies = requests(nodes, at, at_ms)

    def read() -> int:
        count = 0
        for body in bodies:
            said, _, others = reader.read(decompress(body, MOST_BYTES), reading.rejected)
            count += len(said) + others
            reading.take(said, WRITTEN)
        return count

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=125)
    parser.add_argument("--scrapes", type=int, default=6, help="at least 2")
    told = parser.parse_args()
    times = [(at, START_MS + at * STEP_MS) for at in range(told.scrapes)]
    reading, reader = Reading(), RequestReader()
    measured("remote write", (written(told.nodes, *when, reading, reader) for when in times))
    reading = Reading()
    known: list[Known] = [
        (Origin(f"10.0.{node}.7:9400", interval_ms=STEP_MS), {}) for node in range(told.nodes)
    ]
    measured("scrape", (scraped(told.nodes, *when, reading, known) for when in times))


if __name__ == "__main__":
    main()
