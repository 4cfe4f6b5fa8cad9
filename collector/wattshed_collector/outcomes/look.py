"""Rules and what they make of a page, as records for people and programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from wattshed_collector.normalise.dialect import Sample

from .book import Book, kinds
from .owners import Owners, Whose
from .readings import Reading, readings
from .rules import CAVEATS, Choice, Server


def rule_records(servers: Iterable[Server]) -> list[dict[str, Any]]:
    """Return what there is to say of each server's rules."""
    return [
        {
            "name": server.name,
            "title": server.title,
            "auto": server.auto,
            "kinds": kinds(server.rules),
            "rules": [
                {
                    "kind": rule.kind,
                    "from": [_way(server, choice) for choice in rule.choices],
                }
                for rule in server.rules
            ],
            "prefixes": list(server.prefixes),
            "model_labels": list(server.model),
            "ranks": list(server.ranks),
            "tested": server.tested,
            "facts": server.facts,
            "notes": list(server.notes),
        }
        for server in servers
    ]


def _way(server: Server, choice: Choice) -> dict[str, str]:
    told = {"counter": f"{server.prefixes[0]}{choice.of}", "caveat": choice.caveat}
    if choice.less is not None:
        told["minus"] = f"{server.prefixes[0]}{choice.less}"
    return {name: text for name, text in told.items() if text}


def in_words(way: Mapping[str, str]) -> str:
    """Return one way to a number as a person would write it."""
    minus = f" minus {way['minus']}" if "minus" in way else ""
    caveat = f" ({way['caveat']})" if "caveat" in way else ""
    return f"{way['counter']}{minus}{caveat}"


def page_records(
    book: Book, page: Iterable[Sample], whose: Whose, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return what a page would give; ``labels`` are those of its target."""
    rows = {sample.series: sample.value for sample in page}
    return [_page_record(reading, whose, labels) for reading in readings(book, rows)]


def _page_record(reading: Reading, whose: Whose, labels: Mapping[str, str]) -> dict[str, Any]:
    workload = Owners().of(whose, {**reading.labels, **labels})
    choice = reading.choice
    return {
        "server": reading.server.name,
        "outcome": reading.rule.kind,
        "total": reading.value if math.isfinite(reading.value) else None,
        "since": None if reading.start_ms is None else reading.start_ms / 1000,
        "model": reading.server.model_of(reading.labels),
        "labels": dict(reading.labels),
        "counter": in_words(_way(reading.server, choice)),
        "caveat": CAVEATS.get(choice.caveat, ""),
        "workload": None if workload is None else workload.key,
    }
