"""Objectives for energy per outcome, as operators write them: a YAML file of definitions.

The windows and factors that are used where a definition names none are those of the Google SRE
workbook, chapter 5, "Alerting on SLOs": 2 % of a 30-day budget in an hour, 5 % in six, 10 % in a
day and in three.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import NOT_YAML

MOST_SLOS = 500
MOST_PAIRS = 8
MOST_DAYS = 366
DAY_S = 86_400
UNITS_S = {"m": 60, "h": 3600, "d": DAY_S}
OF_WORKLOAD = (
    "team", "workload", "ai_model", "precision", "batch_class", "namespace", "project", "cluster",
)  # fmt: skip
OF_HOUR = ("site", "hardware")
MATCHED = (*OF_WORKLOAD, *OF_HOUR)
"""Columns that ``match`` may name; a workload's ``OF_HOUR`` may change from hour to hour."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Basis(StrEnum):
    """Which joules: those of work, or all that the workload is charged."""

    ACTIVE = "active"
    LOADED = "loaded"


class Sli(StrEnum):
    """What the objective is about: outcomes of minutes within the target, or the joules of all."""

    GOOD_OUTCOMES = "good_outcomes"
    JOULE_BUDGET = "joule_budget"


@dataclass(frozen=True, slots=True)
class Burn:
    """Burning, where both windows spend the budget at more than ``factor`` times the even rate."""

    factor: float
    long_seconds: int
    short_seconds: int
    severity: str = "page"


BURNS = (
    Burn(14.4, 3600, 300),
    Burn(6.0, 6 * 3600, 1800),
    Burn(3.0, DAY_S, 2 * 3600, "ticket"),
    Burn(1.0, 3 * DAY_S, 6 * 3600, "ticket"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """One objective. ``match``: what columns must be equal to; ``least_outcomes``: a window with
    fewer says nothing."""

    name: str
    outcome: str
    target_joules_per_outcome: float
    objective_ratio: float
    owner: str = ""
    description: str = ""
    match: Mapping[str, str] = field(default_factory=dict)
    basis: Basis = Basis.LOADED
    sli: Sli = Sli.GOOD_OUTCOMES
    window_days: int = 30
    least_outcomes: float = 1.0
    burn: Sequence[Burn] = BURNS

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What the roll-ups of it depend on."""
        of = tuple(sorted(self.match.items()))
        return self.outcome, of, self.target_joules_per_outcome, self.basis

    def notes(self) -> Iterator[str]:
        """Yield what is allowed and may yet not be what was meant, each as one sentence."""
        worst = 1 / (1 - self.objective_ratio)
        for pair in self.burn if self.sli is Sli.GOOD_OUTCOMES else ():
            if pair.factor >= worst:
                yield (
                    f"{self.name}: factor {pair.factor:g} can never be exceeded: with an objective "
                    f"of {self.objective_ratio:g} the fastest rate is {worst:.4g}"
                )


def load(file: Path) -> list[Slo]:
    """Read ``slos: [{name: ..., ...}]``.

    Raises ConfigError with every problem, each as one sentence.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, *NOT_YAML) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"slo.file: {file} cannot be read: {why}"]) from error
    found, problems = parse(document)
    if problems:
        raise ConfigError([f"slo.file: {file}: {problem}" for problem in problems])
    return found


def parse(document: Any) -> tuple[list[Slo], list[str]]:
    """Return the definitions of a document and all that is wrong with it."""
    if not isinstance(document, dict) or not isinstance(document.get("slos"), list):
        return [], ["it must hold `slos:` with a list of definitions"]
    problems = [f"{name!r} is unknown" for name in document if name != "slos"]
    found = []
    names: set[str] = set()
    for at, entry in enumerate(document["slos"], 1):
        slo, wrong = _parsed(entry)
        name = entry.get("name") if isinstance(entry, dict) else None
        where = name if isinstance(name, str) and name else f"definition {at}"
        if isinstance(name, str) and name in names:
            wrong.append("the name is used twice")
        problems += [f"{where}: {problem}" for problem in wrong]
        if slo is not None and not wrong:
            found.append(slo)
            names.add(slo.name)
    if len(document["slos"]) > MOST_SLOS:
        problems.append(f"{len(document['slos'])} definitions: at most {MOST_SLOS} are kept")
    return found, problems


_KNOWN = {f.name: f for f in fields(Slo)}
_NEEDED = [
    name for name, f in _KNOWN.items() if f.default is MISSING and f.default_factory is MISSING
]
_TEXTS = ("name", "owner", "description", "outcome")
_CHOICES: Mapping[str, type[StrEnum]] = {"basis": Basis, "sli": Sli}


def _parsed(entry: Any) -> tuple[Slo | None, list[str]]:
    if not isinstance(entry, dict):
        return None, ["it is no mapping"]
    problems = [f"{key!r} is unknown" for key in entry if key not in _KNOWN]
    problems += [f"{key} is missing" for key in _NEEDED if key not in entry]
    told = {key: value for key, value in entry.items() if key in _KNOWN}
    problems += [*_texts(told), *_numbers(told), *_match(told)]
    for key, choice in _CHOICES.items():
        if key in told and told[key] not in [str(value) for value in choice]:
            problems.append(f"{key}: {told[key]!r} is none of {', '.join(choice)}")
    if "burn" in told:
        pairs, wrong = _burns(told["burn"])
        problems += [f"burn: {problem}" for problem in wrong]
        told["burn"] = pairs
    if problems:
        return None, problems
    for key, choice in _CHOICES.items():
        if key in told:
            told[key] = choice(told[key])
    slo = Slo(**told)
    return slo, list(_too_long(slo))


def _texts(told: Mapping[str, Any]) -> Iterator[str]:
    for key in _TEXTS:
        if key in told and not isinstance(told[key], str):
            yield f"{key}: {told[key]!r} is no text"
    name, outcome = told.get("name"), told.get("outcome")
    if isinstance(name, str) and not NAME.fullmatch(name):
        yield f"name: {name!r} must be letters, digits, '.', '_' and '-', at most 100"
    if outcome == "":
        yield "outcome: must not be empty"


def _numbers(told: Mapping[str, Any]) -> Iterator[str]:
    target, objective = told.get("target_joules_per_outcome"), told.get("objective_ratio")
    if target is not None and not (_is_number(target) and target > 0):
        yield f"target_joules_per_outcome: {target!r} is no number above 0"
    if objective is not None and not (_is_number(objective) and 0 < objective < 1):
        yield f"objective_ratio: {objective!r} is no number between 0 and 1, both excluded"
    days, least = told.get("window_days", 1), told.get("least_outcomes", 1)
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MOST_DAYS:
        yield f"window_days: {days!r} is no whole number from 1 to {MOST_DAYS}"
    if not _is_number(least) or least <= 0:
        yield f"least_outcomes: {least!r} is no number above 0"


def _match(told: Mapping[str, Any]) -> Iterator[str]:
    match = told.get("match", {})
    if not isinstance(match, dict):
        yield f"match: {match!r} is no mapping of columns to what they must be"
        return
    for column, value in match.items():
        if column not in MATCHED:
            yield f"match: {column!r} is none of {', '.join(MATCHED)}"
        elif not isinstance(value, str) or not value:
            yield f"match: {column}: {value!r} is no text"


def _burns(told: Any) -> tuple[list[Burn], list[str]]:
    if not isinstance(told, list) or not 1 <= len(told) <= MOST_PAIRS:
        return [], [f"must be a list of 1 to {MOST_PAIRS} pairs of windows"]
    found, problems = [], []
    for at, entry in enumerate(told, 1):
        try:
            found.append(_pair(entry))
        except ValueError as error:
            problems.append(f"pair {at}: {error}")
    return found, problems


def _pair(entry: Any) -> Burn:
    """Raises ValueError with what is wrong."""
    keys = {"factor", "long", "short", "severity"}
    if not isinstance(entry, dict) or entry.keys() - keys or keys - {"severity"} - entry.keys():
        raise ValueError("must hold factor, long and short, and may hold severity")
    factor, severity = entry["factor"], entry.get("severity", "page")
    if not _is_number(factor) or factor <= 0:
        raise ValueError(f"factor {factor!r} is no number above 0")
    if not isinstance(severity, str) or not severity:
        raise ValueError(f"severity {severity!r} is no text")
    pair = Burn(float(factor), _seconds(entry["long"]), _seconds(entry["short"]), severity)
    if pair.short_seconds >= pair.long_seconds:
        raise ValueError("the short window must be shorter than the long one")
    return pair


def _seconds(told: Any) -> int:
    length = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", told) if isinstance(told, str) else None
    if length is None:
        raise ValueError(f"{told!r} is no length such as 5m, 6h or 3d")
    return int(length[1]) * UNITS_S[length[2]]


def _too_long(slo: Slo) -> Iterator[str]:
    longest = max(pair.long_seconds for pair in slo.burn)
    if longest > slo.window_days * DAY_S:
        yield f"burn: a window of {longest / DAY_S:g} days is longer than window_days"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
