"""What can go wrong, as types.

WattshedError
├── ConfigError       every problem of the configuration at once; the program exits with 2
└── SourceError       reading a meter failed; counted, the others go on
    ├── NoData        this machine has no such meter: said at debug level, not an error
    └── DevicesChanged  the set of devices changed; the sampler discovers again
"""

from __future__ import annotations

from collections.abc import Sequence


class WattshedError(Exception):
    """Base of every error that wattshed raises on purpose."""


class ConfigError(WattshedError):
    """The configuration has problems; ``problems`` holds each as one sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class SourceError(WattshedError):
    """A meter could not be read. ``reason`` is one word for the error counter's label."""

    def __init__(self, message: str, reason: str = "error") -> None:
        self.reason = reason
        super().__init__(message)


class NoData(SourceError):
    """There is no such meter here."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="none_here")


class DevicesChanged(SourceError):
    """Devices came or went since discovery."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="devices_changed")
