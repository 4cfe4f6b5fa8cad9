"""Definitions of objectives in the store: table ``slo``, one row per name, so that views need no
file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattshed_collector.slo import Basis, Burn, Sli, Slo

from .client import Client

_ROWS = """
SELECT name, toString(outcome), target_joules, objective_ratio, owner, description, match,
       toString(basis), toString(sli), window_days, least_outcomes, burn, revision, is_active,
       version
FROM slo FINAL ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A definition as it is kept. ``revision`` changes with what its roll-ups depend on."""

    slo: Slo
    revision: int
    is_active: bool
    version: int


def read(client: Client) -> list[Kept]:
    """Return every definition that ever was, by name."""
    return [
        Kept(
            Slo(
                name=name,
                outcome=outcome,
                target_joules_per_outcome=target,
                objective_ratio=objective,
                owner=owner,
                description=description,
                match=dict(match),
                basis=Basis(basis),
                sli=Sli(sli),
                window_days=int(days),
                least_outcomes=least,
                burn=tuple(Burn(f, int(long), int(short), str(s)) for f, long, short, s in burn),
            ),
            int(revision),
            bool(is_active),
            int(version),
        )
        for (name, outcome, target, objective, owner, description, match, basis, sli, days, least,
             burn, revision, is_active, version) in client.rows(_ROWS)
    ]  # fmt: skip


def any_active(client: Client) -> bool:
    """Return whether there is anything to compute."""
    ((count,),) = client.rows("SELECT count() FROM slo FINAL WHERE is_active")
    return bool(count)


def adopt(client: Client, wanted: Sequence[Slo], now: float) -> list[str]:
    """Put ``wanted`` in force in place of what is; return the names of those that changed.

    One that is not wanted any more is kept, not in force. Where what it promises, or of whom,
    changes, its roll-ups are computed again by the ledger's next runs. ``now`` is Unix seconds.
    """
    known = {kept.slo.name: kept for kept in read(client)}
    version = max([round(now * 1e6), *(kept.version + 1 for kept in known.values())])
    changed = []
    for slo in wanted:
        before = known.get(slo.name)
        is_same = before is not None and before.is_active and before.slo.meaning == slo.meaning
        revision = before.revision if before is not None and is_same else version
        kept = Kept(slo, revision, True, version)
        if before is None or not is_same or _said(before) != _said(kept):
            changed.append(kept)
    names = {slo.name for slo in wanted}
    changed += [
        Kept(kept.slo, kept.revision, False, version)
        for kept in known.values()
        if kept.is_active and kept.slo.name not in names
    ]
    _insert(client, changed)
    return [kept.slo.name for kept in changed]


def _said(kept: Kept) -> tuple[object, ...]:
    slo = kept.slo
    return (
        *slo.meaning, slo.objective_ratio, slo.owner, slo.description, slo.sli, slo.window_days,
        slo.least_outcomes, tuple(slo.burn),
    )  # fmt: skip


def _insert(client: Client, rows: Sequence[Kept]) -> None:
    if not rows:
        return
    slos = [kept.slo for kept in rows]
    client.insert(
        "slo",
        {
            "name": [slo.name for slo in slos],
            "owner": [slo.owner for slo in slos],
            "description": [slo.description for slo in slos],
            "outcome": [slo.outcome for slo in slos],
            "match": [dict(slo.match) for slo in slos],
            "target_joules": [float(slo.target_joules_per_outcome) for slo in slos],
            "basis": [str(slo.basis) for slo in slos],
            "sli": [str(slo.sli) for slo in slos],
            "objective_ratio": [float(slo.objective_ratio) for slo in slos],
            "window_days": [slo.window_days for slo in slos],
            "least_outcomes": [float(slo.least_outcomes) for slo in slos],
            "burn": [
                [(p.factor, p.long_seconds, p.short_seconds, p.severity) for p in slo.burn]
                for slo in slos
            ],
            "revision": [kept.revision for kept in rows],
            "is_active": [kept.is_active for kept in rows],
            "version": [kept.version for kept in rows],
        },
    )
