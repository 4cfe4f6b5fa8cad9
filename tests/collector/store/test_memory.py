"""What memory there is: of the machine, of the container, of the groups around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattshed_collector.store.memory import LEAST_ENGINE_BYTES, engine_bytes, limit_bytes

GIB = 2**30


def machine(root: Path, total_kib: int, cgroup: str, limits: dict[str, str]) -> Path:
    files = {
        "proc/meminfo": f"MemTotal:       {total_kib} kB\nMemFree:  1 kB\n",
        "proc/self/cgroup": cgroup,
        **{f"sys/fs/cgroup/{name}": text for name, text in limits.items()},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "limits", "found"),
    [
        ("0::/\n", {"memory.max": "2147483648\n"}, 2 * GIB),
        ("0::/\n", {"memory.max": "max\n"}, 16 * GIB),
        ("0::/a.slice/b\n", {"a.slice/memory.max": "1073741824", "a.slice/b/memory.max": "max"},
         GIB),
        ("0::/a/b\n", {"a/memory.max": "3221225472", "a/b/memory.max": "1073741824"}, GIB),
        ("5:cpu:/x\n4:memory,x:/docker/1\n0::/\n",
         {"memory/docker/1/memory.limit_in_bytes": "1073741824"}, GIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 16 * GIB),
        ("", {}, 16 * GIB),
    ],
)  # fmt: skip
def test_the_least_limit_counts(
    tmp_path: Path, cgroup: str, limits: dict[str, str], found: int
) -> None:
    root = machine(tmp_path, 16 * 2**20, cgroup, limits)
    assert limit_bytes(root) == found
    assert engine_bytes(root) == found // 2


def test_a_small_container_leaves_the_engine_what_it_needs(tmp_path: Path) -> None:
    root = machine(tmp_path, 16 * 2**20, "0::/\n", {"memory.max": "268435456"})
    assert engine_bytes(root) == LEAST_ENGINE_BYTES


def test_where_nothing_is_known_the_engine_chooses(tmp_path: Path) -> None:
    assert limit_bytes(tmp_path) is None
    assert engine_bytes(tmp_path) == 0


def test_this_machine_says_what_it_has() -> None:
    assert (limit_bytes() or 0) > 2**28
