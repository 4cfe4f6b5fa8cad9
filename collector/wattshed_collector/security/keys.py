"""Where the gate leaves who asks, for what is behind it."""

from __future__ import annotations

from aiohttp import web

from .rules import Identity

IDENTITY = web.RequestKey("identity", Identity)
