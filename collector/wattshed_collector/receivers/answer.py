"""An answer as a value, before it is known which server writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, and the content type as it is sent."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Return it for aiohttp's server."""
        told = {**self.headers, "Content-Type": self.content_type}
        return web.Response(status=self.status, body=self.body, headers=told)
