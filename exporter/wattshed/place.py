"""Where outcomes go and whose they are, by what the environment says of this process.

The key of a workload has to be the one that its joules are charged to, so it is made as the node's
exporter makes it: ``slurm/<cluster or node>/<job>``, ``k8s/<cluster>/<uid of the pod>``.
"""

from __future__ import annotations

import json
import re
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

LOCAL = Path("/run/wattshed/outcomes.sock")
"""Where the exporter of this machine listens, if it was told to (``outcomes.socket``)."""
PATH = "/v1/outcomes"
PORTS = {"http": 80, "https": 443}
JOB = re.compile("[0-9]{1,10}")


class Fields(TypedDict, total=False):
    """What may be said of a workload beside its name."""

    key: str
    kind: str
    instance: str
    namespace: str
    team: str
    owner: str
    project: str
    cost_center: str
    queue: str
    model: str
    precision: str
    batch_class: str
    phase: str
    cluster: str


NAMES = frozenset({"name", *Fields.__annotations__})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who takes outcomes: over TCP (``scheme`` http or https), or through a socket file."""

    scheme: str
    host: str
    port: int
    path: str = PATH
    socket_file: str = ""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (0, PORTS[self.scheme]) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Access:
    """What is shown to the endpoint, and which authority its certificate is signed by."""

    token: str = ""
    user: str = ""
    password: str = ""
    ca_file: str = ""


def endpoint(url: str) -> Endpoint:
    """Take an URL apart, ``unix:`` and a path for a socket file. Raises ValueError."""
    if url.startswith("unix:"):
        file = url.removeprefix("unix:").replace("///", "/", 1)
        if not file.startswith("/"):
            raise ValueError(f"{url!r} does not name a socket file, such as unix:/run/x.sock")
        return Endpoint("http", "localhost", 0, socket_file=file)
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.username or parts.query:
        raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:9740")
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise ValueError(f"{url!r} holds a character that no request can carry")
    path = parts.path if parts.path.strip("/") else PATH
    return Endpoint(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], path)


def told_endpoint(environment: Mapping[str, str], local: Path = LOCAL) -> Endpoint | None:
    """Return where the environment sends outcomes, else this machine's exporter if it listens.

    Raises ValueError.
    """
    if url := environment.get("WATTSHED_OUTCOMES_URL", ""):
        return endpoint(url)
    try:
        listens = stat.S_ISSOCK(local.stat().st_mode)
    except OSError:
        return None
    return Endpoint("http", "localhost", 0, socket_file=str(local)) if listens else None


def told_access(environment: Mapping[str, str]) -> Access:
    """Return what the environment says that is to be shown."""
    names = ("TOKEN", "USER", "PASSWORD", "CA_FILE")
    return Access(*(environment.get(f"WATTSHED_OUTCOMES_{name}", "").strip() for name in names))


def told_workload(environment: Mapping[str, str], node: str) -> dict[str, str]:
    """Return the workload of this process, {} where nothing says which it is.

    ``WATTSHED_WORKLOAD`` is a key, or a JSON object with a key or with more of what is known.
    Raises ValueError where that cannot be read.
    """
    found = _of_slurm(environment, node) or _of_kubernetes(environment)
    said = environment.get("WATTSHED_WORKLOAD", "").strip()
    if said.startswith("{"):
        told = json.loads(said)
        if not all(isinstance(text, str) for text in told.values()):
            raise ValueError("WATTSHED_WORKLOAD holds what is no text")
        if unknown := sorted(told.keys() - NAMES):
            raise ValueError(f"WATTSHED_WORKLOAD: {unknown[0]} is not known")
        return {**found, **told}
    return {"key": said} if said else found


def described(found: Mapping[str, str], name: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return what is said of a workload called ``name``, where the environment has ``found`` one.

    Its key is that of the environment, so that its joules and its outcomes meet; without one it is
    the name. Raises TypeError where a field is none.
    """
    if unknown := sorted(fields.keys() - NAMES):
        raise TypeError(f"{unknown[0]} is nothing that a workload has; there are {sorted(NAMES)}")
    said = {"name": name, **fields} if name else dict(fields)
    key = said.get("key") or found.get("key") or name
    told = {**(found if key == found.get("key") else {}), **said, "key": key}
    return {field: text for field, text in told.items() if text}


def node_name() -> str:
    """Return the name of this machine, as the exporter has it."""
    return socket.gethostname()


def rank(environment: Mapping[str, str]) -> str:
    """Return which of several processes of a job this one is, "" where nothing says so."""
    names = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "LOCAL_RANK")
    return next((said for name in names if (said := environment.get(name, "")).isdecimal()), "")


def _of_slurm(environment: Mapping[str, str], node: str) -> dict[str, str]:
    job = environment.get("SLURM_JOB_ID", "")
    where = environment.get("WATTSHED_CLUSTER", "") or node
    return {"key": f"slurm/{where}/{job}"} if JOB.fullmatch(job) else {}


def _of_kubernetes(environment: Mapping[str, str]) -> dict[str, str]:
    uid = environment.get("POD_UID", "")
    parts = ("k8s", environment.get("WATTSHED_CLUSTER", ""), uid)
    return {"key": "/".join(part for part in parts if part)} if uid else {}
