"""The walk of cgroups and what is taken from it, against a full walk and a plain sum."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.cgroups import OTHER_POD, POD, hierarchies, made, write

from wattshed_exporter.allocations.cgroup_paths import parse
from wattshed_exporter.allocations.cgroup_tree import Layout, Tree, find_layout
from wattshed_exporter.allocations.cgroup_usage import CpuTime, parse_cpus
from wattshed_exporter.errors import NoData

NAMES = ("docker", "a" * 64, "b" * 64, f"pod{POD}", f"pod{OTHER_POD}", "x.service", "plain")
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
usage = st.integers(0, 10**6).map(lambda usec: usec * 1000)
trees = st.sets(paths, max_size=8)


def walked(tree: Tree) -> set[str]:
    tree.walk()
    return {group.path for group in tree.groups()}


def fully_walked(top: Path) -> set[str]:
    found = (os.path.relpath(folder, top) for folder, _, _ in os.walk(top))
    return {"" if path == "." else f"/{path}" for path in found}


@settings(max_examples=40)
@given(st.lists(trees, min_size=1, max_size=4))
def test_real_cgroups_that_come_and_go_are_found_as_by_a_full_walk(rounds: list[set[str]]) -> None:
    _, top = hierarchies(2)
    with made(top, "wattshed-walk"):
        under = top / "wattshed-walk"
        tree = Tree(Layout(str(under), 2, None, None))
        for there in rounds:
            with ExitStack() as stack:
                for path in sorted(there):
                    stack.enter_context(made(under, path))
                assert walked(tree) == fully_walked(under)
        assert walked(tree) == {""}


def test_what_whoever_nests_cgroups_can_make_us_keep_is_bounded(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(6):
        for number in range(8):
            (folder / f"x{number}").mkdir()
        folder /= "x0"
    tree = Tree(Layout(str(tmp_path), 2, None, None), most=10)
    for _ in range(3):
        assert len(walked(tree)) == 10
        assert tree.left_out > 0
    shutil.rmtree(tmp_path / "x0")
    assert walked(tree) == fully_walked(tmp_path)
    assert tree.left_out == 0


def count(top: Path, own: dict[str, int]) -> None:
    """Write what cgroups used in both versions, each with what lies below it."""
    for path in own:
        total = sum(ns for p, ns in own.items() if f"{p}/".startswith(f"{path}/"))
        usec = f"user_usec 1\nusage_usec {total // 1000}"
        write(top / path[1:], {"cpuacct.usage": total, "cpu.stat": usec})


@settings(max_examples=40)
@given(trees, st.data(), st.sampled_from([1, 2]))
def test_every_nanosecond_goes_to_the_holder_of_the_cgroup_in_which_it_passed(
    there: set[str], data: st.DataObject, version: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for path in there:
            (top / path).mkdir(parents=True, exist_ok=True)
        everywhere = sorted(fully_walked(top) - {""})
        tree = Tree(Layout(str(top), version, None, None))
        time = CpuTime(tree)
        before, own = ({p: data.draw(usage, p) for p in everywhere} for _ in range(2))
        count(top, before)
        tree.walk()
        time.look()
        count(top, {path: before[path] + own[path] for path in everywhere})
        tree.walk()
        found, total_ns = time.look()
        expected = Counter[str]()
        for path, ns in own.items():
            expected[parse(path).holder] += ns
        expected.pop("", None)
        assert found == +expected
        assert total_ns == expected.total()


@pytest.mark.parametrize(
    ("there", "version", "cpu"),
    [
        (["cgroup.controllers", "cpuacct/cpuacct.usage"], 2, ""),
        (["cpuacct/cpuacct.usage", "unified/cgroup.controllers"], 1, "cpuacct"),
        (["cpu,cpuacct/cpuacct.usage"], 1, "cpu,cpuacct"),
        (["unified/cgroup.controllers", "memory/tasks"], 2, "unified"),
    ],
)
def test_the_layout_of_a_host(tmp_path: Path, there: list[str], version: int, cpu: str) -> None:
    for path in there:
        write((tmp_path / path).parent, {Path(path).name: ""})
    found = find_layout(tmp_path)
    assert (found.version, Path(found.cpu)) == (version, tmp_path / cpu)
    with pytest.raises(NoData):
        find_layout(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        (b"0-3,8\n", {0, 1, 2, 3, 8}),
        (b"5", {5}),
        (b"\n", set()),
        (b"", set()),
        (b"3-1", set()),
        (b"a-b", set()),
        (b"1,-", set()),
        (b"4294967296-4294967299", set()),
    ],
)
def test_lists_of_cpus(text: bytes, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus


def test_a_list_of_cpus_that_is_absurd_takes_little_memory() -> None:
    assert parse_cpus(b"0-4294967295") == frozenset(range(65536))
