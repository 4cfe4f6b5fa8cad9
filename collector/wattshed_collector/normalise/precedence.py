"""Whom to believe where two exporters measure one thing: the lower rank, while it speaks.

Rank 0 is our own exporter, read or pushed. Two that name one GPU by its UUID, or two that read the
RAPL domains of one machine, would otherwise be two meters whose joules add up. Who is silent for
three intervals is no longer believed to speak. In the first interval after both have appeared the
lower-ranked may be believed for one reading, if it comes first.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from wattshed_exporter.model import Batch

LONGEST_MS = 120_000
CACHE = 100_000
RAPL = "rapl"


def claim_of(source: str, node: str, key: str) -> str:
    """Return what is measured: the device, or all of a machine's RAPL domains."""
    return f"{node}/{RAPL}" if source == RAPL else key


class Precedence:
    """Remembers until when each thing was measured, and by which rank."""

    def __init__(self) -> None:
        self._until: dict[str, dict[int, int]] = {}
        self._shared: dict[int, tuple[tuple[object, ...], list[dict[int, int]]]] = {}
        """By the identity of devices, or of claims, that come again and again what is kept of each
        of them."""

    def allows(self, claim: str, rank: int, ts_ms: int, interval_ms: int) -> bool:
        """Note that a rank measures a thing, and return whether no better one does at the time."""
        until = self._claims(claim)
        until[rank] = max(until.get(rank, 0), ts_ms + 3 * interval_ms)
        return all(end < ts_ms for other, end in until.items() if other < rank)

    def saw(self, batch: Batch, others: Container[str], newest_ms: int = 0) -> None:
        """Note what our own exporters measure: devices whose source is none of ``others``."""
        newest = max([newest_ms, *(tick.ts_ms for tick in batch.ticks)]) + LONGEST_MS
        known, claims = self._shared.get(id(batch.devices), ((), []))
        if known is not batch.devices:
            ours = [device for device in batch.devices if device.source not in others]
            claims = self._every([claim_of(d.source, d.node, d.key) for d in ours])
            if newest_ms:  # then they mostly come again as the same tuple
                self._shared[id(batch.devices)] = batch.devices, claims
        for until in claims:
            if until.get(0, 0) < newest:
                until[0] = newest

    def speak(self, claims: tuple[str, ...], read_ms: Sequence[int]) -> None:
        """Note that one of our own exporters measures things, and when it read each; ``claims``
        mostly come again as the same tuple."""
        known, every = self._shared.get(id(claims), ((), []))
        if known is not claims:
            every = self._every(claims)
            self._shared[id(claims)] = claims, every
        for until, read in zip(every, read_ms, strict=True):
            if until.get(0, 0) < read + LONGEST_MS:
                until[0] = read + LONGEST_MS

    def _every(self, claims: Sequence[str]) -> list[dict[int, int]]:
        if len(self._until) + len(claims) > CACHE:
            self._until.clear()
        if not self._until or len(self._shared) >= CACHE // 10:
            self._shared.clear()
        return [self._claims(claim) for claim in claims]

    def ours(self, source: str, node: str, key: str, ts_ms: int) -> None:
        """Note that one of our own exporters measures a device."""
        self.speaks(claim_of(source, node, key), ts_ms)

    def speaks(self, claim: str, ts_ms: int) -> None:
        """Note that one of our own exporters measures a thing."""
        until = self._claims(claim)
        until[0] = max(until.get(0, 0), ts_ms + LONGEST_MS)

    def is_ours(self, claim: str, ts_ms: int) -> bool:
        """Return whether our own exporter measures a thing at the time."""
        return self._until.get(claim, {}).get(0, 0) >= ts_ms

    def _claims(self, claim: str) -> dict[int, int]:
        if claim not in self._until and len(self._until) >= CACHE:
            self._until.clear()
            self._shared.clear()
        return self._until.setdefault(claim, {})
