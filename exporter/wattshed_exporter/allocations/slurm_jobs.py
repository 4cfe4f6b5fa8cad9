"""What the kernel shows of Slurm's jobs on this node: their cgroups and what their processes know.

Slurm keeps a cgroup for each job where its plug-in proctrack/cgroup or task/cgroup runs. The
environment of a job's first processes says its name, account, partition and GPUs; reading it needs
CAP_SYS_PTRACE, and where that is missing the owner of the process is still known.
Source: cgroup layouts of src/plugins/cgroup in Slurm; "Output Environment Variables" of sbatch(1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Facts = Mapping[str, str]
"""Any of user, account, partition, name, gpus, shards, and mps_percent as Slurm gave it or
mps_process_percent as a process has it."""

VARIABLES = {
    "SLURM_JOB_USER": "user",
    "SLURM_JOB_ACCOUNT": "account",
    "SLURM_JOB_PARTITION": "partition",
    "SLURM_JOB_NAME": "name",
    "SLURM_STEP_GPUS": "gpus",
    "SLURM_JOB_GPUS": "gpus",
    "SLURM_SHARDS_ON_NODE": "shards",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "mps_process_percent",
}
"""Which fact a variable tells; of two with one fact the later counts."""
LONGEST_VALUE = 1024
WANTED = re.compile(
    rb"(?:^|\0)(%s)=([^\0]{0,%d})"
    % ("|".join(("SLURM_JOB_ID", *VARIABLES)).encode(), LONGEST_VALUE)
)
"""Nothing else is taken out of an environment, where people keep their secrets."""
LAYOUTS = (
    "system.slice/*slurmstepd.scope/job_*",
    "unified/system.slice/*slurmstepd.scope/job_*",
    *(
        f"{controller}/slurm*/uid_*/job_*"
        for controller in ("freezer", "cpuset", "memory", "cpuacct", "cpu,cpuacct", "devices")
    ),
)
"""cgroup v2, hybrid, and v1 by controller, below the mount point of cgroups."""
JOB = re.compile("[0-9]{1,10}")
PROCESSES = ("step_*/user/task_*/cgroup.procs", "step_*/task_*/cgroup.procs")
MOST_PROCESSES = 8
"""So many processes of a job are asked before the next round tries again."""


class Jobs:
    """The jobs of this node as the kernel shows them; each is asked until it has said who it is.

    ``contained`` tells whether every job keeps a cgroup for as long as it lives: it does where the
    step ``extern`` was seen, because ``PrologFlags=Contain`` then makes it with each allocation.
    """

    def __init__(self, procfs: Path, cgroupfs: Path) -> None:
        self.contained = False
        self.in_cgroups: frozenset[str] = frozenset()
        self._procfs = procfs
        self._cgroups = cgroupfs
        self._known: dict[str, Facts] = {}
        self._job_of: dict[int, str] = {}

    def look(self, pids: Iterable[int]) -> Mapping[str, Facts]:
        """Return what is known by job id, of those in cgroups and those of ``pids``."""
        folders = self._folders()
        self.in_cgroups = frozenset(folders)
        self.contained |= any((folder / "step_extern").is_dir() for folder in folders.values())
        for job, folder in folders.items():
            if job not in self._known:
                self._learn(job, _processes(folder))
        self._follow(frozenset(pids))
        alive = self.in_cgroups | set(self._job_of.values())
        self._known = {job: facts for job, facts in self._known.items() if job in alive}
        return self._known

    def _folders(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for layout in LAYOUTS:
            for folder in self._cgroups.glob(layout):
                job = folder.name.removeprefix("job_")
                if JOB.fullmatch(job):
                    found.setdefault(job, folder)
        return found

    def _learn(self, job: str, pids: Iterable[int]) -> None:
        user = ""
        for pid, _ in zip(pids, range(MOST_PROCESSES), strict=False):
            variables = read_environ(self._procfs / str(pid))
            user = user or _owner(self._procfs / str(pid))
            if variables.get("SLURM_JOB_ID") == job:
                self._known[job] = _facts(variables, user)
                return
        if user:
            self._known[job] = {"user": user}

    def _follow(self, pids: frozenset[int]) -> None:
        self._job_of = {pid: job for pid, job in self._job_of.items() if pid in pids}
        for pid in pids - self._job_of.keys():
            variables = read_environ(self._procfs / str(pid))
            job = variables.get("SLURM_JOB_ID", "")
            # Where a job has a cgroup, one without is what somebody made up.
            is_job = JOB.fullmatch(job) and (not self.contained or job in self.in_cgroups)
            self._job_of[pid] = job if is_job else ""
            if is_job and job not in self._known:
                self._known[job] = _facts(variables, _owner(self._procfs / str(pid)))


def read_environ(process: Path) -> dict[str, str]:
    """Return Slurm's variables that a process started with; {} where it may not be read."""
    try:
        said = (process / "environ").read_bytes()
    except OSError:
        return {}
    return {name.decode(): value.decode(errors="replace") for name, value in WANTED.findall(said)}


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where nobody knows it."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _processes(folder: Path) -> Iterator[int]:
    for layout in PROCESSES:
        for file in folder.glob(layout):
            try:
                yield from (int(pid) for pid in file.read_text().split())
            except (OSError, ValueError):
                continue


def _owner(process: Path) -> str:
    try:
        return user_name(os.stat(process).st_uid)
    except OSError:
        return ""


def _facts(variables: Mapping[str, str], owner: str) -> Facts:
    facts = {fact: variables[name] for name, fact in VARIABLES.items() if variables.get(name)}
    # A job can put any name into its environment, but its processes belong to who they belong to.
    if owner and not owner.isdecimal():
        facts["user"] = owner
    return facts
