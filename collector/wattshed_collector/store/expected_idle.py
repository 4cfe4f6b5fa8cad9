"""The register of expected idleness: what was said, until when it holds, what it covers now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wattshed_collector.errors import InvalidInput
from wattshed_collector.expected_idle import Expected

from .client import Client

COLUMNS = "id, workload, team, node, reason, said_by"
_KNOWN = """
SELECT id, toUnixTimestamp64Milli(until) / 1e3 AS until_s,
       toUnixTimestamp64Milli(since) / 1e3 AS since_s, workload, team, node, reason, said_by
FROM expected_idle FINAL WHERE id IN {ids:Array(String)}
"""
_LISTED = f"""
SELECT {COLUMNS}, toUnixTimestamp64Milli(since) / 1e3 AS since_s,
       toUnixTimestamp64Milli(until) / 1e3 AS until_s, state, devices, idle_watts
FROM v_expected_idle WHERE {{every:UInt8}} OR state != 'ended' ORDER BY until, id
"""


def put(client: Client, entries: Sequence[Expected], now_s: float) -> None:
    """Write entries; one that is known is replaced, one that ends holds until now.

    Raises InvalidInput where an entry is to end that nobody made, and writes nothing then.
    """
    ending = [entry.id for entry in entries if entry.until_s is None]
    known = {row[0]: Expected(*row) for row in client.rows(_KNOWN, {"ids": ending})}
    if missing := sorted(set(ending) - known.keys()):
        raise InvalidInput(f"nothing is expected under {', '.join(missing)}", "unknown")
    told = [
        entry if entry.until_s is not None else _ended(known[entry.id], now_s) for entry in entries
    ]
    ((newest,),) = client.rows("SELECT max(version) FROM expected_idle")
    first = max(int(now_s * 1e6), int(newest) + 1)
    client.insert(
        "expected_idle",
        {
            **{
                name: [getattr(entry, name) for entry in told]
                for name in ("id", "workload", "team", "node", "reason", "said_by")
            },
            "since": [round(entry.since_s * 1000) for entry in told],
            "until": [round((entry.until_s or 0.0) * 1000) for entry in told],
            "version": list(range(first, first + len(told))),
        },
    )


def listed(client: Client, every: bool = False) -> list[dict[str, Any]]:
    """Return what holds or will, with ``every`` also what has ended; times in Unix seconds.

    ``idle_watts`` is what the devices that it covers draw above bare idle now: it is waste all the
    same.
    """
    return client.records(_LISTED, {"every": int(every)})


def _ended(entry: Expected, now_s: float) -> Expected:
    return replace(entry, until_s=min(entry.until_s or now_s, now_s))
