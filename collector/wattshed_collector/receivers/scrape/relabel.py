"""Rules that rewrite a set of labels, as Prometheus' ``relabel_config`` does.

A label with an empty value is a label that is not there. Source:
https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from wattshed_collector.config import Action, Relabel
from wattshed_collector.config.relabel import LABEL

REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\})")
Labels = dict[str, str]


class Rules:
    """Some rules, ready to be applied in their order."""

    def __init__(self, rules: Iterable[Relabel]) -> None:
        self._rules = [(rule, re.compile(rule.regex, re.DOTALL)) for rule in rules]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def apply(self, labels: Mapping[str, str]) -> Labels | None:
        """Return the labels as rewritten, None where a rule drops them."""
        made = {name: value for name, value in labels.items() if value}
        for rule, pattern in self._rules:
            if not _apply(rule, pattern, made):
                return None
        return made


def _apply(rule: Relabel, pattern: re.Pattern[str], labels: Labels) -> bool:
    """Apply a rule in place; return whether the labels stay."""
    value = rule.separator.join(labels.get(name, "") for name in rule.source_labels)
    match rule.action:
        case Action.KEEP:
            return pattern.fullmatch(value) is not None
        case Action.DROP:
            return pattern.fullmatch(value) is None
        case Action.KEEPEQUAL:
            return labels.get(rule.target_label, "") == value
        case Action.DROPEQUAL:
            return labels.get(rule.target_label, "") != value
        case Action.LABELMAP | Action.LABELDROP | Action.LABELKEEP:
            _by_name(rule, pattern, labels)
        case Action.REPLACE:
            _replace(rule, pattern, value, labels)
        case Action.HASHMOD:
            _set(labels, rule.target_label, str(_hash(value) % rule.modulus))
        case Action.LOWERCASE:
            _set(labels, rule.target_label, value.lower())
        case Action.UPPERCASE:
            _set(labels, rule.target_label, value.upper())
    return True


def _replace(rule: Relabel, pattern: re.Pattern[str], value: str, labels: Labels) -> None:
    found = pattern.fullmatch(value)
    if found is None:
        return
    target = expand(rule.target_label, found)
    if LABEL.fullmatch(target):
        _set(labels, target, expand(rule.replacement, found))


def _by_name(rule: Relabel, pattern: re.Pattern[str], labels: Labels) -> None:
    for name, value in list(labels.items()):
        found = pattern.fullmatch(name)
        if rule.action is Action.LABELMAP:
            if found is not None and LABEL.fullmatch(target := expand(rule.replacement, found)):
                _set(labels, target, value)
        elif (found is not None) is (rule.action is Action.LABELDROP):
            del labels[name]


def expand(template: str, found: re.Match[str]) -> str:
    """Fill in what groups matched, as Go's ``Expand``: an unknown group is empty, $$ is $."""

    def filled(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        try:
            return found[int(name) if name.isdecimal() else name] or ""
        except IndexError:
            return ""

    return REFERENCE.sub(filled, template)


def _set(labels: Labels, name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _hash(value: str) -> int:
    """Return what Prometheus shards by: the last eight bytes of the MD5."""
    return int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[8:], "big")
