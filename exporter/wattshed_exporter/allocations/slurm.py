"""Slurm: which job has which GPU, by the map that a prolog writes, and who the job is.

The map is a folder with one file per GPU, named by its index in gres.conf (``3``), by index and GPU
instance (``3.1``) or by the UUID of a MIG device, with a job id on each line; several lines share.
dcgm-exporter reads the same (``--hpc-job-mapping-dir``), and jobstats' ``job uid`` is understood.
Our own prolog puts a file of facts for each job beside it, in ``jobs``. Where a job is not in the
map its environment may name its GPUs. What a reboot or a failed epilog left behind is counted and
holds nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Kind
from wattshed_exporter.sources.sysfs import read_file

from . import Claim, Meters, Told
from .slurm_jobs import Facts, Jobs, user_name

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

PLACE = re.compile(r"(?P<gpu>[0-9]{1,4})(?:\.(?P<part>[0-9]{1,4}))?|(?P<uuid>MIG-[\w-]{1,64})")
LINE = re.compile(r"([0-9]{1,10})(?:[ \t]+([0-9]{1,10}))?")
STARTING_MS = 60_000
"""So long after it was written down a job may still be without a cgroup."""
FIELDS = {"name": "name", "user": "owner", "account": "project", "partition": "queue"}
"""Field of a workload by fact."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A job in the map: the name of the file, and when it was written down."""

    place: str
    job: str
    uid: str
    written_ms: int


class SlurmAllocator:
    """Reads the map at each round; ``about`` and shares also use facts of prolog and processes."""

    name = "slurm"

    def __init__(
        self,
        job_map: Path,
        jobs: Jobs,
        *,
        node: str = "",
        gpu_order: Sequence[str] = (),
        shards_per_gpu: int = 0,
        procfs: Path = Path("/proc"),
    ) -> None:
        self._map = job_map
        self._jobs = jobs
        self._node = node
        self._gpu_order = gpu_order
        self._shards_per_gpu = shards_per_gpu
        self._procfs = procfs

    def read(self, meters: Meters) -> Told:
        """Return the claims of this node's jobs.

        Raises:
            NoData: there is neither a map nor a job.
            SourceError: the map is there and cannot be read.
        """
        rejected: Counter[str] = Counter()
        entries = self._entries(rejected)
        seen = self._jobs.look(process.pid for process in meters.processes)
        if entries is None and not seen:
            raise NoData(f"{self._map} is not there, and no job of Slurm runs")
        standing = [e for e in entries or () if self._stands(e, meters.ts_ms, rejected)]
        facts = {e.job: {**seen.get(e.job, {}), **self._written(e.job)} for e in standing}
        for entry in standing:
            if entry.uid and "user" not in facts[entry.job]:
                facts[entry.job]["user"] = user_name(int(entry.uid))
        facts.update({job: dict(more) for job, more in seen.items() if job not in facts})
        places = _holders(standing, facts)
        claims = list(self._claims(places, facts, meters, rejected))
        about = {f"slurm:{job}": _about(job, facts[job]) for job in facts}
        return Told(claims, about, rejected=+rejected)

    def close(self) -> None:
        """Nothing is kept open."""

    def _entries(self, rejected: Counter[str]) -> list[Entry] | None:
        try:
            names = sorted(file.name for file in self._map.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            reason = "permission" if isinstance(error, PermissionError) else "io_error"
            raise SourceError(f"{self._map} cannot be listed: {error}", reason) from error
        return [e for name in names if PLACE.fullmatch(name) for e in self._lines(name, rejected)]

    def _lines(self, name: str, rejected: Counter[str]) -> Iterator[Entry]:
        try:
            text = read_file(self._map / name).decode(errors="replace")
        except SourceError as error:
            # Where it has vanished the epilog was quicker.
            rejected["unreadable_map"] += error.reason != "vanished"
            return
        for line in dict.fromkeys(filter(None, map(str.strip, text.splitlines()))):
            if found := LINE.fullmatch(line):
                written = self._written_ms(found[1], name)
                yield Entry(name, found[1], found[2] or "", written)
            else:
                rejected["malformed_map"] += 1

    def _written_ms(self, job: str, name: str) -> int:
        """When the job's facts were written, else when the file of the GPU was last."""
        for file in (self._map / "jobs" / job, self._map / name):
            try:
                return int(file.stat().st_mtime * 1000)
            except OSError:
                continue
        return 0

    def _stands(self, entry: Entry, now_ms: int, rejected: Counter[str]) -> bool:
        if entry.written_ms < _boot_ms(self._procfs):
            rejected["stale_map"] += 1
            return False
        gone = self._jobs.contained and entry.job not in self._jobs.in_cgroups
        if gone and now_ms - entry.written_ms > STARTING_MS:
            rejected["job_gone"] += 1
            return False
        return True

    def _written(self, job: str) -> dict[str, str]:
        try:
            text = read_file(self._map / "jobs" / job).decode(errors="replace")
        except SourceError:
            return {}
        pairs = (line.partition("=") for line in text.splitlines())
        return {name: value for name, _, value in pairs if value}

    def _claims(
        self,
        places: Mapping[str, Sequence[str]],
        facts: Mapping[str, Facts],
        meters: Meters,
        rejected: Counter[str],
    ) -> Iterator[Claim]:
        held = Counter(job for holders in places.values() for job in holders)
        for place, holders in places.items():
            parts = self._parts(holders, facts, held)
            for device in self._devices(place, meters, rejected):
                for job, part in parts.items():
                    yield Claim(device, f"slurm:{job}", part, method="slurm")

    def _devices(self, place: str, meters: Meters, rejected: Counter[str]) -> Sequence[str]:
        """Return what a file of the map stands for: a board, or instances of MIG by UUID."""
        name = PLACE.fullmatch(place)
        assert name is not None
        if name["uuid"]:
            found = [i.uuid for i in meters.instances if i.uuid == place]
        else:
            device = self._gpu(int(name["gpu"]), meters.devices, rejected)
            if not device or name["part"] is None:
                return [device] if device else ()
            part = f"{name['part']}/"
            told = (i for i in meters.instances if i.device == device)
            found = [i.uuid for i in told if i.name.startswith(part)]
        rejected["unknown_instance"] += not found
        return found

    def _gpu(self, index: int, devices: Mapping[str, Device], rejected: Counter[str]) -> str:
        if self._gpu_order:
            found = [u for u in self._gpu_order[index : index + 1] if u in devices]
        else:
            named = [d for d in devices.values() if d.kind is Kind.GPU and d.name == f"gpu{index}"]
            here = [d for d in named if d.node == self._node]
            found = [d.key for d in (here if len(named) > 1 else named)]
        if len(found) == 1:
            return found[0]
        rejected["ambiguous_gpu" if found else "unknown_gpu"] += 1
        return ""

    def _parts(
        self, holders: Sequence[str], facts: Mapping[str, Facts], held: Mapping[str, int]
    ) -> dict[str, float]:
        """Return each job's part of what they share: as Slurm said, and the rest in equal parts."""
        shards = {job: _number(facts[job], "shards") / held[job] for job in holders}
        every = float(self._shards_per_gpu)
        if not every and all(shards.values()):
            every = sum(shards.values())
        said = {job: shards[job] / every for job in holders if shards[job] and every}
        for job in holders:
            percent = _number(facts[job], "mps_percent")
            if not percent and len(holders) > 1:
                # Alone on a GPU a job may have chosen it for processes of its own.
                percent = _number(facts[job], "mps_process_percent")
            if 0 < percent <= 100:
                said.setdefault(job, percent / 100)
        silent = [job for job in holders if job not in said]
        left = max(0.0, 1.0 - sum(said.values()))
        return {**{job: min(1.0, part) for job, part in said.items()},
                **{job: left / len(silent) for job in silent}}  # fmt: skip


def create(config: Config) -> SlurmAllocator:
    """Build the plug-in as configured."""
    slurm, roots = config.allocations.slurm, config.roots
    return SlurmAllocator(
        slurm.job_map,
        Jobs(roots.procfs, roots.cgroupfs),
        node=config.node,
        gpu_order=slurm.gpu_order,
        shards_per_gpu=slurm.shards_per_gpu,
        procfs=roots.procfs,
    )


def _holders(entries: Sequence[Entry], facts: Mapping[str, Facts]) -> dict[str, list[str]]:
    """Return the jobs by place: as the map says, and where a job is not in it, as it says."""
    places: dict[str, list[str]] = {}
    for entry in entries:
        places.setdefault(entry.place, []).append(entry.job)
    mapped = {entry.job for entry in entries}
    for job, known in facts.items():
        if job not in mapped:
            for index in known.get("gpus", "").split(","):
                if re.fullmatch(r"[0-9]{1,4}", index):
                    places.setdefault(index, []).append(job)
    return places


def _about(job: str, facts: Facts) -> dict[str, str]:
    about = {field: facts[fact] for fact, field in FIELDS.items() if facts.get(fact)}
    return {**about, "instance": job, "kind": "job"}


def _number(facts: Facts, name: str) -> float:
    text = facts.get(name, "")
    return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) else 0.0


def _boot_ms(procfs: Path) -> int:
    """When the kernel started, by ``btime`` of /proc/stat; 0 where that is not known."""
    try:
        found = re.search(rb"^btime (\d{1,12})$", (procfs / "stat").read_bytes(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1000 if found else 0
