"""Versions of rows in replacing tables: by the clock, and always above the one before."""

from __future__ import annotations

from .client import Client


def following(client: Client, table: str, now_s: float) -> int:
    """Return the version of what is written to ``table`` at ``now_s`` (Unix seconds)."""
    ((newest,),) = client.rows(f"SELECT max(version) FROM {table}")
    return max(int(now_s * 1e6), int(newest) + 1)
