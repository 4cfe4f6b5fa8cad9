"""Slurm's hostlists."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.hostlist import expand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("login", ["login"]),
        ("node[01-03,7]", ["node01", "node02", "node03", "node7"]),
        ("a[9-11],b", ["a9", "a10", "a11", "b"]),
        ("a[1-2]b[3-4]-x", ["a1b3-x", "a1b4-x", "a2b3-x", "a2b4-x"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("n1,n1,n[1-2]", ["n1", "n2"]),
        ("n1.example.org", ["n1.example.org"]),
        ("learnnode[1273,1405,1529,1666]", [f"learnnode{i}" for i in (1273, 1405, 1529, 1666)]),
    ],
)
def test_what_it_stands_for(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    "text",
    ["n[", "n[]", "n[1-]", "n[3-1]", "n[a]", ",", "n,", "n,,m", "n m", "n[1-999999999]", "n]",
     "n[1-400][1-400]", "n[1-60000],m[1-60000]"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        expand(text)
    assert error.value.reason == "bad_node_list"


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z]{1,4}-?", fullmatch=True), st.integers(1, 4),
                  st.lists(st.tuples(st.integers(0, 500), st.integers(0, 5)), max_size=2)),
        max_size=3,
    )
)  # fmt: skip
@settings(max_examples=50)
def test_folded_and_expanded(groups: list[tuple[str, int, list[tuple[int, int]]]]) -> None:
    folded, names = [], []
    for prefix, width, ranges in groups:
        if not ranges:
            folded.append(prefix + "x")
            names.append(prefix + "x")
            continue
        written = [(f"{first:0{width}d}", f"{first + more:0{width}d}") for first, more in ranges]
        inside = ",".join(a if a == b else f"{a}-{b}" for a, b in written)
        folded.append(f"{prefix}[{inside}]")
        names += [
            f"{prefix}{first + i:0{width}d}" for first, more in ranges for i in range(more + 1)
        ]
    assert expand(",".join(folded)) == list(dict.fromkeys(names))


@given(st.text("n[]-,0123456789 \n", max_size=30))
def test_any_text_is_names_or_refused(text: str) -> None:
    try:
        names = expand(text)
    except InvalidInput:
        return
    assert all(name and not set(name) & set("[], \n") for name in names)
