"""Rules for labels, against Prometheus' own examples and a plain model."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.config import Action, Relabel
from wattshed_collector.config.relabel import LABEL
from wattshed_collector.receivers.scrape.relabel import Rules

NAMES = ("a", "b", "c1", "c2")
REGEXES = ("(.*)", "x", "x(.*)", "c(.)", "(x|y)+;?(.*)", "")
VALUES = st.sampled_from(["x", "y", "xy", "x;y", "X$1", "ab\ny"])
LABELS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)
RULES = st.builds(
    Relabel,
    source_labels=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    separator=st.sampled_from([";", "", "-"]),
    target_label=st.sampled_from(NAMES),
    regex=st.sampled_from(REGEXES),
    modulus=st.integers(1, 5),
    replacement=st.sampled_from(["$1", "c1", "", "${2}z"]),
    action=st.sampled_from([action for action in Action if action is not Action.HASHMOD]),
)


def plain(labels: Mapping[str, str], rule: Relabel) -> dict[str, str] | None:
    """One rule as the documentation words it, without a care for speed."""
    joined = rule.separator.join(labels.get(name, "") for name in rule.source_labels)
    anchored = re.compile(f"\\A(?s:{rule.regex})\\Z")

    def replaced(text: str) -> str:
        found = anchored.match(text)
        assert found
        groups = ("", *found.groups(""))
        for number in (1, 2):
            group = groups[number] if number < len(groups) else ""
            if rule.replacement in (f"${number}", f"${{{number}}}z"):
                return group + ("z" if rule.replacement.endswith("z") else "")
        return rule.replacement

    matches = bool(anchored.match(joined))
    own = labels.get(rule.target_label, "")
    stays = {
        Action.KEEP: matches,
        Action.DROP: not matches,
        Action.KEEPEQUAL: own == joined,
        Action.DROPEQUAL: own != joined,
    }
    if not stays.get(rule.action, True):
        return None
    made = dict(labels)
    if rule.action is Action.REPLACE and matches:
        made[rule.target_label] = replaced(joined)
    elif rule.action in (Action.LOWERCASE, Action.UPPERCASE):
        made[rule.target_label] = getattr(joined, rule.action.removesuffix("case"))()
    elif rule.action is Action.LABELDROP:
        made = {name: text for name, text in labels.items() if not anchored.match(name)}
    elif rule.action is Action.LABELKEEP:
        made = {name: text for name, text in labels.items() if anchored.match(name)}
    elif rule.action is Action.LABELMAP:
        mapped = {replaced(name): text for name, text in labels.items() if anchored.match(name)}
        made |= {name: text for name, text in mapped.items() if LABEL.fullmatch(name)}
    return {name: text for name, text in made.items() if name and text}


@given(LABELS, st.lists(RULES, max_size=4))
def test_rules_do_what_the_documentation_says(labels: dict[str, str], rules: list[Relabel]) -> None:
    expected: dict[str, str] | None = dict(labels)
    for rule in rules:
        expected = None if expected is None else plain(expected, rule)
    before = dict(labels)
    assert Rules(rules).apply(labels) == expected
    assert labels == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${1}-$2", "one-two"),
        ("$1x", ""),
        ("${1}x", "onex"),
        ("$$1", "$1"),
        ("$3|$name", "|two"),
        ("$ and $-", "$ and $-"),
    ],
)
def test_templates_are_expanded_as_gos(text: str, expected: str) -> None:
    rule = Relabel(
        source_labels=("a",), regex="(one) (?P<name>two)", target_label="b", replacement=text
    )
    assert (Rules([rule]).apply({"a": "one two"}) or {}).get("b", "") == expected


def test_the_target_may_be_a_template_and_must_be_a_name() -> None:
    rule = Relabel(source_labels=("a",), regex="(.*)=(.*)", target_label="${1}", replacement="$2")
    assert Rules([rule]).apply({"a": "b=c"}) == {"a": "b=c", "b": "c"}
    assert Rules([rule]).apply({"a": "1=c"}) == {"a": "1=c"}


def test_what_a_map_gives_no_name_stays_where_it_is() -> None:
    rule = Relabel(regex="(?:x_(.+)|y)", action=Action.LABELMAP)
    assert Rules([rule]).apply({"x_a": "1", "y": "2"}) == {"x_a": "1", "y": "2", "a": "1"}


def test_a_hash_shares_targets_out_as_prometheus_does() -> None:
    rule = Relabel(source_labels=("a",), target_label="d", modulus=1000, action=Action.HASHMOD)
    # The values of Prometheus' own test of hashmod.
    assert Rules([rule]).apply({"a": "baz", "b": "bar"}) == {"a": "baz", "b": "bar", "d": "976"}
    assert Rules([rule]).apply({"a": "foo\nbar"}) == {"a": "foo\nbar", "d": "734"}


@pytest.mark.parametrize(
    "rule",
    [
        Relabel(regex="(", target_label="a"),
        Relabel(),
        Relabel(target_label="a-b"),
        Relabel(action=Action.HASHMOD, target_label="a"),
        Relabel(action=Action.LABELDROP, source_labels=("a",)),
        Relabel(action=Action.LABELMAP, replacement=""),
        Relabel(action=Action.LABELMAP, replacement="a b"),
        Relabel(action=Action.LOWERCASE, target_label="$1"),
        Relabel(source_labels=("a b",), target_label="a"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(rule: Relabel) -> None:
    assert len(rule.problems()) == 1
