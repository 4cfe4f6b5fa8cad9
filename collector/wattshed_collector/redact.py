"""Keeps secrets out of logs: passwords in URLs and what follows ``Bearer`` or ``Basic``.

Nothing of ours logs a secret on purpose; a driver's error may repeat the URL that it was given.
"""

from __future__ import annotations

import logging
import re

USERINFO = re.compile(r"(\w+://)[^/\s@:]*:[^/\s@]*@")
CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
PARAMETERS = re.compile(r"([?&](?:password|token|key|secret)=)[^&\s'\"]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return the text without passwords of URLs and without credentials."""
    text = USERINFO.sub(r"\1***@", text)
    return PARAMETERS.sub(r"\1***", CREDENTIALS.sub(r"\1 ***", text))


class Redacting(logging.Formatter):
    """Formats as told, traces included, and redacts the result."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
