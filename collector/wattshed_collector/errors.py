"""What can go wrong in the collector, as types.

    CollectorError
    ├── StoreError            the store cannot be opened or used
    │   ├── StoreLocked       another process has the embedded store open
    │   ├── Retryable         try the same again later (the engine is away, the disk is full);
    │   │                     ``retry_after_seconds`` says when, ``reason`` is one word for counters
    │   │   └── Denied        the server does not let us; at start that ends the program
    │   └── Permanent         the same will never work
    └── InvalidInput          what was sent cannot be read; ``reason`` is one word for the counter

A receiver answers InvalidInput and Permanent with a 4xx and Retryable with a 503.
"""

from __future__ import annotations

EXTRAS = {"grafana_client": "grafana", "niquests": "grafana", "bcrypt": "web"}
"""Which extra brings a package that is not there; every other comes with ``collector``."""

INTERNAL = "internal error; the collector's log has more"
"""What is answered where something happened that nobody expected."""


def missing(error: ImportError) -> str:
    """Say which package there is not, and how to have it; of one that is there and cannot be
    loaded, what it says."""
    if not isinstance(error, ModuleNotFoundError):
        return f"a package cannot be loaded: {error}"
    extra = EXTRAS.get((error.name or "").partition(".")[0], "collector")
    return f"{error.name} is missing; pip install 'wattshed[{extra}]'"


class CollectorError(Exception):
    """Base of every error that the collector raises on purpose."""


class StoreError(CollectorError):
    """The store cannot be opened or used."""


class StoreLocked(StoreError):
    """Another process has the embedded store open."""


class Retryable(StoreError):
    """The same may work later: in ``retry_after_seconds``, by what is known now."""

    def __init__(
        self, message: str, retry_after_seconds: float = 1.0, reason: str = "unavailable"
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        self.reason = reason
        super().__init__(message)


class Denied(Retryable):
    """The server does not know us, or does not let us do this; somebody has to change that."""


class Permanent(StoreError):
    """The same will never work."""


class InvalidInput(CollectorError):
    """What was sent cannot be read."""

    def __init__(self, message: str, reason: str) -> None:
        self.reason = reason
        super().__init__(message)
