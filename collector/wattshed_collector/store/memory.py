"""How much memory this process may use, and what of it the embedded engine gets.

The engine's own cap is loose: while a query that hits it is ended the process was seen at almost
twice the cap. So the engine gets half of what the container, or the machine, has.
Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max), proc(5), cgroups(7).
"""

from __future__ import annotations

from pathlib import Path

LEAST_ENGINE_BYTES = 256 * 2**20
ROOT = Path("/")


def limit_bytes(root: Path = ROOT) -> int | None:
    """Return the least of the machine's memory and the limits of all cgroups around us."""
    found = [_machine_bytes(root), *(_bytes(file) for file in _limits(root))]
    return min((size for size in found if size is not None), default=None)


def engine_bytes(root: Path = ROOT) -> int:
    """Return the cap of the embedded engine, 0 (its own choice) where nothing is known."""
    limit = limit_bytes(root)
    return 0 if limit is None else max(limit // 2, LEAST_ENGINE_BYTES)


def _machine_bytes(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return None


def _limits(root: Path) -> list[Path]:
    mount = root / "sys/fs/cgroup"
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        # A namespace shows the path from inside; outside of one the parents may limit us.
        group = Path(path.lstrip("/"))
        found += [folder / part / name for part in (group, *group.parents)]
    return found


def _bytes(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
